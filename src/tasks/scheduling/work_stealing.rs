//! Work stealing: who has nothing to do takes from who has.
//!
//! Blumofe and Leiserson, "Scheduling Multithreaded Computations by Work Stealing", JACM 46(5), 1999:
//! each device has a double-ended queue; it puts what its tasks have made ready at the bottom and takes
//! from there; when it is empty it takes from the top of a victim drawn by lot.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::ids::{DeviceId, Id, IdVec, TaskId};
use crate::rng::{RngExt, Stream};
use crate::tasks::scheduling::{Decider, Decision, Draft, Moment, News, Plan, TaskScheduler, TaskView};
use crate::units::SimDuration;

/// Decides while the graph runs, without looking at estimates.
///
/// Entry tasks are dealt out in turn, each to the next device that can do it. What a task makes ready goes
/// to the bottom of its device's queue, the first successor last, so that it is taken next. Devices of
/// different kinds cannot do every task: from its own queue, and from a victim's, a device takes the
/// first that it can do; victims are drawn among those who have one. Data travel once a task is taken.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkStealing {
    /// How long a theft takes, before the data begin to travel.
    pub theft: SimDuration,
}

impl TaskScheduler for WorkStealing {
    /// Nothing is planned ahead of time.
    fn plan(&self, view: &TaskView) -> Plan {
        Draft::new(*view).finish()
    }

    fn draws(&self) -> bool {
        true
    }

    fn decider(&self) -> Option<Box<dyn Decider>> {
        Some(Box::new(Thieves { theft: self.theft, queues: IdVec::new(), turn: 0, lots: None }))
    }
}

struct Thieves {
    theft: SimDuration,
    /// Each device's tasks, the top first.
    queues: IdVec<DeviceId, VecDeque<TaskId>>,
    /// To which device the next task is dealt that nobody has made ready.
    turn: usize,
    lots: Option<Stream>,
}

impl Decider for Thieves {
    fn decide(&mut self, view: &TaskView, moment: &Moment) -> Vec<Decision> {
        if self.queues.is_empty() {
            self.queues = view.costs.devices().map(|_| VecDeque::new()).collect();
            self.lots = Some(view.seed.stream("tasks/work_stealing"));
        }
        for news in moment.news {
            match *news {
                News::Finished { task, device, .. } => self.push(view, moment, task, device),
                News::Failed(device) => self.queues[device].clear(),
                News::Began | News::Thought => {}
            }
        }
        self.settle(view, moment);
        moment.idle.iter().filter_map(|&device| self.take(view, device)).collect()
    }
}

impl Thieves {
    /// What a task has made ready goes to the bottom of its device's queue.
    fn push(&mut self, view: &TaskView, moment: &Moment, task: TaskId, device: DeviceId) {
        if view.progress.free[device].is_none() {
            return;
        }
        for (_, data) in view.graph.outputs(task).rev() {
            if moment.ready.contains(&data.to) && !self.queues.iter().any(|queue| queue.contains(&data.to)) {
                self.queues[device].push_back(data.to);
            }
        }
    }

    /// What is not ready any more (a device has failed) is forgotten; what is ready and in no queue is
    /// dealt out in turn.
    fn settle(&mut self, view: &TaskView, moment: &Moment) {
        for queue in self.queues.iter_mut() {
            queue.retain(|task| moment.ready.contains(task));
        }
        let held: std::collections::BTreeSet<TaskId> = self.queues.iter().flatten().copied().collect();
        for &task in moment.ready.difference(&held) {
            let wait =
                |device: &DeviceId| (device.index() + self.queues.len() - self.turn) % self.queues.len();
            let device = view.able(task).map(|(device, _)| device).min_by_key(wait);
            let device = device.expect("some live device can do every open task");
            self.turn = (device.index() + 1) % self.queues.len();
            // Behind what is there: what was dealt first is done first.
            self.queues[device].push_front(task);
        }
    }

    /// What an idle device does next: its own newest task, or someone's oldest.
    fn take(&mut self, view: &TaskView, device: DeviceId) -> Option<Decision> {
        let able = |task: &TaskId| view.costs.time(*task, device).is_some();
        if let Some(at) = self.queues[device].iter().rposition(able) {
            let task = self.queues[device].remove(at).expect("it was found there");
            return Some(Decision::Give { task, device, after: SimDuration::ZERO });
        }
        let victims: Vec<(DeviceId, usize)> = self
            .queues
            .enumerate()
            .filter_map(|(victim, queue)| Some((victim, queue.iter().position(able)?)))
            .collect();
        let lots = self.lots.as_mut().expect("it was drawn from the seed at the start");
        let &(victim, at) = victims.get(lots.random_range(0..victims.len().max(1)))?;
        let task = self.queues[victim].remove(at).expect("it was found there");
        Some(Decision::Give { task, device, after: self.theft })
    }
}
