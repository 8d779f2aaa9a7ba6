//! From a plan's file to the candidates: every combination of its space on every machine, each checked as the
//! training workload that it would be.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::check::Check;
use crate::config::file::TopologyChoice;
use crate::config::planning::file::{Hardware, PlanFile, Space};
use crate::config::training::file::{Data, Fold, Parallel, Training, TrainingFile};
use crate::config::training::resolve::resolve_on;
use crate::config::{Diagnostics, Locations};
use crate::hardware::Topology;
use crate::planning::failures::Failures;
use crate::planning::{Candidate, Goal, Objective};
use crate::rng::Seed;
use crate::units::Bytes;

/// A plan's file with every question answered.
#[derive(Debug, Clone)]
pub struct PlanScenario {
    /// The file it came from, defaults filled in.
    pub file: PlanFile,
    /// What is asked for.
    pub goal: Goal,
    /// The plans, and the workload that each would be.
    pub candidates: Vec<Candidate>,
    /// By candidate.
    pub workloads: Vec<TrainingFile>,
    /// Combinations that are no plans: how many, by why.
    pub refused: BTreeMap<String, usize>,
    /// What each group of candidates runs on.
    pub groups: Vec<String>,
    /// What the user should know and may not expect.
    pub notes: Vec<String>,
}

/// A thousand times and more what has been trained on.
const MOST_TOKENS: f64 = 1e18;

/// More combinations than this are a mistake, not a question.
const MOST_COMBINATIONS: usize = 200_000;

/// Checks a file against the world.
///
/// # Errors
/// Every mistake, each where it stands.
pub fn resolve(file: PlanFile, locations: &Locations) -> Result<PlanScenario, Diagnostics> {
    let mut check = Check::new(locations);
    check.model(&file.model);
    if file.model.experts().is_some() {
        let why = "a plan does not divide experts over replicas yet";
        check.wrong(
            "model.moe",
            why,
            "`trainyard compare W.yaml --vary parallel.expert=1,2,4` sets some side by side",
        );
    }
    check.plan_numbers(&file);
    check.plan_space(&file);
    let machines = check.plan_machines(&file);
    if !check.mistakes.is_empty() {
        return Err(check.mistakes);
    }
    let goal = Goal {
        tokens: file.plan.tokens,
        minimise: file.plan.minimise,
        limits: file.plan.limits,
        failures: file.plan.failures.as_ref().map(|keys| Failures {
            device_mtbf_s: keys.device_mtbf_hours * 3600.0,
            checkpoint_bandwidth: keys.checkpoint_bandwidth,
            restart: keys.restart,
        }),
    };
    let mut scenario = PlanScenario {
        goal,
        candidates: Vec::new(),
        workloads: Vec::new(),
        refused: BTreeMap::new(),
        groups: Vec::new(),
        notes: check.notes,
        file,
    };
    for (hardware, topology, devices) in machines {
        let group = scenario.groups.len();
        scenario.groups.push(format!("{devices} of {}", topology.name()));
        scenario.combine(group, &hardware, &topology, devices, locations);
    }
    if scenario.candidates.is_empty() {
        let mut check = Check::new(locations);
        let why: Vec<String> =
            scenario.refused.iter().map(|(why, count)| format!("{count} of them: {why}")).collect();
        check.wrong("plan.space", "no combination is a plan", &why.join("; "));
        return Err(check.mistakes);
    }
    Ok(scenario)
}

/// A machine, built, and how many of its devices are taken.
type Taken = (Hardware, Arc<Topology>, u32);

