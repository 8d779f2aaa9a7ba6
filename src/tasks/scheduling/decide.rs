//! Deciding while the graph runs.
//!
//! A planner says everything ahead of time; a [`Decider`] is asked whenever something has happened.
//! [`Planned`] makes the one into the other: it plans once, and once more whenever a device fails.

use std::collections::BTreeSet;

use crate::ids::{DeviceId, TaskId};
use crate::tasks::scheduling::{Plan, TaskSchedulerSpec, TaskView};
use crate::units::SimDuration;

/// What has happened since a decider was last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The run begins.
    Began,
    /// A task is done.
    Finished {
        /// Which.
        task: TaskId,
        /// Where.
        device: DeviceId,
        /// How long it really took.
        took: SimDuration,
    },
    /// A device has failed: it does nothing any more, and what it held is lost.
    Failed(DeviceId),
    /// The time asked for by [`Decision::Think`] is over.
    Thought,
}

/// The moment at which a decider is asked.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// What has happened, in order.
    pub news: &'a [News],
    /// Tasks that wait for no other and have been given to no device.
    pub ready: &'a BTreeSet<TaskId>,
    /// Devices that are alive, run nothing and have been given nothing.
    pub idle: &'a [DeviceId],
}

/// What can be decided.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Everything that has not started goes where this plan says; it holds all of it.
    Replan(Plan),
    /// Nothing new is started for so long, while a plan is made; then the decider is asked again.
    Think(SimDuration),
    /// A ready task goes to a device that is alive and can do it, behind what the device has been given.
    Give {
        /// Which.
        task: TaskId,
        /// Where to.
        device: DeviceId,
        /// How long getting hold of it takes, before its data begin to travel.
        after: SimDuration,
    },
}

/// Decides while the graph runs.
///
/// Contract: it is asked once at the start and once for every moment at which tasks have finished or
/// devices have failed; what it decides is legal as said at [`Decision`]. While nothing runs, nothing
/// travels and nothing has been given away, it gives something away, or thinks.
pub trait Decider {
    /// What should be done now.
    fn decide(&mut self, view: &TaskView, moment: &Moment) -> Vec<Decision>;
}

/// A planner, asked at the start and again when a device has failed.
#[derive(Debug, Clone)]
pub struct Planned(pub TaskSchedulerSpec);

impl Decider for Planned {
    fn decide(&mut self, view: &TaskView, moment: &Moment) -> Vec<Decision> {
        let asked = moment.news.iter().any(|news| matches!(news, News::Began | News::Failed(_)));
        if asked { vec![Decision::Replan(self.0.plan(view))] } else { Vec::new() }
    }
}
