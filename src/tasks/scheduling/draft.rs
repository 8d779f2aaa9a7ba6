//! A schedule in the making: which device is busy when, and where a task would fit.

use crate::ids::{DeviceId, IdVec, TaskId};
use crate::tasks::graph::Data;
use crate::tasks::scheduling::TaskView;
use crate::units::{SimDuration, SimTime};

/// A task on a device from a start until a finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Where.
    pub device: DeviceId,
    /// From when.
    pub start: SimTime,
    /// Until when.
    pub finish: SimTime,
}

/// Where on a device a task may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// After everything the device has been given.
    Append,
    /// Also between two tasks, where the gap is long enough (the insertion-based policy).
    Insert,
}

/// What a scheduler answers: an order of tasks for every device.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Each device's tasks, in the order in which it does them.
    pub orders: IdVec<DeviceId, Vec<TaskId>>,
    /// Where and when each placed task is expected to run.
    pub expected: IdVec<TaskId, Option<Slot>>,
    /// No plan can be expected to end before this, where the scheduler has proved it.
    pub proven: Option<SimTime>,
}

impl Plan {
    /// When the last task is expected to finish.
    pub fn makespan(&self) -> SimTime {
        self.expected.iter().flatten().map(|slot| slot.finish).max().unwrap_or(SimTime::ZERO)
    }
}

/// A schedule in the making, begun from what has already started.
#[derive(Debug, Clone)]
pub struct Draft<'a> {
    view: TaskView<'a>,
    /// What each device has been given, by start.
    lanes: IdVec<DeviceId, Vec<(TaskId, Slot)>>,
    placed: IdVec<TaskId, Option<Slot>>,
    /// How many of the tasks that each waits for have not been placed.
    missing: IdVec<TaskId, usize>,
    /// Tasks that wait for nothing unplaced, in order of identity.
    ready: Vec<TaskId>,
}

impl<'a> Draft<'a> {
    /// Nothing but what has already started.
    pub fn new(view: TaskView<'a>) -> Self {
        let settled = &view.progress.settled;
        let unsettled =
            |task| view.graph.inputs(task).filter(|(_, data)| settled[data.from].is_none()).count();
        let missing: IdVec<TaskId, usize> = view.graph.ids().map(unsettled).collect();
        let ready = view.graph.ids().filter(|&task| settled[task].is_none() && missing[task] == 0).collect();
        Draft {
            view,
            lanes: IdVec::filled(Vec::new(), view.progress.free.len()),
            placed: settled.clone(),
            missing,
            ready,
        }
    }

