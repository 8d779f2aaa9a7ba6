//! Preparations side by side: what is compared, and its picture.

use crate::report::comparison::over_seeds::Measure;
use crate::report::figure::{Axis, Line, LineChart, Quantity};
use crate::report::preparation::PreparationSummary;
use crate::report::preparation::table::{percent, time};

/// What is compared.
pub const MEASURES: [Measure; 4] = [
    Measure { key: "simulated_time_s", name: "time", write: time, less_is_better: true },
    Measure { key: "tokens_per_second", name: "tokens/s", write: whole, less_is_better: false },
    Measure { key: "bottleneck_utilization", name: "busiest stage", write: percent, less_is_better: false },
    Measure { key: "network_bytes", name: "network bytes", write: whole, less_is_better: true },
];

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

/// The numbers of a run, in the order of [`MEASURES`].
pub fn measured(summary: &PreparationSummary) -> [f64; MEASURES.len()] {
    let busiest = summary.stages.iter().map(|stage| stage.utilization).fold(0.0, f64::max);
    [summary.simulated_time_s, summary.tokens_per_second, busiest, summary.network_bytes as f64]
}

/// The pictures: (file name, title, caption, SVG).
pub fn figures(
    variants: &[(String, Vec<PreparationSummary>)],
) -> Vec<(&'static str, &'static str, String, String)> {
    let mean = |runs: &[PreparationSummary], of: fn(&PreparationSummary) -> f64| {
        runs.iter().map(of).sum::<f64>() / runs.len() as f64
    };
    let ran: Vec<&Vec<PreparationSummary>> =
        variants.iter().map(|(_, runs)| runs).filter(|runs| !runs.is_empty()).collect();
    let at = |runs: &&Vec<PreparationSummary>| {
        (f64::from(runs[0].workers), mean(runs, |run| run.tokens_per_second))
    };
    let mut points: Vec<(f64, f64)> = ran.iter().map(at).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut series = vec![Line::new("tokens per second", points.clone())];
    if let Some(&(fewest, rate)) = points.first() {
        let linear = points.iter().map(|&(workers, _)| (workers, rate * workers / fewest)).collect();
        series.push(Line { dashed: true, ..Line::new("as many times faster as there are workers", linear) });
    }
    let chart = LineChart {
        title: "Throughput by workers".into(),
        x: Axis::new("workers", Quantity::Number).from_zero(),
        y: Axis::new("throughput", Quantity::Si("tokens/s")).from_zero(),
        series,
        references: Vec::new(),
    };
    let caption = "Mean over the seeds; what is done once for all keeps it below the dashed line.".into();
    vec![("throughput", "Throughput", caption, chart.draw().to_string())]
}
