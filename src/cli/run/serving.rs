//! Runs a serving scenario.

use crate::cli::Failure;
use crate::cli::run::{Outcome, json};
use crate::config::{self, ServingScenario};
use crate::report::serving::{ServingSummary, artefacts, table};
use crate::serving::{self, ServingOutcome};

/// Serves every request to its end, and tells what came of it.
pub(crate) fn run(scenario: &ServingScenario, report: bool) -> Result<Outcome, Failure> {
    let (outcome, summary) = simulate(scenario)?;
    let slo = &scenario.file.serving.slo;
    let files = || artefacts(&scenario.plan, &outcome, slo, &summary, &config::write(&scenario.file));
    Ok(Outcome {
        name: scenario.file.name.clone(),
        json: json(&summary),
        table: table(&summary),
        artefacts: if report { files() } else { Vec::new() },
    })
}

/// What came of a scenario, and its numbers.
pub(crate) fn simulate(scenario: &ServingScenario) -> Result<(ServingOutcome, ServingSummary), Failure> {
    let mut cost = scenario.cost();
    let outcome = serving::run(&scenario.plan, &mut *cost, scenario.network())
        .map_err(|failure| Failure::Run(failure.to_string()))?;
    let (file, notes) = (&scenario.file, &scenario.notes);
    let summary = ServingSummary::new(
        &file.name,
        &scenario.plan,
        &outcome,
        &file.serving.slo,
        scenario.skipped_rows,
        notes,
    );
    Ok((outcome, summary))
}
