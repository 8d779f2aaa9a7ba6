//! The run: tasks end, data arrive, devices fail; the scheduler is asked, and what it decides is done.
//!
//! A device does its tasks one at a time in the order in which it was given them; the first waits until
//! all its data are on the device. Data leave as soon as they are made and the task that needs them has
//! been given to a device; each edge travels by itself, and what a device holds it keeps. How long a
//! task takes is the truth of the plan; the scheduler sees the estimates, and what has come of them.
//!
//! When a device fails, the task that it ran is lost, and so is what was made there and has not arrived
//! where it is needed: the tasks that made it run again. What an exit task makes is handed in when it is
//! done. Lost bytes keep their share of the links until they have drained.

mod apply;
mod recovery;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use crate::engine::{EventClass, EventHandle, EventQueue};
use crate::ids::{DataId, DeviceId, IdVec, TaskId};
use crate::network::NetworkSpec;
use crate::rng::Seed;
use crate::tasks::outcome::{Ended, Stay, TaskOutcome, Transfer};
use crate::tasks::scheduling::{
    Decider, Decision, Moment, News, Progress, Slot, TaskSchedulerSpec, TaskView,
};
use crate::tasks::store::Store;
use crate::tasks::transport::{Departure, TransferIndex, Transport};
use crate::tasks::values::Values;
use crate::tasks::{Costs, Machine, TaskGraph};
use crate::units::SimTime;

/// Everything that decides a run.
#[derive(Debug, Clone)]
pub struct TaskPlan {
    /// What is to be done.
    pub graph: TaskGraph,
    /// Where.
    pub machine: Machine,
    /// How long the scheduler thinks that it takes.
    pub estimates: Costs,
    /// How long it takes.
    pub truth: Costs,
    /// Who decides.
    pub scheduler: TaskSchedulerSpec,
    /// How flows share links.
    pub network: NetworkSpec,
    /// Which devices fail when.
    pub failures: Vec<(DeviceId, SimTime)>,
    /// Where random streams grow from.
    pub seed: Seed,
}

/// Why a run ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskFailure {
    /// Every device that can do a task has failed.
    NoDevice {
        /// The task's name.
        task: String,
    },
    /// Nothing runs, nothing travels, and tasks wait.
    Stuck {
        /// The scheduler.
        scheduler: &'static str,
        /// How many tasks wait.
        waiting: usize,
        /// The first of them, by name.
        first: String,
    },
}

impl fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskFailure::NoDevice { task } => {
                write!(f, "every device that can do the task `{task}` has failed")
            }
            TaskFailure::Stuck { scheduler, waiting, first } => write!(
                f,
                "{waiting} tasks wait (the first is `{first}`), nothing runs or travels, and `{scheduler}` starts none of them"
            ),
        }
    }
}

impl std::error::Error for TaskFailure {}

/// Runs every task to its end.
///
/// # Errors
/// See [`TaskFailure`].
///
/// # Panics
/// When the scheduler decides what is not legal; the message names it.
pub fn run(plan: &TaskPlan, values: &mut dyn Values) -> Result<TaskOutcome, TaskFailure> {
    let mut run = Run::new(plan, values);
    while run.left > 0 {
        let Some((now, event)) = run.queue.pop() else { return Err(run.stuck()) };
        match event {
            Event::Done(device) => run.done(now, device),
            Event::Network => run.network(now),
            Event::Arrived(transfer) => run.arrived(now, transfer),
            Event::Fetched(device) => run.fetched(now, device),
            Event::Fail(device) => run.fail(now, device)?,
            Event::Thought => run.thought(now),
            Event::Decide => run.decide(now),
            Event::Start => run.start(now),
        }
        run.watch_network();
    }
    Ok(run.into_outcome())
}

#[derive(Debug, Clone, Copy)]
enum Event {
    /// The task that a device runs is done.
    Done(DeviceId),
    /// The network changes.
    Network,
    /// A transfer with a plain cost arrives.
    Arrived(TransferIndex),
    /// A device has got hold of what it was given.
    Fetched(DeviceId),
    Fail(DeviceId),
    Thought,
    Decide,
    Start,
}

/// What becomes of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Given(DeviceId),
    Running(DeviceId),
    Done,
}

#[derive(Debug, Default)]
struct Lane {
    /// What the device has been given, in its order.
    queue: VecDeque<TaskId>,
    running: Option<(TaskId, SimTime, EventHandle)>,
    /// Until when it is busy getting hold of a task.
    fetching: SimTime,
}

