//! Jobs that are written out or drawn.

use std::sync::Arc;

use crate::cluster::generate::choose;
use crate::cluster::placement::Ask;
use crate::cluster::speed::{Speed, SpeedTable};
use crate::cluster::trained::Trained;
use crate::cluster::{Demand, Free, Job, KindId, Machine};
use crate::config::check::Check;
use crate::config::cluster::file::{Class, ClusterFile, Generated, ListedJob, SpeedChoice};
use crate::rng::RngExt;
use crate::units::{SimDuration, SimTime};

/// More jobs than that are a slip.
const MOST_JOBS: usize = 10_000_000;

impl Check<'_> {
    /// Jobs in order of arrival, equals in order of the list.
    pub(super) fn listed(
        &mut self,
        file: &ClusterFile,
        list: &[ListedJob],
        machine: &Machine,
        trained: Option<&Trained>,
    ) -> Vec<Job> {
        let mut jobs = Vec::new();
        for (at, keys) in list.iter().enumerate() {
            let path = format!("cluster.jobs.list[{at}]");
            let Some(kinds) = self.kinds(&path, &keys.kinds, machine) else { continue };
            let Some(speed) = self.speed(file, &path, &keys.speed, machine, keys.devices, &kinds, trained)
            else {
                continue;
            };
            if keys.devices == 0 {
                self.wrong(&format!("{path}.devices"), "a job takes at least 1 device", "");
            }
            if !(keys.weight > 0.0 && keys.weight.is_finite()) {
                self.wrong(
                    &format!("{path}.weight"),
                    format!("a weight is a positive number, not {}", keys.weight),
                    "",
                );
            }
            let Some(work) = self.work(&path, keys, &speed) else { continue };
            if keys.count as usize > MOST_JOBS - jobs.len() {
                self.wrong(&format!("{path}.count"), format!("a run has at most {MOST_JOBS} jobs"), "");
                continue;
            }
            let name = keys.name.clone().unwrap_or_else(|| format!("job {at}"));
            for copy in 0..keys.count {
                jobs.push(Job {
                    name: if keys.count > 1 { format!("{name} #{copy}") } else { name.clone() },
                    user: keys.user.clone(),
                    arrival: SimTime::ZERO + keys.arrival,
                    demand: Demand::devices(keys.devices),
                    work,
                    estimate: keys.estimate.unwrap_or(work),
                    kinds: kinds.clone(),
                    speed: speed.clone(),
                    weight: keys.weight,
                });
            }
        }
        if jobs.is_empty() && self.mistakes.is_empty() {
            self.wrong("cluster.jobs.list", "there are no jobs", "");
        }
        jobs.sort_by_key(|job| job.arrival);
        jobs
    }

    fn work(&mut self, path: &str, keys: &ListedJob, speed: &Speed) -> Option<SimDuration> {
        match (keys.duration, keys.steps, speed) {
            (Some(duration), None, _) if duration > SimDuration::ZERO => Some(duration),
            (None, Some(steps @ 1..), Speed::Profiled { step_seconds, .. }) => {
                let seconds = steps as f64 * step_seconds;
                if seconds >= 18_000_000.0 {
                    self.wrong(
                        &format!("{path}.steps"),
                        format!("{steps} steps take {seconds} s, more than a run can last"),
                        "",
                    );
                    return None;
                }
                Some(SimDuration::from_seconds(seconds))
            }
            (None, Some(0), _) => {
                self.wrong(&format!("{path}.steps"), "a job trains at least 1 step", "");
                None
            }
            (None, Some(_), _) => {
                self.wrong(
                    &format!("{path}.steps"),
                    "only a job that is trained has steps",
                    "set `speed: {trained: NAME}`, or a `duration`",
                );
                None
            }
            (Some(_), None, _) => {
                self.wrong(&format!("{path}.duration"), "a job takes some time", "");
                None
            }
            (Some(_), Some(_), _) | (None, None, _) => {
                self.wrong(path, "a job has a `duration` or a number of `steps`", "");
                None
            }
        }
    }

    pub(super) fn generated(
        &mut self,
        file: &ClusterFile,
        keys: &Generated,
        machine: &Machine,
        trained: Option<&Trained>,
    ) -> Vec<Job> {
        let path = "cluster.jobs.generate";
        let mut classes = Vec::new();
        for (at, class) in keys.classes.iter().enumerate() {
            let path = format!("{path}.classes[{at}]");
            self.class(&path, class);
            let kinds = self.kinds(&path, &class.kinds, machine);
            // Speed and kinds are of a class; a trained one is timed for each number of devices.
            let mut speeds = std::collections::BTreeMap::new();
            for &devices in class.devices.keys() {
                let kinds = kinds.as_deref().unwrap_or_default();
                if let Some(speed) = self.speed(file, &path, &class.speed, machine, devices, kinds, trained) {
                    speeds.insert(devices, speed);
                }
            }
            classes.push((class, kinds.unwrap_or_default(), speeds));
        }
        if keys.jobs == 0 || keys.jobs as usize > MOST_JOBS {
            self.wrong(
                &format!("{path}.jobs"),
                format!("from 1 to {MOST_JOBS} jobs are made, not {}", keys.jobs),
                "",
            );
        }
        if keys.users == 0 {
            self.wrong(&format!("{path}.users"), "there is at least one user", "");
        }
        if !(keys.overestimate >= 0.0 && keys.overestimate.is_finite()) {
            self.wrong(
                &format!("{path}.overestimate"),
                format!("a number from 0 on, not {}", keys.overestimate),
                "",
            );
        }
        let weights: std::collections::BTreeMap<usize, f64> =
            keys.classes.iter().map(|class| class.weight).enumerate().collect();
        if !weighs(weights.values()) {
            self.wrong(&format!("{path}.classes"), "weights are numbers from 0 on, one of them positive", "");
        }
        if !self.mistakes.is_empty() {
            return Vec::new();
        }
        let Some(moments) = keys.arrivals.moments(keys.jobs, file.seed) else {
            self.wrong(
                &format!("{path}.arrivals"),
                "jobs would arrive later than 213 days after the first",
                "",
            );
            return Vec::new();
        };
        let stream = |what: &str| file.seed.stream(&format!("job {what}"));
        let (mut of_class, mut of_devices) = (stream("classes"), stream("devices"));
        let (mut of_length, mut of_user, mut of_estimate) =
            (stream("durations"), stream("users"), stream("estimates"));
        let draw = |(index, arrival): (usize, SimTime)| {
            let (class, kinds, speeds) = &classes[choose(&weights, &mut of_class)];
            let devices = choose(&class.devices, &mut of_devices);
            let work = class.duration.draw(&mut of_length);
            let factor = 1.0 + keys.overestimate * of_estimate.random::<f64>();
            Job {
                name: format!("{} {index}", class.name),
                user: format!("user {}", of_user.random_range(0..keys.users)),
                arrival,
                demand: Demand::devices(devices),
                work,
                estimate: if keys.overestimate == 0.0 { work } else { work.scaled(factor) },
                kinds: kinds.clone(),
                speed: speeds[&devices].clone(),
                weight: 1.0,
            }
        };
        moments.into_iter().enumerate().map(draw).collect()
    }

    fn class(&mut self, path: &str, class: &Class) {
        if !weighs(class.devices.values()) {
            self.wrong(&format!("{path}.devices"), "weights are numbers from 0 on, one of them positive", "");
        }
        if class.devices.contains_key(&0) {
            self.wrong(&format!("{path}.devices"), "a job takes at least 1 device", "");
        }
        if let Err(why) = class.duration.check() {
            self.wrong(&format!("{path}.duration"), why, "");
        }
    }

    /// The kinds that a job names; the usual ones when it names none.
    fn kinds(&mut self, path: &str, names: &[String], machine: &Machine) -> Option<Vec<KindId>> {
        if names.is_empty() {
            return Some(machine.usual_kinds());
        }
        let mut kinds = Vec::new();
        for name in names {
            match machine.kind_named(name) {
                Some(kind) => kinds.push(kind),
                None => self.no_kind(&format!("{path}.kinds"), name, machine),
            }
        }
        (kinds.len() == names.len()).then_some(kinds)
    }

    fn no_kind(&mut self, path: &str, name: &str, machine: &Machine) {
        let known: Vec<&str> = machine.kinds().map(|kind| machine.kind_name(kind)).collect();
        self.wrong(
            path,
            format!("the machine has no devices of kind `{name}`"),
            &format!("it has {}", known.join(", ")),
        );
    }

    /// How fast a job is.
    #[expect(clippy::too_many_arguments, reason = "they are what a speed depends on")]
    fn speed(
        &mut self,
        file: &ClusterFile,
        path: &str,
        choice: &SpeedChoice,
        machine: &Machine,
        devices: u32,
        kinds: &[KindId],
        trained: Option<&Trained>,
    ) -> Option<Speed> {
        match choice {
            SpeedChoice::Same => Some(Speed::Same),
            SpeedChoice::ByKind(speeds) => {
                let mut table: crate::ids::IdVec<KindId, f64> = machine.kinds().map(|_| 0.0).collect();
                for (name, &speed) in speeds {
                    let path = format!("{path}.speed.by_kind");
                    match machine.kind_named(name) {
                        Some(kind) if speed >= 0.0 && speed.is_finite() => table[kind] = speed,
                        Some(_) => {
                            self.wrong(&path, format!("a speed is a number from 0 on, not {speed}"), "")
                        }
                        None => self.no_kind(&path, name, machine),
                    }
                }
                Some(Speed::Table(Arc::new(SpeedTable { together: table.clone(), apart: table })))
            }
            SpeedChoice::Goodput(goodput) => {
                if let Err(why) = goodput.check() {
                    self.wrong(&format!("{path}.speed.goodput"), why, "");
                    return None;
                }
                Some(Speed::Goodput(Arc::new(goodput.clone())))
            }
            SpeedChoice::Trained(name) => {
                let path = format!("{path}.speed.trained");
                let Some(profile) = file.cluster.models.get_index_of(name) else {
                    let known: Vec<&str> = file.cluster.models.keys().map(String::as_str).collect();
                    let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                    self.wrong(
                        &path,
                        format!("there is no model `{name}`"),
                        &format!("`cluster.models` has {known}"),
                    );
                    return None;
                };
                let trained = trained?;
                let empty = Free::all(machine);
                let demand = Demand::devices(devices);
                let place = |&kind: &KindId| {
                    file.cluster.placement.place(&Ask { kind, demand: &demand }, &empty, machine)
                };
                let Some(gang) = kinds.iter().find_map(place) else {
                    self.wrong(&path, format!("the machine has no {devices} devices of one kind"), "");
                    return None;
                };
                match trained.step_seconds(profile, &gang) {
                    Ok(step_seconds) => Some(Speed::Profiled { profile, step_seconds }),
                    Err(why) => {
                        self.wrong(
                            &path,
                            format!("`{name}` cannot be trained on {devices} devices: {why}"),
                            "",
                        );
                        None
                    }
                }
            }
        }
    }
}

/// Whether something can be drawn with these weights.
fn weighs<'a>(weights: impl Iterator<Item = &'a f64> + Clone) -> bool {
    weights.clone().all(|&weight| weight >= 0.0 && weight.is_finite())
        && weights.copied().any(|weight| weight > 0.0)
}
