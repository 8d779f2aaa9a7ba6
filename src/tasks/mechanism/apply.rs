//! What was decided is held against what is legal, and done.

use super::{Event, Run, State};
use crate::engine::EventClass;
use crate::ids::{DeviceId, TaskId};
use crate::tasks::scheduling::Plan;
use crate::units::{SimDuration, SimTime};

impl Run<'_> {
    /// Everything that has not started goes where the plan says.
    pub(super) fn replan(&mut self, now: SimTime, plan: Plan) {
        let name = self.plan.scheduler.name();
        for lane in self.lanes.iter_mut() {
            lane.queue.clear();
        }
        for state in self.states.iter_mut().filter(|state| matches!(state, State::Given(_))) {
            *state = State::Waiting;
        }
        for (device, order) in plan.orders.enumerate() {
            for &task in order {
                self.place(task, device);
            }
        }
        let forgotten = self.states.enumerate().find(|(_, state)| **state == State::Waiting);
        if let Some((task, _)) = forgotten {
            panic!("`{name}` has not planned `{}`", self.plan.graph.task(task).name);
        }
        self.ready.clear();
        for device in self.lanes.ids() {
            for at in 0..self.lanes[device].queue.len() {
                self.provision(now, self.lanes[device].queue[at], device);
            }
        }
        if self.outcome.plans == 0 {
            self.outcome.planned = Some(plan.makespan());
            self.outcome.proven = plan.proven;
        }
        self.outcome.plans += 1;
    }

    /// A ready task goes to a device.
    pub(super) fn give(&mut self, now: SimTime, task: TaskId, device: DeviceId, after: SimDuration) {
        let name = self.plan.scheduler.name();
        let what = &self.plan.graph.task(task).name;
        assert!(self.ready.remove(&task), "`{name}` gives away `{what}`, which is not ready");
        self.place(task, device);
        if after == SimDuration::ZERO {
            self.provision(now, task, device);
            return;
        }
        self.lanes[device].fetching = now + after;
        self.queue.schedule(now + after, EventClass::Arrival, Event::Fetched(device));
    }

    /// A device has got hold of what it was given: the data begin to travel.
    pub(super) fn fetched(&mut self, now: SimTime, device: DeviceId) {
        for at in 0..self.lanes[device].queue.len() {
            self.provision(now, self.lanes[device].queue[at], device);
        }
        self.look(now);
    }

    fn place(&mut self, task: TaskId, device: DeviceId) {
        let name = self.plan.scheduler.name();
        let what = &self.plan.graph.task(task).name;
        assert!(self.states[task] == State::Waiting, "`{name}` places `{what}` twice, or after it started");
        assert!(
            self.progress.free[device].is_some(),
            "`{name}` places `{what}` on {device}, which has failed"
        );
        let able = self.plan.estimates.time(task, device).is_some();
        assert!(able, "`{name}` places `{what}` on {device}, which cannot do it");
        self.states[task] = State::Given(device);
        self.lanes[device].queue.push_back(task);
    }

    /// Sends a device what a task that it was given needs and what has been made.
    pub(super) fn provision(&mut self, now: SimTime, task: TaskId, device: DeviceId) {
        let inputs: Vec<_> = self.plan.graph.inputs(task).map(|(id, _)| id).collect();
        for id in inputs {
            self.send(now, id, device);
        }
    }
}