impl Check<'_> {
    fn plan_numbers(&mut self, file: &PlanFile) {
        let plan = &file.plan;
        if !(plan.tokens >= 1.0 && plan.tokens <= MOST_TOKENS) {
            let why = format!("a run is of one token or more, up to {MOST_TOKENS:e}, not {:e}", plan.tokens);
            self.wrong("plan.tokens", why, "");
        }
        if plan.global_batch == 0 {
            self.wrong("plan.global_batch", "a step has one sample or more", "");
        }
        if let Some(most) = plan.gradient_clipping.filter(|most| *most <= 0.0) {
            let why = format!("the greatest gradient norm is above nought, not {most}");
            self.wrong("plan.gradient_clipping", why, "leave the key out for gradients as they are");
        }
        for (name, most) in [("days", plan.limits.days), ("dollars", plan.limits.dollars)] {
            if let Some(most) = most.filter(|most| *most <= 0.0) {
                let why = format!("no plan takes {most} {name} or fewer");
                self.wrong(&format!("plan.limits.{name}"), why, "leave the key out for no limit");
            }
        }
        if let Some(failures) = &plan.failures
            && !(failures.device_mtbf_hours.is_finite() && failures.device_mtbf_hours > 0.0)
        {
            self.wrong("plan.failures.device_mtbf_hours", "a mean time between failures is above nought", "");
        }
    }

    fn plan_space(&mut self, file: &PlanFile) {
        let plan = &file.plan;
        let Space { tensor, pipeline, micro_batch, schedule, zero, recompute, sequence_parallel, partition } =
            &plan.space;
        let lengths = [
            ("tensor", tensor.len()),
            ("pipeline", pipeline.len()),
            ("micro_batch", micro_batch.len()),
            ("schedule", schedule.len()),
            ("zero", zero.len()),
            ("recompute", recompute.len()),
            ("sequence_parallel", sequence_parallel.len()),
            ("partition", partition.len()),
        ];
        for (axis, length) in lengths {
            if length == 0 {
                let key = format!("plan.space.{axis}");
                self.wrong(&key, "there is nothing to choose from", "leave the key out for what is usual");
            }
        }
        let counts: usize = plan.hardware.iter().map(|hardware| hardware.devices.len().max(1)).sum();
        let all = lengths.iter().fold(counts, |all, (_, length)| all.saturating_mul(*length));
        if all > MOST_COMBINATIONS {
            let why = format!("{all} combinations are more than {MOST_COMBINATIONS}");
            self.wrong("plan.space", why, "choose from fewer on some axes");
        }
        if plan.hardware.is_empty() {
            self.wrong("plan.hardware", "there is no machine to choose from", "");
        }
    }

    /// The machines, built, once for each number of devices; those beyond the limit are left out.
    fn plan_machines(&mut self, file: &PlanFile) -> Vec<Taken> {
        let mut machines = Vec::new();
        for (at, hardware) in file.plan.hardware.iter().enumerate() {
            let key = |name: &str| format!("plan.hardware[{at}].{name}");
            let path = key("topology").parse().expect("a key path");
            let Some(topology) = self.topology_at(&hardware.topology, path) else { continue };
            let all = topology.devices().len() as u32;
            let priced = topology.devices().iter().all(|device| {
                device.spec.price.as_ref().is_some_and(|price| price.dollars_per_hour.is_some())
            });
            let asks = file.plan.minimise == Objective::Dollars || file.plan.limits.dollars.is_some();
            if asks && !priced {
                let why = format!("`{}` has devices without a price an hour", topology.name());
                self.wrong(&key("topology"), why, "give `price: {dollars_per_hour: …}` in the device's file");
            }
            let wanted = if hardware.devices.is_empty() { vec![all] } else { hardware.devices.clone() };
            for (entry, &devices) in wanted.iter().enumerate() {
                if wanted[..entry].contains(&devices) {
                    let why = format!("{devices} devices are listed already");
                    self.wrong(&format!("{}[{entry}]", key("devices")), why, "");
                } else if devices == 0 || devices > all {
                    let why =
                        format!("`{}` has {all} devices, so {devices} cannot be taken", topology.name());
                    self.wrong(&format!("{}[{entry}]", key("devices")), why, "");
                } else if file.plan.limits.devices.is_some_and(|most| devices > most) {
                    self.notes.push(format!(
                        "{devices} devices of `{}` are beyond the limit and left out",
                        topology.name()
                    ));
                } else {
                    let found = TopologyChoice::found(&hardware.topology, self.locations.source());
                    machines.push((
                        Hardware { topology: found, ..hardware.clone() },
                        topology.clone(),
                        devices,
                    ));
                }
            }
        }
        if machines.is_empty() && self.mistakes.is_empty() {
            self.wrong("plan.limits.devices", "every machine is beyond the limit", "");
        }
        machines
    }
}

