//! Runs a cluster scenario.

use crate::cli::Failure;
use crate::cli::run::{Outcome, json};
use crate::cluster::{self, ClusterOutcome};
use crate::config::{self, ClusterScenario};
use crate::report::cluster::{ClusterSummary, artefacts, table};

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
