//! Runs a workload whose stages follow each other: what training learns is what serving answers with.

use std::sync::Arc;

use crate::cli::Failure;
use crate::cli::run::memory::Again;
use crate::cli::run::{Outcome, json, serving, training};
use crate::config::{self, StagesScenario};
use crate::ids::StepIndex;
use crate::report;
use crate::report::html::Chapter;
use crate::report::preparation::PreparationSummary;
use crate::report::stages::{StageSpan, StagesSummary, artefacts, table};
use crate::units::SimTime;

/// Prepares, trains and serves, and tells what came of it.
pub(crate) fn run(
    scenario: &StagesScenario,
    report: bool,
    explain: bool,
    again: Again,
) -> Result<Outcome, Failure> {
    let of_training = &scenario.training;
    let trained = training::simulate(of_training, report, explain, again)?;
    let mut of_serving = scenario.serving.clone();
    if let Some(words) = &mut of_serving.words
        && words.weights.is_none()
    {
        words.weights = trained.weights.clone().map(Arc::new);
    }
    let (served, serving_summary) = serving::simulate(&of_serving)?;
    let prepared = of_training.prepared.as_ref().map(|prepared| {
        let (asked, outcome) = (&prepared.scenario, &prepared.outcome);
        PreparationSummary::new(&of_training.file.name, &asked.plan, outcome, &asked.notes)
    });
    let ready = of_training.prepared.as_ref().map(|prepared| prepared.outcome.makespan);
    let spans = spans(ready, of_training.plan.input_ready(StepIndex(0)), &trained, served.end);
    let summary = StagesSummary::new(&spans, prepared, trained.summary.clone(), serving_summary);
    let mut chapters: Vec<(&'static str, Chapter)> = Vec::new();
    if report {
        if let (Some(prepared), Some(summary)) = (&of_training.prepared, &summary.preparation) {
            let chapter = report::preparation::chapter(&prepared.scenario.plan, &prepared.outcome, summary);
            chapters.push(("preparation", chapter));
        }
        let explanation = trained.explanation.as_ref();
        let (plan, record) = (&of_training.plan, &trained.record);
        chapters.push(("training", report::training::chapter(plan, record, &trained.summary, explanation)));
        let slo = &of_serving.file.serving.slo;
        let chapter = report::serving::chapter(&of_serving.plan, &served, slo, &summary.serving);
        chapters.push(("serving", chapter));
    }
    let mut text = table(&summary);
    if let Some(prepared) = &summary.preparation {
        text += &format!("\n{}", report::preparation::table(prepared));
    }
    text += &format!("\n{}", report::training::table(&trained.summary, trained.explanation.as_ref()));
    text += &format!("\n{}", report::serving::table(&summary.serving));
    let files = || artefacts(&spans, &summary, chapters, &config::write(&scenario.file()));
    Ok(Outcome {
        name: scenario.training.file.name.clone(),
        json: json(&summary),
        table: text,
        artefacts: if report { files() } else { Vec::new() },
    })
}

/// When each stage was at work: training from when its first input was there, serving from when training had ended.
fn spans(
    prepared: Option<SimTime>,
    first_input: SimTime,
    trained: &training::Ran,
    served: SimTime,
) -> Vec<StageSpan> {
    let preparation = prepared.map(|end| StageSpan { name: "preparation", start: SimTime::ZERO, end });
    let end = trained.record.steps.last().map_or(SimTime::ZERO, |step| step.end);
    let training = StageSpan { name: "training", start: first_input, end };
    let serving = StageSpan { name: "serving", start: end, end: end + served.since(SimTime::ZERO) };
    preparation.into_iter().chain([training, serving]).collect()
}
