//! The pictures of a preparation.

use crate::ids::Id;
use crate::preparation::{PreparationOutcome, PreparationPlan, StageKind};
use crate::report::figure::{
    AreaChart, Axis, Bar, Hue, Layer, Line, LineChart, Quantity, StackedBars, Timeline, TimelineLane,
    TimelineSpan,
};
use crate::report::preparation::PreparationSummary;
use crate::units::SimTime;

/// A figure with its file's name and what it shows.
pub(super) struct Figure {
    pub name: &'static str,
    pub title: &'static str,
    pub caption: &'static str,
    pub svg: String,
}

/// Every figure of a run.
pub(super) fn all(
    plan: &PreparationPlan,
    outcome: &PreparationOutcome,
    summary: &PreparationSummary,
) -> Vec<Figure> {
    vec![
        Figure {
            name: "gantt",
            title: "Which worker did what when",
            caption: "A lane for each stage of a worker; grey where a shard was done but the next queue full.",
            svg: gantt(plan, outcome).draw().to_string(),
        },
        Figure {
            name: "queues",
            title: "Shards that waited",
            caption: "Over all workers, by the stage that they waited for.",
            svg: queues(plan, outcome).draw().to_string(),
        },
        Figure {
            name: "throughput",
            title: "Shards through the stages",
            caption: "How many bytes of input each stage was done with at each moment.",
            svg: throughput(plan, outcome).draw().to_string(),
        },
        Figure {
            name: "stages",
            title: "What threads did with their time",
            caption: "The stage that is hardly idle is the one to make faster.",
            svg: stages(plan, summary).draw().to_string(),
        },
    ]
}

/// More lanes cannot be told apart.
const MOST_LANES: usize = 64;

fn gantt(plan: &PreparationPlan, outcome: &PreparationOutcome) -> Timeline {
    let kinds = plan.treatment.stages();
    let mut timeline = Timeline::new("Shards in stages", SimTime::ZERO, outcome.makespan);
    // What is done once for all has its lane on the first worker alone.
    let lanes: Vec<(usize, StageKind)> = (0..plan.workers as usize)
        .flat_map(|worker| kinds.iter().map(move |&stage| (worker, stage)))
        .filter(|(worker, stage)| *worker == 0 || !stage.gathers())
        .take(MOST_LANES)
        .collect();
    for (worker, stage) in &lanes {
        let name = stage.name().to_owned();
        timeline.lanes.push(TimelineLane { group: format!("worker {worker}"), name });
    }
    for stay in &outcome.stays {
        let at =
            lanes.iter().position(|&(worker, stage)| worker == stay.worker.index() && stage == stay.stage);
        let Some(lane) = at else { continue };
        let name = stay.shard.map_or("all shards".to_owned(), |shard| shard.to_string());
        let label = stay.shard.map_or(String::new(), |shard| shard.0.to_string());
        let mut span = |start, end, hue, hint| {
            timeline.spans.push(TimelineSpan { lane, start, end, hue, label: label.clone(), hint });
        };
        span(stay.start, stay.end, hue(&kinds, stay.stage), name.clone());
        if stay.left > stay.end {
            span(stay.end, stay.left, Hue::Muted, format!("{name}: blocked"));
        }
    }
    timeline.names = kinds.iter().map(|&stage| (hue(&kinds, stage), stage.name().to_owned())).collect();
    timeline.names.push((Hue::Muted, "blocked".into()));
    timeline
}

fn hue(kinds: &[StageKind], stage: StageKind) -> Hue {
    Hue::Series(kinds.iter().position(|&other| other == stage).expect("a stage of this run"))
}

fn queues(plan: &PreparationPlan, outcome: &PreparationOutcome) -> AreaChart {
    let kinds = plan.treatment.stages();
    let waited: Vec<StageKind> = kinds
        .iter()
        .copied()
        .filter(|kind| outcome.queues.iter().any(|queue| queue.stage == *kind))
        .collect();
    let mut at: Vec<f64> = vec![0.0];
    let mut values: Vec<Vec<f64>> = vec![vec![0.0]; waited.len()];
    for queue in &outcome.queues {
        let moment = queue.at.seconds();
        if moment > *at.last().expect("it begins at zero") {
            at.push(moment);
            for values in &mut values {
                values.push(*values.last().expect("it begins at zero"));
            }
        }
        let layer = waited.iter().position(|&kind| kind == queue.stage).expect("it was collected");
        *values[layer].last_mut().expect("it begins at zero") = queue.length as f64;
    }
    let layer = |(&kind, values): (&StageKind, Vec<f64>)| Layer {
        name: kind.name().to_owned(),
        hue: hue(&kinds, kind),
        values,
    };
    AreaChart {
        title: "Queues".into(),
        x: Axis::new("time", Quantity::Time),
        y: Axis::new("shards waiting", Quantity::Number),
        at,
        until: outcome.makespan.seconds(),
        layers: waited.iter().zip(values).map(layer).collect(),
        capacity: None,
    }
}

fn throughput(plan: &PreparationPlan, outcome: &PreparationOutcome) -> LineChart {
    let kinds = plan.treatment.stages();
    let line = |&kind: &StageKind| {
        let mut ends: Vec<(SimTime, u64)> = outcome
            .stays
            .iter()
            .filter(|stay| stay.stage == kind)
            .map(|stay| (stay.end, stay.amounts.bytes_in.get()))
            .collect();
        ends.sort_unstable();
        let mut sum = 0;
        let mut points = vec![(0.0, 0.0)];
        for (at, bytes) in ends {
            points.push((at.seconds(), sum as f64));
            sum += bytes;
            points.push((at.seconds(), sum as f64));
        }
        Line { hue: Some(hue(&kinds, kind)), ..Line::new(kind.name(), points) }
    };
    LineChart {
        title: "Input that stages were done with".into(),
        x: Axis::new("time", Quantity::Time),
        y: Axis::new("input done", Quantity::Bytes).from_zero(),
        series: kinds.iter().map(line).collect(),
        references: Vec::new(),
    }
}

fn stages(plan: &PreparationPlan, summary: &PreparationSummary) -> StackedBars {
    let bar = |(stage, kind): (&crate::report::preparation::StageSummary, StageKind)| {
        let workers = if kind.gathers() { 1 } else { plan.workers };
        let all = f64::from(workers * plan.speeds[&kind].threads) * summary.simulated_time_s;
        let share = |seconds: f64| seconds / all;
        let idle = (1.0 - share(stage.busy_s + stage.blocked_s)).max(0.0);
        Bar { name: stage.stage.to_owned(), values: vec![share(stage.busy_s), share(stage.blocked_s), idle] }
    };
    StackedBars {
        title: "Time of the threads, by stage".into(),
        value: Axis::new("share of the time", Quantity::Percent),
        parts: vec![
            ("busy".into(), Hue::Compute),
            ("blocked by the next queue".into(), Hue::Muted),
            ("idle".into(), Hue::Idle),
        ],
        bars: summary.stages.iter().zip(plan.treatment.stages()).map(bar).collect(),
        best: None,
    }
}
