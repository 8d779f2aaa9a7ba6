//! Runs a task scenario, or compares several.

use crate::cli::Failure;
use crate::cli::progress::Progress;
use crate::cli::run::{Outcome, Workload, json};
use crate::config::{self, Scenario, TasksScenario};
use crate::report::comparison::over_seeds::{Comparison, Variant};
use crate::report::tasks::comparison::{Drawn, MEASURES, figures, measured, share_bounds};
use crate::report::tasks::{TasksSummary, artefacts, table};
use crate::tasks::values::NoValues;
use crate::tasks::{self, TaskOutcome};

/// Lets every task run to its end, and tells what came of it.
pub(crate) fn run(scenario: &TasksScenario, report: bool) -> Result<Outcome, Failure> {
    let (outcome, summary) = simulate(scenario)?;
    let files = || artefacts(&scenario.plan, &outcome, &summary, &config::write(&scenario.file));
    Ok(Outcome {
        name: scenario.file.name.clone(),
        json: json(&summary),
        table: table(&summary),
        artefacts: if report { files() } else { Vec::new() },
    })
}

/// What came of a scenario, and its numbers.
fn simulate(scenario: &TasksScenario) -> Result<(TaskOutcome, TasksSummary), Failure> {
    let mut factor = scenario.factor();
    let ran = match &mut factor {
        Some(factor) => tasks::run(&scenario.plan, factor),
        None => tasks::run(&scenario.plan, &mut NoValues),
    };
    let outcome = ran.map_err(|failure| Failure::Run(failure.to_string()))?;
    let numeric = factor.map(|factor| factor.rightness());
    if let Some(wrong) = numeric.filter(|numeric| !numeric.is_right()) {
        let why = format!("the factor is wrong: ‖A − L·Lᵀ‖ / ‖A‖ is {:.1e}", wrong.residual);
        return Err(Failure::Run(why));
    }
    let (name, plan) = (&scenario.file.name, &scenario.plan);
    let summary = TasksSummary::new(name, plan, &outcome, numeric, &scenario.notes);
    Ok((outcome, summary))
}

/// Seeds of a comparison whose runs depend on them, unless the user says otherwise.
const SEEDS: u32 = 10;

/// Runs every combination of settings with the same seeds, and tells them apart; also, whether some of
/// them failed.
pub(crate) fn compare(
    workload: &Workload,
    all: Vec<Vec<String>>,
    first: Vec<TasksScenario>,
    seeds: Option<u32>,
) -> Result<(Outcome, bool), Failure> {
    let chance = first.iter().any(TasksScenario::depends_on_seed);
    let count = u64::from(seeds.unwrap_or(if chance { SEEDS } else { 1 }));
    let mut comparison = Comparison {
        name: format!("{}_compared", first[0].file.name),
        seeds: (0..count).map(|more| first[0].file.seed.0.wrapping_add(more)).collect(),
        measures: MEASURES.to_vec(),
        variants: Vec::new(),
        notes: Vec::new(),
    };
    if !chance && count == 1 {
        comparison.notes.push("nothing in these runs is left to chance: one run of each tells all".into());
    }
    let mut progress = Progress::of(count * all.len() as u64, "runs");
    let mut runs: Vec<Result<Vec<TasksSummary>, String>> = Vec::new();
    for (settings, scenario) in all.iter().zip(first) {
        let before = runs.len() as u64 * count;
        let tell = |done| progress.tell(before + done, || settings.join(" "));
        runs.push(match over_seeds(workload, settings, scenario, count, tell) {
            Ok(summaries) => Ok(summaries),
            Err(Failure::Run(why)) => Err(why),
            Err(other) => return Err(other),
        });
    }
    if all.iter().flatten().all(|setting| setting.starts_with("tasks.scheduler")) {
        share_bounds(runs.iter_mut().flatten());
    }
    let drawn: Vec<Drawn> = all
        .into_iter()
        .zip(&runs)
        .map(|(settings, ran)| {
            let variant =
                Variant { settings, values: ran.as_ref().map(|ran| columns(ran)).map_err(Clone::clone) };
            let drawn = Drawn::of(variant.name(), ran.as_deref().unwrap_or_default());
            comparison.variants.push(variant);
            drawn
        })
        .collect();
    progress.end(&format!("{}: {} variants", comparison.name, drawn.len()));
    let failed = runs.iter().any(Result::is_err);
    let outcome = Outcome {
        name: comparison.name.clone(),
        json: json(&comparison.summary()),
        table: comparison.table(),
        artefacts: comparison.artefacts(figures(&drawn)),
    };
    Ok((outcome, failed))
}

/// Runs a scenario and then the same with the following seeds.
fn over_seeds(
    workload: &Workload,
    settings: &[String],
    scenario: TasksScenario,
    count: u64,
    mut tell: impl FnMut(u64),
) -> Result<Vec<TasksSummary>, Failure> {
    let start = scenario.file.seed.0;
    let mut scenario = scenario;
    let mut summaries = Vec::new();
    for more in 0..count {
        if more > 0 {
            scenario = seeded(workload, settings, start.wrapping_add(more))?;
        }
        summaries.push(simulate(&scenario)?.1);
        tell(more + 1);
    }
    Ok(summaries)
}

/// By measure, a number for each seed.
fn columns(summaries: &[TasksSummary]) -> Vec<Vec<f64>> {
    let rows: Vec<_> = summaries.iter().map(measured).collect();
    (0..MEASURES.len()).map(|measure| rows.iter().map(|row| row[measure]).collect()).collect()
}

/// A combination of settings with a seed.
fn seeded(workload: &Workload, settings: &[String], seed: u64) -> Result<TasksScenario, Failure> {
    match workload.seeded(seed).scenario(settings)? {
        Scenario::Tasks(scenario) => Ok(*scenario),
        Scenario::Training(_)
        | Scenario::Plan(_)
        | Scenario::Preparation(_)
        | Scenario::Serving(_)
        | Scenario::Stages(_)
        | Scenario::Cluster(_) => {
            unreachable!("a seed does not change the trade")
        }
    }
}
