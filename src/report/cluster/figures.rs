//! The pictures of a cluster run.

use std::collections::BTreeMap;

use crate::cluster::outcome::{Ended, Sample, Stay};
use crate::cluster::{ClusterOutcome, ClusterPlan, Reason};
use crate::ids::{DeviceId, Id};
use crate::report::figure::{
    AreaChart, Axis, Bar, Cdf, Hue, Layer, Quantity, Sample as Numbers, StackedBars, TIMELINE_LIMIT,
    Timeline, TimelineLane, TimelineSpan,
};
use crate::trace::Activity;
use crate::units::{PICOS_PER_SECOND, SimTime};

/// A figure with its file's name and what it shows.
pub(super) struct Figure {
    pub name: &'static str,
    pub title: &'static str,
    pub caption: String,
    pub svg: String,
}

/// Every figure of a run.
pub(super) fn all(plan: &ClusterPlan, outcome: &ClusterOutcome) -> Vec<Figure> {
    let by_node = plan.machine.devices() > MOST_DEVICES;
    let lanes = if by_node { "node" } else { "device" };
    let figure = |name, title, caption: &str, svg| Figure { name, title, caption: caption.into(), svg };
    vec![
        figure(
            "devices",
            "Who ran where",
            &format!(
                "A lane for each {lanes}, a colour for each job (colours repeat); numbers are those of the jobs."
            ),
            gantt(plan, outcome, by_node).draw().to_string(),
        ),
        figure(
            "utilization",
            "Devices over time",
            "Devices in use, idle in nodes that are partly used, idle in empty nodes, and out of service; means over \
             stretches of time where there are more changes than points.",
            devices(plan, outcome).draw().to_string(),
        ),
        figure(
            "queue",
            "Jobs over time",
            "Jobs that run and jobs that wait.",
            queue(outcome).draw().to_string(),
        ),
        figure(
            "jct",
            "Completion times",
            "Share of jobs that were done within a time of their arrival, or would have been alone on the machine.",
            completion(plan, outcome).draw().to_string(),
        ),
        figure(
            "pending",
            "Why jobs waited",
            "Mean waiting time of jobs by the number of devices they ask for.",
            reasons(plan, outcome).draw().to_string(),
        ),
    ]
}

const OUTAGE: Hue = Hue::Muted;

/// Of more, a lane each would be too thin.
const MOST_DEVICES: usize = 128;

fn gantt(plan: &ClusterPlan, outcome: &ClusterOutcome, by_node: bool) -> Timeline {
    let end = outcome.samples.last().map_or(SimTime::ZERO, |sample| sample.at);
    let title = if by_node { "Jobs on nodes" } else { "Jobs on devices" };
    let mut timeline = Timeline::new(title, SimTime::ZERO, end);
    timeline.limit = TIMELINE_LIMIT;
    let machine = &plan.machine;
    let mut lane_of: BTreeMap<DeviceId, usize> = BTreeMap::new();
    for (id, node) in machine.nodes().enumerate() {
        if by_node {
            lane_of.extend(node.devices.iter().map(|&device| (device, id.index())));
            let group = machine.kind_name(node.kind).to_owned();
            timeline.lanes.push(TimelineLane { group, name: node.name.clone() });
            continue;
        }
        for (place, &device) in node.devices.iter().enumerate() {
            lane_of.insert(device, timeline.lanes.len());
            timeline.lanes.push(TimelineLane { group: node.name.clone(), name: place.to_string() });
        }
    }
    for stay in &outcome.stays {
        let mut lanes: Vec<usize> = stay.devices.iter().map(|device| lane_of[device]).collect();
        lanes.dedup();
        for lane in lanes {
            timeline.spans.extend(spans(plan, stay, lane));
        }
    }
    for outage in &outcome.outages {
        timeline.spans.push(TimelineSpan {
            lane: lane_of[&outage.device],
            start: outage.start,
            end: outage.end,
            hue: OUTAGE,
            label: String::new(),
            hint: "out of service".into(),
        });
    }
    timeline.names =
        vec![(Hue::Activity(Activity::Other), "checkpoint".into()), (OUTAGE, "out of service".into())];
    timeline
}

/// A stay on a lane: waiting for checkpoints, then work.
fn spans(plan: &ClusterPlan, stay: &Stay, lane: usize) -> impl Iterator<Item = TimelineSpan> + use<> {
    let job = &plan.jobs[stay.job];
    let ended = match stay.ended {
        Ended::Finished => "done",
        Ended::Preempted => "preempted",
        Ended::Failed => "a device failed",
    };
    let hint = format!("{} ({} devices): {ended}", job.name, stay.devices.len());
    let span =
        |start, end, hue, label: String| TimelineSpan { lane, start, end, hue, label, hint: hint.clone() };
    let overhead = span(stay.start, stay.begins, Hue::Activity(Activity::Other), String::new());
    let work = span(stay.begins, stay.end, Hue::Series(stay.job.index()), stay.job.0.to_string());
    [overhead, work].into_iter().filter(|span| span.start < span.end)
}

/// The most points of a curve over time.
const MOST_POINTS: usize = 1500;

