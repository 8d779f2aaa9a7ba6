//! A run that is disturbed: checkpoints are written, devices fail, and the run goes on from the last
//! checkpoint.
//!
//! A failure ends the step that is running. What was trained since the last checkpoint is lost and done
//! again, with the same numbers: a checkpoint holds everything that later steps depend on. Either the device
//! is replaced, or (`elastic`) its whole replica is left out and the others share its part of the batch;
//! then weights and moments are laid out anew, and the numbers are those of a run that had as many replicas
//! from that checkpoint on.
//!
//! Checkpoints are written while training waits. Every rank writes what it alone has to remember, all at the
//! same time, and reads as fast as it writes.

use std::sync::Arc;

use crate::compute::ComputeModel;
use crate::ids::{DeviceId, IdVec, LayerId, Rank, StepIndex};
use crate::network::{NetworkFidelity, links_of};
use crate::numeric::values::{Saved, Values};
use crate::parallel::Coordinates;
use crate::runtime::Machine;
use crate::trace::{Arrow, Carried, Listener, MemoryChange, Routed, Span};
use crate::training::disturbance::{Disturbances, Failure, Failures};
use crate::training::run::{Programs, report_step, time_step};
use crate::training::state::State;
use crate::training::zero::Zero;
use crate::training::{Observer, TrainingFailure, TrainingOutcome, TrainingPlan};
use crate::units::{Bandwidth, SimDuration, SimTime};

/// A run: what decides, what it runs on, and what disturbs it.
#[derive(Clone, Copy)]
pub struct Setup<'r> {
    /// What decides.
    pub plan: &'r TrainingPlan,
    /// How long kernels take.
    pub compute: &'r dyn ComputeModel,
    /// How flows share links.
    pub network: &'r dyn NetworkFidelity,
    /// What disturbs it.
    pub disturbances: &'r Disturbances,
}

/// How a run recovers from failures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recovery {
    /// How often checkpoints are written; nothing for never, so that a run starts over.
    pub every: Option<Every>,
    /// What a rank writes and reads a second.
    pub bandwidth: Bandwidth,
    /// From a failure until checkpoints are read: noticing it, finding another device, starting the job.
    pub restart: SimDuration,
    /// Whether the run goes on with fewer replicas instead of waiting for another device.
    pub elastic: bool,
}

/// How often checkpoints are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// After as many steps.
    Steps(u32),
    /// After the first step that ends so long after the last checkpoint.
    Time(SimDuration),
}

/// A checkpoint was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpointed {
    /// The step that comes after it.
    pub next: StepIndex,
    /// From when.
    pub start: SimTime,
    /// Until when.
    pub end: SimTime,
}

/// A device failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interruption {
    /// Which.
    pub device: DeviceId,
    /// When.
    pub at: SimTime,
    /// During which step.
    pub during: StepIndex,
    /// The step from which the run goes on.
    pub back_to: StepIndex,
    /// How long what has to be done again had taken.
    pub lost: SimDuration,
    /// When the run goes on.
    pub resumed: SimTime,
    /// Replicas from then on.
    pub replicas: u32,
}

/// A run that fails as often in a row gets nowhere.
const MOST_IN_A_ROW: u32 = 100;

/// Trains as [`run`](crate::training::run) does, with everything that disturbs it.
///
/// # Errors
/// See [`TrainingFailure`]; what had been observed until then stands.
pub fn run_disturbed(
    setup: &Setup,
    recovery: Option<&Recovery>,
    mut values: Option<&mut Values>,
    observer: &mut dyn Observer,
) -> Result<TrainingOutcome, TrainingFailure> {
    let devices: Vec<DeviceId> = setup.plan.placement.iter().copied().collect();
    let mut failures = setup.disturbances.failures(&devices);
    let mut leg = Leg::new(setup, setup.plan.clone(), SimTime::ZERO);
    let mut safe = Safe {
        next: StepIndex(0),
        plan: Arc::new(setup.plan.clone()),
        saved: values.as_deref().map(Values::saved),
        since: SimTime::ZERO,
        failures: 0,
    };
    let mut outcome = TrainingOutcome::default();
    let mut step = StepIndex(0);
    while step.0 < setup.plan.steps {
        let failure = match leg.step(setup, step, values.as_deref_mut(), &mut failures, observer)? {
            Stepped::Done(report) => {
                observer.step(&report);
                outcome.steps.push(report);
                step = StepIndex(step.0 + 1);
                let due = recovery.is_some_and(|recovery| recovery.due(&safe, step, report.end));
                match recovery.filter(|_| due && step.0 < setup.plan.steps) {
                    Some(recovery) => {
                        leg.write(recovery, step, &mut safe, values.as_deref(), &mut failures, observer)
                    }
                    None => None,
                }
            }
            Stepped::Failed(failure) => Some(failure),
        };
        if let Some(failure) = failure {
            let recovery = recovery.expect("a run whose devices fail says how it recovers");
            leg = recover(setup, recovery, &leg.plan, (failure, step), &mut safe, &mut failures, observer)?;
            if let (Some(values), Some(saved)) = (values.as_deref_mut(), &safe.saved) {
                leg.restore(&safe, saved, values);
            }
            step = safe.next;
            outcome.steps.truncate(step.0 as usize);
        }
    }
    Ok(outcome)
}

