//! Several runs of one workload side by side: a table with the best marked, and one figure.

mod figures;
mod learning;
pub mod over_seeds;

use std::fmt::Write as _;

use serde::Serialize;

use crate::metrics::{Breakdown, Part};
use crate::report::figure::Svg;
use crate::report::html::{Block, Section, page};
use crate::report::table::grid;
use crate::report::training::TrainingSummary;
use crate::report::writer::Artefact;
use crate::units::{Bytes, SimDuration};

pub use learning::Yardstick;

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

/// A run's cell of a column, and the number by which less is better.
type Cell = (String, Option<f64>);

/// Every column with its cells: those of every comparison, then what was learned by when.
fn columns(runs: &[Compared], yardstick: Option<Yardstick>) -> Vec<(String, Vec<Option<Cell>>)> {
    let column = |heading: String, cell: &dyn Fn(&TrainingSummary) -> Cell| {
        (heading, runs.iter().map(|run| run.summary.as_ref().map(cell)).collect())
    };
    let mut columns: Vec<(String, Vec<Option<Cell>>)> = COLUMNS
        .iter()
        .map(|(heading, written, number)| column((*heading).to_owned(), &|s| (written(s), number(s))))
        .collect();
    if runs.len() > 1 && runs.iter().filter_map(|run| run.summary.as_ref()).any(|s| s.schedule_gap.is_some())
    {
        columns.push(column("over the optimum".to_owned(), &|summary| {
            let Some(gap) = summary.schedule_gap else { return ("-".to_owned(), None) };
            let most = if gap.proven { "" } else { "<= " };
            (format!("{most}{:.1} %", gap.share() * 100.0), Some(gap.share()))
        }));
    }
    let waited = |summary: &TrainingSummary| summary.breakdown_s[Part::Input.key()];
    if runs.iter().filter_map(|run| run.summary.as_ref()).any(|summary| waited(summary) > 0.0) {
        columns.push(column("waits for input".to_owned(), &|summary| {
            let waits = waited(summary);
            (SimDuration::from_seconds(waits).to_string(), Some(waits))
        }));
    }
    if let Some(yardstick) = yardstick.filter(|_| runs.len() > 1) {
        let missing = || "-".to_owned();
        let time = SimDuration::from_seconds(yardstick.equal_time_s);
        columns.push(column(format!("loss at {time}"), &|summary| {
            let loss = yardstick.loss_at_equal_time(summary);
            (loss.map_or_else(missing, |loss| format!("{loss:.4}")), loss)
        }));
        columns.push(column(format!("time to {:.4}", yardstick.target_loss), &|summary| {
            let seconds = yardstick.seconds_to_target(summary);
            let written = |seconds| SimDuration::from_seconds(seconds).to_string();
            (seconds.map_or_else(missing, written), seconds)
        }));
    }
    columns
}

/// What the runs are compared at.
pub fn yardstick(runs: &[Compared], target_loss: Option<f64>) -> Option<Yardstick> {
    Yardstick::of(runs.iter().filter_map(|run| run.summary.as_ref()), target_loss)
}

/// The runs as aligned rows; `*` marks the best of each column. Runs that are told apart by no digit that
/// is shown share the mark.
pub fn table(runs: &[Compared], yardstick: Option<Yardstick>) -> String {
    let columns = columns(runs, yardstick);
    let mut heading = vec!["run".to_owned()];
    heading.extend(columns.iter().map(|(heading, _)| heading.clone()));
    let best: Vec<Option<&String>> = columns
        .iter()
        .map(|(_, cells)| {
            let valued = cells.iter().flatten().filter_map(|(written, number)| Some((written, (*number)?)));
            valued.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(written, _)| written)
        })
        .collect();
    let mut rows = Vec::new();
    let mut failures = String::new();
    for (at, run) in runs.iter().enumerate() {
        let mut row = vec![run.name()];
        row.extend(columns.iter().zip(&best).map(|((_, cells), best)| {
            let Some((cell, _)) = &cells[at] else { return "- ".to_owned() };
            let mark = if runs.len() > 1 && *best == Some(cell) { "*" } else { " " };
            format!("{cell}{mark}")
        }));
        if run.summary.is_none() {
            let why = run.failure.as_deref().unwrap_or("it cannot be run");
            writeln!(failures, "  {}: {why}", run.name()).expect("a string");
        }
        rows.push(row);
    }
    let mut text = grid(&heading, &rows);
    text.push_str("  * the best of its column\n");
    if columns.iter().any(|(heading, _)| heading == "over the optimum") {
        text.push_str(
            "  over the optimum: the schedule's order beside the shortest of its passes, all equally long, messages free\n",
        );
    }
    if yardstick.is_some() && runs.len() > 1 {
        text.push_str("  losses at a time and times to a loss: training loss, the mean of ten steps\n");
    }
    text + &failures
}

/// The runs for machines: each with what it had learned by the equal time, and how long it took to the
/// target.
pub fn machine(runs: &[Compared], yardstick: Option<Yardstick>) -> Vec<serde_json::Value> {
    let run = |run: &Compared| {
        let mut value = serde_json::to_value(run).expect("summaries are plain data");
        if let (Some(summary), Some(yardstick)) = (&run.summary, yardstick) {
            value["compared_at"] = serde_json::to_value(yardstick).expect("plain data");
            value["loss_at_equal_time"] = yardstick.loss_at_equal_time(summary).into();
            value["seconds_to_target_loss"] = yardstick.seconds_to_target(summary).into();
        }
        value
    };
    runs.iter().map(run).collect()
}

/// Every file of the report.
pub fn artefacts(name: &str, runs: &[Compared], yardstick: Option<Yardstick>) -> Vec<Artefact> {
    let names: Vec<String> = runs.iter().map(Compared::name).collect();
    let mut sections = vec![Section {
        title: "Side by side".into(),
        blocks: vec![Block::Preformatted(table(runs, yardstick))],
    }];
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
        "A step of each run, mean over ranks.",
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
    let json = serde_json::to_string_pretty(&machine(runs, yardstick)).expect("summaries are plain data");
    files.push(Artefact::text("summary.json", json + "\n"));
    files.push(Artefact::text("report.html", page(&format!("trainyard: {name}, compared"), &sections)));
    files
}
