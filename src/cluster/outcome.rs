//! What came of a run.

use std::collections::BTreeMap;

use crate::ids::{DeviceId, IdVec, JobId, NodeId};
use crate::units::{SimDuration, SimTime};

/// Everything that was noted.
#[derive(Debug, Clone, Default)]
pub struct ClusterOutcome {
    /// What became of each job.
    pub jobs: IdVec<JobId, JobRecord>,
    /// Every time that a job held a gang, in order of their ends.
    pub stays: Vec<Stay>,
    /// When devices were out of service.
    pub outages: Vec<Outage>,
    /// The state after every moment at which it changed.
    pub samples: Vec<Sample>,
    /// How long jobs waited, by how many devices they ask for and why; in jobs × picoseconds.
    pub waited: BTreeMap<(u32, Reason), u128>,
    /// Events processed.
    pub events: u64,
    /// Times the scheduler was asked.
    pub decisions: u64,
}

/// What became of a job.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobRecord {
    /// When it first started.
    pub start: SimTime,
    /// When it was done.
    pub finish: SimTime,
    /// How long it held devices, in all.
    pub held: SimDuration,
    /// Of that, waiting for checkpoints to be written or read.
    pub overhead: SimDuration,
    /// Of that, work that failures undid.
    pub lost: SimDuration,
    /// How often it was preempted.
    pub preemptions: u32,
    /// How often a device failed under it.
    pub failures: u32,
    /// How long it would have taken alone on the machine, from its start.
    pub alone: SimDuration,
    /// Jobs in the system, itself included, on average over its time there.
    pub company: f64,
}

/// A job held a gang.
#[derive(Debug, Clone, PartialEq)]
pub struct Stay {
    /// Which job.
    pub job: JobId,
    /// Its devices.
    pub devices: Vec<DeviceId>,
    /// The nodes they are in.
    pub nodes: Vec<NodeId>,
    /// From when …
    pub start: SimTime,
    /// … when its progress began …
    pub begins: SimTime,
    /// … until when.
    pub end: SimTime,
    /// Progress that its end undid, as time.
    pub lost: SimDuration,
    /// How it ended.
    pub ended: Ended,
}

/// How a stay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The job was done.
    Finished,
    /// The scheduler stopped it.
    Preempted,
    /// A device failed.
    Failed,
}

/// A device was out of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// Which one.
    pub device: DeviceId,
    /// From when …
    pub start: SimTime,
    /// … until when; the end of the run if it was not back by then.
    pub end: SimTime,
}

/// The state of the machine, from a moment on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// From when.
    pub at: SimTime,
    /// Devices in use, in thousandths.
    pub busy_milli: u64,
    /// Devices that nobody uses and that work.
    pub idle: u32,
    /// Of those, in nodes in which others are used.
    pub scattered: u32,
    /// Devices out of service.
    pub down: u32,
    /// Jobs that wait.
    pub pending: u32,
    /// Devices that those ask for.
    pub wanted: u64,
    /// Jobs that run.
    pub running: u32,
}

/// Why a job waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Others use the devices.
    Busy,
    /// Enough would be free, were there no devices out of service.
    OutOfService,
    /// Enough devices of its kinds are free, but not together: in too many nodes, in shares that are
    /// too small, or on hosts with too little left.
    Fragmented,
    /// It would fit, but the scheduler holds it back: for an earlier job, a reservation or a round.
    HeldBack,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 4] = [Reason::Busy, Reason::OutOfService, Reason::Fragmented, Reason::HeldBack];

    /// The name used in JSON and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Busy => "busy",
            Reason::OutOfService => "out_of_service",
            Reason::Fragmented => "fragmented",
            Reason::HeldBack => "held_back",
        }
    }
}
