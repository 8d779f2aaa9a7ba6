//! Runs a serving scenario.

use crate::cli::Failure;
use crate::cli::run::seeds::{self, Trade};
use crate::cli::run::{Outcome, Workload, json};
use crate::config::{self, Scenario, ServingScenario};
use crate::report::comparison::over_seeds::Measure;
use crate::report::serving::comparison::{Drawn, MEASURES, figures, measured};
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

/// Servings, compared over seeds.
struct Servings;

impl Trade for Servings {
    type Scenario = ServingScenario;
    type Drawn = Drawn;
    const MEASURES: &'static [Measure] = &MEASURES;

    fn scenario(scenario: Scenario) -> Option<ServingScenario> {
        if let Scenario::Serving(scenario) = scenario { Some(*scenario) } else { None }
    }
    fn name_and_seed(scenario: &ServingScenario) -> (&str, u64) {
        (&scenario.file.name, scenario.file.seed.0)
    }
    fn depends_on_seed(scenario: &ServingScenario) -> bool {
        scenario.depends_on_seed()
    }
    fn run(scenario: &ServingScenario, drawn: &mut Drawn) -> Result<Vec<f64>, Failure> {
        let (outcome, summary) = simulate(scenario)?;
        drawn.add(&scenario.plan, &outcome);
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
    first: Vec<ServingScenario>,
    seeds: Option<u32>,
) -> Result<(Outcome, bool), Failure> {
    seeds::compare::<Servings>(workload, all, first, seeds)
}
