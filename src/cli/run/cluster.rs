//! Runs a cluster scenario, or compares several.

use crate::cli::Failure;
use crate::cli::progress::Progress;
use crate::cli::run::{Outcome, Workload, json};
use crate::cluster::{self, ClusterOutcome};
use crate::config::{self, ClusterScenario, Scenario};
use crate::report::cluster::comparison::{Drawn, MEASURES, figures, measured};
use crate::report::cluster::{ClusterSummary, artefacts, table};
use crate::report::comparison::over_seeds::{Comparison, Variant};

/// Lets every job run to its end, and tells what came of it.
pub(crate) fn run(scenario: &ClusterScenario, report: bool) -> Result<Outcome, Failure> {
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
pub(crate) fn simulate(scenario: &ClusterScenario) -> Result<(ClusterOutcome, ClusterSummary), Failure> {
    let outcome = cluster::run(&scenario.plan, scenario.profiler())
        .map_err(|failure| Failure::Run(failure.to_string()))?;
    let trained = scenario.trained.as_ref().map_or(0, |trained| trained.timed());
    let name = &scenario.file.name;
    let summary =
        ClusterSummary::new(name, &scenario.plan, &outcome, scenario.skipped_rows, trained, &scenario.notes);
    Ok((outcome, summary))
}

/// Seeds of a comparison whose runs depend on them, unless the user says otherwise.
const SEEDS: u32 = 10;

/// Runs every combination of settings with the same seeds, and tells them apart; also, whether some of
/// them failed.
pub(crate) fn compare(
    workload: &Workload,
    all: Vec<Vec<String>>,
    first: Vec<ClusterScenario>,
    seeds: Option<u32>,
) -> Result<(Outcome, bool), Failure> {
    let chance = first.iter().any(ClusterScenario::depends_on_seed);
    let count = seeds.unwrap_or(if chance { SEEDS } else { 1 });
    // Where seeds are what is varied, each variant starts from its own.
    let seeds = (0..u64::from(count)).map(|more| first[0].file.seed.0.wrapping_add(more)).collect();
    let mut comparison = Comparison {
        name: format!("{}_compared", first[0].file.name),
        seeds,
        measures: MEASURES.to_vec(),
        variants: Vec::new(),
        notes: Vec::new(),
    };
    if !chance && count == 1 {
        comparison.notes.push("nothing in these runs is left to chance: one run of each tells all".into());
    }
    let mut progress = Progress::of(u64::from(count) * all.len() as u64, "runs");
    let mut drawn = Vec::new();
    for (settings, scenario) in all.into_iter().zip(first) {
        let mut variant = Variant { settings, values: Ok(vec![Vec::new(); MEASURES.len()]) };
        let mut picture = Drawn { name: variant.name(), ..Drawn::default() };
        let start = scenario.file.seed.0;
        let mut scenario = Some(scenario);
        for more in 0..u64::from(count) {
            let scenario = match scenario.take() {
                Some(scenario) => scenario,
                None => seeded(workload, &variant.settings, start.wrapping_add(more))?,
            };
            let ran = simulate(&scenario);
            let done = drawn.len() as u64 * u64::from(count) + more + 1;
            progress.tell(done, || format!("{}: seed {}", picture.name, start.wrapping_add(more)));
            match ran {
                Ok((outcome, summary)) => {
                    picture.add(&scenario.plan, &outcome, &summary);
                    if let Ok(values) = &mut variant.values {
                        values
                            .iter_mut()
                            .zip(measured(&summary))
                            .for_each(|(values, value)| values.push(value));
                    }
                }
                Err(Failure::Run(why)) => {
                    variant.values = Err(why);
                    break;
                }
                Err(other) => return Err(other),
            }
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

/// A combination of settings with a seed.
fn seeded(workload: &Workload, settings: &[String], seed: u64) -> Result<ClusterScenario, Failure> {
    match workload.seeded(seed).scenario(settings)? {
        Scenario::Cluster(scenario) => Ok(*scenario),
        Scenario::Training(_)
        | Scenario::Plan(_)
        | Scenario::Preparation(_)
        | Scenario::Tasks(_)
        | Scenario::Serving(_) => {
            unreachable!("a seed does not change the trade")
        }
    }
}
