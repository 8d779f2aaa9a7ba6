//! The report of a serving run: summary, table, figures, the list of requests, and the page.

pub mod comparison;
mod figures;
mod summary;
mod table;

pub use summary::{Answered, Goodput, KvUse, ServingSummary, Spread, Throughput};
use table::SHOWN_ANSWERS;
pub use table::{describe, table};

use std::fmt::Write as _;

use crate::report::html::{Block, Chapter, Section, page};
use crate::report::writer::Artefact;
use crate::serving::slo::Slo;
use crate::serving::{ServingOutcome, ServingPlan};

/// Every file of the report: page, figures, summary and the list of requests.
pub fn artefacts(
    plan: &ServingPlan,
    outcome: &ServingOutcome,
    slo: &Slo,
    summary: &ServingSummary,
    scenario: &str,
) -> Vec<Artefact> {
    let Chapter { mut sections, files } = chapter(plan, outcome, slo, summary);
    sections.push(Section {
        title: "The scenario, defaults filled in".into(),
        blocks: vec![Block::Preformatted(scenario.to_owned())],
    });
    let json = serde_json::to_string_pretty(summary).expect("a summary is plain data");
    let own = [
        Artefact::text("report.html", page(&format!("trainyard: {}", summary.name), &sections)),
        Artefact::text("summary.json", json + "\n"),
    ];
    own.into_iter().chain(files).collect()
}

/// What a page says of a serving run, with the files beside it.
pub fn chapter(plan: &ServingPlan, outcome: &ServingOutcome, slo: &Slo, summary: &ServingSummary) -> Chapter {
    let figures = figures::all(plan, outcome, slo);
    let mut sections =
        vec![Section { title: "Summary".into(), blocks: vec![Block::Preformatted(table(summary))] }];
    if let Some(answers) = summary.answers.as_ref().filter(|answers| answers.len() > SHOWN_ANSWERS) {
        let all = table::conversation(answers, answers.len());
        sections.push(Section { title: "Answers".into(), blocks: vec![Block::Preformatted(all)] });
    }
    sections.extend(figures.iter().map(|figure| Section {
        title: figure.title.into(),
        blocks: vec![Block::Figure { caption: figure.caption.into(), svg: figure.svg.clone() }],
    }));
    let mut files = vec![Artefact::text("requests.csv", requests(plan, outcome))];
    files
        .extend(figures.into_iter().map(|figure| Artefact::text(format!("{}.svg", figure.name), figure.svg)));
    Chapter { sections, files }
}

/// What became of each request, a row each; times in seconds.
fn requests(plan: &ServingPlan, outcome: &ServingOutcome) -> String {
    let mut text = String::from(
        "arrival_s,prompt,output,replica,start_s,first_token_s,finish_s,preemptions,handed_over_s\n",
    );
    for (request, record) in plan.requests.iter().zip(outcome.requests.iter()) {
        writeln!(
            text,
            "{},{},{},{},{},{},{},{},{}",
            request.arrival.seconds(),
            request.prompt,
            request.output,
            record.replica.0,
            record.start.seconds(),
            record.first_token.seconds(),
            record.finish.seconds(),
            record.preemptions,
            record.handed_over.seconds(),
        )
        .expect("a string");
    }
    text
}
