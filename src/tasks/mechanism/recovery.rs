//! A device fails: what is lost with it, and what has to be done again.

use super::{Run, State, TaskFailure};
use crate::ids::{DeviceId, TaskId};
use crate::tasks::outcome::{Ended, Stay};
use crate::tasks::scheduling::News;
use crate::units::SimTime;

impl Run<'_> {
    pub(super) fn fail(&mut self, now: SimTime, device: DeviceId) -> Result<(), TaskFailure> {
        if self.progress.free[device].take().is_none() {
            return Ok(());
        }
        self.outcome.failures.push((device, now));
        self.abort(now, device);
        for task in std::mem::take(&mut self.lanes[device].queue) {
            self.states[task] = State::Waiting;
        }
        let transfers = &self.outcome.transfers;
        self.store.fail(device, |transfer| transfers[transfer].from);
        self.values.fail(device);
        self.progress
            .copies
            .retain(|&(data, at), _| at != device && self.store.expects(&self.plan.graph, data, at));
        self.reopen();
        self.take_back();
        self.count_anew();
        self.check_able()?;
        // Devices that live on may have waited for what was on its way from the one that failed.
        for other in self.lanes.ids() {
            for at in 0..self.lanes[other].queue.len() {
                self.provision(now, self.lanes[other].queue[at], other);
            }
        }
        self.tell(now, News::Failed(device));
        Ok(())
    }

    /// The task that ran on the device is lost.
    fn abort(&mut self, now: SimTime, device: DeviceId) {
        let Some((task, start, end)) = self.lanes[device].running.take() else { return };
        self.queue.cancel(end);
        self.values.abort(task, device);
        self.states[task] = State::Waiting;
        self.progress.settled[task] = None;
        self.outcome.stays.push(Stay { task, device, start, end: now, ended: Ended::Aborted });
    }

    /// Tasks that were done and whose results are needed but nowhere any more have to be done again;
    /// from the exits upward, since what is done again needs its own inputs again.
    fn reopen(&mut self) {
        let graph = &self.plan.graph;
        for &task in graph.order().iter().rev() {
            if self.states[task] != State::Done {
                continue;
            }
            let needs = |to: TaskId| matches!(self.states[to], State::Waiting | State::Given(_));
            let mut outputs = graph.outputs(task);
            if outputs.any(|(id, data)| needs(data.to) && self.store.lost(graph, id)) {
                self.states[task] = State::Waiting;
                self.progress.settled[task] = None;
                self.left += 1;
                let mut stays = self.outcome.stays.iter_mut().rev();
                let stay = stays.find(|stay| stay.task == task && stay.ended == Ended::Done);
                stay.expect("a task that was done").ended = Ended::Lost;
            }
        }
    }

    /// Tasks that wait again for others are given to no device any more: they could keep it from doing the
    /// very tasks that they wait for.
    fn take_back(&mut self) {
        let (graph, states) = (&self.plan.graph, &mut self.states);
        for lane in self.lanes.iter_mut() {
            lane.queue.retain(|&task| {
                let kept = graph.inputs(task).all(|(_, data)| states[data.from] == State::Done);
                if !kept {
                    states[task] = State::Waiting;
                }
                kept
            });
        }
    }

    /// What is ready, and how many inputs tasks wait for.
    fn count_anew(&mut self) {
        let graph = &self.plan.graph;
        for task in graph.ids() {
            let unmade = graph.inputs(task).filter(|(_, data)| self.states[data.from] != State::Done);
            self.missing[task] = unmade.count();
        }
        let ready = |task: &TaskId| self.states[*task] == State::Waiting && self.missing[*task] == 0;
        self.ready = graph.ids().filter(ready).collect();
    }

    /// Every task that is not done has a device left that can do it.
    fn check_able(&self) -> Result<(), TaskFailure> {
        let alive = |device: DeviceId| self.progress.free[device].is_some();
        for task in self.plan.graph.ids() {
            let open = matches!(self.states[task], State::Waiting | State::Given(_));
            if open && !self.plan.estimates.able(task).any(|(device, _)| alive(device)) {
                let task = self.plan.graph.task(task).name.clone();
                return Err(TaskFailure::NoDevice { task });
            }
        }
        Ok(())
    }
}
