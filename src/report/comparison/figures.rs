//! The figures of a comparison.

use crate::metrics::Breakdown;
use crate::report::figure::{Axis, Bar, Line, LineChart, Quantity, StackedBars, Svg};
use crate::report::training::{TrainingSummary, hue_of, parts_of};

/// A stacked bar a run; the shortest is marked.
pub(super) fn bars(runs: &[(&str, &Breakdown)]) -> Option<Svg> {
    let shortest = (0..runs.len()).min_by_key(|&run| runs[run].1.step())?;
    let breakdowns: Vec<&Breakdown> = runs.iter().map(|(_, breakdown)| *breakdown).collect();
    let parts = parts_of(&breakdowns);
    let bar = |(name, breakdown): &(&str, &Breakdown)| Bar {
        name: (*name).to_owned(),
        values: parts.iter().map(|&part| breakdown.mean_seconds(part)).collect(),
    };
    let bars = StackedBars {
        title: "Where a step of each run goes, mean over ranks".into(),
        value: Axis::new("time", Quantity::Time),
        parts: parts.iter().map(|&part| (part.name().to_owned(), hue_of(part))).collect(),
        bars: runs.iter().map(bar).collect(),
        best: (runs.len() > 1).then_some(shortest),
    };
    Some(bars.draw())
}

/// Loss against simulated time, a line a run.
pub(super) fn losses(runs: &[(&str, &TrainingSummary)]) -> Option<Svg> {
    let series: Vec<Line> = runs
        .iter()
        .filter_map(|(name, summary)| {
            let points = summary.step_ends_s.iter().copied().zip(summary.losses.as_ref()?.iter().copied());
            Some(Line::new(*name, points.collect()))
        })
        .collect();
    if series.is_empty() {
        return None;
    }
    let chart = LineChart {
        title: "Loss against simulated time".into(),
        x: Axis::new("simulated time", Quantity::Time).from_zero(),
        y: Axis::new("loss (nats)", Quantity::Number),
        series,
        references: Vec::new(),
    };
    Some(chart.draw())
}
