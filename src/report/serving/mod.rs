//! The report of a serving run: summary, table, figures, the list of requests, and the page.

pub mod comparison;
mod figures;
mod summary;
mod table;

pub use summary::{Goodput, KvUse, ServingSummary, Spread, Throughput};
pub use table::{describe, table};

use std::fmt::Write as _;

use crate::report::html::{Block, Section, page};
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
    let figures = figures::all(plan, outcome, slo);
    let json = serde_json::to_string_pretty(summary).expect("a summary is plain data");
    let mut sections =
        vec![Section { title: "Summary".into(), blocks: vec![Block::Preformatted(table(summary))] }];
    sections.extend(figures.iter().map(|figure| Section {
        title: figure.title.into(),
        blocks: vec![Block::Figure { caption: figure.caption.into(), svg: figure.svg.clone() }],
    }));
    sections.push(Section {
        title: "The scenario, defaults filled in".into(),
        blocks: vec![Block::Preformatted(scenario.to_owned())],
    });
    let mut files = vec![
        Artefact::text("report.html", page(&format!("trainyard: {}", summary.name), &sections)),
        Artefact::text("summary.json", json + "\n"),
        Artefact::text("requests.csv", requests(plan, outcome)),
    ];
    files
        .extend(figures.into_iter().map(|figure| Artefact::text(format!("{}.svg", figure.name), figure.svg)));
    files
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
