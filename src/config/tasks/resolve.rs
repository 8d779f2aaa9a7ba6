//! From a task file to a scenario: everything that needs two facts is checked here, once, and all
//! mistakes are gathered. After it only what a run itself finds out can go wrong.

use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::config::check::Check;
use crate::config::read::did_you_mean;
use crate::config::tasks::file::{DevicesChoice, EstimatesChoice, GivenKeys, Graph, TasksFile};
use crate::config::{Diagnostics, Locations};
use crate::hardware::Topology;
use crate::ids::{DeviceId, Id};
use crate::tasks::costs::Speeds;
use crate::tasks::factor::Factor;
use crate::tasks::generate::TaskGeneratorSpec;
use crate::tasks::readers::{dot, wfformat};
use crate::tasks::{Costs, Machine, Payload, TaskGraph, TaskPlan};
use crate::units::{SimDuration, SimTime};

/// A task workload with every question answered.
#[derive(Debug, Clone)]
pub struct TasksScenario {
    /// The file it came from, defaults filled in: what the report shows first.
    pub file: TasksFile,
    /// Graph, machine, and who decides.
    pub plan: TaskPlan,
    /// What the user should know and may not expect.
    pub notes: Vec<String>,
}

impl TasksScenario {
    /// What the tasks compute, if they do.
    pub fn factor(&self) -> Option<Factor> {
        let keys = self.file.tasks.numeric?;
        match &self.file.tasks.graph {
            Graph::Generate(TaskGeneratorSpec::Cholesky(cholesky)) => {
                Some(Factor::new(&self.plan.graph, cholesky.tiles, keys.tile as usize, self.plan.seed))
            }
            _ => None,
        }
    }

    /// Whether another seed would give another run.
    pub fn depends_on_seed(&self) -> bool {
        let noisy = matches!(self.file.tasks.estimates, EstimatesChoice::Noisy(_));
        let made_up = matches!(&self.file.tasks.graph, Graph::Generate(generator) if generator.draws());
        noisy || made_up || self.plan.scheduler.draws()
    }
}

/// Checks a file against the world.
///
/// # Errors
/// Every mistake, each where it stands.
pub fn resolve(file: TasksFile, locations: &Locations) -> Result<TasksScenario, Diagnostics> {
    let mut check = TaskCheck(Check::new(locations));
    let topology = file.topology.as_ref().and_then(|choice| check.topology(choice));
    let machine = check.machine(&file, topology.as_ref());
    let speeds = check.speeds(&file, machine.as_ref(), topology.as_deref());
    let failures = machine.as_ref().map_or_else(Vec::new, |machine| check.failing(&file, machine));
    check.spread(&file);
    let devices = machine.as_ref().map_or(1, |machine| machine.devices.len());
    let graph = check.graph(&file, devices);
    let (Some(machine), Some(graph)) = (machine, graph) else { return Err(check.0.mistakes) };
    check.numeric(&file);
    if let Err(why) = file.tasks.scheduler.admits(&graph, machine.devices.len()) {
        check.wrong("tasks.scheduler", why, "");
    }
    let truth = check.truth(&file, &graph, &machine, &speeds);
    let Some(truth) = truth.filter(|_| check.mistakes.is_empty()) else { return Err(check.0.mistakes) };
    let estimates = check.estimates(&file, &graph, &machine, &truth);
    check.lengths(&graph, &machine, [&truth, &estimates]);
    if !check.mistakes.is_empty() {
        return Err(check.0.mistakes);
    }
    let plan = TaskPlan {
        graph,
        machine,
        estimates,
        truth,
        scheduler: file.tasks.scheduler.clone(),
        network: file.fidelity.network.clone(),
        failures,
        seed: file.seed,
    };
    Ok(TasksScenario { plan, notes: check.0.notes, file })
}

/// A task file being checked.
pub(super) struct TaskCheck<'a>(Check<'a>);

impl<'a> Deref for TaskCheck<'a> {
    type Target = Check<'a>;
    fn deref(&self) -> &Check<'a> {
        &self.0
    }
}

impl DerefMut for TaskCheck<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// More devices without a network are some slip.
const MOST_DEVICES: u32 = 4096;

