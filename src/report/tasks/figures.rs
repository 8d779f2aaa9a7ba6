//! The pictures of a task run.

use std::collections::BTreeMap;

use crate::ids::{Id, TaskId};
use crate::report::figure::{
    Axis, Bar, Hue, Quantity, StackedBars, Timeline, TimelineArrow, TimelineLane, TimelineSpan,
};
use crate::report::tasks::TasksSummary;
use crate::tasks::outcome::{Ended, Stay};
use crate::tasks::{TaskOutcome, TaskPlan};
use crate::trace::Activity;
use crate::units::SimTime;

/// A figure with its file's name and what it shows.
pub(super) struct Figure {
    pub name: &'static str,
    pub title: &'static str,
    pub caption: String,
    pub svg: String,
}

/// Every figure of a run.
pub(super) fn all(plan: &TaskPlan, outcome: &TaskOutcome, summary: &TasksSummary) -> Vec<Figure> {
    let colours = Colours::of(plan);
    let meaning = if colours.families.len() > 1 { "kind of task" } else { "task (colours repeat)" };
    vec![
        Figure {
            name: "gantt",
            title: "Which device did what when",
            caption: format!("A lane for each device, a colour for each {meaning}."),
            svg: gantt(plan, outcome, summary, &colours).draw().to_string(),
        },
        Figure {
            name: "devices",
            title: "What devices did with their time",
            caption: "Until the last task was done.".into(),
            svg: devices(summary).draw().to_string(),
        },
    ]
}

const LOST: Hue = Hue::Muted;

/// Which tasks look alike: those whose names differ in their numbers alone, if there are several such
/// families and not too many.
struct Colours {
    families: BTreeMap<String, usize>,
}

const MOST_FAMILIES: usize = 10;

impl Colours {
    fn of(plan: &TaskPlan) -> Self {
        let mut families = BTreeMap::new();
        for task in plan.graph.ids() {
            let next = families.len();
            families.entry(family(&plan.graph.task(task).name)).or_insert(next);
        }
        if families.len() > MOST_FAMILIES {
            families.clear();
        }
        Colours { families }
    }

    fn hue(&self, plan: &TaskPlan, task: TaskId) -> Hue {
        match self.families.get(&family(&plan.graph.task(task).name)) {
            Some(&at) if self.families.len() > 1 => Hue::Series(at),
            _ => Hue::Series(task.index()),
        }
    }

    fn names(&self) -> impl Iterator<Item = (Hue, String)> + '_ {
        let several = self.families.iter().filter(|_| self.families.len() > 1);
        several.map(|(name, &at)| (Hue::Series(at), name.clone()))
    }
}

/// `gemm(3,1,0)` and `gemm(4,1,0)` are of the family `gemm`.
fn family(name: &str) -> String {
    let letters = name.split(|c: char| !c.is_alphabetic() && c != '_').next().unwrap_or_default();
    letters.trim_end_matches('_').to_owned()
}

/// More arrows hide what they join.
const MOST_ARROWS: usize = 80;

fn gantt(plan: &TaskPlan, outcome: &TaskOutcome, summary: &TasksSummary, colours: &Colours) -> Timeline {
    let mut timeline = Timeline::new("Tasks on devices", SimTime::ZERO, outcome.makespan);
    for seat in plan.machine.devices.iter() {
        timeline.lanes.push(TimelineLane { group: seat.kind.clone(), name: seat.name.clone() });
    }
    timeline.spans = outcome.stays.iter().map(|stay| span(plan, stay, colours)).collect();
    for &(device, at) in &outcome.failures {
        timeline.spans.push(TimelineSpan {
            lane: device.index(),
            start: at,
            end: outcome.makespan.max(at),
            hue: Hue::Activity(Activity::Other),
            label: "failed".into(),
            hint: "the device has failed".into(),
        });
    }
    if outcome.transfers.len() <= MOST_ARROWS {
        timeline.arrows = outcome
            .transfers
            .iter()
            .filter_map(|transfer| {
                let to = (transfer.to.index(), transfer.end?);
                Some(TimelineArrow { from: (transfer.from.index(), transfer.start), to })
            })
            .collect();
    }
    let bound = SimTime::ZERO + crate::units::SimDuration::from_seconds(summary.lower_bounds_s.best);
    if bound < outcome.makespan {
        timeline.moments.push((bound, "lower bound".into()));
    }
    timeline.names = colours.names().collect();
    timeline.names.push((LOST, "lost with its device".into()));
    timeline.names.push((Hue::Activity(Activity::Other), "device failed".into()));
    timeline
}

fn span(plan: &TaskPlan, stay: &Stay, colours: &Colours) -> TimelineSpan {
    let name = &plan.graph.task(stay.task).name;
    let (hue, hint) = match stay.ended {
        Ended::Done => (colours.hue(plan, stay.task), name.clone()),
        Ended::Lost => (LOST, format!("{name}: done, but lost with its device")),
        Ended::Aborted => (LOST, format!("{name}: its device failed")),
    };
    let lane = stay.device.index();
    TimelineSpan { lane, start: stay.start, end: stay.end, hue, label: name.clone(), hint }
}

fn devices(summary: &TasksSummary) -> StackedBars {
    let bar = |device: &crate::report::tasks::summary::DeviceSummary| {
        let down = device.failed_at_s.map_or(0.0, |at| (summary.makespan_s - at).max(0.0));
        let idle = (summary.makespan_s - device.busy_s - device.lost_s - down).max(0.0);
        Bar { name: device.device.clone(), values: vec![device.busy_s, device.lost_s, idle, down] }
    };
    StackedBars {
        title: "Time of the devices".into(),
        value: Axis::new("time", Quantity::Time),
        parts: vec![
            ("tasks".into(), Hue::Activity(Activity::Task)),
            ("lost with the device".into(), LOST),
            ("idle or waiting for data".into(), Hue::Idle),
            ("failed".into(), Hue::Activity(Activity::Other)),
        ],
        bars: summary.devices.iter().take(MOST_BARS).map(bar).collect(),
        best: None,
    }
}

const MOST_BARS: usize = 64;
