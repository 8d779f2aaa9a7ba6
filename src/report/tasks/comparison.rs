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

/// Where only schedulers differ, what one of them proved is a bound for all, seed by seed.
pub fn share_bounds<'a>(variants: impl Iterator<Item = &'a mut Vec<TasksSummary>>) {
    let mut variants: Vec<_> = variants.collect();
    let seeds = variants.iter().map(|variant| variant.len()).max().unwrap_or(0);
    for seed in 0..seeds {
        let bounds = variants.iter().filter_map(|variant| variant.get(seed));
        let best = bounds.map(|summary| summary.lower_bounds_s.best).fold(0.0, f64::max);
        for summary in variants.iter_mut().filter_map(|variant| variant.get_mut(seed)) {
            summary.raise_bound(best);
        }
    }
}

/// What is drawn of a variant: means over its seeds.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// Its name.
    pub name: String,
    /// Mean lower bound and mean makespan; nothing when it could not be run.
    pub means: Option<(f64, f64)>,
}

impl Drawn {
    /// The means of a variant's runs.
    pub fn of(name: String, runs: &[TasksSummary]) -> Self {
        let mean = |of: fn(&TasksSummary) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
        let means = (mean(|run| run.lower_bounds_s.best), mean(|run| run.makespan_s));
        Drawn { name, means: (!runs.is_empty()).then_some(means) }
    }
}

/// The pictures: (file name, title, caption, SVG).
pub fn figures(variants: &[Drawn]) -> Vec<(&'static str, &'static str, String, String)> {
    let bar = |drawn: &Drawn| {
        let (bound, makespan) = drawn.means?;
        Some(Bar { name: drawn.name.clone(), values: vec![bound, (makespan - bound).max(0.0)] })
    };
    let bars: Vec<Bar> = variants.iter().filter_map(bar).collect();
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
