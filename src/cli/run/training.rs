//! Runs a training scenario.

use std::path::Path;

use crate::cli::Failure;
use crate::cli::progress::Progress;
use crate::cli::run::memory::{self, Again};
use crate::cli::run::{Outcome, json};
use crate::config::checkpoint::{self, Tokens};
use crate::config::{self, TrainingScenario};
use crate::ids::{Rank, StepIndex};
use crate::metrics::{TrainingRecord, TrainingRecorder};
use crate::model::Parameter;
use crate::numeric::values::Values;
use crate::numeric::weights::Weights;
use crate::report::training::{ModelCompressed, Recovered, TrainingSummary, artefacts, table};
use crate::report::writer::{self, Artefact};
use crate::training::model_compression::{self, Methods};
use crate::training::why::{self, Explanation};
use crate::training::{self, Setup, StepReport, TrainingFailure, TrainingPlan};

/// Trains, and tells what came of it.
pub(crate) fn run(
    scenario: &TrainingScenario,
    report: bool,
    explain: bool,
    again: Again,
) -> Result<Outcome, Failure> {
    let Ran { record, summary, explanation, .. } = simulate(scenario, report, explain, again)?;
    let explanation = explanation.as_ref();
    let files = || artefacts(&scenario.plan, &record, &summary, explanation, &config::write(&scenario.file));
    Ok(Outcome {
        name: scenario.file.name.clone(),
        json: json(&summary),
        table: table(&summary, explanation),
        artefacts: if report { files() } else { Vec::new() },
    })
}

/// What came of a training run that did not fail.
pub(crate) struct Ran {
    /// What was recorded.
    pub record: TrainingRecord,
    /// Its numbers.
    pub summary: TrainingSummary,
    /// Why a step takes as long as it does.
    pub explanation: Option<Explanation>,
    /// What was learned, where anything was computed.
    pub weights: Option<Weights>,
}

/// Trains, saves what is to be saved, and says why a step takes as long as it does.
pub(crate) fn simulate(
    scenario: &TrainingScenario,
    report: bool,
    explain: bool,
    again: Again,
) -> Result<Ran, Failure> {
    let name = &scenario.file.name;
    if scenario.file.numeric {
        // Nothing is computed of what would not fit.
        check_memory(scenario, again)?;
    }
    let Trained { record, failure, weights } = train(scenario, name, report);
    if let Some(why) = failure {
        return Err(Failure::Run(why));
    }
    if let (Some(path), Some(weights)) = (&scenario.file.training.save, &weights) {
        save(path, weights, scenario.tokens())?;
    }
    if !scenario.file.numeric && overflows(&scenario.plan, &record) {
        check_memory(scenario, again)?;
    }
    let mut notes = scenario.notes.clone();
    let StepReport { events, met, .. } = record.steps[record.median_step()];
    if met > 0 {
        notes.push(format!(
            "{met} exchanges of a step began on links where others were under way, of which ranks simulated once know \
             nothing: the step may be a little longer than told (`fold: never` shares links)"
        ));
    }
    let ranks = scenario.plan.mesh.ranks();
    let explanation = if explain || (events <= MOST_EVENTS && ranks <= MOST_RANKS) {
        explained(scenario, &record).map_err(|failure| Failure::Run(failure.to_string()))?
    } else {
        let size = if events > MOST_EVENTS { format!("{events} events") } else { format!("{ranks} ranks") };
        notes.push(format!("`--explain` says why a step takes as long as it does: it has {size}"));
        None
    };
    let (disturbances, recovery) = (&scenario.disturbances, scenario.recovery.as_ref());
    let compressed = match (&scenario.model_compression, &weights) {
        (Some(methods), Some(weights)) => Some(compress(scenario, methods, weights.parameters())?),
        _ => None,
    };
    let summary = TrainingSummary::new(name, &scenario.plan, &record, &notes)
        .compressed(compressed)
        .recovered(Recovered::of(&scenario.plan, &record, disturbances, recovery), &scenario.plan)
        .explained(explanation.as_ref());
    Ok(Ran { record, summary, explanation, weights })
}

