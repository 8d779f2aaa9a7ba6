//! The figures of a training run.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{Id, LinkId, Rank, Stage};
use crate::metrics::{Breakdown, ShownStep, TrainingRecord};
use crate::report::figure::{
    AreaChart, Axis, Bar, Columns, Heatmap, Histogram, Hue, Layer, Line, LineChart, Quantity, Sample,
    StackedBars, Svg, Timeline, TimelineArrow, TimelineCaption, TimelineLane, TimelineSpan, running_mean,
};
use crate::report::training::{hue_of, parts_of};
use crate::trace::{Lane, MemoryUse, Span, Stream};
use crate::training::{Applied, TrainingPlan};
use crate::units::SimTime;

/// Runs of more steps show a running mean over their losses.
const SMOOTHED_FROM: usize = 60;

/// Loss against simulated time: every step, and the held-out loss where it was measured.
pub(super) fn loss(record: &TrainingRecord) -> Option<Svg> {
    let points: Vec<(f64, f64)> =
        record.steps.iter().filter_map(|step| Some((step.end.seconds(), step.loss?))).collect();
    let held_out: Vec<(f64, f64)> =
        record.steps.iter().filter_map(|step| Some((step.end.seconds(), step.held_out?))).collect();
    if points.is_empty() {
        return None;
    }
    // An odd number, so that the mean is centred.
    let window = (points.len() / 20) | 1;
    let smoothed = points.len() >= SMOOTHED_FROM;
    let name =
        if smoothed { format!("training (pale: each step; mean of {window})") } else { "training".into() };
    let smooth = smoothed.then(|| running_mean(&points, window));
    let mut series = vec![Line { smooth, ..Line::new(name, points) }];
    if !held_out.is_empty() {
        series.push(Line::new("held out", held_out));
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

/// One step: a lane for each rank and stream, micro-batch numbers in the passes.
pub(super) fn timeline(step: &ShownStep, plan: &TrainingPlan) -> Svg {
    let mut by_lane: BTreeMap<(Rank, Stream), Vec<&Span>> = BTreeMap::new();
    for span in &step.recording.spans {
        if let Lane::Rank(rank, stream) = span.lane {
            by_lane.entry((rank, stream)).or_default().push(span);
        }
    }
    let mut timeline = Timeline::new(format!("Step {}, rank by rank", step.step.0), step.start, step.end);
    for (lane, ((rank, stream), spans)) in by_lane.iter().enumerate() {
        let group = match plan.hosted_by(*rank) {
            Some(of) => format!("host of {of}"),
            None => plan.lane_name(*rank),
        };
        timeline.lanes.push(TimelineLane { group, name: stream.name().into() });
        timeline.spans.extend(spans.iter().map(|span| timeline_span(lane, span)));
        timeline.captions.extend(passes(lane, spans));
    }
    let lanes: Vec<(Rank, Stream)> = by_lane.keys().copied().collect();
    let end = |(lane, at): (Lane, SimTime)| match lane {
        Lane::Rank(rank, stream) => lanes.binary_search(&(rank, stream)).ok().map(|lane| (lane, at)),
        Lane::Device(_) | Lane::Link(_) => None,
    };
    let arrows = step.recording.arrows.iter();
    timeline.arrows = arrows
        .filter_map(|arrow| Some(TimelineArrow { from: end(arrow.from)?, to: end(arrow.to)? }))
        .collect();
    timeline.draw()
}

fn timeline_span(lane: usize, span: &Span) -> TimelineSpan {
    let label = &span.label;
    let parts = [
        Some(format!("{} {}", span.activity.name(), label.name)),
        label.collective.map(str::to_owned),
        label.layer.map(|layer| layer.to_string()),
        label.micro_batch.map(|micro_batch| micro_batch.to_string()),
        (span.bytes.get() > 0).then(|| span.bytes.to_string()),
    ];
    TimelineSpan {
        lane,
        start: span.start,
        end: span.end,
        hue: Hue::Activity(span.activity),
        label: String::new(),
        hint: parts.into_iter().flatten().collect::<Vec<_>>().join(", "),
    }
}

/// Passes through a stage: neighbouring compute spans of one micro-batch, numbered once.
fn passes(lane: usize, spans: &[&Span]) -> Vec<TimelineCaption> {
    let mut passes: Vec<TimelineCaption> = Vec::new();
    for span in spans.iter().filter(|span| span.activity.is_compute()) {
        let Some(micro_batch) = span.label.micro_batch else { continue };
        let (hue, text) = (Hue::Activity(span.activity), micro_batch.index().to_string());
        match passes.last_mut() {
            Some(pass) if pass.hue == hue && pass.text == text => pass.end = span.end,
            _ => passes.push(TimelineCaption { lane, start: span.start, end: span.end, hue, text }),
        }
    }
    passes
}

/// Where each rank's time went: a stacked bar a rank.
pub(super) fn breakdown(breakdown: &Breakdown, plan: &TrainingPlan) -> Svg {
    let parts = parts_of(&[breakdown]);
    let bar = |rank: Rank| Bar {
        name: plan.lane_name(rank),
        values: parts.iter().map(|&part| breakdown.of(rank, part).seconds()).collect(),
    };
    StackedBars {
        title: "Where a step of each rank goes".into(),
        value: Axis::new("time", Quantity::Time),
        parts: parts.iter().map(|&part| (part.name().to_owned(), hue_of(part))).collect(),
        bars: breakdown.ranks().map(bar).collect(),
        best: None,
    }
    .draw()
}

/// How many gradients were how stale; of a pipeline, stage by stage.
pub(super) fn staleness(applied: &Applied) -> Svg {
    let stages: BTreeSet<Option<Stage>> = match &applied.stages[..] {
        [] => [None].into(),
        stages => stages.iter().copied().map(Some).collect(),
    };
    let values = |of: Option<Stage>| {
        let counts = |at: usize| of.is_none_or(|stage| applied.stages[at] == stage);
        let stale = applied.staleness.iter().enumerate().filter(|&(at, _)| counts(at));
        stale.map(|(_, &stale)| f64::from(stale)).collect()
    };
    let name = |of: Option<Stage>| of.map_or("gradients".to_owned(), |stage| stage.to_string());
    let since = if applied.stages.is_empty() { "steps of others since the pull" } else { "updates" };
    Histogram {
        title: "Staleness of gradients".into(),
        x: Axis::new(since, Quantity::Number).from_zero(),
        samples: stages.into_iter().map(|of| Sample::new(name(of), values(of))).collect(),
    }
    .draw()
}

/// Columns of the link figure: moments of the step.
const MOMENTS: usize = 240;
/// Links shown: the busiest.
const MOST_LINKS: usize = 32;

/// How busy the busiest links were over the step, each payload spread evenly over its time.
pub(super) fn links(step: &ShownStep, plan: &TrainingPlan) -> Option<Svg> {
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
    let about = |link: LinkId| &plan.topology.links()[link];
    let name = |link: LinkId| {
        let (from, to) = (about(link).from, about(link).to);
        format!("{} to {}", plan.topology.vertex_name(from), plan.topology.vertex_name(to))
    };
    let share = |link: LinkId, moved: f64| moved / (about(link).bandwidth.get() * length / MOMENTS as f64);
    let shown = if links > MOST_LINKS {
        format!("the {MOST_LINKS} busiest of {links} links")
    } else {
        format!("{links} links")
    };
    let most = busiest.iter().flat_map(|(link, cells)| cells.iter().map(|&moved| share(*link, moved)));
    let most = most.fold(0.0, f64::max);
    let map = Heatmap {
        title: format!("How busy links were: {shown}"),
        columns: Columns::Over(Axis::new("time within the step", Quantity::Time), 0.0, length),
        row_label: String::new(),
        rows: busiest.iter().map(|&(link, _)| name(link)).collect(),
        values: busiest
            .iter()
            .map(|(link, cells)| cells.iter().map(|&moved| share(*link, moved)).collect())
            .collect(),
        value: Axis::new("share of the bandwidth in use", Quantity::Percent).between(0.0, scale_end(most)),
    };
    Some(map.draw())
}

/// Shades go up to the whole bandwidth; where links are mostly idle, up to the least of 50, 20, 10, 5 …
/// percent that holds all, so that something can be seen.
fn scale_end(most: f64) -> f64 {
    let ends = (0..6).flat_map(|power| [1.0, 0.5, 0.2].map(|end| end / 10_f64.powi(power)));
    ends.take_while(|&end| end >= most).last().unwrap_or(1.0)
}

/// Memory of the fullest rank over the step, stacked by use.
pub(super) fn memory(record: &TrainingRecord, step: &ShownStep, plan: &TrainingPlan) -> Option<Svg> {
    let (rank, _) = record.memory.as_ref()?.fullest();
    let mut now = step.memory_before[rank];
    let mut at = vec![step.start];
    let mut moments = vec![now];
    for change in step.recording.memory.iter().filter(|change| change.rank == rank) {
        now[change.usage as usize] = change.now;
        at.push(change.at);
        moments.push(now);
    }
    let layer = |usage: MemoryUse| Layer {
        name: usage.name().into(),
        hue: Hue::Memory(usage),
        values: moments.iter().map(|in_use| in_use[usage as usize].as_f64()).collect(),
    };
    let device = &plan.topology.devices()[plan.placement[rank]].spec;
    let chart = AreaChart {
        title: format!("Memory of {rank}, the fullest"),
        x: Axis::new("time within the step", Quantity::Time),
        y: Axis::new("memory", Quantity::Bytes),
        at: at.iter().map(|at| at.since(step.start).seconds()).collect(),
        until: step.end.since(step.start).seconds(),
        layers: MemoryUse::ALL.into_iter().map(layer).collect(),
        capacity: Some((format!("capacity of {}", device.name), device.memory.capacity.as_f64())),
    };
    Some(chart.draw())
}
