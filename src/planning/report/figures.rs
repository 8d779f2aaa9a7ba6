//! The figures of a plan.

use crate::metrics::Breakdown;
use crate::planning::Fate;
use crate::planning::report::Planned;
use crate::planning::report::summary::{PlanSummary, fits, name_of};
use crate::report::figure::{Axis, Bar, Hue, Join, Point, PointGroup, Quantity, Scatter, StackedBars};
use crate::report::training::{hue_of, parts_of};

/// A figure with its file's name and what it shows.
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) caption: &'static str,
    pub(super) svg: String,
}

/// Every figure that there is something to show in.
pub(super) fn all(planned: &Planned<'_>, summary: &PlanSummary) -> Vec<Figure> {
    let mut all = Vec::new();
    if let Some(svg) = pareto(planned, summary) {
        all.push(Figure {
            name: "pareto",
            title: "Time against dollars",
            caption: "Every plan that was simulated and fits; the front is of those that no other beats in \
                      time, dollars and devices together.",
            svg,
        });
    }
    if let Some(svg) = steps(planned) {
        all.push(Figure {
            name: "steps",
            title: "Where a step goes",
            caption: "The best plan and its runners-up, mean over ranks.",
            svg,
        });
    }
    all
}

/// Days against dollars, or against devices where nothing has a price.
fn pareto(planned: &Planned<'_>, summary: &PlanSummary) -> Option<String> {
    let priced = summary.by_devices.iter().all(|row| row.dollars.is_some());
    let point = |at: usize, label: String| {
        let worth = fits(planned, at).worth;
        let cost = if priced { worth.dollars.unwrap_or_default() } else { f64::from(worth.devices) };
        Point { x: worth.days * 86_400.0, y: cost, label }
    };
    let fitting: Vec<usize> = (0..planned.candidates.len())
        .filter(|&at| matches!(planned.search.fates[at], Fate::Fits(_)))
        .collect();
    if fitting.len() < 2 {
        return None;
    }
    let front = &planned.search.front;
    let others: Vec<Point> =
        fitting.iter().filter(|at| !front.contains(at)).map(|&at| point(at, String::new())).collect();
    let on_front =
        front.iter().map(|&at| point(at, planned.groups[planned.candidates[at].group].clone())).collect();
    let group =
        |name: &str, hue, points, join| PointGroup { name: name.into(), hue: Some(hue), points, join };
    let scatter = Scatter {
        title: "What plans cost".into(),
        x: Axis::new("time to train", Quantity::Time),
        y: if priced { Axis::new("rent", Quantity::Si("$")) } else { Axis::new("devices", Quantity::Number) },
        groups: vec![
            group("simulated plans", Hue::Activity(crate::trace::Activity::Other), others, Join::Apart),
            group("the front", Hue::Compute, on_front, Join::Stairs),
        ],
        curves: Vec::new(),
        references: Vec::new(),
        diagonal: None,
    };
    Some(scatter.draw().to_string())
}

/// Steps of the best plan and of those nearest to it.
fn steps(planned: &Planned<'_>) -> Option<String> {
    let &best = planned.search.best_of_groups.first()?;
    let group = planned.candidates[best].group;
    let mut shown: Vec<usize> = (0..planned.candidates.len())
        .filter(|&at| {
            planned.candidates[at].group == group && matches!(planned.search.fates[at], Fate::Fits(_))
        })
        .collect();
    shown.sort_by_key(|&at| (fits(planned, at).step, at));
    shown.truncate(8);
    let breakdowns: Vec<&Breakdown> = shown.iter().map(|&at| &fits(planned, at).breakdown).collect();
    let parts = parts_of(&breakdowns);
    let bars = shown.iter().zip(&breakdowns).map(|(&at, breakdown)| Bar {
        name: name_of(&planned.candidates[at]),
        values: parts.iter().map(|&part| breakdown.mean_seconds(part)).collect(),
    });
    let bars = StackedBars {
        title: "Where a step goes, mean over ranks".into(),
        value: Axis::new("time", Quantity::Time),
        parts: parts.iter().map(|&part| (part.name().to_owned(), hue_of(part))).collect(),
        bars: bars.collect(),
        best: (shown.len() > 1).then_some(0),
    };
    Some(bars.draw().to_string())
}
