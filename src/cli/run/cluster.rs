//! Runs a cluster scenario, or compares several.

use crate::cli::Failure;
use crate::cli::run::seeds::{self, Trade};
use crate::cli::run::{Outcome, Workload, json};
use crate::cluster::{self, ClusterOutcome};
use crate::config::{self, ClusterScenario, Scenario};
use crate::report::cluster::comparison::{Drawn, MEASURES, figures, measured};
use crate::report::cluster::{ClusterSummary, artefacts, table};
use crate::report::comparison::over_seeds::Measure;

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

/// Clusters, compared over seeds.
struct Clusters;

impl Trade for Clusters {
    type Scenario = ClusterScenario;
    type Drawn = Drawn;
    const MEASURES: &'static [Measure] = &MEASURES;

    fn scenario(scenario: Scenario) -> Option<ClusterScenario> {
        if let Scenario::Cluster(scenario) = scenario { Some(*scenario) } else { None }
    }
    fn name_and_seed(scenario: &ClusterScenario) -> (&str, u64) {
        (&scenario.file.name, scenario.file.seed.0)
    }
    fn depends_on_seed(scenario: &ClusterScenario) -> bool {
        scenario.depends_on_seed()
    }
    fn run(scenario: &ClusterScenario, drawn: &mut Drawn) -> Result<Vec<f64>, Failure> {
        let (outcome, summary) = simulate(scenario)?;
        drawn.add(&scenario.plan, &outcome, &summary);
        Ok(measured(&summary).to_vec())
    }
    fn figures(variants: &[(String, Drawn)]) -> Vec<(&'static str, &'static str, String, String)> {
        figures(variants)
    }
}

/// Runs every combination of settings with the same seeds, and tells them apart; also, whether some of
/// them failed.
pub(crate) fn compare(
    workload: &Workload,
    all: Vec<Vec<String>>,
    first: Vec<ClusterScenario>,
    seeds: Option<u32>,
) -> Result<(Outcome, bool), Failure> {
    seeds::compare::<Clusters>(workload, all, first, seeds)
}
