//! Exact: branch and bound over every schedule that can be best.
//!
//! Every schedule can be had by placing tasks in order of their starts, each at once behind what its
//! device has been given; so it is enough to try, depth first, every ready task on every device that can
//! do it, with starts that never go back. After Kohler and Steiglitz, "Characterization and Theoretical
//! Comparison of Branch-and-Bound Algorithms for Permutation Problems", JACM 21(1), 1974.

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use crate::ids::{DeviceId, Id, IdVec, TaskId};
use crate::tasks::graph::Data;
use crate::tasks::scheduling::{Draft, Fit, Plan, TaskScheduler, TaskSchedulerSpec, TaskView};
use crate::tasks::{Communication, Payload, TaskGraph};
use crate::units::{SimDuration, SimTime};

/// The best schedule of a small graph, and the proof that there is no better one. It begins with the
/// best of the heuristics; where more than `nodes` partial schedules would have to be looked at, it stops
/// with the best found by then and proves nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Exact {
    /// The most tasks of a graph.
    pub tasks: u32,
    /// The most partial schedules that are looked at.
    pub nodes: u64,
}

impl Default for Exact {
    fn default() -> Self {
        Exact { tasks: 24, nodes: 3_000_000 }
    }
}

/// What the search begins with.
const HEURISTICS: [&str; 7] = ["heft", "peft", "heft_lookahead", "cpop", "dls", "min_min", "max_min"];

impl TaskScheduler for Exact {
    fn plan(&self, view: &TaskView) -> Plan {
        let plans =
            HEURISTICS.map(|name| TaskSchedulerSpec::from_name(name).expect("it is listed").plan(view));
        let first = plans.into_iter().min_by_key(Plan::makespan).expect("there are heuristics");
        let mut search = Search::new(view, first.makespan(), self.nodes);
        search.branch();
        let proven = search.nodes_left > 0;
        let mut plan = match &search.best_order {
            None => first,
            Some(order) => replay(view, order),
        };
        plan.proven = proven.then(|| plan.makespan());
        plan
    }

    fn admits(&self, graph: &TaskGraph, _devices: usize) -> Result<(), String> {
        if graph.len() <= self.tasks as usize {
            return Ok(());
        }
        Err(format!(
            "`exact` searches graphs of at most {} tasks, and this one has {}; `{{exact: {{tasks: {1}}}}}` lets it \
             try, and without end it stops after `nodes` partial schedules",
            self.tasks,
            graph.len()
        ))
    }
}

fn replay(view: &TaskView, order: &[(TaskId, DeviceId)]) -> Plan {
    let mut draft = Draft::new(*view);
    for &(task, device) in order {
        let slot = draft.fit(task, device, Fit::Append).expect("a device that can do it");
        draft.place(task, slot);
    }
    draft.finish()
}

struct Search<'a> {
    view: &'a TaskView<'a>,
    /// Open tasks, each after those it waits for.
    open: Vec<TaskId>,
    /// Where each task comes in `open`.
    position: IdVec<TaskId, usize>,
    /// Where and until when each task is placed.
    placed: IdVec<TaskId, Option<(DeviceId, SimTime)>>,
    missing: IdVec<TaskId, usize>,
    free: IdVec<DeviceId, Option<SimTime>>,
    /// Whether a device has ever been given anything.
    used: IdVec<DeviceId, bool>,
    /// The first device that each is just like, itself included.
    twin: IdVec<DeviceId, DeviceId>,
    /// What is left at least from the start of a task on a device.
    left: IdVec<TaskId, IdVec<DeviceId, Option<SimDuration>>>,
    least: IdVec<TaskId, SimDuration>,
    order: Vec<(TaskId, DeviceId)>,
    /// The start of the last task placed, and its position.
    last: (SimTime, usize),
    best: SimTime,
    best_order: Option<Vec<(TaskId, DeviceId)>>,
    nodes_left: u64,
    seen: FxHashSet<u128>,
}

