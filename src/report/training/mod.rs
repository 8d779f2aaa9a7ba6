//! The report of a training run: summary, table, figures, trace and page.

mod compressed;
mod figures;
mod recovered;
mod summary;
mod table;
mod why;

pub use compressed::{CostRow, MethodRow, ModelCompressed};
pub use recovered::Recovered;
pub use summary::{BytesMoved, TrainingSummary};
pub use table::{describe, table};
pub use why::Why;

use crate::metrics::{Breakdown, Part, TrainingRecord};
use crate::report::figure::{Hue, Svg};
use crate::report::html::{Block, Chapter, Section, page};
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
    let Chapter { mut sections, files } = chapter(plan, record, summary, explanation);
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

/// What a page says of a training run, with the files beside it.
pub fn chapter(
    plan: &TrainingPlan,
    record: &TrainingRecord,
    summary: &TrainingSummary,
    explanation: Option<&Explanation>,
) -> Chapter {
    let figures = drawn(plan, record, summary, explanation);
    let mut sections = vec![Section {
        title: "Summary".into(),
        blocks: vec![Block::Preformatted(table(summary, explanation))],
    }];
    sections.extend(figures.iter().map(|figure| Section {
        title: figure.title.into(),
        blocks: vec![Block::Figure { caption: figure.caption.clone(), svg: figure.svg.to_string() }],
    }));
    let mut files = Vec::new();
    if let Some(step) = &record.shown {
        files.push(Artefact::text("trace.json", perfetto::trace(step, plan)));
    }
    files.extend(
        figures.into_iter().map(|figure| Artefact::text(format!("{}.svg", figure.name), figure.svg.as_str())),
    );
    Chapter { sections, files }
}

/// A figure with its file's name and what it shows.
struct Figure {
    name: &'static str,
    title: &'static str,
    caption: String,
    svg: Svg,
}

fn drawn(
    plan: &TrainingPlan,
    record: &TrainingRecord,
    summary: &TrainingSummary,
    explanation: Option<&Explanation>,
) -> Vec<Figure> {
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
    for (name, title, caption, svg) in summary.model_compression.iter().flat_map(ModelCompressed::figures) {
        add(name, title, caption, Some(svg));
    }
    if let Some(applied) = &record.applied {
        let caption = if applied.stages.is_empty() {
            "How many gradients of others were applied between the pull of a gradient's weights and itself."
        } else {
            "How many updates older the weights were that a gradient was computed with than those that it stepped."
        };
        add("staleness", "Staleness of gradients", caption.into(), Some(figures::staleness(applied)));
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
        let each = plan.ranks_of_each();
        let folded =
            format!(" Ranks of a stage that do the same at the same time, {each} each, have one lane.");
        let caption = format!(
            "{}: what each stream of each rank did; numbers are micro-batches.{} trace.json opens in Perfetto.",
            step.step,
            if each > 1 { &folded } else { "" }
        );
        add("timeline", "Timeline of one step", caption, Some(figures::timeline(step, plan)));
    }
    add(
        "breakdown",
        "Where the time went",
        "A step of each rank, median or mean. Communication counts where no computation hides it.".into(),
        Some(figures::breakdown(&record.typical_step(plan.steps_differ()), plan)),
    );
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
        Part::ExposedHost => Hue::Activity(Activity::HostComm),
        Part::ExposedData => Hue::Activity(Activity::DataComm),
        Part::ExposedPipeline => Hue::Activity(Activity::PipelineComm),
        Part::Other => Hue::Activity(Activity::Other),
        Part::Bubble => Hue::Idle,
    }
}
