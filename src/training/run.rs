//! The steps of a training run, one after the other, each told to an observer.

use std::fmt;
use std::sync::Arc;

use crate::compute::ComputeModel;
use crate::ids::StepIndex;
use crate::network::NetworkModel;
use crate::numeric::values::Values;
use crate::program::Program;
use crate::runtime::{Interpreter, Machine, Outcome, Stall};
use crate::trace::{Activity, Label, Lane, Listener, Span, Stream};
use crate::training::TrainingPlan;
use crate::training::asynchronous::{Applied, run_asynchronous};
use crate::training::lower::{Deadlock, lower, lower_evaluation};
use crate::training::recovery::{Checkpointed, Interruption};
use crate::training::routing::Supposed;
use crate::training::state::State;
use crate::training::sync::SyncAction;
use crate::units::{Bytes, SimDuration, SimTime};

/// Hears of a run as it goes.
pub trait Observer {
    /// Who listens to the spans of a step that is about to begin.
    fn listener(&mut self, step: StepIndex) -> &mut dyn Listener;

    /// A step has ended.
    fn step(&mut self, report: &StepReport);

    /// A run with parameter servers has ended.
    fn applied(&mut self, _applied: &Applied) {}

    /// A checkpoint was written.
    fn checkpointed(&mut self, _checkpoint: &Checkpointed) {}

    /// A device failed, and the run goes on from a checkpoint with this plan.
    fn interrupted(&mut self, _interruption: &Interruption, _plan: &TrainingPlan) {}

    /// Whether the held-out loss should be measured after this step.
    fn wants_evaluation(&self, _step: StepIndex) -> bool {
        false
    }
}

/// Hears nothing: for those who want to know only how long steps take.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Listener for Silent {
    fn span(&mut self, _span: Span) {}
}

impl Observer for Silent {
    fn listener(&mut self, _step: StepIndex) -> &mut dyn Listener {
        self
    }

    fn step(&mut self, _report: &StepReport) {}
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Which one.
    pub step: StepIndex,
    /// When it ended.
    pub end: SimTime,
    /// How long it took.
    pub duration: SimDuration,
    /// Mean training loss over the global batch; `None` when nothing is computed.
    pub loss: Option<f64>,
    /// Loss on data never trained on, where it was measured.
    pub held_out: Option<f64>,
    /// Events processed.
    pub events: u64,
}

/// What came of a run.
#[derive(Debug, Clone, Default)]
pub struct TrainingOutcome {
    /// Every step.
    pub steps: Vec<StepReport>,
}

/// Why a run ended early.
#[derive(Debug, Clone, PartialEq)]
pub enum TrainingFailure {
    /// The schedule cannot be run.
    Deadlock(Deadlock),
    /// The machine can make no progress.
    Stall(Stall),
    /// The loss is no number any more.
    NotANumber {
        /// In which step.
        step: StepIndex,
        /// Where the first such number came from.
        origin: String,
    },
    /// Devices fail faster than the run gets on.
    NoProgress {
        /// The step that it never gets past.
        step: StepIndex,
        /// How often it tried.
        failures: u32,
    },
    /// Without the replica that failed there is none left that could go on.
    NoReplica {
        /// Whose device failed.
        device: String,
        /// When.
        at: SimTime,
    },
}

impl fmt::Display for TrainingFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrainingFailure::Deadlock(deadlock) => deadlock.fmt(f),
            TrainingFailure::Stall(stall) => stall.fmt(f),
            TrainingFailure::NoProgress { step, failures } => write!(
                f,
                "devices failed {failures} times in a row before the run had got past {step} to its next checkpoint: \
                 write checkpoints more often, or make steps shorter"
            ),
            TrainingFailure::NoReplica { device, at } => write!(
                f,
                "{device} failed at {at}, and no smaller number of replicas divides the batch: give the run more \
                 replicas, or set `elastic: false` to have the device replaced"
            ),
            TrainingFailure::NotANumber { step, origin } => {
                write!(
                    f,
                    "the loss is not a number at {step}: the first value that is none came from {origin}"
                )
            }
        }
    }
}

impl std::error::Error for TrainingFailure {}

/// Trains: times every step on the machine and, with `values`, computes it.
///
/// # Errors
/// See [`TrainingFailure`]; what had been observed until then stands.
pub fn run(
    plan: &TrainingPlan,
    state: &State,
    compute: &dyn ComputeModel,
    network: Box<dyn NetworkModel + '_>,
    values: Option<&mut Values>,
    observer: &mut dyn Observer,
) -> Result<TrainingOutcome, TrainingFailure> {
    run_from(StepIndex(0), plan, state, compute, network, values, observer)
}