    /// What the scheduler sees.
    pub fn view(&self) -> TaskView<'a> {
        self.view
    }

    /// Tasks that have not been placed though all they wait for has been, in order of identity.
    pub fn ready(&self) -> &[TaskId] {
        &self.ready
    }

    /// Where a task has been placed.
    pub fn slot(&self, task: TaskId) -> Option<Slot> {
        self.placed[task]
    }

    /// From when on a device has nothing to do any more.
    pub fn free(&self, device: DeviceId) -> SimTime {
        let free =
            self.view.progress.free[device].expect("a device that is alive").max(self.view.progress.now);
        self.lanes[device].last().map_or(free, |(_, slot)| slot.finish.max(free))
    }

    /// When the last of the tasks that `task` waits for finishes: it *arrives*.
    pub fn arrival(&self, task: TaskId) -> SimTime {
        let finish = |data: &Data| self.placed[data.from].map(|slot| slot.finish);
        let last = self.view.graph.inputs(task).filter_map(|(_, data)| finish(data)).max();
        last.unwrap_or(SimTime::ZERO).max(self.view.progress.now)
    }

    /// When everything that `task` needs from placed tasks is on `device`.
    pub fn data_ready(&self, task: TaskId, device: DeviceId) -> SimTime {
        let now = self.view.progress.now;
        let arrives = |(id, data): (_, &Data)| {
            let made = self.placed[data.from]?;
            if made.device == device {
                return Some(made.finish);
            }
            if let Some(&at) = self.view.progress.copies.get(&(id, device)) {
                return Some(at);
            }
            let travel = self.view.communication.time(data.payload, made.device, device);
            // Before the first start nothing is late; afterwards what was not sent can only be sent now.
            Some(made.finish.max(now) + travel)
        };
        self.view.graph.inputs(task).filter_map(arrives).max().unwrap_or(SimTime::ZERO).max(now)
    }

    /// Where `task` would go on `device`, at the earliest; `None` when the device cannot do it.
    pub fn fit(&self, task: TaskId, device: DeviceId, fit: Fit) -> Option<Slot> {
        self.view.progress.free[device]?;
        let time = self.view.costs.time(task, device)?;
        let ready = self.data_ready(task, device);
        let start = match fit {
            Fit::Append => self.free(device).max(ready),
            Fit::Insert => self.first_gap(device, ready, time),
        };
        Some(Slot { device, start, finish: start + time })
    }

    /// The device on which `task` finishes first, with its slot there.
    pub fn earliest_finish(&self, task: TaskId, fit: Fit) -> Slot {
        self.best_by(task, fit, |slot| slot.finish)
    }

    /// The slot of `task` that is least by `key`; the first device among equals.
    pub fn best_by<K: Ord>(&self, task: TaskId, fit: Fit, mut key: impl FnMut(&Slot) -> K) -> Slot {
        self.fits(task, fit).min_by_key(|slot| key(slot)).expect("some live device can do every open task")
    }

    /// The slots of `task` on every device that can do it, in order of devices.
    pub fn fits(&self, task: TaskId, fit: Fit) -> impl Iterator<Item = Slot> + '_ {
        let devices = self.view.costs.devices();
        devices.filter_map(move |device| self.fit(task, device, fit))
    }

    /// Gives `task` its slot.
    ///
    /// # Panics
    /// When it has one, or when something it waits for has none.
    pub fn place(&mut self, task: TaskId, slot: Slot) {
        let at = self.ready.binary_search(&task);
        self.ready.remove(at.unwrap_or_else(|_| panic!("{task} is not ready to be placed")));
        self.placed[task] = Some(slot);
        let lane = &mut self.lanes[slot.device];
        // After all that ends by its start, so that tasks without length keep the order of placement.
        let at = lane.partition_point(|(_, other)| other.finish <= slot.start);
        debug_assert!(lane.get(at).is_none_or(|(_, next)| slot.finish <= next.start), "{task} overlaps");
        lane.insert(at, (task, slot));
        for (_, data) in self.view.graph.outputs(task) {
            self.missing[data.to] -= 1;
            if self.missing[data.to] == 0 && self.placed[data.to].is_none() {
                let at = self.ready.binary_search(&data.to).expect_err("a task becomes ready once");
                self.ready.insert(at, data.to);
            }
        }
    }

    /// Takes back the placement of `task`, after which nothing that waits for it may be placed.
    pub fn take_back(&mut self, task: TaskId) {
        let slot = self.placed[task].take().expect("a task that was placed");
        self.lanes[slot.device].retain(|(other, _)| *other != task);
        for (_, data) in self.view.graph.outputs(task) {
            self.missing[data.to] += 1;
            if self.missing[data.to] == 1
                && let Ok(at) = self.ready.binary_search(&data.to)
            {
                self.ready.remove(at);
            }
        }
        let at = self.ready.binary_search(&task).expect_err("it was placed");
        self.ready.insert(at, task);
    }

    /// When the last placed task finishes.
    pub fn makespan(&self) -> SimTime {
        self.lanes
            .iter()
            .filter_map(|lane| lane.last())
            .map(|(_, slot)| slot.finish)
            .max()
            .unwrap_or_default()
    }

    /// The plan that has come about.
    pub fn finish(self) -> Plan {
        let order = |lane: Vec<(TaskId, Slot)>| lane.into_iter().map(|(task, _)| task).collect();
        let mut expected = IdVec::filled(None, self.placed.len());
        for (task, slot) in self.lanes.iter().flatten() {
            expected[*task] = Some(*slot);
        }
        Plan { orders: self.lanes.into_iter().map(order).collect(), expected, proven: None }
    }

    /// The start of the first stretch of `time` from `ready` on in which the device has nothing to do.
    fn first_gap(&self, device: DeviceId, ready: SimTime, time: SimDuration) -> SimTime {
        let free = self.view.progress.free[device].expect("a device that is alive");
        let mut start = ready.max(free);
        let lane = &self.lanes[device];
        let from = lane.partition_point(|(_, slot)| slot.finish <= start);
        for (_, slot) in &lane[from..] {
            if start + time <= slot.start {
                return start;
            }
            start = start.max(slot.finish);
        }
        start
    }
}

/// Places every task in the order of `tasks`, each where it finishes first.
pub fn place_all(draft: &mut Draft, tasks: impl IntoIterator<Item = TaskId>, fit: Fit) {
    for task in tasks {
        let slot = draft.earliest_finish(task, fit);
        draft.place(task, slot);
    }
}

/// Places ready tasks one after the other, as `choose` picks them, until none is left.
pub fn place_ready(view: TaskView, mut choose: impl FnMut(&Draft) -> (TaskId, Slot)) -> Plan {
    let mut draft = Draft::new(view);
    while !draft.ready().is_empty() {
        let (task, slot) = choose(&draft);
        draft.place(task, slot);
    }
    draft.finish()
}

/// The position of the first greatest item by `key`.
pub fn first_max_by_key<T: Copy, K: Ord>(
    items: impl IntoIterator<Item = T>,
    mut key: impl FnMut(T) -> K,
) -> Option<T> {
    // `max_by_key` takes the last of equals; reversed keys under `min_by_key` take the first.
    items.into_iter().min_by_key(|&item| std::cmp::Reverse(key(item)))
}

/// Tasks of an [`IdVec`] in decreasing order of `key`; equals keep the topological order `order`.
pub fn decreasing<K: Ord>(order: impl Iterator<Item = TaskId>, key: impl Fn(TaskId) -> K) -> Vec<TaskId> {
    let mut tasks: Vec<TaskId> = order.collect();
    tasks.sort_by_key(|&task| std::cmp::Reverse(key(task)));
    tasks
}