impl<'a> Search<'a> {
    fn new(view: &'a TaskView<'a>, best: SimTime, nodes: u64) -> Self {
        let open: Vec<TaskId> = view.open().collect();
        let mut position = IdVec::filled(usize::MAX, view.graph.len());
        for (at, &task) in open.iter().enumerate() {
            position[task] = at;
        }
        let settled = &view.progress.settled;
        let unsettled =
            |task: TaskId| view.graph.inputs(task).filter(|(_, data)| settled[data.from].is_none()).count();
        let used = |device: DeviceId| settled.iter().flatten().any(|slot| slot.device == device);
        let least = |task| view.able(task).map(|(_, time)| time).min().unwrap_or(SimDuration::ZERO);
        Search {
            view,
            position,
            placed: settled.iter().map(|slot| slot.map(|slot| (slot.device, slot.finish))).collect(),
            missing: view.graph.ids().map(unsettled).collect(),
            free: view
                .progress
                .free
                .iter()
                .map(|free| free.map(|free| free.max(view.progress.now)))
                .collect(),
            used: view.costs.devices().map(used).collect(),
            twin: twins(view, &open),
            left: left(view),
            least: view.graph.ids().map(least).collect(),
            order: Vec::new(),
            last: (view.progress.now, 0),
            best,
            best_order: None,
            nodes_left: nodes,
            seen: FxHashSet::default(),
            open,
        }
    }

    /// Tries everything that can come next.
    fn branch(&mut self) {
        if self.nodes_left == 0 {
            return;
        }
        self.nodes_left -= 1;
        if self.order.len() == self.open.len() {
            let end = self.placed.iter().flatten().map(|(_, finish)| *finish).max().unwrap_or_default();
            if end < self.best {
                self.best = end;
                self.best_order = Some(self.order.clone());
            }
            return;
        }
        if self.bound() >= self.best || !self.seen.insert(self.key()) {
            return;
        }
        let mut next = self.candidates();
        next.sort_unstable();
        for (bound, position, device, start) in next {
            if bound >= self.best {
                break;
            }
            self.descend(self.open[position], device, start);
        }
    }

    /// Places a task, branches, and takes it back.
    fn descend(&mut self, task: TaskId, device: DeviceId, start: SimTime) {
        let (last, free, used) = (self.last, self.free[device], self.used[device]);
        let time = self.view.costs.time(task, device).expect("a device that can do it");
        self.placed[task] = Some((device, start + time));
        self.free[device] = Some(start + time);
        self.used[device] = true;
        self.last = (start, self.position[task]);
        self.order.push((task, device));
        for (_, data) in self.view.graph.outputs(task) {
            self.missing[data.to] -= 1;
        }
        self.branch();
        for (_, data) in self.view.graph.outputs(task) {
            self.missing[data.to] += 1;
        }
        self.order.pop();
        (self.last, self.free[device], self.used[device]) = (last, free, used);
        self.placed[task] = None;
    }

    /// Ready tasks on devices, each with the earliest end that it leaves open, best first.
    fn candidates(&self) -> Vec<(SimTime, usize, DeviceId, SimTime)> {
        let mut all = Vec::new();
        for (position, &task) in self.open.iter().enumerate() {
            if self.placed[task].is_some() || self.missing[task] > 0 {
                continue;
            }
            for (device, _) in self.view.able(task) {
                let free = self.free[device].expect("a device that is alive");
                let start = free.max(self.arrival(task, device));
                let fresh = |device: DeviceId| !self.used[device] && self.free[device] == Some(free);
                let twin = self.twin[device];
                let tried = fresh(device)
                    && self.twin.enumerate().any(|(other, &of)| other < device && of == twin && fresh(other));
                if (start, position) < self.last || tried {
                    continue;
                }
                let left = self.left[task][device].expect("a device that can do it");
                all.push((start + left, position, device, start));
            }
        }
        all
    }

    /// When everything that a task needs is on a device, as [`Draft::data_ready`] has it.
    fn arrival(&self, task: TaskId, device: DeviceId) -> SimTime {
        let progress = self.view.progress;
        let arrives = |(id, data): (_, &Data)| {
            let (made, finish) = self.placed[data.from].expect("a ready task");
            if made == device {
                return finish;
            }
            let travel =
                || finish.max(progress.now) + self.view.communication.time(data.payload, made, device);
            progress.copies.get(&(id, device)).copied().unwrap_or_else(travel)
        };
        self.view.graph.inputs(task).map(arrives).max().unwrap_or_default().max(progress.now)
    }

