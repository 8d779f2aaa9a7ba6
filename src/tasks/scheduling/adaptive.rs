//! Adaptive: plan, watch, and plan anew when devices are not as fast as was thought.
//!
//! In the manner of Yu and Shi, "An Adaptive Rescheduling Strategy for Grid Workflow Applications", IPDPS
//! 2007 (AHEFT): what has started stays where it is; the rest is planned again.

use serde::{Deserialize, Serialize};

use crate::ids::{DeviceId, IdVec, TaskId};
use crate::tasks::TaskGraph;
use crate::tasks::scheduling::{
    Decider, Decision, Moment, News, Plan, TaskScheduler, TaskSchedulerSpec, TaskView,
};
use crate::units::SimDuration;

/// A planner that is asked again when the observed speed of a device has left the one it planned with.
///
/// What is observed of a device is the time that its tasks took over the time that they were thought to
/// take, all of them together; it scales the estimates of all its tasks. While a plan is made nothing new
/// starts: that is what adapting costs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Adaptive {
    /// Who plans.
    pub by: Box<TaskSchedulerSpec>,
    /// How far observation and plan may part: 0.2 is 20 %.
    pub threshold: f64,
    /// Tasks that a device must have done before it is believed.
    pub observations: u32,
    /// How long planning takes for each pair of a task that is left and a device that is alive. The default
    /// was measured: HEFT planned 2000 layered tasks for 8 devices in 1.2 ms on one core of a server.
    pub overhead: SimDuration,
}

impl Default for Adaptive {
    fn default() -> Self {
        let heft = TaskSchedulerSpec::from_name("heft").expect("a listed scheduler");
        Adaptive {
            by: Box::new(heft),
            threshold: 0.2,
            observations: 2,
            overhead: SimDuration::from_nanos(75),
        }
    }
}

impl TaskScheduler for Adaptive {
    fn plan(&self, view: &TaskView) -> Plan {
        self.by.plan(view)
    }

    fn draws(&self) -> bool {
        self.by.draws()
    }

    fn decider(&self) -> Option<Box<dyn Decider>> {
        Some(Box::new(Watcher { by: self.clone(), watched: IdVec::new(), thinking: false }))
    }

    fn admits(&self, graph: &TaskGraph, devices: usize) -> Result<(), String> {
        if self.by.decider().is_some() {
            return Err(format!("`adaptive` asks a planner, and `{}` decides on the way", self.by.name()));
        }
        if !(self.threshold > 0.0 && self.threshold.is_finite()) {
            return Err(format!("`threshold` is above 0, as in 0.2, not {}", self.threshold));
        }
        self.by.admits(graph, devices)
    }
}

/// What has been seen of a device.
#[derive(Debug, Clone, Copy)]
struct Watched {
    tasks: u32,
    thought: u128,
    took: u128,
    /// With which factor the present plan reckons.
    planned: f64,
}

impl Watched {
    /// Times over estimates; what the plan reckons with until enough has been seen.
    fn factor(&self, observations: u32) -> f64 {
        if self.tasks >= observations.max(1) && self.thought > 0 {
            self.took as f64 / self.thought as f64
        } else {
            self.planned
        }
    }
}

struct Watcher {
    by: Adaptive,
    watched: IdVec<DeviceId, Watched>,
    thinking: bool,
}

impl Decider for Watcher {
    fn decide(&mut self, view: &TaskView, moment: &Moment) -> Vec<Decision> {
        let mut decisions = Vec::new();
        for news in moment.news {
            match *news {
                News::Began => {
                    let nothing = Watched { tasks: 0, thought: 0, took: 0, planned: 1.0 };
                    self.watched = view.costs.devices().map(|_| nothing).collect();
                    return vec![Decision::Replan(self.by.by.plan(view))];
                }
                News::Finished { task, device, took } => self.observe(view, task, device, took),
                News::Failed(_) => decisions.extend(self.think(view)),
                News::Thought => {
                    self.thinking = false;
                    decisions.push(Decision::Replan(self.plan_anew(view)));
                }
            }
        }
        if self.is_off() {
            decisions.extend(self.think(view));
        }
        decisions
    }
}

impl Watcher {
    fn observe(&mut self, view: &TaskView, task: TaskId, device: DeviceId, took: SimDuration) {
        let thought = view.costs.time(task, device).expect("a device that has done it");
        let watched = &mut self.watched[device];
        watched.tasks += 1;
        watched.thought += u128::from(thought.picos());
        watched.took += u128::from(took.picos());
    }

    fn is_off(&self) -> bool {
        let off = |watched: &Watched| {
            let ratio = watched.factor(self.by.observations) / watched.planned;
            (ratio - 1.0).abs() > self.by.threshold
        };
        self.watched.iter().any(off)
    }

    /// Takes the time that a plan for the rest needs; nothing when there is no rest, or a plan is being
    /// made already: it will see what has happened meanwhile.
    fn think(&mut self, view: &TaskView) -> Option<Decision> {
        let left = view.open().count();
        if self.thinking || left == 0 {
            return None;
        }
        self.thinking = true;
        let alive = view.progress.free.iter().flatten().count();
        Some(Decision::Think(self.by.overhead * (left * alive) as u64))
    }

    fn plan_anew(&mut self, view: &TaskView) -> Plan {
        for watched in self.watched.iter_mut() {
            watched.planned = watched.factor(self.by.observations);
        }
        let costs = view.costs.changed(|_, device, time| time.scaled(self.watched[device].planned));
        self.by.by.plan(&TaskView { costs: &costs, ..*view })
    }
}
