//! A run with parameter servers: one program from the first step to the last, told to the observer in
//! rounds of as many gradients as there are workers.

use std::collections::BTreeMap;

use crate::ids::{Stage, StepIndex};
use crate::numeric::values::Values;
use crate::runtime::{Interpreter, Machine, NoValues};
use crate::trace::{Arrow, Carried, Lane, Listener, Recording, Span};
use crate::training::lower::{APPLY, PULL, lower_asynchronous};
use crate::training::run::evaluate;
use crate::training::state::State;
use crate::training::sync::ParameterServer;
use crate::training::{Observer, StepReport, TrainingFailure, TrainingOutcome, TrainingPlan};
use crate::units::SimTime;

/// When gradients were applied, and how stale they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Which step of which worker, in the order in which they were applied; see
    /// [`turn`](crate::training::lower::turn). In a pipeline that is never emptied, which update.
    pub turns: Vec<u32>,
    /// When each was.
    pub at: Vec<SimTime>,
    /// How many others were applied between the pull of its weights and itself; in a pipeline, how many updates
    /// older the weights were that it was computed with than those that it stepped.
    pub staleness: Vec<u32>,
    /// The stage that each stepped, where a pipeline is never emptied; of servers none.
    pub stages: Vec<Stage>,
}

impl Applied {
    /// Reads a run's spans. A gradient counts as applied with its last parcel, weights as pulled with their
    /// first; a gradient applied at the very moment of a pull was there in time.
    pub fn of(spans: &[Span], turns: u32) -> Self {
        let mut ends: BTreeMap<u32, SimTime> = BTreeMap::new();
        let mut pulls: BTreeMap<u32, SimTime> = BTreeMap::new();
        for span in spans {
            let Some(turn) = span.label.micro_batch.map(|turn| turn.0) else { continue };
            if span.label.name == APPLY {
                let end = ends.entry(turn).or_insert(span.end);
                *end = span.end.max(*end);
            } else if span.label.name == PULL {
                let start = pulls.entry(turn).or_insert(span.start);
                *start = span.start.min(*start);
            }
        }
        assert_eq!(ends.len(), turns as usize, "every gradient is applied once");
        let mut order: Vec<(SimTime, u32)> = ends.into_iter().map(|(turn, end)| (end, turn)).collect();
        order.sort_unstable();
        let at: Vec<SimTime> = order.iter().map(|&(end, _)| end).collect();
        let there = |turn: &u32| pulls.get(turn).map_or(0, |pull| at.partition_point(|end| end <= pull));
        let staleness =
            order.iter().enumerate().map(|(index, (_, turn))| (index - there(turn)) as u32).collect();
        let turns = order.iter().map(|&(_, turn)| turn).collect();
        Applied { turns, staleness, at, stages: Vec::new() }
    }
}

/// Runs a plan whose sync has servers.
///
/// # Errors
/// As [`run`](crate::training::run).
pub(super) fn run_asynchronous(
    plan: &TrainingPlan,
    state: &State,
    server: &ParameterServer,
    machine: &mut Machine<'_>,
    mut values: Option<&mut Values>,
    observer: &mut dyn Observer,
) -> Result<TrainingOutcome, TrainingFailure> {
    let program = lower_asynchronous(plan, state, server).map_err(TrainingFailure::Deadlock)?;
    let mut recording = Recording::default();
    let interpreter: &mut dyn Interpreter = match values.as_deref_mut() {
        Some(values) => {
            values.begin_step(StepIndex(0));
            values
        }
        None => &mut NoValues,
    };
    let ran = machine.run(&program, interpreter, &mut recording).map_err(TrainingFailure::Stall)?;
    let workers = plan.mesh.data;
    let applied = Applied::of(&recording.spans, plan.steps * workers);
    let losses = values.as_deref().map(|values| losses(values, &applied, workers));
    let mut outcome = TrainingOutcome::default();
    let mut start = SimTime::ZERO;
    for step in (0..plan.steps).map(StepIndex) {
        let last = step.0 + 1 == plan.steps;
        let end = if last { ran.end } else { applied.at[((step.0 + 1) * workers - 1) as usize] };
        tell(&recording, start, end, last, observer.listener(step));
        let loss = losses.as_ref().map(|losses| losses[step.0 as usize]);
        if loss.is_some_and(|loss| !loss.is_finite()) {
            let values = values.as_deref().expect("a loss was computed");
            let origin = values.first_not_finite().unwrap_or("the loss itself").to_owned();
            return Err(TrainingFailure::NotANumber { step, origin });
        }
        let held_out = values.as_deref_mut().filter(|_| last).map(|values| {
            hand_out(plan, state, values);
            evaluate(plan, state, values)
        });
        let events = if last { ran.events } else { 0 };
        let packets = ran.packets.filter(|_| last);
        let duration = end.since(start);
        let report = StepReport { step, end, duration, loss, held_out, events, met: 0, packets };
        observer.step(&report);
        outcome.steps.push(report);
        start = end;
    }
    observer.applied(&applied);
    Ok(outcome)
}

/// The mean loss of the gradients of each round.
fn losses(values: &Values, applied: &Applied, workers: u32) -> Vec<f64> {
    let told: BTreeMap<u32, f32> = values.told().iter().copied().collect();
    let mean =
        |turns: &[u32]| turns.iter().map(|turn| f64::from(told[turn])).sum::<f64>() / f64::from(workers);
    applied.turns.chunks(workers as usize).map(mean).collect()
}

/// Tells a listener what happened from `start` to `end`; of what reaches beyond, the part within.
pub(super) fn tell(
    recording: &Recording,
    start: SimTime,
    end: SimTime,
    last: bool,
    listener: &mut dyn Listener,
) {
    let ended = |at: SimTime| start < at && at <= end || at == SimTime::ZERO && start == at;
    for change in recording
        .memory
        .iter()
        .filter(|change| start <= change.at && (change.at < end || (last && change.at == end)))
    {
        listener.memory(*change);
    }
    for span in recording.spans.iter().filter(|span| span.start < end && span.end > start) {
        let (start, end) = (span.start.max(start), span.end.min(end));
        listener.span(Span { start, end, ..span.clone() });
    }
    for arrow in recording.arrows.iter().filter(|arrow| ended(arrow.to.1)) {
        let (lane, left) = arrow.from;
        let from: (Lane, SimTime) = (lane, left.max(start));
        listener.arrow(Arrow { from, ..*arrow });
    }
    for carried in recording.carried.iter().filter(|carried| ended(carried.end)) {
        listener.carried(Carried { start: carried.start.max(start), ..carried.clone() });
    }
}

/// Gives every worker the model as the servers have it, to be evaluated.
fn hand_out(plan: &TrainingPlan, state: &State, values: &mut Values) {
    let pieces = plan.model.pieces();
    for &piece in &pieces {
        let Some(server) = plan.server_of(&pieces, piece) else { continue };
        for worker in plan.mesh.all() {
            for (kept, held) in state.of(server, piece).iter().zip(state.of(worker, piece)) {
                values.copy(kept.stepped(), held.stepped());
            }
        }
    }
}