impl Recovery {
    fn due(&self, safe: &Safe, next: StepIndex, now: SimTime) -> bool {
        match self.every {
            None => false,
            Some(Every::Steps(steps)) => next.0 >= safe.next.0 + steps,
            Some(Every::Time(time)) => now.since(safe.since) >= time,
        }
    }

    /// How long writing or reading a checkpoint takes.
    pub fn pause(&self, plan: &TrainingPlan) -> SimDuration {
        let state = State::new(plan);
        let bytes = plan.simulated_ranks().map(|rank| state.remembered(rank)).max();
        bytes.unwrap_or_default() / self.bandwidth
    }
}

/// What cannot be lost.
struct Safe {
    /// The step that comes next.
    next: StepIndex,
    /// The plan whose ranks saved it.
    plan: Arc<TrainingPlan>,
    /// The numbers, where there are any.
    saved: Option<Saved>,
    /// Since when the run has been going on from there.
    since: SimTime,
    /// How often in a row it has come back to it.
    failures: u32,
}

/// What came of a step.
enum Stepped {
    Done(crate::training::StepReport),
    Failed(Failure),
}

/// Steps between two failures: one plan on one machine.
struct Leg<'s> {
    plan: Arc<TrainingPlan>,
    state: State,
    machine: Machine<'s>,
    programs: Programs,
}

impl<'s> Leg<'s> {
    fn new(setup: &Setup<'s>, plan: TrainingPlan, start: SimTime) -> Self {
        let network = setup.network.model(&links_of(&plan.topology));
        let topology = &setup.plan.topology;
        let mut machine = Machine::new(topology, plan.placement.clone(), setup.compute, network);
        machine.wait(start.since(SimTime::ZERO));
        machine.hand_over(plan.software.dispatch());
        machine.links_will_change(setup.disturbances.links.clone());
        let state = State::new(&plan);
        Leg { plan: Arc::new(plan), state, machine, programs: Programs::default() }
    }

    /// Runs a step, unless a device fails before it ends.
    fn step(
        &mut self,
        setup: &Setup,
        step: StepIndex,
        mut values: Option<&mut Values>,
        failures: &mut Failures,
        observer: &mut dyn Observer,
    ) -> Result<Stepped, TrainingFailure> {
        let program = self.programs.of(&self.plan, &self.state, step)?;
        setup.disturbances.disturb(&mut self.machine, step, &program);
        let mut listener = Until { moment: failures.next(&self.plan), listener: observer.listener(step) };
        let ran =
            time_step(&self.plan, &mut self.machine, &program, step, values.as_deref_mut(), &mut listener)?;
        if let Some(failure) = failures.within(&self.plan, ran.end) {
            return Ok(Stepped::Failed(failure));
        }
        report_step((&self.plan, &self.state), step, ran, values, observer).map(Stepped::Done)
    }

    /// Writes a checkpoint, unless a device fails before it is written.
    fn write(
        &mut self,
        recovery: &Recovery,
        next: StepIndex,
        safe: &mut Safe,
        values: Option<&Values>,
        failures: &mut Failures,
        observer: &mut dyn Observer,
    ) -> Option<Failure> {
        let start = self.machine.now();
        self.machine.wait(recovery.pause(&self.plan));
        let end = self.machine.now();
        if let Some(failure) = failures.within(&self.plan, end) {
            return Some(failure);
        }
        let saved = values.map(Values::saved);
        *safe = Safe { next, plan: self.plan.clone(), saved, since: end, failures: 0 };
        observer.checkpointed(&Checkpointed { next, start, end });
        None
    }

    /// Lets the values be those that were saved.
    fn restore(&self, safe: &Safe, saved: &Saved, values: &mut Values) {
        if safe.plan.mesh == self.plan.mesh {
            values.restore(saved);
        } else {
            let before = State::new(&safe.plan);
            let slots = before.relaid(&safe.plan, saved.slots(), (&self.state, &self.plan));
            values.restore_slots(saved, slots);
        }
    }
}

