//! What a task run comes to, in numbers.

use serde::Serialize;

use crate::ids::{DeviceId, IdVec};
use crate::tasks::factor::Rightness;
use crate::tasks::outcome::Ended;
use crate::tasks::scheduling::TaskSchedulerSpec;
use crate::tasks::{Bounds, Payload, TaskOutcome, TaskPlan};
use crate::units::{SimDuration, SimTime};

/// The outcome of a task run, for people and machines.
#[derive(Debug, Clone, Serialize)]
pub struct TasksSummary {
    /// What the workload is called.
    pub name: String,
    /// Who decided.
    pub scheduler: &'static str,
    /// The machine.
    pub machine: String,
    /// How many tasks there are; all are done.
    pub tasks: usize,
    /// How many edges.
    pub edges: usize,
    /// Until the last task was done.
    pub simulated_time_s: f64,
    /// The same, by its name in the literature.
    pub makespan_s: f64,
    /// When the first plan was expected to end; nothing where it was decided on the way.
    pub planned_makespan_s: Option<f64>,
    /// Before what no schedule can end.
    pub lower_bounds_s: LowerBounds,
    /// makespan / the greatest lower bound − 1.
    pub gap_to_lower_bound: f64,
    /// Schedule length ratio: makespan / the critical path of minimal costs (Topcuoglu et al. 2002).
    pub schedule_length_ratio: Option<f64>,
    /// The fastest device alone / makespan; nothing where no device can do every task.
    pub speedup: Option<f64>,
    /// Speedup / the number of devices.
    pub efficiency: Option<f64>,
    /// Share of the devices' time until the end in which they ran tasks that were not lost.
    pub utilization: f64,
    /// The devices.
    pub devices: Vec<DeviceSummary>,
    /// How often data travelled.
    pub transfers: usize,
    /// How many bytes, between devices.
    pub bytes_moved: u64,
    /// How often a plan for all that was left was made.
    pub plans: u32,
    /// How long nothing was started because a plan was being made.
    pub thinking_s: f64,
    /// Devices that failed.
    pub failures: usize,
    /// Runs of tasks that were lost with a device.
    pub lost_runs: usize,
    /// How right the numbers are that the tasks computed; nothing when they computed none.
    pub numeric: Option<Rightness>,
    /// Times that the scheduler was asked.
    pub decisions: u64,
    /// Events processed.
    pub events: u64,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// Before what no schedule can end.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct LowerBounds {
    /// The longest way through the graph, every task where it is fastest and nothing travelling.
    pub critical_path: f64,
    /// The same with data on their way where they must.
    pub path: f64,
    /// All work dealt out as if tasks could be cut.
    pub area: f64,
    /// What the scheduler proved, where it knows the truth.
    pub proven: Option<f64>,
    /// The greatest.
    pub best: f64,
}

/// What a device did.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceSummary {
    /// What it is called.
    pub device: String,
    /// What it is.
    pub kind: String,
    /// How many tasks it did.
    pub tasks: usize,
    /// How long it ran tasks that were not lost.
    pub busy_s: f64,
    /// How long it ran tasks that were lost.
    pub lost_s: f64,
    /// Its share of the time until the end, `busy_s` alone.
    pub utilization: f64,
    /// When it failed.
    pub failed_at_s: Option<f64>,
}