/// Trains from a step on, with values that are those after the steps before it (a checkpoint's).
///
/// # Errors
/// As [`run`].
pub fn run_from(
    first: StepIndex,
    plan: &TrainingPlan,
    state: &State,
    compute: &dyn ComputeModel,
    network: Box<dyn NetworkModel + '_>,
    mut values: Option<&mut Values>,
    observer: &mut dyn Observer,
) -> Result<TrainingOutcome, TrainingFailure> {
    let mut machine = Machine::new(&plan.topology, plan.placement.clone(), compute, network);
    machine.hand_over(plan.software.dispatch());
    if let Some(server) = plan.sync.server() {
        return run_asynchronous(plan, state, server, &mut machine, values, observer);
    }
    let mut programs = Programs::default();
    let mut outcome = TrainingOutcome::default();
    for step in (first.0..plan.steps).map(StepIndex) {
        let program = programs.of(plan, state, step)?;
        let began = machine.now();
        let listener = observer.listener(step);
        wait_for_input(plan, &mut machine, step, listener);
        let ran = time_step(plan, &mut machine, &program, step, values.as_deref_mut(), listener)?;
        let ran = Outcome { start: began, ..ran };
        let report = report_step((plan, state), step, ran, values.as_deref_mut(), observer)?;
        observer.step(&report);
        outcome.steps.push(report);
    }
    Ok(outcome)
}

/// Every rank waits until the samples of a step have been prepared.
fn wait_for_input(plan: &TrainingPlan, machine: &mut Machine, step: StepIndex, listener: &mut dyn Listener) {
    let (now, ready) = (machine.now(), plan.input_ready(step));
    if ready <= now {
        return;
    }
    for rank in plan.simulated_ranks() {
        listener.span(Span {
            lane: Lane::Rank(rank, Stream::Host),
            start: now,
            end: ready,
            activity: Activity::Input,
            label: Label { name: "wait for input".into(), ..Label::default() },
            bytes: Bytes::ZERO,
        });
    }
    machine.wait(ready.since(now));
}

/// Runs a step, and computes it where there are values.
pub(super) fn time_step(
    plan: &TrainingPlan,
    machine: &mut Machine,
    program: &Program,
    step: StepIndex,
    values: Option<&mut Values>,
    listener: &mut dyn Listener,
) -> Result<Outcome, TrainingFailure> {
    let mut supposed = Supposed::of(plan, step);
    let interpreter: &mut dyn Interpreter = match values {
        Some(values) => {
            values.begin_step(step);
            values
        }
        None => &mut supposed,
    };
    machine.run(program, interpreter, listener).map_err(TrainingFailure::Stall)
}

/// What came of a step that was run.
pub(super) fn report_step(
    (plan, state): (&TrainingPlan, &State),
    step: StepIndex,
    ran: Outcome,
    mut values: Option<&mut Values>,
    observer: &dyn Observer,
) -> Result<StepReport, TrainingFailure> {
    let loss = values.as_deref_mut().map(|values| step_loss(plan, state, values, step)).transpose()?;
    let held_out = match values {
        Some(values) if observer.wants_evaluation(step) => Some(evaluate(plan, state, values)),
        _ => None,
    };
    Ok(StepReport { step, end: ran.end, duration: ran.duration(), loss, held_out, events: ran.events })
}

/// Programs by what the sync does in a step: two steps that exchange the same share one.
#[derive(Debug, Default)]
pub(super) struct Programs {
    made: Vec<(SyncAction, Arc<Program>)>,
}

impl Programs {
    pub(super) fn of(
        &mut self,
        plan: &TrainingPlan,
        state: &State,
        step: StepIndex,
    ) -> Result<Arc<Program>, TrainingFailure> {
        let action = plan.sync.action(step);
        let same = |known: &SyncAction| known.exchanges_as(action, plan.replicas());
        if let Some((_, program)) = self.made.iter().find(|(known, _)| same(known)) {
            return Ok(program.clone());
        }
        let program = Arc::new(lower(plan, state, step).map_err(TrainingFailure::Deadlock)?);
        self.made.push((action, program.clone()));
        Ok(program)
    }
}

/// The mean loss of a step's global batch: every replica's share, summed in order of replicas.
fn step_loss(
    plan: &TrainingPlan,
    state: &State,
    values: &Values,
    step: StepIndex,
) -> Result<f64, TrainingFailure> {
    let loss = replicas_loss(plan, state, values, step);
    if loss.is_finite() {
        return Ok(loss);
    }
    let origin = values.first_not_finite().unwrap_or("the loss itself").to_owned();
    Err(TrainingFailure::NotANumber { step, origin })
}

/// The mean of what every replica's last stage has gathered.
fn replicas_loss(plan: &TrainingPlan, state: &State, values: &Values, step: StepIndex) -> f64 {
    let of_copy = |(replica, copy)| {
        let rank = plan.cell_ranks(replica, copy, plan.last_stage())[0];
        f64::from(values.number(state.loss(rank).expect("the last stage gathers the loss")))
    };
    let total: f64 = plan.copies().map(of_copy).sum();
    // Where each replica follows a gradient of its own, its loss is a mean already.
    match plan.sync.action(step) {
        SyncAction::ReduceGradients => total,
        _ => total / f64::from(plan.replicas()),
    }
}

/// The loss on batches of held-out data, as many as [`EVALUATION_BATCHES`] global batches, the same
/// ones every time. It takes no simulated time.
pub(super) fn evaluate(plan: &TrainingPlan, state: &State, values: &mut Values) -> f64 {
    let program = lower_evaluation(plan, state);
    let mut total = 0.0;
    for batch in 0..EVALUATION_BATCHES {
        values.evaluate(&program, StepIndex(batch));
        total += replicas_loss(plan, state, values, StepIndex(0));
    }
    total / f64::from(EVALUATION_BATCHES)
}

/// Enough that the noise of sampling is well below the differences that are read from the loss.
const EVALUATION_BATCHES: u32 = 8;