/// Comes back after a failure, and after those that come before it is back.
fn recover<'s>(
    setup: &Setup<'s>,
    recovery: &Recovery,
    plan: &TrainingPlan,
    (mut failure, during): (Failure, StepIndex),
    safe: &mut Safe,
    failures: &mut Failures,
    observer: &mut dyn Observer,
) -> Result<Leg<'s>, TrainingFailure> {
    let mut plan = plan.clone();
    let lost = failure.at.since(safe.since);
    loop {
        safe.failures += 1;
        if safe.failures > MOST_IN_A_ROW {
            return Err(TrainingFailure::NoProgress { step: during, failures: safe.failures });
        }
        if recovery.elastic {
            let device = || setup.plan.topology.devices()[failure.device].name.clone();
            let none = || TrainingFailure::NoReplica { device: device(), at: failure.at };
            plan = without(&plan, failure.device).ok_or_else(none)?;
        }
        let resumed = failure.at + recovery.restart + recovery.pause(&plan);
        if let Some(again) = failures.within(&plan, resumed) {
            failure = again;
            continue;
        }
        observer.interrupted(
            &Interruption {
                device: failure.device,
                at: failure.at,
                during,
                back_to: safe.next,
                lost,
                resumed,
                replicas: plan.mesh.data,
            },
            &plan,
        );
        safe.since = resumed;
        return Ok(Leg::new(setup, plan, resumed));
    }
}

/// The best time between two checkpoints, in seconds, where one takes `write` and a failure comes every `mtbf`
/// (Daly 2006, equation 37).
pub fn best_interval(write: f64, mtbf: f64) -> f64 {
    if write >= 2.0 * mtbf {
        return mtbf;
    }
    let ratio = write / (2.0 * mtbf);
    (2.0 * write * mtbf).sqrt() * (1.0 + ratio.sqrt() / 3.0 + ratio / 9.0) - write
}

/// The same plan without the replica that a device belongs to, with as many of the others as divide the
/// batch; nothing where none do. The batch, and with it what is learned, stays the same.
pub fn without(plan: &TrainingPlan, device: DeviceId) -> Option<TrainingPlan> {
    let of_replica = |rank: &Rank| plan.mesh.coordinates(*rank).data;
    let failed = plan.mesh.all().find(|&rank| plan.placement[rank] == device).as_ref().map(of_replica)?;
    let left: Vec<u32> = (0..plan.mesh.data).filter(|&replica| replica != failed).collect();
    let batch = plan.global_batch() / plan.micro_batch;
    (1..plan.mesh.data).rev().find_map(|data| {
        let micro_batches = u32::try_from(batch / u64::from(data)).ok()?;
        let mut smaller = plan.clone();
        smaller.mesh.data = data;
        smaller.micro_batches = micro_batches;
        let shares = plan.zero.group.is_none_or(|group| data.is_multiple_of(group));
        let fits =
            batch.is_multiple_of(u64::from(data)) && shares && plan.schedule.admits(smaller.shape()).is_ok();
        if !fits {
            return None;
        }
        if smaller.zero.shares() && smaller.sharers() == 1 {
            smaller.zero = Zero::default();
        }
        let device = |rank: Rank| {
            let at = smaller.mesh.coordinates(rank);
            plan.placement[plan.mesh.rank(Coordinates { data: left[at.data as usize], ..at })]
        };
        let placement: IdVec<Rank, DeviceId> = smaller.mesh.all().map(device).collect();
        smaller.placement = placement;
        Some(smaller)
    })
}

/// Hears what happens until a moment, and nothing of what would have happened later.
struct Until<'l> {
    moment: Option<SimTime>,
    listener: &'l mut dyn Listener,
}

impl Until<'_> {
    fn is_over(&self, at: SimTime) -> bool {
        self.moment.is_some_and(|moment| at >= moment)
    }
}

impl Listener for Until<'_> {
    fn span(&mut self, span: Span) {
        if !self.is_over(span.start) {
            let end = self.moment.map_or(span.end, |moment| span.end.min(moment));
            self.listener.span(Span { end, ..span });
        }
    }
    fn arrow(&mut self, arrow: Arrow) {
        if !self.is_over(arrow.to.1) {
            self.listener.arrow(arrow);
        }
    }
    fn carried(&mut self, carried: Carried) {
        if !self.is_over(carried.end) {
            self.listener.carried(carried);
        }
    }
    fn memory(&mut self, change: MemoryChange) {
        if !self.is_over(change.at) {
            self.listener.memory(change);
        }
    }
    fn routed(&mut self, layer: Option<LayerId>, routed: &Arc<Routed>) {
        self.listener.routed(layer, routed);
    }
}
