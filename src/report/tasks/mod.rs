//! The report of a task run: summary, table, figures, the list of tasks, and the page.

pub mod comparison;
mod figures;
mod summary;
mod table;

pub use summary::{DeviceSummary, LowerBounds, TasksSummary};
pub use table::{describe, table};

use std::fmt::Write as _;

use crate::report::escape::csv_field;
use crate::report::html::{Block, Section, page};
use crate::report::writer::Artefact;
use crate::tasks::outcome::Ended;
use crate::tasks::{TaskOutcome, TaskPlan};

/// Every file of the report: page, figures, summary and the list of tasks.
pub fn artefacts(
    plan: &TaskPlan,
    outcome: &TaskOutcome,
    summary: &TasksSummary,
    scenario: &str,
) -> Vec<Artefact> {
    let figures = figures::all(plan, outcome, summary);
    let json = serde_json::to_string_pretty(summary).expect("a summary is plain data");
    let mut sections =
        vec![Section { title: "Summary".into(), blocks: vec![Block::Preformatted(table(summary))] }];
    sections.extend(figures.iter().map(|figure| Section {
        title: figure.title.into(),
        blocks: vec![Block::Figure { caption: figure.caption.clone(), svg: figure.svg.clone() }],
    }));
    sections.push(Section {
        title: "The scenario, defaults filled in".into(),
        blocks: vec![Block::Preformatted(scenario.to_owned())],
    });
    let mut files = vec![
        Artefact::text("report.html", page(&format!("trainyard: {}", summary.name), &sections)),
        Artefact::text("summary.json", json + "\n"),
        Artefact::text("tasks.csv", runs(plan, outcome)),
    ];
    files
        .extend(figures.into_iter().map(|figure| Artefact::text(format!("{}.svg", figure.name), figure.svg)));
    files
}

/// Every run of a task, a row each, in order of their ends; times in seconds.
fn runs(plan: &TaskPlan, outcome: &TaskOutcome) -> String {
    let mut text = String::from("task,device,start_s,end_s,estimated_s,ended\n");
    for stay in &outcome.stays {
        let ended = match stay.ended {
            Ended::Done => "done",
            Ended::Lost => "lost",
            Ended::Aborted => "aborted",
        };
        let estimate = plan.estimates.time(stay.task, stay.device).map_or(0.0, |time| time.seconds());
        writeln!(
            text,
            "{},{},{},{},{estimate},{ended}",
            csv_field(&plan.graph.task(stay.task).name),
            csv_field(&plan.machine.devices[stay.device].name),
            stay.start.seconds(),
            stay.end.seconds(),
        )
        .expect("a string");
    }
    text
}
