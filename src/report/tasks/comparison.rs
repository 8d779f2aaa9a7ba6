//! Task runs side by side: what is compared, and its picture.

use crate::report::comparison::over_seeds::Measure;
use crate::report::figure::{Axis, Bar, Hue, Quantity, StackedBars};
use crate::report::tasks::TasksSummary;
use crate::report::tasks::table::{percent, time};
use crate::trace::Activity;

/// What is compared of task runs.
pub const MEASURES: [Measure; 7] = [
    Measure { key: "makespan_s", name: "makespan", write: time, less_is_better: true },
    Measure { key: "gap_to_lower_bound", name: "above the bound", write: percent, less_is_better: true },
    Measure { key: "schedule_length_ratio", name: "SLR", write: ratio, less_is_better: true },
    Measure { key: "speedup", name: "speedup", write: ratio, less_is_better: false },
    Measure { key: "utilization", name: "utilisation", write: percent, less_is_better: false },
    Measure { key: "transfers", name: "transfers", write: whole, less_is_better: true },
    Measure { key: "plans", name: "plans", write: whole, less_is_better: true },
];

fn ratio(value: f64) -> String {
    format!("{value:.3}")
}

fn whole(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// The numbers of a run, in the order of [`MEASURES`]; 0 for a ratio that there is not.
pub fn measured(summary: &TasksSummary) -> [f64; MEASURES.len()] {
    [
        summary.makespan_s,
        summary.gap_to_lower_bound,
        summary.schedule_length_ratio.unwrap_or(0.0),
        summary.speedup.unwrap_or(0.0),
        summary.utilization,
        summary.transfers as f64,
        f64::from(summary.plans),
    ]
}

/// What is drawn of a variant: sums over its seeds.
#[derive(Debug, Clone, Default)]
pub struct Drawn {
    /// Its name.
    pub name: String,
    /// How many runs were added.
    pub runs: u32,
    /// Lower bounds, added up.
    pub bound_s: f64,
    /// Makespans, added up.
    pub makespan_s: f64,
}

impl Drawn {
    /// Adds a run.
    pub fn add(&mut self, summary: &TasksSummary) {
        self.runs += 1;
        self.bound_s += summary.lower_bounds_s.best;
        self.makespan_s += summary.makespan_s;
    }
}

/// The pictures: (file name, title, caption, SVG).
pub fn figures(variants: &[Drawn]) -> Vec<(&'static str, &'static str, String, String)> {
    let bar = |drawn: &Drawn| {
        let runs = f64::from(drawn.runs);
        let above = (drawn.makespan_s - drawn.bound_s).max(0.0);
        Bar { name: drawn.name.clone(), values: vec![drawn.bound_s / runs, above / runs] }
    };
    let bars: Vec<Bar> = variants.iter().filter(|drawn| drawn.runs > 0).map(bar).collect();
    let total = |bar: &Bar| bar.values.iter().sum::<f64>();
    let best = (0..bars.len()).min_by(|&a, &b| total(&bars[a]).total_cmp(&total(&bars[b])));
    let makespan = StackedBars {
        title: "Makespan".into(),
        value: Axis::new("mean makespan", Quantity::Time),
        parts: vec![("lower bound".into(), Hue::Activity(Activity::Task)), ("above it".into(), Hue::Muted)],
        bars,
        best,
    };
    let caption = "Mean over the seeds: before the lower bound no schedule can end.".into();
    vec![("makespan", "Makespan and lower bound", caption, makespan.draw().to_string())]
}