impl TaskCheck<'_> {
    fn machine(&mut self, file: &TasksFile, topology: Option<&Arc<Topology>>) -> Option<Machine> {
        let names = match (&file.topology, &file.tasks.devices) {
            (Some(_), None) => return topology.map(Machine::of),
            (None, Some(DevicesChoice::Count(count @ 1..=MOST_DEVICES))) => {
                (1..=*count).map(|number| format!("P{number}")).collect()
            }
            (None, Some(DevicesChoice::Named(names))) if !names.is_empty() => names.clone(),
            (None, Some(_)) => {
                self.wrong("tasks.devices", format!("there are 1 to {MOST_DEVICES} devices"), "");
                return None;
            }
            (Some(_), Some(_)) => {
                let help = "keep `topology:` or `tasks.devices:`";
                self.wrong("tasks.devices", "the machine is described twice", help);
                return None;
            }
            (None, None) => {
                let help = "add `topology: NAME`, or `devices:` (how many, or their names) under `tasks:`";
                self.wrong("tasks", "there is no machine", help);
                return None;
            }
        };
        let mut seen = BTreeSet::new();
        if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
            self.wrong("tasks.devices", format!("two devices are called `{twice}`"), "");
            return None;
        }
        Some(Machine::plain("devices without a network", names))
    }

    fn speeds(&mut self, file: &TasksFile, machine: Option<&Machine>, topology: Option<&Topology>) -> Speeds {
        let mut known: BTreeSet<String> = BTreeSet::new();
        for seat in machine.into_iter().flat_map(|machine| machine.devices.iter()) {
            known.extend([seat.name.clone(), seat.kind.clone()]);
        }
        for device in topology.into_iter().flat_map(|topology| topology.devices().iter()) {
            known.insert(device.spec.kind.name().to_owned());
        }
        known.remove("");
        for (name, &speed) in &file.tasks.speeds {
            let path = format!("tasks.speeds.{name}");
            if machine.is_some() && !known.contains(name) {
                let known: Vec<String> = known.iter().cloned().collect();
                let help = did_you_mean(name, &known, "there are");
                self.wrong("tasks.speeds", format!("no device is called `{name}` or of that kind"), &help);
            }
            if !(1e-6..=1e6).contains(&speed) {
                self.wrong(&path, format!("a speed is between 0.000001 and 1000000, not {speed}"), "");
            }
        }
        Speeds(file.tasks.speeds.iter().map(|(name, &speed)| (name.clone(), speed)).collect())
    }

    fn graph(&mut self, file: &TasksFile, devices: usize) -> Option<TaskGraph> {
        match &file.tasks.graph {
            Graph::List(keys) => self.listed(keys),
            Graph::Generate(generator) => self.generated(file, generator, devices),
            Graph::Wfformat(path) => self.written("tasks.graph.wfformat", path, wfformat::read),
            Graph::Dot(path) => self.written("tasks.graph.dot", path, dot::read),
        }
    }

    fn failing(&mut self, file: &TasksFile, machine: &Machine) -> Vec<(DeviceId, SimTime)> {
        let mut failing = Vec::new();
        for (at, keys) in file.tasks.failures.iter().enumerate() {
            match self.device(&format!("tasks.failures[{at}].device"), &keys.device, machine) {
                Some(device) => failing.push((device, SimTime::ZERO + keys.at)),
                None => continue,
            }
        }
        failing
    }

    fn device(&mut self, path: &str, name: &str, machine: &Machine) -> Option<DeviceId> {
        let found = machine.named(name);
        if found.is_none() {
            let known: Vec<String> = machine.devices.iter().map(|seat| seat.name.clone()).take(40).collect();
            let help = did_you_mean(name, &known, "there are");
            self.wrong(path, format!("there is no device `{name}`"), &help);
        }
        found
    }

    /// What every task really costs.
    fn truth(
        &mut self,
        file: &TasksFile,
        graph: &TaskGraph,
        machine: &Machine,
        speeds: &Speeds,
    ) -> Option<Costs> {
        let costs = match &machine.topology {
            Some(topology) => Costs::on(graph, topology, &*file.fidelity.compute, speeds),
            None => {
                let names: Vec<&str> = machine.devices.iter().map(|seat| seat.name.as_str()).collect();
                Costs::of_rows(graph, &names, speeds)
            }
        };
        costs.map_err(|why| self.wrong("tasks.graph", why.to_string(), "")).ok()
    }

    /// Times must stay positive however wrong the estimates are.
    fn spread(&mut self, file: &TasksFile) {
        if let EstimatesChoice::Noisy(noisy) = &file.tasks.estimates
            && !(0.0..1.0).contains(&noisy.spread)
        {
            let what = format!("`spread` is from 0 to below 1, not {}", noisy.spread);
            self.wrong("tasks.estimates.noisy.spread", what, "");
        }
    }

    /// What the scheduler thinks that they cost.
    fn estimates(&mut self, file: &TasksFile, graph: &TaskGraph, machine: &Machine, truth: &Costs) -> Costs {
        match &file.tasks.estimates {
            EstimatesChoice::Exact => truth.clone(),
            EstimatesChoice::Noisy(noisy) => noisy.of(truth, file.seed),
            EstimatesChoice::Given(keys) => self.given(keys, file, graph, machine, truth),
        }
    }

    fn given(
        &mut self,
        keys: &GivenKeys,
        file: &TasksFile,
        graph: &TaskGraph,
        machine: &Machine,
        truth: &Costs,
    ) -> Costs {
        let mut estimates = truth.clone();
        for (name, &factor) in &keys.devices {
            let path = format!("tasks.estimates.given.devices.{name}");
            let Some(misjudged) = self.device("tasks.estimates.given.devices", name, machine) else {
                continue;
            };
            if !(1e-6..=1e6).contains(&factor) {
                self.wrong(&path, format!("a factor is between 0.000001 and 1000000, not {factor}"), "");
                continue;
            }
            estimates = estimates.changed(
                |_, device, time| {
                    if device == misjudged { time.scaled(factor) } else { time }
                },
            );
        }
        let unit = match &file.tasks.graph {
            Graph::List(list) => list.unit,
            _ => SimDuration::from_micros(1_000_000),
        };
        for (name, row) in &keys.tasks {
            let path = format!("tasks.estimates.given.tasks.{name}");
            let Some(misjudged) = graph.named(name) else {
                self.wrong("tasks.estimates.given.tasks", format!("there is no task `{name}`"), "");
                continue;
            };
            let Some(row) = self.row(&path, row, unit) else { continue };
            let able = |device: DeviceId| truth.time(misjudged, device).is_some();
            let fits = row.len() == machine.devices.len()
                && truth.devices().all(|device| row[device.index()].is_some() == able(device));
            if !fits {
                let what =
                    format!("expected an estimate for each device that can do `{name}`, null for others");
                self.wrong(&path, what, "");
                continue;
            }
            estimates = Costs::from_fn(graph.len(), row.len(), |task, device| {
                if task == misjudged { row[device.index()] } else { estimates.time(task, device) }
            });
        }
        estimates
    }

    /// Everything one after the other, each at its slowest, fits into the time that can be counted; so
    /// does every plan.
    fn lengths(&mut self, graph: &TaskGraph, machine: &Machine, costs: [&Costs; 2]) {
        let slowest_link = machine.topology.as_ref().and_then(|topology| {
            topology.links().iter().map(|link| link.bandwidth.get()).min_by(f64::total_cmp)
        });
        let slowest = |task| {
            let times = costs.iter().flat_map(|costs| costs.able(task).map(|(_, time)| time));
            times.max().unwrap_or(SimDuration::ZERO).seconds()
        };
        let work: f64 = graph.ids().map(slowest).sum();
        let travel = |(_, data): (_, &crate::tasks::graph::Data)| match data.payload {
            Payload::Cost(time) => time.seconds(),
            Payload::Bytes(bytes) => slowest_link.map_or(0.0, |rate| bytes.as_f64() / rate),
        };
        let way: f64 = graph.ids().flat_map(|task| graph.outputs(task)).map(travel).sum();
        if work + way > LONGEST_RUN {
            self.wrong(
                "tasks.graph",
                format!(
                    "one after the other, at their slowest, these tasks and their data would take {:.0} days; at \
                     most 100 can be counted",
                    (work + way) / 86_400.0
                ),
                "",
            );
        }
    }
}

/// 100 days: half of what the clock can count, so that what ranks and drafts add up fits too.
const LONGEST_RUN: f64 = 100.0 * 86_400.0;
