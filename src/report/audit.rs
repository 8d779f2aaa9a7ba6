//! One step at several fidelities: where they disagree, and by how much.

use serde::Serialize;

use crate::metrics::{Breakdown, Part};
use crate::report::figure::{Axis, Bar, Quantity, StackedBars};
use crate::report::html::{Block, Section, page};
use crate::report::table::{grid, grouped};
use crate::report::training::{TrainingSummary, hue_of, parts_of};
use crate::report::writer::Artefact;
use crate::units::SimDuration;

/// A step at one fidelity.
#[derive(Debug, Clone, Serialize)]
pub struct Audited {
    /// How kernels were costed.
    pub compute: &'static str,
    /// How flows shared links.
    pub network: &'static str,
    /// What came of it.
    pub summary: TrainingSummary,
    /// Where the step's time went.
    #[serde(skip)]
    pub breakdown: Breakdown,
}

impl Audited {
    fn name(&self) -> String {
        format!("{} + {}", self.compute, self.network)
    }
}

/// The fidelities as rows, the workload's own first; then each part of the step whose time they disagree on.
pub fn table(name: &str, all: &[Audited]) -> String {
    let own = all[0].summary.step_time_s;
    let heading = ["fidelity", "step time", "against its own", "events", "disagrees most in"];
    let rows = all.iter().map(|one| {
        let more = (one.summary.step_time_s / own - 1.0) * 100.0;
        vec![
            one.name(),
            time(one.summary.step_time_s),
            format!("{more:+.2} %"),
            grouped(one.summary.events),
            most(&all[0].breakdown, &one.breakdown),
        ]
    });
    let mut text = format!("{name}\n{}", grid(&heading, &rows.collect::<Vec<_>>()));
    let breakdowns: Vec<&Breakdown> = all.iter().map(|one| &one.breakdown).collect();
    let mut heading = vec!["mean over ranks".to_owned()];
    heading.extend(all.iter().map(Audited::name));
    let parts = parts_of(&breakdowns).into_iter().map(|part| {
        let cells = breakdowns.iter().map(|breakdown| time(breakdown.mean_seconds(part)));
        std::iter::once(part.name().to_owned()).chain(cells).collect()
    });
    text.push('\n');
    text.push_str(&grid(&heading, &parts.collect::<Vec<_>>()));
    text
}

/// The part of the step on which two fidelities disagree most.
fn most(own: &Breakdown, other: &Breakdown) -> String {
    let gap = |part: &Part| other.mean_seconds(*part) - own.mean_seconds(*part);
    let part = Part::ALL.into_iter().max_by(|a, b| gap(a).abs().total_cmp(&gap(b).abs())).expect("a part");
    match gap(&part) {
        0.0 => "-".to_owned(),
        gap => {
            let sign = if gap > 0.0 { "+" } else { "-" };
            format!("{}: {sign}{}", part.name(), time(gap.abs()))
        }
    }
}

fn time(seconds: f64) -> String {
    SimDuration::from_seconds(seconds).to_string()
}

/// Every file of the report.
pub fn artefacts(name: &str, all: &[Audited]) -> Vec<Artefact> {
    let breakdowns: Vec<&Breakdown> = all.iter().map(|one| &one.breakdown).collect();
    let parts = parts_of(&breakdowns);
    let bar = |one: &Audited| Bar {
        name: one.name(),
        values: parts.iter().map(|&part| one.breakdown.mean_seconds(part)).collect(),
    };
    let svg = StackedBars {
        title: "A step at several fidelities, mean over ranks".into(),
        value: Axis::new("time", Quantity::Time),
        parts: parts.iter().map(|&part| (part.name().to_owned(), hue_of(part))).collect(),
        bars: all.iter().map(bar).collect(),
        best: None,
    }
    .draw()
    .to_string();
    let caption = "The workload's own fidelity first; each of the others differs from it in one model.";
    let sections = [
        Section { title: "Audit".into(), blocks: vec![Block::Preformatted(table(name, all))] },
        Section {
            title: "Where a step goes".into(),
            blocks: vec![Block::Figure { caption: caption.into(), svg: svg.clone() }],
        },
    ];
    let json = serde_json::to_string_pretty(all).expect("summaries are plain data");
    vec![
        Artefact::text("report.html", page(&format!("trainyard: {name}"), &sections)),
        Artefact::text("steps.svg", svg),
        Artefact::text("summary.json", json + "\n"),
    ]
}
