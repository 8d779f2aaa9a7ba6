//! What came of a run.

use crate::ids::{DataId, DeviceId, TaskId};
use crate::units::{SimDuration, SimTime};

/// Everything that was noted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskOutcome {
    /// Every time that a device ran a task, in order of their ends.
    pub stays: Vec<Stay>,
    /// Data that travelled between devices, in order of departure.
    pub transfers: Vec<Transfer>,
    /// Devices that failed, with when.
    pub failures: Vec<(DeviceId, SimTime)>,
    /// When the first plan, if there was a whole one, was expected to end.
    pub planned: Option<SimTime>,
    /// Before this no plan could have been expected to end, as the scheduler proved.
    pub proven: Option<SimTime>,
    /// How often a plan for all that was left was made.
    pub plans: u32,
    /// How long nothing was started because a plan was being made, in all.
    pub thinking: SimDuration,
    /// When the last task was done.
    pub makespan: SimTime,
    /// Events processed.
    pub events: u64,
    /// Times that the scheduler was asked.
    pub decisions: u64,
}

/// A device ran a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stay {
    /// Which task.
    pub task: TaskId,
    /// Where.
    pub device: DeviceId,
    /// From when …
    pub start: SimTime,
    /// … until when.
    pub end: SimTime,
    /// What became of it.
    pub ended: Ended,
}

/// How a stay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The task was done.
    Done,
    /// It was done, but what it made was lost with its device before all had it, so it ran again.
    Lost,
    /// Its device failed under it.
    Aborted,
}

/// Data travelled from one device to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Which.
    pub data: DataId,
    /// From where …
    pub from: DeviceId,
    /// … to where.
    pub to: DeviceId,
    /// From when …
    pub start: SimTime,
    /// … until when; nothing for what was lost with a device, or still on its way when all was done.
    pub end: Option<SimTime>,
}
