//! The report of a preparation: summary, table, figures, what every stage did, and the page.

pub mod comparison;
mod figures;
mod summary;
mod table;

pub use summary::{PreparationSummary, StageSummary};
pub use table::{describe, table};

use std::fmt::Write as _;

use crate::preparation::{PreparationOutcome, PreparationPlan};
use crate::report::html::{Block, Chapter, Section, page};
use crate::report::writer::Artefact;

/// Every file of the report: page, figures, summary, what stages did, and the sequences themselves.
pub fn artefacts(
    plan: &PreparationPlan,
    outcome: &PreparationOutcome,
    summary: &PreparationSummary,
    scenario: &str,
) -> Vec<Artefact> {
    let Chapter { mut sections, files } = chapter(plan, outcome, summary);
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

/// What a page says of a preparation, with the files beside it.
pub fn chapter(
    plan: &PreparationPlan,
    outcome: &PreparationOutcome,
    summary: &PreparationSummary,
) -> Chapter {
    let figures = figures::all(plan, outcome, summary);
    let mut sections =
        vec![Section { title: "Summary".into(), blocks: vec![Block::Preformatted(table(summary))] }];
    sections.extend(figures.iter().map(|figure| Section {
        title: figure.title.into(),
        blocks: vec![Block::Figure { caption: figure.caption.into(), svg: figure.svg.clone() }],
    }));
    let mut files = vec![
        Artefact::text("stays.csv", stays(outcome)),
        Artefact { name: "sequences.u32".into(), bytes: outcome.prepared.bytes() },
    ];
    files
        .extend(figures.into_iter().map(|figure| Artefact::text(format!("{}.svg", figure.name), figure.svg)));
    Chapter { sections, files }
}

/// Every shard in every stage, a row each; times in seconds.
fn stays(outcome: &PreparationOutcome) -> String {
    let mut text = String::from("worker,stage,shard,waited_s,start_s,end_s,left_s,bytes_in,bytes_out\n");
    for stay in &outcome.stays {
        writeln!(
            text,
            "{},{},{},{},{},{},{},{},{}",
            stay.worker.0,
            stay.stage.name(),
            stay.shard.map_or(String::new(), |shard| shard.0.to_string()),
            stay.waited.seconds(),
            stay.start.seconds(),
            stay.end.seconds(),
            stay.left.seconds(),
            stay.amounts.bytes_in.get(),
            stay.amounts.bytes_out.get(),
        )
        .expect("a string");
    }
    text
}