struct Run<'a> {
    plan: &'a TaskPlan,
    values: &'a mut dyn Values,
    decider: Box<dyn Decider>,
    queue: EventQueue<Event>,
    transport: Transport,
    network_event: Option<EventHandle>,
    store: Store,
    progress: Progress,
    states: IdVec<TaskId, State>,
    /// By task, how many inputs have not been made.
    missing: IdVec<TaskId, usize>,
    ready: BTreeSet<TaskId>,
    lanes: IdVec<DeviceId, Lane>,
    news: Vec<News>,
    deciding: bool,
    starting: bool,
    thinking: bool,
    left: usize,
    outcome: TaskOutcome,
}

impl<'a> Run<'a> {
    fn new(plan: &'a TaskPlan, values: &'a mut dyn Values) -> Self {
        let (tasks, devices) = (plan.graph.len(), plan.machine.devices.len());
        let missing: IdVec<TaskId, usize> = plan.graph.ids().map(|id| plan.graph.inputs(id).len()).collect();
        let mut queue = EventQueue::new();
        for &(device, at) in &plan.failures {
            queue.schedule(at, EventClass::Arrival, Event::Fail(device));
        }
        let mut run = Run {
            plan,
            values,
            decider: plan.scheduler.decides(),
            queue,
            transport: Transport::new(plan.machine.topology.as_ref(), &*plan.network),
            network_event: None,
            store: Store::new(tasks),
            progress: Progress::none(tasks, devices),
            states: IdVec::filled(State::Waiting, tasks),
            ready: missing.enumerate().filter(|(_, missing)| **missing == 0).map(|(id, _)| id).collect(),
            missing,
            lanes: IdVec::from_fn(devices, |_: DeviceId| Lane::default()),
            news: Vec::new(),
            deciding: false,
            starting: false,
            thinking: false,
            left: tasks,
            outcome: TaskOutcome::default(),
        };
        run.tell(SimTime::ZERO, News::Began);
        run
    }

    /// What has happened is told to the scheduler when all of this moment has.
    fn tell(&mut self, now: SimTime, news: News) {
        self.news.push(news);
        if !self.deciding {
            self.deciding = true;
            self.queue.schedule(now, EventClass::Decision, Event::Decide);
        }
    }

    /// Devices look at what they have been given when all of this moment has been decided.
    fn look(&mut self, now: SimTime) {
        if !self.starting {
            self.starting = true;
            self.queue.schedule(now, EventClass::Start, Event::Start);
        }
    }

    fn done(&mut self, now: SimTime, device: DeviceId) {
        let (task, start, _) = self.lanes[device].running.take().expect("a device that runs a task");
        self.values.finish(task, device);
        self.states[task] = State::Done;
        self.left -= 1;
        self.store.made(task, device);
        self.progress.settled[task] = Some(Slot { device, start, finish: now });
        self.outcome.stays.push(Stay { task, device, start, end: now, ended: Ended::Done });
        let graph = &self.plan.graph;
        for (id, data) in graph.outputs(task) {
            self.missing[data.to] -= 1;
            match self.states[data.to] {
                State::Waiting if self.missing[data.to] == 0 => {
                    self.ready.insert(data.to);
                }
                State::Given(to) => self.send(now, id, to),
                _ => {}
            }
        }
        self.tell(now, News::Finished { task, device, took: now.since(start) });
        self.look(now);
    }

    /// Sends an edge's data to a device, unless they are there or on their way.
    fn send(&mut self, now: SimTime, id: DataId, to: DeviceId) {
        let graph = &self.plan.graph;
        let data = graph.data(id);
        if self.states[data.from] != State::Done || self.store.expects(graph, id, to) {
            return;
        }
        let from = self.store.source(graph, id).expect("data that were lost are made again");
        let transfer = self.outcome.transfers.len();
        self.outcome.transfers.push(Transfer { data: id, from, to, start: now, end: None });
        self.store.left(id, to, transfer);
        let travel = self.plan.machine.communication.time(data.payload, from, to);
        self.progress.copies.insert((id, to), now + travel);
        let departure = self.transport.send(now, (id, data.payload), (from, to), transfer);
        if let Departure::After(time) = departure {
            self.queue.schedule(now + time, EventClass::Finish, Event::Arrived(transfer));
        }
    }

    fn arrived(&mut self, now: SimTime, index: TransferIndex) {
        let Transfer { data, from, to, .. } = self.outcome.transfers[index];
        // What was lost with a device on the way is awaited no more.
        if self.store.arrived(data, to, index) {
            self.outcome.transfers[index].end = Some(now);
            self.progress.copies.insert((data, to), now);
            self.values.arrive(data, from, to);
            self.look(now);
        }
    }

