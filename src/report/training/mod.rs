//! The report of a training run: summary, table, figures, trace and page.

mod experts;
mod figures;
mod recovered;
mod summary;
mod table;
mod why;

pub use experts::ExpertRows;
pub use recovered::Recovered;
pub use summary::{BytesMoved, TrainingSummary};
pub use table::{describe, table};
pub use why::Why;

use crate::metrics::{Breakdown, ExpertUse, Part, TrainingRecord};
use crate::report::figure::{Hue, Svg};
use crate::report::html::{Block, Section, page};
use crate::report::perfetto;
use crate::report::writer::Artefact;
use crate::trace::Activity;
use crate::training::TrainingPlan;
use crate::training::why::Explanation;

/// Every file of the report: page, figures, summary and trace.
pub fn artefacts(
    plan: &TrainingPlan,
    record: &TrainingRecord,
    summary: &TrainingSummary,
    explanation: Option<&Explanation>,
    scenario: &str,
) -> Vec<Artefact> {
    let figures = drawn(plan, record, explanation);
    let json = serde_json::to_string_pretty(summary).expect("a summary is plain data");
    let mut files = vec![
        Artefact::text("report.html", html(summary, explanation, scenario, &figures)),
        Artefact::text("summary.json", json + "\n"),
    ];
    if let Some(step) = &record.shown {
        files.push(Artefact::text("trace.json", perfetto::trace(step, &plan.topology)));
    }
    files.extend(
        figures.into_iter().map(|figure| Artefact::text(format!("{}.svg", figure.name), figure.svg.as_str())),
    );
    files
}

/// A figure with its file's name and what it shows.
struct Figure {
    name: &'static str,
    title: &'static str,
    caption: String,
    svg: Svg,
}

fn drawn(plan: &TrainingPlan, record: &TrainingRecord, explanation: Option<&Explanation>) -> Vec<Figure> {
    let mut all = Vec::new();
    let mut add = |name, title, caption: String, svg: Option<Svg>| {
        all.extend(svg.map(|svg| Figure { name, title, caption, svg }));
    };
    add(
        "loss",
        "Loss against simulated time",
        "Training loss of every step, and the loss on text never trained on.".into(),
        figures::loss(record),
    );
    if let Some(applied) = &record.applied {
        add(
            "staleness",
            "Staleness of gradients",
            "How many gradients of others were applied between the pull of a gradient's weights and itself."
                .into(),
            Some(figures::staleness(applied)),
        );
    }
    add(
        "progress",
        "How far the run had got",
        "Steps done against simulated time: where the line falls, a device failed and the run went back to its last \
         checkpoint."
            .into(),
        recovered::progress(record),
    );
    if let Some(step) = &record.shown {
        let caption = format!(
            "{}: what each stream of each rank did; numbers are micro-batches. trace.json opens in Perfetto.",
            step.step
        );
        add("timeline", "Timeline of one step", caption, Some(figures::timeline(step)));
    }
    add(
        "breakdown",
        "Where the time went",
        "A step of each rank, median or mean. Communication counts where no computation hides it.".into(),
        Some(figures::breakdown(&record.typical_step(plan.steps_differ()))),
    );
    if let Some(used) = ExpertUse::of(record, plan) {
        let caption = "A token counts once for each expert that it meets; what an expert had no room for passed it \
                       by in the residual stream.";
        add("experts", "Tokens of each expert", caption.into(), Some(experts::tokens(&used)));
        let caption = "Dark experts of a layer had more to do than the others in the last step.";
        add("expert_layers", "Tokens by layer and expert", caption.into(), Some(experts::layers(&used)));
        let caption = "The busiest expert of a layer over the mean of its experts, mean over layers; and the \
                       load-balancing loss before its coefficient.";
        add("expert_balance", "Load of experts from step to step", caption.into(), experts::balance(&used));
    }
    add(
        "waterfall",
        "Why a step takes as long as it does",
        "From the model's flops at the devices' peak to the step as it was. Each cause is let in on top of those \
         above it and the step simulated again; what it adds is its bar."
            .into(),
        explanation.map(why::waterfall),
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
            figures::memory(record, step, plan),
        );
    }
    all
}

fn html(
    summary: &TrainingSummary,
    explanation: Option<&Explanation>,
    scenario: &str,
    figures: &[Figure],
) -> String {
    let mut sections = vec![Section {
        title: "Summary".into(),
        blocks: vec![Block::Preformatted(table(summary, explanation))],
    }];
    sections.extend(figures.iter().map(|figure| Section {
        title: figure.title.into(),
        blocks: vec![Block::Figure { caption: figure.caption.clone(), svg: figure.svg.to_string() }],
    }));
    sections.push(Section {
        title: "The scenario, defaults filled in".into(),
        blocks: vec![Block::Preformatted(scenario.to_owned())],
    });
    page(&format!("trainyard: {}", summary.name), &sections)
}

/// Parts that any of these steps spent time on.
pub fn parts_of(breakdowns: &[&Breakdown]) -> Vec<Part> {
    let spent = |part: &Part| breakdowns.iter().any(|breakdown| breakdown.mean_seconds(*part) > 0.0);
    Part::ALL.into_iter().filter(spent).collect()
}

/// The colour of a part: that of the activity which takes the time.
pub fn hue_of(part: Part) -> Hue {
    match part {
        Part::Compute => Hue::Compute,
        Part::Optimizer => Hue::Activity(Activity::Optimizer),
        Part::Input => Hue::Activity(Activity::Input),
        Part::ExposedTensor => Hue::Activity(Activity::TensorComm),
        Part::ExposedExpert => Hue::Activity(Activity::ExpertComm),
        Part::ExposedContext => Hue::Activity(Activity::ContextComm),
        Part::ExposedData => Hue::Activity(Activity::DataComm),
        Part::ExposedPipeline => Hue::Activity(Activity::PipelineComm),
        Part::Other => Hue::Activity(Activity::Other),
        Part::Bubble => Hue::Idle,
    }
}
