//! Runs a serving scenario.

use std::sync::Arc;

use crate::cli::Failure;
use crate::cli::run::seeds::{self, Trade};
use crate::cli::run::{Outcome, Workload, json};
use crate::config::serving::Words;
use crate::config::{self, Scenario, ServingScenario};
use crate::report::comparison::over_seeds::Measure;
use crate::report::serving::comparison::{Drawn, MEASURES, figures, measured};
use crate::report::serving::{ServingSummary, artefacts, table};
use crate::serving::generation::Generation;
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
    let plan = &scenario.plan;
    let mut generation = scenario.words.as_ref().map(|words| generation(scenario, words));
    let ran = match &mut generation {
        Some(generation) => serving::answer(plan, &mut *cost, scenario.network(), generation),
        None => serving::run(plan, &mut *cost, scenario.network()),
    };
    let outcome = ran.map_err(|failure| Failure::Run(failure.to_string()))?;
    let (file, notes) = (&scenario.file, &scenario.notes);
    let slo = &file.serving.slo;
    let summary = ServingSummary::new(&file.name, plan, &outcome, slo, scenario.skipped_rows, notes);
    let summary = match (&scenario.words, generation) {
        (Some(words), Some(generation)) => {
            let answers = held_against_alone(scenario, words, &generation)?;
            summary.answered(plan, &outcome, answers)
        }
        _ => summary,
    };
    Ok((outcome, summary))
}

/// What computes the answers.
fn generation(scenario: &ServingScenario, words: &Words) -> Generation {
    let (plan, keys) = (&scenario.plan, &scenario.file.serving);
    let network = Arc::new(words.network(u64::from(keys.tensor), u64::from(keys.pipeline)));
    let replicas = plan.replicas.len();
    Generation::new(network, replicas, plan.pool.block(), &words.prompts, words.sampling, plan.seed)
}

/// Prompts and answers, once every answer has been held against that of its prompt alone.
fn held_against_alone(
    scenario: &ServingScenario,
    words: &Words,
    generation: &Generation,
) -> Result<Vec<(String, String, Vec<u32>)>, Failure> {
    let whole = words.network(1, 1);
    let plan = &scenario.plan;
    let mut answers = Vec::new();
    for (id, prompt) in words.prompts.enumerate() {
        let tokens = generation.answer(id);
        let alone = Generation::alone(&whole, prompt, plan.requests[id].output, &words.sampling, plan.seed);
        if alone != tokens {
            let [found, expected] = [tokens, &alone].map(|tokens| words.vocabulary.decode(tokens));
            return Err(Failure::Run(format!(
                "`{}` computes something else for {id} than its prompt alone is answered with: {found:?}, not {expected:?}",
                plan.batching.name()
            )));
        }
        let answer = words.vocabulary.decode(tokens);
        answers.push((words.texts[id].clone(), answer, tokens.to_vec()));
    }
    Ok(answers)
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