    /// No way to go on ends before this: what is left of each task, whose start is not before the last
    /// one's, and all that is left dealt out over the devices.
    fn bound(&self) -> SimTime {
        let now = self.last.0;
        let mut bound = self.placed.iter().flatten().map(|(_, finish)| *finish).max().unwrap_or_default();
        let mut rest = 0_u128;
        for &task in self.open.iter().filter(|&&task| self.placed[task].is_none()) {
            rest += u128::from(self.least[task].picos());
            let earliest = self.view.able(task).map(|(device, _)| {
                let free = self.free[device].expect("a device that is alive").max(now);
                let ready = if self.missing[task] == 0 { self.arrival(task, device) } else { now };
                free.max(ready) + self.left[task][device].expect("a device that can do it")
            });
            bound = bound.max(earliest.min().unwrap_or_default());
        }
        let frees = self.free.iter().flatten();
        let (sum, count) = frees.fold((0_u128, 0_u128), |(sum, count), free| {
            (sum + u128::from((*free).max(now).picos()), count + 1)
        });
        let even = SimTime::from_picos(((sum + rest).div_ceil(count)) as u64);
        bound.max(if rest > 0 { even } else { SimTime::ZERO })
    }

    /// What the rest depends on: partial schedules with one key can be finished alike. Of the key only
    /// 128 bits are kept, which among a million keys are the same by chance once in 10²⁶ runs.
    fn key(&self) -> u128 {
        let mut key = Fingerprint(0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f);
        key.add(self.last.0.picos());
        key.add(self.last.1 as u64);
        for free in self.free.iter() {
            key.add(free.map_or(u64::MAX, SimTime::picos));
        }
        let mut end = SimTime::ZERO;
        for (at, &task) in self.open.iter().enumerate() {
            let Some((device, finish)) = self.placed[task] else { continue };
            end = end.max(finish);
            key.add(at as u64);
            let needed = |(_, data): (_, &Data)| self.placed[data.to].is_none();
            if self.view.graph.outputs(task).any(needed) {
                key.add(device.index() as u64);
                key.add(finish.picos());
            }
        }
        key.add(end.picos());
        u128::from(key.0) << 64 | u128::from(key.1)
    }
}

/// Two independent 64-bit hashes by SplitMix64's mixer (Steele, Lea and Flood, OOPSLA 2014).
struct Fingerprint(u64, u64);

impl Fingerprint {
    fn add(&mut self, word: u64) {
        let mix = |mut state: u64| {
            state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            state ^ (state >> 31)
        };
        self.0 = mix(self.0 ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.1 = mix(self.1.wrapping_add(word).rotate_left(29)) ^ self.0.rotate_left(17);
    }
}

/// Devices on which every open task takes the same time and between which data travel the same way.
fn twins(view: &TaskView, open: &[TaskId]) -> IdVec<DeviceId, DeviceId> {
    let plain = *view.communication == Communication::plain();
    let costs = |(_, data): (_, &Data)| matches!(data.payload, Payload::Cost(_));
    let uniform = plain || view.graph.ids().all(|task| view.graph.inputs(task).all(costs));
    // Once data have been sent to one of two, they differ.
    let uniform = uniform && view.progress.copies.is_empty();
    let alike = |a: DeviceId, b: DeviceId| {
        uniform && open.iter().all(|&task| view.costs.time(task, a) == view.costs.time(task, b))
    };
    let first = |device| view.costs.devices().find(|&other| other == device || alike(other, device));
    view.costs.devices().map(|device| first(device).expect("at least itself")).collect()
}

/// left(t, p) = w(t, p) + max over successors s of min over devices q of (left(s, q) + c(t→s, p→q)).
fn left(view: &TaskView) -> IdVec<TaskId, IdVec<DeviceId, Option<SimDuration>>> {
    let devices = view.progress.free.len();
    let mut left = IdVec::filled(IdVec::filled(None, devices), view.graph.len());
    for &task in view.graph.order().iter().rev() {
        for (device, time) in view.able(task) {
            // What has started already (a device has failed, and this is done again for another) waits no more.
            let waiting = |(_, data): &(_, &Data)| view.progress.settled[data.to].is_none();
            let after = view.graph.outputs(task).filter(waiting).filter_map(|(_, data)| {
                let on = |(to, _): (DeviceId, SimDuration)| {
                    let rest: SimDuration = left[data.to][to]?;
                    Some(view.communication.time(data.payload, device, to) + rest)
                };
                view.able(data.to).filter_map(on).min()
            });
            let after = after.max().unwrap_or(SimDuration::ZERO);
            left[task][device] = Some(time + after);
        }
    }
    left
}
