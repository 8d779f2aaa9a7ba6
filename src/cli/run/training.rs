//! Runs a training scenario.

use crate::cli::Failure;
use crate::cli::progress::Progress;
use crate::cli::run::memory::{self, Again};
use crate::cli::run::{Outcome, json};
use crate::config::{self, TrainingScenario};
use crate::ids::Rank;
use crate::metrics::{TrainingRecord, TrainingRecorder};
use crate::numeric::values::Values;
use crate::report::training::{Recovered, TrainingSummary, artefacts, table};
use crate::training::why::{self, Explanation};
use crate::training::{self, Setup, StepReport, TrainingFailure, TrainingPlan};

/// Trains, and tells what came of it.
pub(crate) fn run(
    scenario: &TrainingScenario,
    report: bool,
    explain: bool,
    again: Again,
) -> Result<Outcome, Failure> {
    let name = &scenario.file.name;
    if scenario.file.numeric {
        // Nothing is computed of what would not fit.
        check_memory(scenario, again)?;
    }
    let (record, failure) = train(scenario, name);
    if let Some(why) = failure {
        return Err(Failure::Run(why));
    }
    if !scenario.file.numeric && overflows(&scenario.plan, &record) {
        check_memory(scenario, again)?;
    }
    let mut notes = scenario.notes.clone();
    let events = record.steps[record.median_step()].events;
    let explanation = if explain || events <= MOST_EVENTS {
        explained(scenario, &record).map_err(|failure| Failure::Run(failure.to_string()))?
    } else {
        notes.push(format!("`--explain` says why a step takes as long as it does: it has {events} events"));
        None
    };
    let explanation = explanation.as_ref();
    let (disturbances, recovery) = (&scenario.disturbances, scenario.recovery.as_ref());
    let summary = TrainingSummary::new(name, &scenario.plan, &record, &notes)
        .recovered(Recovered::of(&scenario.plan, &record, disturbances, recovery), &scenario.plan)
        .explained(explanation);
    let files = || artefacts(&scenario.plan, &record, &summary, explanation, &config::write(&scenario.file));
    Ok(Outcome {
        name: name.clone(),
        json: json(&summary),
        table: table(&summary, explanation),
        artefacts: if report { files() } else { Vec::new() },
    })
}

/// An explanation simulates a step some ten times; larger ones are explained when asked for.
const MOST_EVENTS: u64 = 100_000;

/// Stops a run that does not fit its devices. Runs with parameter servers, which have no steps that could be
/// looked at, are not checked.
fn check_memory(scenario: &TrainingScenario, again: Again) -> Result<(), Failure> {
    if scenario.plan.sync.server().is_some() {
        return Ok(());
    }
    match memory::of(scenario) {
        Ok(tightest) if !tightest.fits() => {
            Err(Failure::Run(memory::diagnosis(&scenario.plan, &tightest, again)))
        }
        // A run that stalls says so itself.
        _ => Ok(()),
    }
}

/// Whether a rank held more at once than its device has.
fn overflows(plan: &TrainingPlan, record: &TrainingRecord) -> bool {
    let Some(memory) = &record.memory else { return false };
    let capacity = |rank: Rank| plan.topology.devices()[plan.placement[rank]].spec.memory.capacity;
    plan.simulated_ranks().any(|rank| memory.peak(rank).total > capacity(rank))
}

/// Why the step of median duration took as long as it did; nothing where replicas go on by themselves and a
/// run has no steps that end.
fn explained(
    scenario: &TrainingScenario,
    record: &TrainingRecord,
) -> Result<Option<Explanation>, TrainingFailure> {
    if scenario.plan.sync.server().is_some() {
        return Ok(None);
    }
    let report = &record.steps[record.median_step()];
    let run = Setup {
        plan: record.plan_of(report.step).unwrap_or(&scenario.plan),
        compute: &*scenario.compute,
        network: &*scenario.network,
        disturbances: &scenario.disturbances,
    };
    why::explain(&run, report, &record.routed[record.median_step()].went).map(Some)
}

/// Trains a scenario under a progress line; what had been recorded stands if it fails.
pub(crate) fn train(scenario: &TrainingScenario, name: &str) -> (TrainingRecord, Option<String>) {
    let plan = &scenario.plan;
    let state = scenario.state();
    let mut values: Option<Values> = scenario.values(&state);
    let mut progress = Progress::new(u64::from(plan.steps));
    let mut recorder = TrainingRecorder::new(
        plan.simulated_ranks().chain(plan.server_ranks()).collect(),
        plan.steps,
        scenario.file.training.evaluate_every,
        |step: &StepReport| progress.tell(u64::from(step.step.0) + 1, || step_line(name, plan.steps, step)),
    );
    let (compute, values) = (&*scenario.compute, values.as_mut());
    let ran = match &scenario.recovery {
        None if !scenario.disturbances.any() => {
            training::run(plan, &state, compute, scenario.network_model(), values, &mut recorder)
        }
        recovery => {
            let network = &*scenario.network;
            let setup = Setup { plan, compute, network, disturbances: &scenario.disturbances };
            training::run_disturbed(&setup, recovery.as_ref(), values, &mut recorder)
        }
    };
    let record = recorder.finish();
    progress.end(&format!("{name}: {} steps", record.steps.len()));
    (record, ran.err().map(|failure| failure.to_string()))
}

fn step_line(name: &str, steps: u32, step: &StepReport) -> String {
    let loss = step.loss.map_or(String::new(), |loss| format!(" | loss {loss:.4}"));
    format!("{name}: step {}/{steps}{loss} | simulated {}", step.step.0 + 1, step.end)
}
