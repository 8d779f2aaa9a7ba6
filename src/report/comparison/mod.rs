//! Several runs of one workload side by side: a table with the best marked, and one figure.

mod figures;
pub mod over_seeds;

use std::fmt::Write as _;

use serde::Serialize;

use crate::metrics::Breakdown;
use crate::report::figure::Svg;
use crate::report::html::{Block, Section, page};
use crate::report::table::grid;
use crate::report::training::TrainingSummary;
use crate::report::writer::Artefact;
use crate::units::{Bytes, SimDuration};

/// One of the runs.
#[derive(Debug, Clone, Serialize)]
pub struct Compared {
    /// The settings that make it different.
    pub settings: Vec<String>,
    /// What it came to; nothing when it cannot be run.
    pub summary: Option<TrainingSummary>,
    /// Why it cannot be run.
    pub failure: Option<String>,
    /// Where its time went.
    #[serde(skip)]
    pub breakdown: Option<Breakdown>,
}

impl Compared {
    fn name(&self) -> String {
        let value = |setting: &String| {
            let (key, value) = setting.split_once('=').unwrap_or(("", setting));
            format!("{}={value}", key.rsplit('.').next().unwrap_or(key))
        };
        self.settings.iter().map(value).collect::<Vec<_>>().join(" ")
    }
}

/// A column: its heading, how it is written, and the number by which less is better.
type Column = (&'static str, fn(&TrainingSummary) -> String, fn(&TrainingSummary) -> Option<f64>);

const COLUMNS: [Column; 7] = [
    ("step time", |s| SimDuration::from_seconds(s.step_time_s).to_string(), |s| Some(s.step_time_s)),
    ("tokens/s", |s| format!("{:.0}", s.tokens_per_second), |s| Some(-s.tokens_per_second)),
    ("MFU", |s| s.mfu.map_or("-".into(), |mfu| format!("{:.2} %", mfu * 100.0)), |s| s.mfu.map(|mfu| -mfu)),
    ("bubble", |s| format!("{:.1} %", s.bubble_fraction * 100.0), |s| Some(s.bubble_fraction)),
    (
        "memory",
        |s| Bytes(s.memory_peak_bytes["total"]).to_string(),
        |s| Some(s.memory_peak_bytes["total"] as f64),
    ),
    ("bytes moved", |s| Bytes(moved(s)).to_string(), |s| Some(moved(s) as f64)),
    ("last loss", |s| last_loss(s).map_or("-".into(), |loss| format!("{loss:.4}")), |s| last_loss(s)),
];

fn moved(summary: &TrainingSummary) -> u64 {
    summary.bytes_moved.collectives.values().sum()
}

fn last_loss(summary: &TrainingSummary) -> Option<f64> {
    summary.losses.as_ref().and_then(|losses| losses.last().copied())
}

/// The runs as aligned rows; `*` marks the best of each column.
pub fn table(runs: &[Compared]) -> String {
    let mut heading = vec!["run"];
    heading.extend(COLUMNS.iter().map(|(heading, ..)| *heading));
    let mut rows = Vec::new();
    let mut failures = String::new();
    // Runs that are told apart by no digit that is shown share the mark.
    let best: Vec<Option<String>> = COLUMNS
        .iter()
        .map(|(_, written, number)| {
            let known = runs.iter().filter_map(|run| run.summary.as_ref());
            let valued = known.filter_map(|summary| Some((number(summary)?, summary)));
            valued.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, summary)| written(summary))
        })
        .collect();
    for run in runs {
        let mut row = vec![run.name()];
        match &run.summary {
            Some(summary) => row.extend(COLUMNS.iter().zip(&best).map(|((_, written, _), best)| {
                let cell = written(summary);
                let mark = if runs.len() > 1 && best.as_ref() == Some(&cell) { "*" } else { " " };
                cell + mark
            })),
            None => {
                row.resize(heading.len(), "- ".to_owned());
                let why = run.failure.as_deref().unwrap_or("it cannot be run");
                writeln!(failures, "  {}: {why}", run.name()).expect("a string");
            }
        }
        rows.push(row);
    }
    let mut text = grid(&heading, &rows);
    text.push_str("  * the best of its column\n");
    text + &failures
}

/// Every file of the report.
pub fn artefacts(name: &str, runs: &[Compared]) -> Vec<Artefact> {
    let names: Vec<String> = runs.iter().map(Compared::name).collect();
    let mut sections =
        vec![Section { title: "Side by side".into(), blocks: vec![Block::Preformatted(table(runs))] }];
    let mut files = Vec::new();
    let mut add = |file: &str, title: &str, caption: &str, svg: Option<Svg>| {
        let Some(svg) = svg else { return };
        files.push(Artefact::text(format!("{file}.svg"), svg.as_str()));
        let blocks = vec![Block::Figure { caption: caption.into(), svg: svg.to_string() }];
        sections.push(Section { title: title.into(), blocks });
    };
    let bars: Vec<(&str, &Breakdown)> = names
        .iter()
        .zip(runs)
        .filter_map(|(name, run)| Some((name.as_str(), run.breakdown.as_ref()?)))
        .collect();
    add(
        "comparison",
        "Where the time of a step goes",
        "The median step of each run, mean over ranks.",
        figures::bars(&bars),
    );
    let curves: Vec<(&str, &TrainingSummary)> = names
        .iter()
        .zip(runs)
        .filter_map(|(name, run)| Some((name.as_str(), run.summary.as_ref()?)))
        .collect();
    add(
        "losses",
        "Loss against simulated time",
        "Training loss of every step: what each run has learned by when.",
        figures::losses(&curves),
    );
    let json = serde_json::to_string_pretty(runs).expect("summaries are plain data");
    files.push(Artefact::text("summary.json", json + "\n"));
    files.push(Artefact::text("report.html", page(&format!("trainyard: {name}, compared"), &sections)));
    files
}