/// An explanation simulates a step some ten times; larger ones are explained when asked for.
const MOST_EVENTS: u64 = 100_000;
const MOST_RANKS: u32 = 16_384;

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
    let needed = |rank: Rank| {
        let peak = memory.peak(rank);
        peak.total + plan.lost_between(&peak.by_use)
    };
    plan.simulated_ranks().any(|rank| needed(rank) > capacity(rank))
}

/// Why the step of median duration took as long as it did; nothing where replicas or stages go on by themselves
/// and a run has no steps that end.
fn explained(
    scenario: &TrainingScenario,
    record: &TrainingRecord,
) -> Result<Option<Explanation>, TrainingFailure> {
    if scenario.plan.is_asynchronous() {
        return Ok(None);
    }
    let report = &record.steps[record.median_step()];
    let run = Setup {
        plan: record.plan_of(report.step).unwrap_or(&scenario.plan),
        compute: &*scenario.compute,
        network: &*scenario.network,
        disturbances: &scenario.disturbances,
    };
    why::explain(&run, report).map(Some)
}

/// Makes the trained model smaller in every way that is asked for.
fn compress(
    scenario: &TrainingScenario,
    methods: &Methods,
    weights: &[(Parameter, Vec<f32>)],
) -> Result<ModelCompressed, Failure> {
    let batches = scenario.batches().expect("a model that was really trained");
    let trained = model_compression::Trained {
        plan: &scenario.plan,
        weights,
        batches: &batches,
        seed: scenario.seed,
        compute: &*scenario.compute,
        network: &*scenario.network,
    };
    let name = &scenario.file.name;
    let mut progress = Progress::of(methods.methods.len() as u64 + 1, "models");
    let mut begun = 0;
    let rows = model_compression::study(trained, methods, |method| {
        progress.tell(begun, || format!("{name}: making it smaller: {method}"));
        begun += 1;
    });
    let rows = rows.map_err(|failure| Failure::Run(failure.to_string()))?;
    progress.end(&format!("{name}: {begun} models"));
    Ok(ModelCompressed::of(&scenario.plan, methods, &rows))
}

/// Saves a trained model.
fn save(path: &Path, weights: &Weights, tokens: Option<Tokens>) -> Result<(), Failure> {
    for (path, bytes) in checkpoint::files(path, weights, tokens) {
        let name = path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let artefact = Artefact { name, bytes };
        writer::write(folder, &[artefact]).map_err(|why| Failure::Files(why.to_string()))?;
        eprintln!("saved: {}", path.display());
    }
    Ok(())
}

/// What came of training.
pub(crate) struct Trained {
    /// What was recorded; what had been until then, if it failed.
    pub record: TrainingRecord,
    /// Why it failed.
    pub failure: Option<String>,
    /// What was learned, where anything was computed.
    pub weights: Option<Weights>,
}

/// Trains a scenario under a progress line, with one step kept whole where it is to be shown; what had been
/// recorded stands if it fails.
pub(crate) fn train(scenario: &TrainingScenario, name: &str, shows: bool) -> Trained {
    let plan = &scenario.plan;
    let state = scenario.state();
    let mut numbers: Option<Values> = scenario.values(&state);
    let mut progress = Progress::new(u64::from(plan.steps));
    let mut recorder = TrainingRecorder::new(
        plan.simulated_ranks().chain(plan.server_ranks()).collect(),
        plan.steps,
        scenario.file.training.evaluate_every,
        |step: &StepReport| progress.tell(u64::from(step.step.0) + 1, || step_line(name, plan.steps, step)),
    );
    if plan.schedule.stashing().is_some() {
        // In the last step the pipeline runs empty; in the middle it is as it mostly is.
        recorder = recorder.showing(StepIndex(plan.steps / 2));
    }
    if !shows {
        recorder = recorder.without_whole_step();
    }
    let (compute, values) = (&*scenario.compute, numbers.as_mut());
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
    let failure = ran.err().map(|failure| failure.to_string());
    let last = record.plan_of(StepIndex(plan.steps - 1)).unwrap_or(plan);
    let weights = numbers.filter(|_| failure.is_none()).map(|values| scenario.learned(last, &values));
    Trained { record, failure, weights }
}

fn step_line(name: &str, steps: u32, step: &StepReport) -> String {
    let loss = step.loss.map_or(String::new(), |loss| format!(" | loss {loss:.4}"));
    format!("{name}: step {}/{steps}{loss} | simulated {}", step.step.0 + 1, step.end)
}
