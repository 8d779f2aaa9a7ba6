//! Runs a task scenario, or compares several.

use crate::cli::Failure;
use crate::cli::progress::Progress;
use crate::cli::run::{Outcome, Workload, json};
use crate::config::{self, Scenario, TasksScenario};
use crate::report::comparison::over_seeds::{Comparison, Variant};
use crate::report::tasks::comparison::{Drawn, MEASURES, figures, measured};
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
    let outcome =
        tasks::run(&scenario.plan, &mut NoValues).map_err(|failure| Failure::Run(failure.to_string()))?;
    let summary = TasksSummary::new(&scenario.file.name, &scenario.plan, &outcome, &scenario.notes);
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
    let mut drawn = Vec::new();
    for (settings, scenario) in all.into_iter().zip(first) {
        let mut variant = Variant { settings, values: Ok(vec![Vec::new(); MEASURES.len()]) };
        let mut picture = Drawn { name: variant.name(), ..Drawn::default() };
        let done = drawn.len() as u64 * count;
        let ran = over_seeds(workload, &variant.settings, scenario, count, |more, summary| {
            picture.add(summary);
            progress.tell(done + more + 1, || picture.name.clone());
            let values = variant.values.as_mut().expect("it has not failed yet");
            values.iter_mut().zip(measured(summary)).for_each(|(values, value)| values.push(value));
        });
        match ran {
            Ok(()) => {}
            Err(Failure::Run(why)) => variant.values = Err(why),
            Err(other) => return Err(other),
        }
        comparison.variants.push(variant);
        drawn.push(picture);
    }
    progress.end(&format!("{}: {} variants", comparison.name, drawn.len()));
    let failed = comparison.variants.iter().any(|variant| variant.values.is_err());
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
    mut tell: impl FnMut(u64, &TasksSummary),
) -> Result<(), Failure> {
    let start = scenario.file.seed.0;
    let mut scenario = scenario;
    for more in 0..count {
        if more > 0 {
            scenario = seeded(workload, settings, start.wrapping_add(more))?;
        }
        let (_, summary) = simulate(&scenario)?;
        tell(more, &summary);
    }
    Ok(())
}

/// A combination of settings with a seed.
fn seeded(workload: &Workload, settings: &[String], seed: u64) -> Result<TasksScenario, Failure> {
    match workload.seeded(seed).scenario(settings)? {
        Scenario::Tasks(scenario) => Ok(*scenario),
        Scenario::Training(_) | Scenario::Cluster(_) => unreachable!("a seed does not change the trade"),
    }
}
