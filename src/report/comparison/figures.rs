//! The figures of a comparison.

use plotters::prelude::*;

use crate::metrics::Breakdown;
use crate::report::comparison::parts;
use crate::report::figure::{
    FAINT, INFALLIBLE, INK, LEFT, MIDDLE, WIDTH, drawing, fill, legend, part_colour, series_colour, text,
    time_axis,
};
use crate::report::training::TrainingSummary;
use crate::units::SimDuration;

/// Room for a run's name above its bar.
const ROW: i32 = 46;
const NAMES: i32 = 24;

/// A stacked bar a run.
pub(super) fn bars(runs: &[(&str, &Breakdown)]) -> Option<String> {
    let longest = runs.iter().map(|(_, breakdown)| breakdown.step()).max()?;
    let parts = parts(runs);
    let scale = f64::from(WIDTH as i32 - NAMES - 90) / longest.seconds();
    let height = 60 + runs.len() as i32 * ROW + 40;
    Some(drawing(height as u32, |area| {
        let entries: Vec<(RGBColor, &str)> =
            parts.iter().map(|&part| (part_colour(part), part.name())).collect();
        legend(area, NAMES, 20, &entries);
        time_axis(area, longest, 50 + runs.len() as i32 * ROW, |at| NAMES + (at * scale).round() as i32);
        for (row, (name, breakdown)) in runs.iter().enumerate() {
            let y = 50 + row as i32 * ROW;
            text(area, (NAMES, y + 9), 13, LEFT, INK, name);
            let mut spent = 0.0;
            for &part in &parts {
                let from = NAMES + (spent * scale).round() as i32;
                let length = breakdown.mean_seconds(part);
                spent += length;
                let to = NAMES + (spent * scale).round() as i32;
                if to > from {
                    fill(area, (from, y + 18), (to, y + 40), part_colour(part));
                }
                if to - from > 48 {
                    let share = format!("{:.0} %", length / breakdown.step().seconds() * 100.0);
                    text(area, ((from + to) / 2, y + 29), 12, MIDDLE, INK, &share);
                }
            }
            let end = NAMES + (spent * scale).round() as i32 + 6;
            let total = SimDuration::from_seconds(breakdown.step().seconds()).to_string();
            text(area, (end, y + 29), 12, LEFT, INK, &total);
        }
    }))
}

/// Loss against simulated time, a line a run.
pub(super) fn losses(runs: &[(&str, &TrainingSummary)]) -> Option<String> {
    let curves: Vec<(&str, Vec<(f64, f64)>)> = runs
        .iter()
        .filter_map(|(name, summary)| {
            let losses = summary.losses.as_ref()?;
            let times = summary.step_ends_s.iter().map(|end| end * 1e3);
            Some((*name, times.zip(losses.iter().copied()).collect()))
        })
        .collect();
    let points = || curves.iter().flat_map(|(_, points)| points);
    let end = points().map(|point| point.0).fold(f64::NAN, f64::max);
    if end.is_nan() {
        return None;
    }
    let low = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let high = points().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    let room = ((high - low) * 0.06).max(1e-6);
    Some(drawing(440, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(16)
            .x_label_area_size(48)
            .y_label_area_size(70)
            .build_cartesian_2d(0.0..end, low - room..high + room)
            .expect(INFALLIBLE);
        chart
            .configure_mesh()
            .x_desc("simulated time (ms)")
            .y_desc("loss (nats)")
            .light_line_style(WHITE)
            .bold_line_style(FAINT)
            .axis_style(INK)
            .label_style(("sans-serif", 13))
            .axis_desc_style(("sans-serif", 14))
            .draw()
            .expect(INFALLIBLE);
        for (at, (name, points)) in curves.into_iter().enumerate() {
            let colour = series_colour(at);
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)))
                .expect(INFALLIBLE)
                .label(name)
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.9))
            .border_style(FAINT)
            .label_font(("sans-serif", 13))
            .draw()
            .expect(INFALLIBLE);
    }))
}