    fn network(&mut self, now: SimTime) {
        self.network_event = None;
        for transfer in self.transport.advance(now) {
            self.arrived(now, transfer);
        }
    }

    /// Keeps one event at the moment at which the network next changes.
    fn watch_network(&mut self) {
        let next = self.transport.next_change();
        if self.network_event.as_ref().map(EventHandle::at) == next {
            return;
        }
        if let Some(outdated) = self.network_event.take() {
            self.queue.cancel(outdated);
        }
        self.network_event = next.map(|at| self.queue.schedule(at, EventClass::Finish, Event::Network));
    }

    fn thought(&mut self, now: SimTime) {
        self.thinking = false;
        self.tell(now, News::Thought);
        self.look(now);
    }

    fn decide(&mut self, now: SimTime) {
        self.deciding = false;
        self.outcome.decisions += 1;
        self.note_progress(now);
        let news = std::mem::take(&mut self.news);
        let resting = |lane: &Lane| lane.running.is_none() && lane.queue.is_empty();
        let alive = |device: &DeviceId| self.progress.free[*device].is_some();
        let idle: Vec<DeviceId> =
            self.lanes.ids().filter(|&device| resting(&self.lanes[device])).filter(alive).collect();
        let view = TaskView {
            graph: &self.plan.graph,
            costs: &self.plan.estimates,
            communication: &self.plan.machine.communication,
            progress: &self.progress,
            seed: self.plan.seed,
        };
        let moment = Moment { news: &news, ready: &self.ready, idle: &idle };
        for decision in self.decider.decide(&view, &moment) {
            match decision {
                Decision::Replan(plan) => self.replan(now, plan),
                Decision::Give { task, device, after } => self.give(now, task, device, after),
                Decision::Think(time) => {
                    assert!(!self.thinking, "`{}` thinks twice at once", self.plan.scheduler.name());
                    self.thinking = true;
                    self.outcome.thinking += time;
                    self.queue.schedule(now + time, EventClass::Decision, Event::Thought);
                }
            }
        }
        self.look(now);
    }

    /// What is known now: a task that runs longer than thought ends now at the earliest.
    fn note_progress(&mut self, now: SimTime) {
        self.progress.now = now;
        for (device, lane) in self.lanes.enumerate() {
            let Some(free) = &mut self.progress.free[device] else { continue };
            *free = now;
            if let Some((task, start, _)) = lane.running {
                let time = self.plan.estimates.time(task, device).expect("a device that can do it");
                let finish = (start + time).max(now);
                self.progress.settled[task] = Some(Slot { device, start, finish });
                *free = finish;
            }
        }
    }

    fn start(&mut self, now: SimTime) {
        self.starting = false;
        if self.thinking {
            return;
        }
        for device in self.lanes.ids() {
            self.start_on(now, device);
        }
    }

    /// The first task that a device has been given starts, when all its data are there.
    fn start_on(&mut self, now: SimTime, device: DeviceId) {
        let lane = &self.lanes[device];
        let Some(&task) = lane.queue.front() else { return };
        let graph = &self.plan.graph;
        let complete = || graph.inputs(task).all(|(id, _)| self.store.holds(graph, id, device));
        if lane.running.is_some() || lane.fetching > now || self.missing[task] > 0 || !complete() {
            return;
        }
        let time = self.plan.truth.time(task, device).expect("it was given to a device that can do it");
        let end = self.queue.schedule(now + time, EventClass::Finish, Event::Done(device));
        let lane = &mut self.lanes[device];
        lane.queue.pop_front();
        lane.running = Some((task, now, end));
        self.states[task] = State::Running(device);
        let thought = self.plan.estimates.time(task, device).expect("a device that can do it");
        self.progress.settled[task] = Some(Slot { device, start: now, finish: now + thought });
        self.values.begin(task, device);
    }

    fn stuck(&self) -> TaskFailure {
        let waiting: Vec<TaskId> =
            self.states.enumerate().filter(|(_, state)| **state != State::Done).map(|(id, _)| id).collect();
        TaskFailure::Stuck {
            scheduler: self.plan.scheduler.name(),
            waiting: waiting.len(),
            first: self.plan.graph.task(waiting[0]).name.clone(),
        }
    }

    fn into_outcome(self) -> TaskOutcome {
        let makespan = self.queue.now();
        TaskOutcome { makespan, events: self.queue.processed(), ..self.outcome }
    }
}
