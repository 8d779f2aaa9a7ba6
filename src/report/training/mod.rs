//! The report of a training run: summary, table, figures, trace and page.

mod figures;
mod summary;
mod table;

pub use summary::{BytesMoved, TrainingSummary};
pub use table::{describe, table};

use crate::metrics::TrainingRecord;
use crate::report::html::{Block, Section, page};
use crate::report::perfetto;
use crate::report::writer::Artefact;
use crate::training::TrainingPlan;

/// Every file of the report: page, figures, summary and trace.
pub fn artefacts(
    plan: &TrainingPlan,
    record: &TrainingRecord,
    summary: &TrainingSummary,
    scenario: &str,
) -> Vec<Artefact> {
    let figures = drawn(plan, record);
    let json = serde_json::to_string_pretty(summary).expect("a summary is plain data");
    let mut files = vec![
        Artefact::text("report.html", html(summary, scenario, &figures)),
        Artefact::text("summary.json", json + "\n"),
    ];
    if let Some(step) = &record.shown {
        files.push(Artefact::text("trace.json", perfetto::trace(step, &plan.topology)));
    }
    files
        .extend(figures.into_iter().map(|figure| Artefact::text(format!("{}.svg", figure.name), figure.svg)));
    files
}

/// A figure with its file's name and what it shows.
struct Figure {
    name: &'static str,
    title: &'static str,
    caption: String,
    svg: String,
}

fn drawn(plan: &TrainingPlan, record: &TrainingRecord) -> Vec<Figure> {
    let mut all = Vec::new();
    let mut add = |name, title, caption: String, svg: Option<String>| {
        all.extend(svg.map(|svg| Figure { name, title, caption, svg }));
    };
    add(
        "loss",
        "Loss against simulated time",
        "Training loss of every step, and the loss on text never trained on.".into(),
        figures::loss(record),
    );
    if let Some(step) = &record.shown {
        let caption = format!(
            "{}: what each stream of each rank did; numbers are micro-batches. trace.json opens in Perfetto.",
            step.step
        );
        add("timeline", "Timeline of one step", caption, Some(figures::timeline(step)));
    }
    let median = record.median_step();
    add(
        "breakdown",
        "Where the time went",
        "The median step of each rank. Communication counts where no computation hides it.".into(),
        Some(figures::breakdown(&record.breakdowns[median])),
    );
    if let Some(step) = &record.shown {
        add(
            "links",
            "Links",
            "How busy links were over the step; each payload is spread evenly over its time on the way."
                .into(),
            figures::links(step, plan),
        );
        add(
            "memory",
            "Memory",
            "Memory of the fullest rank over the step, by use.".into(),
            figures::memory(record, step),
        );
    }
    all
}

fn html(summary: &TrainingSummary, scenario: &str, figures: &[Figure]) -> String {
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
    page(&format!("trainyard: {}", summary.name), &sections)
}
