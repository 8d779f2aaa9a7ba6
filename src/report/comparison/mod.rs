//! Several runs of one workload side by side: a table with the best marked, and one figure.

mod figures;
pub mod over_seeds;

use std::fmt::Write as _;

use serde::Serialize;

use crate::metrics::Breakdown;
use crate::report::figure::Svg;
use crate::report::html::{Block, Section, page};
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
    let mut rows = vec![vec!["run".to_owned()]];
    rows[0].extend(COLUMNS.iter().map(|(heading, ..)| (*heading).to_owned()));
    let best: Vec<Option<f64>> = COLUMNS
        .iter()
        .map(|(_, _, number)| {
            runs.iter().filter_map(|run| number(run.summary.as_ref()?)).min_by(f64::total_cmp)
        })
        .collect();
    for run in runs {
        let mut row = vec![run.name()];
        match &run.summary {
            Some(summary) => row.extend(COLUMNS.iter().zip(&best).map(|((_, written, number), best)| {
                let mark = if runs.len() > 1 && number(summary).is_some() && number(summary) == *best {
                    "*"
                } else {
                    " "
                };
                format!("{}{mark}", written(summary))
            })),
            None => row.push(run.failure.clone().unwrap_or_default()),
        }
        rows.push(row);
    }
    let columns = rows[0].len();
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| row.len() == columns).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let first = rows.iter().map(|row| row[0].chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for row in &rows {
        write!(text, "{:first$}", row[0]).expect("a string");
        for (column, cell) in row.iter().enumerate().skip(1) {
            if row.len() == columns {
                write!(text, "  {cell:>width$}", width = width(column)).expect("a string");
            } else {
                write!(text, "  {cell}").expect("a string");
            }
        }
        text.push('\n');
    }
    text.push_str("* the best of its column\n");
    text
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