impl TasksSummary {
    /// The numbers of a run.
    pub fn new(
        name: &str,
        plan: &TaskPlan,
        outcome: &TaskOutcome,
        numeric: Option<Rightness>,
        notes: &[String],
    ) -> Self {
        let makespan = outcome.makespan.seconds();
        let bounds = Bounds::of(&plan.graph, &plan.truth, &plan.machine.communication);
        // What was proved of the estimates says nothing of a truth that is another.
        let proven = outcome.proven.filter(|_| plan.estimates == plan.truth);
        let best = bounds.best().max(proven.map_or(SimDuration::ZERO, |proven| proven.since(SimTime::ZERO)));
        let devices = devices(plan, outcome);
        let busy: f64 = devices.iter().map(|device| device.busy_s).sum();
        let over = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        let speedup = bounds.sequential.and_then(|alone| over(alone.seconds(), makespan));
        TasksSummary {
            name: name.to_owned(),
            scheduler: plan.scheduler.name(),
            machine: plan.machine.name.clone(),
            tasks: plan.graph.len(),
            edges: plan.graph.data_len(),
            simulated_time_s: makespan,
            makespan_s: makespan,
            planned_makespan_s: outcome.planned.map(SimTime::seconds),
            lower_bounds_s: LowerBounds {
                critical_path: bounds.critical_path.seconds(),
                path: bounds.path.seconds(),
                area: bounds.area.seconds(),
                proven: proven.map(SimTime::seconds),
                best: best.seconds(),
            },
            gap_to_lower_bound: over(makespan, best.seconds()).map_or(0.0, |ratio| ratio - 1.0),
            schedule_length_ratio: over(makespan, bounds.critical_path.seconds()),
            speedup,
            efficiency: speedup.map(|speedup| speedup / devices.len() as f64),
            utilization: over(busy, makespan * devices.len() as f64).unwrap_or(0.0),
            devices,
            transfers: outcome.transfers.len(),
            bytes_moved: bytes_moved(plan, outcome),
            plans: outcome.plans,
            thinking_s: outcome.thinking.seconds(),
            failures: outcome.failures.len(),
            lost_runs: outcome.stays.iter().filter(|stay| stay.ended != Ended::Done).count(),
            numeric,
            decisions: outcome.decisions,
            events: outcome.events,
            notes: all_notes(plan, outcome, notes),
        }
    }
}

impl TasksSummary {
    /// Takes notice of a lower bound that is greater than those known.
    pub(super) fn raise_bound(&mut self, bound: f64) {
        let best = self.lower_bounds_s.best.max(bound);
        self.lower_bounds_s.best = best;
        self.gap_to_lower_bound = if best > 0.0 { self.makespan_s / best - 1.0 } else { 0.0 };
    }
}

fn devices(plan: &TaskPlan, outcome: &TaskOutcome) -> Vec<DeviceSummary> {
    let seat = |seat: &crate::tasks::machine::Seat| DeviceSummary {
        device: seat.name.clone(),
        kind: seat.kind.clone(),
        tasks: 0,
        busy_s: 0.0,
        lost_s: 0.0,
        utilization: 0.0,
        failed_at_s: None,
    };
    let mut devices: IdVec<DeviceId, DeviceSummary> = plan.machine.devices.iter().map(seat).collect();
    for stay in &outcome.stays {
        let device = &mut devices[stay.device];
        let length = stay.end.since(stay.start).seconds();
        if stay.ended == Ended::Done {
            device.tasks += 1;
            device.busy_s += length;
        } else {
            device.lost_s += length;
        }
    }
    for &(device, at) in &outcome.failures {
        devices[device].failed_at_s = Some(at.seconds());
    }
    for device in devices.iter_mut().filter(|_| outcome.makespan > SimTime::ZERO) {
        device.utilization = device.busy_s / outcome.makespan.seconds();
    }
    devices.into_iter().collect()
}

fn all_notes(plan: &TaskPlan, outcome: &TaskOutcome, notes: &[String]) -> Vec<String> {
    let mut notes = notes.to_vec();
    if matches!(plan.scheduler, TaskSchedulerSpec::Exact(_)) && outcome.proven.is_none() {
        let stopped =
            "the search stopped at its limit of `nodes`: its schedule is the best found, and not proved best";
        notes.push(stopped.into());
    }
    notes
}

fn bytes_moved(plan: &TaskPlan, outcome: &TaskOutcome) -> u64 {
    let bytes = |transfer: &crate::tasks::outcome::Transfer| match plan.graph.data(transfer.data).payload {
        Payload::Bytes(bytes) => bytes.get(),
        Payload::Cost(_) => 0,
    };
    outcome.transfers.iter().map(bytes).sum()
}
