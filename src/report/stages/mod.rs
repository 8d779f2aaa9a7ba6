//! The report of a workload whose stages follow each other: preparation, training, serving.

use serde::Serialize;

use crate::report::figure::{Hue, Timeline, TimelineLane, TimelineSpan};
use crate::report::html::{Block, Chapter, Section, page};
use crate::report::preparation::PreparationSummary;
use crate::report::serving::ServingSummary;
use crate::report::table::facts;
use crate::report::training::TrainingSummary;
use crate::report::writer::Artefact;
use crate::trace::Activity;
use crate::units::{SimDuration, SimTime};

/// When a stage was at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageSpan {
    /// What it is called.
    pub name: &'static str,
    /// From when.
    pub start: SimTime,
    /// Until when.
    pub end: SimTime,
}

/// The outcome of all stages, for people and machines.
#[derive(Debug, Clone, Serialize)]
pub struct StagesSummary {
    /// What the workload is called.
    pub name: String,
    /// Until the last stage was done.
    pub simulated_time_s: f64,
    /// When each stage was at work.
    pub stages: Vec<StageTimes>,
    /// Of the preparation, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preparation: Option<PreparationSummary>,
    /// Of training.
    pub training: TrainingSummary,
    /// Of serving; its clock starts when training has ended.
    pub serving: ServingSummary,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// A stage in seconds.
#[derive(Debug, Clone, Serialize)]
pub struct StageTimes {
    /// What it is called.
    pub stage: &'static str,
    /// From when.
    pub start_s: f64,
    /// Until when.
    pub end_s: f64,
}

impl StagesSummary {
    /// The numbers of all stages.
    pub fn new(
        spans: &[StageSpan],
        preparation: Option<PreparationSummary>,
        training: TrainingSummary,
        serving: ServingSummary,
    ) -> Self {
        let seconds = |span: &StageSpan| StageTimes {
            stage: span.name,
            start_s: span.start.seconds(),
            end_s: span.end.seconds(),
        };
        StagesSummary {
            name: training.name.clone(),
            simulated_time_s: spans.iter().map(|span| span.end).max().unwrap_or_default().seconds(),
            stages: spans.iter().map(seconds).collect(),
            preparation,
            training,
            serving,
            notes: vec![NOTE.to_owned()],
        }
    }
}

const NOTE: &str = "replicas have the trained weights at once: laying them out anew is not timed";

/// The stages as aligned rows.
pub fn table(summary: &StagesSummary) -> String {
    let time = |seconds: f64| SimDuration::from_seconds(seconds).to_string();
    let row = |stage: &StageTimes| {
        let length = time(stage.end_s - stage.start_s);
        (stage.stage.to_owned(), format!("{length}, from {} to {}", time(stage.start_s), time(stage.end_s)))
    };
    let mut rows: Vec<(String, String)> = summary.stages.iter().map(row).collect();
    rows.push(("in all".to_owned(), time(summary.simulated_time_s)));
    facts(&summary.name, &rows, &summary.notes)
}

/// Every file of the report: one page with a chapter for each stage, and the files of each under its name.
pub fn artefacts(
    spans: &[StageSpan],
    summary: &StagesSummary,
    chapters: Vec<(&'static str, Chapter)>,
    scenario: &str,
) -> Vec<Artefact> {
    let figure = picture(spans);
    let caption = "When each stage was at work.".to_owned();
    let first = vec![Block::Preformatted(table(summary)), Block::Figure { caption, svg: figure.clone() }];
    let mut sections = vec![Section { title: "Stages".into(), blocks: first }];
    let mut files = vec![Artefact::text("stages.svg", figure)];
    for (name, chapter) in chapters {
        sections.extend(
            chapter.sections.into_iter().map(|section| Section {
                title: format!("{name}: {}", section.title),
                blocks: section.blocks,
            }),
        );
        files.extend(
            chapter
                .files
                .into_iter()
                .map(|file| Artefact { name: format!("{name}_{}", file.name), bytes: file.bytes }),
        );
    }
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

fn picture(spans: &[StageSpan]) -> String {
    let end = spans.iter().map(|span| span.end).max().unwrap_or_default();
    let mut timeline = Timeline::new("Stages", SimTime::ZERO, end);
    for (lane, span) in spans.iter().enumerate() {
        timeline.lanes.push(TimelineLane { group: String::new(), name: span.name.to_owned() });
        let hue = match span.name {
            "preparation" => Hue::Activity(Activity::Input),
            "training" => Hue::Compute,
            _ => Hue::Activity(Activity::Decode),
        };
        timeline.names.push((hue, span.name.to_owned()));
        timeline.spans.push(TimelineSpan {
            lane,
            start: span.start,
            end: span.end,
            hue,
            label: span.name.to_owned(),
            hint: format!("{}: {}", span.name, span.end.since(span.start)),
        });
    }
    timeline.draw().to_string()
}
