//! Kernels as a table, under their roofline, and along a sweep.

use crate::compute::explain::KernelReport;
use crate::report::figure::{Axis, Join, Line, LineChart, Point, PointGroup, Quantity, Scatter};
use crate::report::table::{facts, grid, grouped};
use crate::report::writer::Artefact;
use crate::units::SimDuration;

/// A kernel with its size along what is swept.
#[derive(Debug, Clone)]
pub struct Explained {
    /// Its size along the axis of the sweep.
    pub size: u64,
    /// What it costs and why.
    pub report: KernelReport,
}

/// One kernel as facts, several as rows.
pub fn table(kernels: &[Explained]) -> String {
    match kernels {
        [one] => facts_of(&one.report),
        several => rows_of(several),
    }
}

fn facts_of(report: &KernelReport) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row("device", format!("{} by `{}`", report.device, report.model));
    row("cycles", grouped(report.cycles));
    row("time", time(report.time_s));
    row("limiter", report.limiter.to_string());
    if let Some(tiling) = report.tiling {
        row("tile", tile(report));
        row("pieces", grouped(tiling.pieces));
        row("waves", grouped(tiling.waves));
        if tiling.split > 1 {
            row("each sum split in", tiling.split.to_string());
        }
    }
    row("TFLOP/s", format!("{:.2}", report.flops_per_second / 1e12));
    if let Some(peak) = report.ceilings.flops_per_second {
        row("  of what the device reaches", share(report.flops_per_second, peak));
    }
    row("GB/s", format!("{:.1}", report.bytes_per_second / 1e9));
    row("  of what the device reaches", share(report.bytes_per_second, report.ceilings.bytes_per_second));
    if let Some(intensity) = report.intensity {
        row("flops a byte", format!("{intensity:.1}"));
    }
    if let Some(ridge) = report.ceilings.ridge() {
        row("  where the device's bounds meet", format!("{ridge:.1}"));
    }
    row(
        "roofline",
        format!("{} ({} of the time)", time(report.roofline_s), share(report.roofline_s, report.time_s)),
    );
    let parts = report.parts;
    row("where the cycles go", String::new());
    let named = [
        ("launch", parts.launch),
        ("compute", parts.compute),
        ("memory", parts.memory),
        ("cache", parts.cache),
        ("exposed", parts.exposed),
    ];
    for (name, cycles) in named.into_iter().filter(|(_, cycles)| *cycles > 0.0) {
        row(&format!("  {name}"), grouped(cycles.round() as u64));
    }
    facts(&report.kernel, &rows, &[])
}

fn rows_of(kernels: &[Explained]) -> String {
    let heading = ["kernel", "cycles", "time", "limiter", "tile", "waves", "TFLOP/s", "GB/s", "of roofline"];
    let cells = |one: &Explained| {
        let report = &one.report;
        vec![
            report.kernel.clone(),
            grouped(report.cycles),
            time(report.time_s),
            report.limiter.to_string(),
            report.tiling.map_or("-".into(), |_| tile(report)),
            report.tiling.map_or("-".into(), |tiling| grouped(tiling.waves)),
            format!("{:.2}", report.flops_per_second / 1e12),
            format!("{:.1}", report.bytes_per_second / 1e9),
            share(report.roofline_s, report.time_s),
        ]
    };
    grid(&heading, &kernels.iter().map(cells).collect::<Vec<_>>())
}

fn tile(report: &KernelReport) -> String {
    report
        .tiling
        .map_or(String::new(), |tiling| format!("{} x {} x {}", tiling.tile.m, tiling.tile.n, tiling.tile.k))
}

fn time(seconds: f64) -> String {
    SimDuration::from_seconds(seconds).to_string()
}

fn share(part: f64, whole: f64) -> String {
    if whole > 0.0 { format!("{:.1} %", part / whole * 100.0) } else { "-".to_owned() }
}

