//! Which device does which task, and in which order.
//!
//! A scheduler sees a [`TaskView`]: the graph, estimated costs and what has happened so far. Planners
//! answer with a [`Plan`] for everything that has not started; at time zero that is everything, later
//! (when a device has failed, or speeds are not what was thought) it is the rest. What decides while
//! the graph runs brings a [`Decider`].
//!
//! Where a paper leaves a tie open, the task first in the graph's order and the device first in the
//! machine's are taken; each member says where its own paper rules otherwise. A scheduler knows
//! nothing of the true costs, of routes or contention, and never holds the runtime.
//!
//! To add one, write its file and list it here; the conformance tests will find it.

pub mod decide;
pub mod draft;
pub mod ranks;

mod adaptive;
mod arrival;
mod batch;
mod cpop;
mod dls;
mod exact;
mod heft;
mod heft_lookahead;
mod list;
mod lpt;
mod max_min;
mod mct;
mod met;
mod min_min;
mod olb;
mod peft;
mod random;
mod round_robin;
mod sufferage;
#[cfg(test)]
mod tests;
mod work_stealing;

pub use decide::{Decider, Decision, Moment, News};
pub use draft::{Draft, Fit, Plan, Slot};

use std::collections::BTreeMap;

use crate::ids::{DataId, DeviceId, IdVec, TaskId};
use crate::registry;
use crate::rng::Seed;
use crate::tasks::{Communication, Costs, TaskGraph};
use crate::units::{SimDuration, SimTime};

registry! {
    /// `scheduler:` of a task workload.
    pub enum TaskSchedulerSpec: TaskScheduler {
        /// devices in turn
        "round_robin" => RoundRobin(round_robin::RoundRobin),
        /// a device by lot
        "random" => Random(random::Random),
        /// the device free first (opportunistic load balancing)
        "olb" => Olb(olb::Olb),
        /// the device that runs it fastest (minimum execution time)
        "met" => Met(met::Met),
        /// the device that ends it first (minimum completion time)
        "mct" => Mct(mct::Mct),
        /// the task that can end first, first
        "min_min" => MinMin(min_min::MinMin),
        /// the task whose best end is latest, first
        "max_min" => MaxMin(max_min::MaxMin),
        /// the task that would suffer most from its second choice, first
        "sufferage" => Sufferage(sufferage::Sufferage),
        /// an order of your own, greedily placed
        "list" => List(list::List),
        /// longest processing time first (Graham)
        "lpt" => Lpt(lpt::Lpt),
        /// by upward rank, earliest finish with insertion (Topcuoglu et al.)
        "heft" => Heft(heft::Heft),
        /// the critical path on one processor (Topcuoglu et al.)
        "cpop" => Cpop(cpop::Cpop),
        /// by the optimistic cost table (Arabnejad and Barbosa)
        "peft" => Peft(peft::Peft),
        /// HEFT that looks at the children (Bittencourt et al.)
        "heft_lookahead" => HeftLookahead(heft_lookahead::HeftLookahead),
        /// dynamic levels (Sih and Lee)
        "dls" => Dls(dls::Dls),
        /// idle devices take from busy ones (Blumofe and Leiserson)
        "work_stealing" => WorkStealing(work_stealing::WorkStealing),
        /// plans anew when devices are not as fast as was thought
        "adaptive" => Adaptive(adaptive::Adaptive),
        /// branch and bound, for small graphs
        "exact" => Exact(exact::Exact),
    }
}

/// Decides where and in which order tasks run.
///
/// Contract: a plan places tasks only on devices that are alive and can do them, each at most once,
/// none before what it waits for; it is a pure function of the view. A planner places every task
/// that has not started; one that brings a decider may leave all of them to it.
pub trait TaskScheduler {
    /// A plan for what has not started.
    fn plan(&self, view: &TaskView) -> Plan;

    /// Whether it leaves something to chance, so that another seed gives another plan.
    fn draws(&self) -> bool {
        false
    }

    /// What decides while the graph runs; nothing for those who plan it all ahead of time.
    fn decider(&self) -> Option<Box<dyn Decider>> {
        None
    }

    /// Why this scheduler cannot be used with a graph on so many devices, and what would do.
    fn admits(&self, _graph: &TaskGraph, _devices: usize) -> Result<(), String> {
        Ok(())
    }
}

/// What a scheduler may look at.
#[derive(Debug, Clone, Copy)]
pub struct TaskView<'a> {
    /// The tasks and their data.
    pub graph: &'a TaskGraph,
    /// How long each task is thought to keep each device.
    pub costs: &'a Costs,
    /// How long data is thought to travel.
    pub communication: &'a Communication,
    /// What has happened so far.
    pub progress: &'a Progress,
    /// Where a scheduler's random streams grow from.
    pub seed: Seed,
}

/// What has happened so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The present.
    pub now: SimTime,
    /// From when each device is free, by what is known; `None` once it has failed.
    pub free: IdVec<DeviceId, Option<SimTime>>,
    /// Tasks that have started (and need not start again), with where and when.
    pub settled: IdVec<TaskId, Option<Slot>>,
    /// When data that was sent to another device has arrived there, or is thought to.
    pub copies: BTreeMap<(DataId, DeviceId), SimTime>,
}

impl Progress {
    /// Nothing has happened yet.
    pub fn none(tasks: usize, devices: usize) -> Self {
        Progress {
            now: SimTime::ZERO,
            free: IdVec::filled(Some(SimTime::ZERO), devices),
            settled: IdVec::filled(None, tasks),
            copies: BTreeMap::new(),
        }
    }
}

impl TaskSchedulerSpec {
    /// What decides during a run with this scheduler.
    pub fn decides(&self) -> Box<dyn Decider> {
        self.decider().unwrap_or_else(|| Box::new(decide::Planned(self.clone())))
    }
}

impl TaskView<'_> {
    /// The devices that are alive and can do `task`, with its estimated time on each.
    ///
    /// # Panics
    /// Never by itself; callers rely on there being at least one, which the runtime makes sure of.
    pub fn able(&self, task: TaskId) -> impl Iterator<Item = (DeviceId, SimDuration)> + '_ {
        self.costs.able(task).filter(|&(device, _)| self.progress.free[device].is_some())
    }

    /// The tasks that have not started, each after those it waits for.
    pub fn open(&self) -> impl DoubleEndedIterator<Item = TaskId> + '_ {
        self.graph.order().iter().copied().filter(|&task| self.progress.settled[task].is_none())
    }
}
