//! The figures of a training run.

use std::collections::BTreeMap;

use plotters::prelude::*;

use crate::ids::{Id, LinkId, Rank};
use crate::metrics::{Breakdown, Part, ShownStep, TrainingRecord};
use crate::report::figure::{
    FAINT, INFALLIBLE, INK, LEFT, MIDDLE, RIGHT, WIDTH, colour, drawing, fill, ink_on, legend, line,
    memory_colour, part_colour, text, time_axis,
};
use crate::trace::{Activity, Lane, MemoryUse, Span, Stream};
use crate::training::TrainingPlan;
use crate::units::{Bytes, SimDuration, SimTime};

/// Loss against simulated time: every step, and the held-out loss where it was measured.
pub(super) fn loss(record: &TrainingRecord) -> Option<String> {
    let points: Vec<(f64, f64)> =
        record.steps.iter().filter_map(|step| Some((step.end.seconds() * 1e3, step.loss?))).collect();
    let held_out: Vec<(f64, f64)> =
        record.steps.iter().filter_map(|step| Some((step.end.seconds() * 1e3, step.held_out?))).collect();
    let end = points.last()?.0;
    let all = || points.iter().chain(&held_out).map(|point| point.1);
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let room = ((high - low) * 0.06).max(1e-6);
    Some(drawing(420, |area| {
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
        let training = colour(Activity::Backward);
        chart
            .draw_series(LineSeries::new(points.clone(), training.stroke_width(2)))
            .expect(INFALLIBLE)
            .label("training, each step")
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], training.stroke_width(2)));
        let kept = colour(Activity::TensorComm);
        chart
            .draw_series(held_out.iter().map(|&point| Circle::new(point, 5, kept.filled())))
            .expect(INFALLIBLE)
            .label("held out")
            .legend(move |(x, y)| Circle::new((x + 9, y), 5, kept.filled()));
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

/// Room for names on the left of lanes and bars.
const NAMES: i32 = 150;
const LANE: i32 = 18;
/// Spans beyond these are not drawn; a note says so.
const MOST_SPANS: usize = 20_000;

/// One step: a lane for each rank and stream, micro-batch numbers in the spans.
pub(super) fn timeline(step: &ShownStep) -> String {
    let mut lanes: BTreeMap<(Rank, Stream), Vec<&Span>> = BTreeMap::new();
    for span in step.recording.spans.iter().take(MOST_SPANS) {
        if let Lane::Rank(rank, stream) = span.lane {
            lanes.entry((rank, stream)).or_default().push(span);
        }
    }
    let left_out = step.recording.spans.len().saturating_sub(MOST_SPANS);
    let height = 70 + lanes.len() as i32 * LANE + 40;
    let length = step.end.since(step.start);
    let scale = f64::from(WIDTH as i32 - NAMES - 20) / length.seconds();
    let x = |at: SimTime| NAMES + (at.since(step.start).seconds() * scale).round() as i32;
    drawing(height as u32, |area| {
        let used: Vec<(RGBColor, &str)> = Activity::ALL
            .into_iter()
            .filter(|activity| step.recording.spans.iter().any(|span| span.activity == *activity))
            .map(|activity| (colour(activity), activity.name()))
            .collect();
        legend(area, NAMES, 20, &used);
        let bottom = 50 + lanes.len() as i32 * LANE;
        time_axis(area, length, bottom, |at| NAMES + (at * scale).round() as i32);
        let mut last_rank = None;
        for (row, ((rank, stream), spans)) in lanes.iter().enumerate() {
            let y = 50 + row as i32 * LANE;
            if last_rank.replace(*rank) != Some(*rank) {
                line(area, (0, y), (WIDTH as i32, y), FAINT);
                text(area, (6, y + LANE / 2), 13, LEFT, INK, &format!("rank {}", rank.0));
            }
            text(area, (NAMES - 6, y + LANE / 2), 11, RIGHT, INK, stream.name());
            for span in spans {
                let (from, to) = (x(span.start), x(span.end).max(x(span.start) + 1));
                fill(area, (from, y + 2), (to, y + LANE - 2), colour(span.activity));
            }
            for (activity, number, from, to) in passes(spans) {
                let (from, to) = (x(from), x(to));
                if to - from > 9 * number.len() as i32 {
                    let ink = ink_on(colour(activity));
                    text(area, ((from + to) / 2, y + LANE / 2), 11, MIDDLE, ink, &number);
                }
            }
        }
        if left_out > 0 {
            let note = format!("{left_out} further spans are not drawn; trace.json has them all");
            text(area, (NAMES, height - 8), 12, LEFT, INK, &note);
        }
    })
}

/// A pass through a stage: neighbouring compute spans of one micro-batch, numbered once.
type Pass = (Activity, String, SimTime, SimTime);

fn passes(spans: &[&Span]) -> Vec<Pass> {
    let mut passes: Vec<Pass> = Vec::new();
    for span in spans.iter().filter(|span| span.activity.is_compute()) {
        let Some(micro_batch) = span.label.micro_batch else { continue };
        let number = micro_batch.index().to_string();
        match passes.last_mut() {
            Some((activity, last, _, end)) if *activity == span.activity && *last == number => {
                *end = span.end
            }
            _ => passes.push((span.activity, number, span.start, span.end)),
        }
    }
    passes
}

/// Where each rank's time went: a stacked bar a rank.
pub(super) fn breakdown(breakdown: &Breakdown) -> String {
    let ranks: Vec<Rank> = breakdown.ranks().collect();
    let height = 60 + ranks.len() as i32 * 30 + 40;
    let scale = f64::from(WIDTH as i32 - NAMES - 20) / breakdown.step().seconds();
    drawing(height as u32, |area| {
        let present = |part: &Part| ranks.iter().any(|&rank| breakdown.of(rank, *part) > SimDuration::ZERO);
        let parts: Vec<Part> = Part::ALL.into_iter().filter(present).collect();
        let entries: Vec<(RGBColor, &str)> =
            parts.iter().map(|&part| (part_colour(part), part.name())).collect();
        legend(area, NAMES, 20, &entries);
        time_axis(area, breakdown.step(), 50 + ranks.len() as i32 * 30, |at| {
            NAMES + (at * scale).round() as i32
        });
        for (row, &rank) in ranks.iter().enumerate() {
            let y = 50 + row as i32 * 30;
            text(area, (NAMES - 8, y + 13), 13, RIGHT, INK, &rank.to_string());
            let mut spent = 0.0;
            for &part in &parts {
                let length = breakdown.of(rank, part).seconds();
                let from = NAMES + (spent * scale).round() as i32;
                spent += length;
                let to = NAMES + (spent * scale).round() as i32;
                if to > from {
                    fill(area, (from, y + 3), (to, y + 24), part_colour(part));
                }
                if to - from > 48 {
                    let share = format!("{:.0} %", length / breakdown.step().seconds() * 100.0);
                    text(area, ((from + to) / 2, y + 13), 12, MIDDLE, INK, &share);
                }
            }
        }
    })
}

/// Columns of the link figure: moments of the step.
const MOMENTS: usize = 160;
/// Links shown: the busiest.
const MOST_LINKS: usize = 32;

/// How busy the busiest links were over the step, each payload spread evenly over its time.
pub(super) fn links(step: &ShownStep, plan: &TrainingPlan) -> Option<String> {
    let length = step.end.since(step.start).seconds();
    let mut bytes: BTreeMap<LinkId, Vec<f64>> = BTreeMap::new();
    for carried in &step.recording.carried {
        let from = carried.start.since(step.start).seconds() / length * MOMENTS as f64;
        let to = (carried.end.since(step.start).seconds() / length * MOMENTS as f64).max(from + 1e-9);
        for &link in carried.route.iter() {
            let row = bytes.entry(link).or_insert_with(|| vec![0.0; MOMENTS]);
            for (moment, cell) in row.iter_mut().enumerate().take(to.ceil() as usize).skip(from as usize) {
                let inside = (to.min(moment as f64 + 1.0) - from.max(moment as f64)).max(0.0);
                *cell += carried.bytes.as_f64() * inside / (to - from);
            }
        }
    }
    let mut busiest: Vec<(LinkId, Vec<f64>)> = bytes.into_iter().collect();
    let total = |row: &[f64]| row.iter().sum::<f64>();
    busiest.sort_by(|a, b| total(&b.1).total_cmp(&total(&a.1)).then(a.0.cmp(&b.0)));
    let links = busiest.len();
    busiest.truncate(MOST_LINKS);
    busiest.sort_by_key(|(link, _)| *link);
    if busiest.is_empty() {
        return None;
    }
    let (names, row_height) = (300, 16);
    let height = 60 + busiest.len() as i32 * row_height + 40;
    let cell = f64::from(WIDTH as i32 - names - 20) / MOMENTS as f64;
    Some(drawing(height as u32, |area| {
        let shown = if links > MOST_LINKS {
            format!("the {MOST_LINKS} busiest of {links} links")
        } else {
            format!("{links} links")
        };
        text(
            area,
            (names, 18),
            13,
            LEFT,
            INK,
            &format!("{shown}; colour: share of the link's bandwidth in use"),
        );
        for (tick, share) in [0.0, 0.25, 0.5, 0.75, 1.0].into_iter().enumerate() {
            let x = 760 + tick as i32 * 64;
            fill(area, (x, 12), (x + 14, 26), heat(share));
            text(area, (x + 18, 19), 12, LEFT, INK, &format!("{:.0} %", share * 100.0));
        }
        let bottom = 50 + busiest.len() as i32 * row_height;
        time_axis(area, step.end.since(step.start), bottom, |at| {
            names + (at / length * f64::from(WIDTH as i32 - names - 20)).round() as i32
        });
        for (row, (link, cells)) in busiest.iter().enumerate() {
            let y = 50 + row as i32 * row_height;
            let about = &plan.topology.links()[*link];
            let name = format!(
                "{} to {}",
                plan.topology.vertex_name(about.from),
                plan.topology.vertex_name(about.to)
            );
            text(area, (names - 8, y + row_height / 2), 11, RIGHT, INK, &name);
            let capacity = about.bandwidth.get() * length / MOMENTS as f64;
            for (moment, bytes) in cells.iter().enumerate().filter(|(_, bytes)| **bytes > 0.0) {
                let from = names + (moment as f64 * cell).round() as i32;
                let to = names + ((moment + 1) as f64 * cell).round() as i32;
                fill(area, (from, y + 1), (to, y + row_height - 1), heat(bytes / capacity));
            }
        }
    }))
}

/// From pale to deep as a share goes from nothing to all.
fn heat(share: f64) -> RGBColor {
    let share = share.clamp(0.0, 1.0).sqrt();
    let mix = |from: f64, to: f64| (from + (to - from) * share).round() as u8;
    RGBColor(mix(238.0, 178.0), mix(242.0, 34.0), mix(248.0, 20.0))
}

/// Memory of the fullest rank over the step, stacked by use.
pub(super) fn memory(record: &TrainingRecord, step: &ShownStep) -> Option<String> {
    let (rank, _) = record.memory.as_ref()?.fullest();
    let mut now = step.memory_before[rank];
    let mut moments = vec![(step.start, now)];
    for change in step.recording.memory.iter().filter(|change| change.rank == rank) {
        now[change.usage as usize] = change.now;
        moments.push((change.at, now));
    }
    moments.push((step.end, now));
    let total = |in_use: &[Bytes; MemoryUse::ALL.len()]| in_use.iter().copied().sum::<Bytes>().as_f64();
    let high = moments.iter().map(|(_, in_use)| total(in_use)).fold(1.0, f64::max);
    let (unit, name) = if high >= 1e9 {
        (1e9, "GB")
    } else if high >= 1e6 {
        (1e6, "MB")
    } else {
        (1e3, "kB")
    };
    let length = step.end.since(step.start).seconds() * 1e3;
    Some(drawing(420, |area| {
        let entries: Vec<(RGBColor, &str)> =
            MemoryUse::ALL.iter().map(|&usage| (memory_colour(usage), usage.name())).collect();
        legend(area, NAMES, 18, &entries);
        let (_, below) = area.split_vertically(34);
        let mut chart = ChartBuilder::on(&below)
            .margin(12)
            .x_label_area_size(46)
            .y_label_area_size(74)
            .build_cartesian_2d(0.0..length, 0.0..high / unit * 1.06)
            .expect(INFALLIBLE);
        chart
            .configure_mesh()
            .x_desc("time within the step (ms)")
            .y_desc(format!("memory of {rank} ({name})"))
            .light_line_style(WHITE)
            .bold_line_style(FAINT)
            .axis_style(INK)
            .label_style(("sans-serif", 13))
            .axis_desc_style(("sans-serif", 14))
            .draw()
            .expect(INFALLIBLE);
        // From the whole stack down, each use covers what lies above it.
        for top in (0..MemoryUse::ALL.len()).rev() {
            let height = |in_use: &[Bytes]| in_use[..=top].iter().copied().sum::<Bytes>().as_f64() / unit;
            let mut outline = Vec::new();
            for pair in moments.windows(2) {
                let at = |moment: &(SimTime, _)| moment.0.since(step.start).seconds() * 1e3;
                outline.push((at(&pair[0]), height(&pair[0].1)));
                outline.push((at(&pair[1]), height(&pair[0].1)));
            }
            let colour = memory_colour(MemoryUse::ALL[top]);
            chart.draw_series(AreaSeries::new(outline, 0.0, colour.filled())).expect(INFALLIBLE);
        }
    }))
}