/// The figures: the roofline with the kernels on it, and where several were swept, their time and rate along
/// the sweep.
pub fn artefacts(axis: &str, kernels: &[Explained]) -> Vec<Artefact> {
    let mut files: Vec<Artefact> =
        roofline(kernels).map(|svg| Artefact::text("roofline.svg", svg)).into_iter().collect();
    let first = kernels.first().map(|one| one.size);
    if kernels.iter().any(|one| Some(one.size) != first) {
        files.push(Artefact::text("sweep.svg", staircase(axis, kernels)));
        if kernels.iter().all(|one| one.report.flops > 0) {
            files.push(Artefact::text("rate.svg", rate(axis, kernels)));
        }
    }
    files
}

/// Flops a second against flops a byte, under the device's two bounds.
fn roofline(kernels: &[Explained]) -> Option<String> {
    let placed: Vec<(&KernelReport, f64)> = kernels
        .iter()
        .filter_map(|one| Some((&one.report, one.report.intensity?)))
        .filter(|(report, intensity)| *intensity > 0.0 && report.flops_per_second > 0.0)
        .collect();
    let (first, _) = *placed.first()?;
    let ridge = first.ceilings.ridge().unwrap_or(1.0);
    let lowest = placed.iter().map(|(_, x)| *x).fold(ridge / 10.0, f64::min);
    let highest = placed.iter().map(|(_, x)| *x).fold(ridge * 10.0, f64::max);
    let roof = [lowest / 2.0, ridge, highest * 2.0].map(|x| (x, first.ceilings.at(x)));
    let single = placed.len() == 1;
    let point = |(report, x): &(&KernelReport, f64)| Point {
        x: *x,
        y: report.flops_per_second,
        label: if single { report.kernel.clone() } else { String::new() },
    };
    let scatter = Scatter {
        title: format!("{}: kernels under the roofline", first.device),
        x: Axis::new("flops a byte", Quantity::Si("FLOP/B")).logarithmic(),
        y: Axis::new("achieved", Quantity::Si("FLOP/s")).logarithmic(),
        groups: vec![PointGroup {
            name: if single { "the kernel".into() } else { "kernels".into() },
            hue: None,
            points: placed.iter().map(point).collect(),
            join: Join::Apart,
        }],
        curves: vec![Line::new("what the device reaches", roof.to_vec())],
        references: Vec::new(),
        diagonal: None,
    };
    Some(scatter.draw().to_string())
}

/// Time along the sweep, beside the roofline: where pieces come in waves it climbs in stairs.
fn staircase(axis: &str, kernels: &[Explained]) -> String {
    let line = |name: &str, of: fn(&KernelReport) -> f64, dashed| {
        let points = kernels.iter().map(|one| (one.size as f64, of(&one.report))).collect();
        Line { dashed, ..Line::new(name, points) }
    };
    LineChart {
        title: format!("{}: time along {axis}", kernels[0].report.device),
        x: Axis::new(axis, Quantity::Number),
        y: Axis::new("time", Quantity::Time).from_zero(),
        series: vec![
            line("time", |report| report.time_s, false),
            line("roofline", |report| report.roofline_s, true),
        ],
        references: Vec::new(),
    }
    .draw()
    .to_string()
}

/// Flops a second along the sweep.
fn rate(axis: &str, kernels: &[Explained]) -> String {
    let points = kernels.iter().map(|one| (one.size as f64, one.report.flops_per_second)).collect();
    let bound = |report: &KernelReport| report.flops as f64 / report.roofline_s;
    let roof = kernels.iter().map(|one| (one.size as f64, bound(&one.report))).collect();
    LineChart {
        title: format!("{}: rate along {axis}", kernels[0].report.device),
        x: Axis::new(axis, Quantity::Number),
        y: Axis::new("achieved", Quantity::Si("FLOP/s")).from_zero(),
        series: vec![Line::new("achieved", points), Line { dashed: true, ..Line::new("roofline", roof) }],
        references: Vec::new(),
    }
    .draw()
    .to_string()
}
