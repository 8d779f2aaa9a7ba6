//! A run whose pipeline is never emptied: one program from the first step to the last, told to the observer in
//! steps that end with their last update.

use std::collections::BTreeMap;

use crate::ids::{Id, Stage, StepIndex};
use crate::numeric::values::Values;
use crate::runtime::{Interpreter, Machine, NoValues};
use crate::trace::{Recording, Span};
use crate::training::asynchronous::tell;
use crate::training::lower::{UPDATE, lower_pipelined};
use crate::training::run::evaluate;
use crate::training::schedule::Stashing;
use crate::training::state::State;
use crate::training::{Applied, Observer, StepReport, TrainingFailure, TrainingOutcome, TrainingPlan};
use crate::units::SimTime;

/// Runs a plan whose schedule keeps several versions of the weights.
///
/// # Errors
/// As [`run`](crate::training::run).
pub(super) fn run_pipelined(
    plan: &TrainingPlan,
    state: &State,
    stashing: Stashing,
    machine: &mut Machine<'_>,
    mut values: Option<&mut Values>,
    observer: &mut dyn Observer,
) -> Result<TrainingOutcome, TrainingFailure> {
    let program = lower_pipelined(plan, state).map_err(TrainingFailure::Deadlock)?;
    let mut recording = Recording::default();
    let interpreter: &mut dyn Interpreter = match values.as_deref_mut() {
        Some(values) => {
            values.begin_step(StepIndex(0));
            values
        }
        None => &mut NoValues,
    };
    let ran = machine.run(&program, interpreter, &mut recording).map_err(TrainingFailure::Stall)?;
    let groups = plan.micro_batches / stashing.group(plan.shape());
    if let Some(values) = values.as_deref_mut() {
        state.bring_up(values, groups * plan.steps);
    }
    let losses = values.as_deref().map(|values| losses(plan, values, groups));
    let ends = step_ends(plan, &recording.spans);
    let mut outcome = TrainingOutcome::default();
    let mut start = SimTime::ZERO;
    for step in (0..plan.steps).map(StepIndex) {
        let last = step.0 + 1 == plan.steps;
        let end = if last { ran.end } else { ends[step.index()] };
        tell(&recording, start, end, last, observer.listener(step));
        let loss = losses.as_ref().map(|losses| losses[step.index()]);
        if loss.is_some_and(|loss| !loss.is_finite()) {
            let values = values.as_deref().expect("a loss was computed");
            let origin = values.first_not_finite().unwrap_or("the loss itself").to_owned();
            return Err(TrainingFailure::NotANumber { step, origin });
        }
        let held_out = values.as_deref_mut().filter(|_| last).map(|values| evaluate(plan, state, values));
        let events = if last { ran.events } else { 0 };
        let packets = ran.packets.filter(|_| last);
        let duration = end.since(start);
        let report = StepReport { step, end, duration, loss, held_out, events, met: 0, packets };
        observer.step(&report);
        outcome.steps.push(report);
        start = end;
    }
    observer.applied(&applied(plan, stashing, &recording.spans));
    Ok(outcome)
}

/// The mean loss of the micro-batches of each step.
fn losses(plan: &TrainingPlan, values: &Values, groups: u32) -> Vec<f64> {
    // A replica's share of a group's mean, in order of turns.
    let told: BTreeMap<u32, f32> = values.told().iter().copied().collect();
    let shares: Vec<f64> = told.values().map(|&loss| f64::from(loss)).collect();
    assert_eq!(shares.len(), (plan.steps * groups * plan.mesh.data) as usize, "every update tells a loss");
    shares
        .chunks((groups * plan.mesh.data) as usize)
        .map(|step| step.iter().sum::<f64>() / f64::from(groups))
        .collect()
}

/// When the last update of each step has ended on every rank.
fn step_ends(plan: &TrainingPlan, spans: &[Span]) -> Vec<SimTime> {
    let mut ends = vec![SimTime::ZERO; plan.steps as usize];
    for (span, step) in updates(spans).map(|(span, last)| (span, last / plan.micro_batches)) {
        ends[step as usize] = ends[step as usize].max(span.end);
    }
    ends
}

/// Updates, each with the last micro-batch that it was made of.
fn updates(spans: &[Span]) -> impl Iterator<Item = (&Span, u32)> {
    let updates = spans.iter().filter(|span| span.label.name == UPDATE);
    updates.filter_map(|span| Some((span, span.label.micro_batch?.0)))
}

/// Every update of every stage in the order in which they were made (replicas make them together), with how
/// many versions older the weights were that its gradient was computed with.
fn applied(plan: &TrainingPlan, stashing: Stashing, spans: &[Span]) -> Applied {
    let (shape, size) = (plan.shape(), stashing.group(plan.shape()));
    let mut ends: BTreeMap<(u32, Stage), SimTime> = BTreeMap::new();
    for (span, last) in updates(spans) {
        let stage = span.label.stage.expect("an update is of a stage");
        let end = ends.entry((last / size, stage)).or_insert(span.end);
        *end = span.end.max(*end);
    }
    let mut order: Vec<(SimTime, u32, Stage)> =
        ends.into_iter().map(|((group, stage), end)| (end, group, stage)).collect();
    order.sort_unstable();
    Applied {
        turns: order.iter().map(|&(_, group, _)| group).collect(),
        at: order.iter().map(|&(end, ..)| end).collect(),
        staleness: order
            .iter()
            .map(|&(_, group, stage)| group - stashing.version(shape, stage, group))
            .collect(),
        stages: order.iter().map(|&(.., stage)| stage).collect(),
    }
}