/// Means of some numbers of the state over stretches of time, or their values at every change where
/// those are few.
fn over_time<const N: usize>(
    samples: &[Sample],
    of: impl Fn(&Sample) -> [f64; N],
) -> (Vec<f64>, f64, [Vec<f64>; N]) {
    let mut values: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    let Some(last) = samples.last() else { return (Vec::new(), 0.0, values) };
    let end = last.at.seconds();
    let mut at = Vec::new();
    if samples.len() <= MOST_POINTS {
        for sample in samples {
            at.push(sample.at.seconds());
            for (values, value) in values.iter_mut().zip(of(sample)) {
                values.push(value);
            }
        }
        return (at, end, values);
    }
    let width = last.at.picos().div_ceil(MOST_POINTS as u64).max(1);
    let mut sums = [0.0; N];
    let mut filled = 0_u64;
    for pair in samples.windows(2) {
        let (mut from, to) = (pair[0].at.picos(), pair[1].at.picos());
        let now = of(&pair[0]);
        while from < to {
            let until = to.min((from / width + 1) * width);
            for (sum, value) in sums.iter_mut().zip(now) {
                *sum += value * (until - from) as f64;
            }
            filled += until - from;
            if until % width == 0 || until == last.at.picos() {
                at.push((until - filled) as f64 / PICOS_PER_SECOND as f64);
                for (values, sum) in values.iter_mut().zip(&mut sums) {
                    values.push(*sum / filled as f64);
                    *sum = 0.0;
                }
                filled = 0;
            }
            from = until;
        }
    }
    (at, end, values)
}

fn devices(plan: &ClusterPlan, outcome: &ClusterOutcome) -> AreaChart {
    let all = plan.machine.devices() as f64;
    let of = |sample: &Sample| {
        // Shared devices count as far as they are used; what is left of them is idle in a used node.
        let (busy, down) = (sample.busy_milli as f64 / 1000.0, f64::from(sample.down));
        let empty = f64::from(sample.idle - sample.scattered);
        [busy, (all - busy - down - empty).max(0.0), empty, down]
    };
    let (at, until, [busy, scattered, empty, down]) = over_time(&outcome.samples, of);
    let layer = |name: &str, hue, values| Layer { name: name.into(), hue, values };
    AreaChart {
        title: "Devices".into(),
        x: Axis::new("time", Quantity::Time),
        y: Axis::new("devices", Quantity::Number),
        at,
        until,
        layers: vec![
            layer("in use", Hue::Activity(Activity::Job), busy),
            layer("idle in used nodes", Hue::Series(4), scattered),
            layer("idle in empty nodes", Hue::Idle, empty),
            layer("out of service", OUTAGE, down),
        ],
        capacity: None,
    }
}

fn queue(outcome: &ClusterOutcome) -> AreaChart {
    let of = |sample: &Sample| [f64::from(sample.running), f64::from(sample.pending)];
    let (at, until, [running, pending]) = over_time(&outcome.samples, of);
    AreaChart {
        title: "Jobs".into(),
        x: Axis::new("time", Quantity::Time),
        y: Axis::new("jobs", Quantity::Number),
        at,
        until,
        layers: vec![
            Layer { name: "running".into(), hue: Hue::Activity(Activity::Job), values: running },
            Layer { name: "waiting".into(), hue: Hue::Series(1), values: pending },
        ],
        capacity: None,
    }
}

fn completion(plan: &ClusterPlan, outcome: &ClusterOutcome) -> Cdf {
    let of = |of: &dyn Fn(&crate::cluster::Job, &crate::cluster::JobRecord) -> f64| -> Vec<f64> {
        plan.jobs.iter().zip(outcome.jobs.iter()).map(|(job, record)| of(job, record)).collect()
    };
    let jct = of(&|job, record| record.finish.since(job.arrival).seconds());
    let alone = of(&|_, record| record.alone.seconds());
    Cdf {
        title: "Completion times".into(),
        x: Axis::new("time since arrival", Quantity::Time).logarithmic(),
        samples: vec![Numbers::new("done (JCT)", jct), Numbers::new("alone on the machine", alone)],
        references: Vec::new(),
    }
}

fn reasons(plan: &ClusterPlan, outcome: &ClusterOutcome) -> StackedBars {
    let mut jobs: BTreeMap<u32, f64> = BTreeMap::new();
    for job in plan.jobs.iter() {
        *jobs.entry(job.demand.devices).or_default() += 1.0;
    }
    let bar = |(&devices, &count): (&u32, &f64)| Bar {
        name: if devices == 1 { "1 device".into() } else { format!("{devices} devices") },
        values: Reason::ALL
            .map(|reason| outcome.waited.get(&(devices, reason)).copied().unwrap_or(0))
            .map(|waited| waited as f64 / PICOS_PER_SECOND as f64 / count)
            .to_vec(),
    };
    StackedBars {
        title: "Waiting time of a job".into(),
        value: Axis::new("mean waiting time", Quantity::Time),
        parts: reason_hues().collect(),
        bars: jobs.iter().map(bar).collect(),
        best: None,
    }
}

/// Reasons with their colours.
pub(super) fn reason_hues() -> impl Iterator<Item = (String, Hue)> {
    let hues = [Hue::Activity(Activity::Job), OUTAGE, Hue::Series(4), Hue::Series(3)];
    Reason::ALL.into_iter().zip(hues).map(|(reason, hue)| (reason.name().replace('_', " "), hue))
}
