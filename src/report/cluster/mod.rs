//! The report of a cluster run: summary, table, figures, the list of jobs, and the page.

pub mod comparison;
mod figures;
mod summary;
mod table;

pub use summary::{ClusterSummary, Spread, UserSummary};
pub use table::{describe, table};

use std::fmt::Write as _;

use crate::cluster::{ClusterOutcome, ClusterPlan};
use crate::report::escape::csv_field;
use crate::report::html::{Block, Section, page};
use crate::report::writer::Artefact;

/// Every file of the report: page, figures, summary and the list of jobs.
pub fn artefacts(
    plan: &ClusterPlan,
    outcome: &ClusterOutcome,
    summary: &ClusterSummary,
    scenario: &str,
) -> Vec<Artefact> {
    let figures = figures::all(plan, outcome);
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
        Artefact::text("jobs.csv", jobs(plan, outcome)),
    ];
    files
        .extend(figures.into_iter().map(|figure| Artefact::text(format!("{}.svg", figure.name), figure.svg)));
    files
}

/// What became of each job, a row each; times in seconds.
fn jobs(plan: &ClusterPlan, outcome: &ClusterOutcome) -> String {
    let mut text = String::from(
        "name,user,devices,arrival_s,start_s,finish_s,jct_s,alone_s,held_s,overhead_s,lost_s,preemptions,failures\n",
    );
    for (id, job) in plan.jobs.enumerate() {
        let record = &outcome.jobs[id];
        writeln!(
            text,
            "{},{},{},{},{},{},{},{},{},{},{},{},{}",
            csv_field(&job.name),
            csv_field(&job.user),
            job.demand.devices,
            job.arrival.seconds(),
            record.start.seconds(),
            record.finish.seconds(),
            record.finish.since(job.arrival).seconds(),
            record.alone.seconds(),
            record.held.seconds(),
            record.overhead.seconds(),
            record.lost.seconds(),
            record.preemptions,
            record.failures,
        )
        .expect("a string");
    }
    text
}