impl PlanScenario {
    /// Every combination of the space on so many devices of a machine.
    fn combine(
        &mut self,
        group: usize,
        hardware: &Hardware,
        topology: &Arc<Topology>,
        devices: u32,
        locations: &Locations,
    ) {
        for parallel in parallels(&self.file.plan.space, devices) {
            let parallel = match parallel {
                Ok(parallel) => Parallel { collective: self.file.plan.collective.clone(), ..parallel },
                Err(why) => {
                    *self.refused.entry(why).or_default() += self.combinations_of_a_mesh();
                    continue;
                }
            };
            for &micro_batch in &self.file.plan.space.micro_batch.clone() {
                for &recompute in &self.file.plan.space.recompute.clone() {
                    let workload = self.workload(hardware, parallel.clone(), micro_batch, recompute);
                    match resolve_on(Some(topology.clone()), workload.clone(), locations) {
                        Ok(scenario) => {
                            let settings = settings(&workload);
                            self.candidates.push(Candidate { group, settings, plan: scenario.plan });
                            self.workloads.push(workload);
                        }
                        Err(mistakes) => {
                            let why =
                                mistakes.iter().next().map_or(String::new(), |first| first.message.clone());
                            *self.refused.entry(why).or_default() += 1;
                        }
                    }
                }
            }
        }
    }

    fn combinations_of_a_mesh(&self) -> usize {
        let space = &self.file.plan.space;
        space.micro_batch.len() * space.recompute.len()
    }

    /// The training workload that a combination would be.
    fn workload(
        &self,
        hardware: &Hardware,
        parallel: Parallel,
        micro_batch: u64,
        recompute: crate::training::recompute::Recompute,
    ) -> TrainingFile {
        let PlanFile { name, model, plan, software, fidelity, .. } = &self.file;
        TrainingFile {
            name: format!("{name}_best"),
            description: Some(format!("The best plan that `trainyard plan` found for {name}.")),
            topology: hardware.topology.clone(),
            model: model.clone(),
            data: Data::default(),
            preparation: None,
            training: Training {
                global_batch: plan.global_batch,
                micro_batch: Some(micro_batch),
                steps: 1,
                optimizer: plan.optimizer.clone(),
                precision: plan.precision,
                gradient_clipping: plan.gradient_clipping,
                bucket: Bytes(25 << 20),
                evaluate_every: 0,
            },
            parallel,
            recompute,
            software: software.clone(),
            fidelity: fidelity.clone(),
            numeric: false,
            fold: Fold::Auto,
            disturbances: Vec::new(),
            checkpoint: None,
            seed: Seed(1),
        }
    }
}

/// Every mesh of so many devices with what goes with it, or why there is none.
fn parallels(space: &Space, devices: u32) -> Vec<Result<Parallel, String>> {
    let mut all = Vec::new();
    for &tensor in &space.tensor {
        for &pipeline in &space.pipeline {
            let each = tensor.saturating_mul(pipeline);
            for schedule in &space.schedule {
                for &zero in &space.zero {
                    for &sequence_parallel in &space.sequence_parallel {
                        for partition in &space.partition {
                            if each == 0 || !devices.is_multiple_of(each) {
                                all.push(Err("tensor × pipeline do not divide the devices".to_owned()));
                                continue;
                            }
                            all.push(Ok(Parallel {
                                data: devices / each,
                                pipeline,
                                tensor,
                                sequence_parallel: sequence_parallel && tensor > 1,
                                zero,
                                partition: partition.clone(),
                                schedule: schedule.clone(),
                                ..Parallel::default()
                            }));
                        }
                    }
                }
            }
        }
    }
    all
}

/// What makes a workload different from the others of its space.
fn settings(workload: &TrainingFile) -> Vec<String> {
    let Parallel { data, pipeline, tensor, zero, schedule, partition, sequence_parallel, .. } =
        &workload.parallel;
    let chunks = schedule.stages_per_rank();
    let schedule =
        if chunks > 1 { format!("{} x{chunks}", schedule.name()) } else { schedule.name().to_owned() };
    let mut settings = vec![
        format!("data {data}"),
        format!("tensor {tensor}"),
        format!("pipeline {pipeline}"),
        format!("micro-batch {}", workload.training.micro_batch.unwrap_or_default()),
        schedule,
        format!("zero {}", zero.stage),
        format!("recompute {}", format!("{:?}", workload.recompute).to_lowercase()),
    ];
    if *tensor > 1 && !sequence_parallel {
        settings.push("rows whole".to_owned());
    }
    if *partition != crate::training::partition::Partition::Even {
        settings.push("cut by cost".to_owned());
    }
    settings
}
