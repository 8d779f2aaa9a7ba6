//! What a scheduler sees, and how it drafts an answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::cluster::placement::{Ask, PlacementPolicy};
use crate::cluster::speed::Profiler;
use crate::cluster::{Checkpoint, Free, Gang, Job, Machine};
use crate::ids::{IdVec, JobId};
use crate::units::{SimDuration, SimTime};

/// What has happened to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It has arrived.
    Arrived(JobId),
    /// It is done.
    Finished(JobId),
    /// A device of its failed; it waits again.
    Failed(JobId),
}

/// What a scheduler asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum ClusterAction {
    /// Let a waiting job run on these devices, which are free after what was decided before.
    Start {
        /// Which job.
        job: JobId,
        /// Where.
        gang: Gang,
    },
    /// Stop a running job; it keeps its progress, waits again and gives its devices back.
    Preempt {
        /// Which job.
        job: JobId,
    },
    /// Ask again at this later moment, even if nothing happens until then.
    Wake {
        /// When.
        at: SimTime,
    },
}

/// How far a job has come.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Work still to be done, when it last stopped or started.
    pub(super) remaining: SimDuration,
    /// Time it has held devices until it last stopped.
    pub(super) held: SimDuration,
    /// The same times its devices, in thousandths of a device.
    pub(super) attained: u128,
    /// When it first started.
    pub(super) first_start: Option<SimTime>,
    /// When it last stopped, or arrived.
    pub(super) waiting_since: SimTime,
    /// How it runs now.
    pub(super) run: Option<Run>,
    /// How often it was preempted.
    pub(super) preemptions: u32,
}

/// A job that runs.
#[derive(Debug, Clone)]
pub struct Run {
    /// Where.
    pub gang: Gang,
    /// Since when it holds its devices.
    pub since: SimTime,
    /// When its progress began, or will: after checkpoints are written and read.
    pub(super) begins: SimTime,
    /// How fast it works.
    pub speed: f64,
}

/// Everything a scheduler may look at.
pub struct ClusterView<'a> {
    /// The present.
    pub now: SimTime,
    /// The machine.
    pub machine: &'a Machine,
    /// Every job that will ever arrive; a scheduler looks at those that have.
    pub jobs: &'a IdVec<JobId, Job>,
    /// Jobs that wait, in order of arrival.
    pub pending: &'a BTreeSet<JobId>,
    /// Jobs that run.
    pub running: &'a BTreeSet<JobId>,
    /// What has happened since the scheduler was last asked, in order.
    pub news: &'a [News],
    /// What is free.
    pub free: &'a Free,
    /// Whether no job of the run does without devices.
    pub every_job_needs_devices: bool,
    pub(super) progress: &'a IdVec<JobId, Progress>,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) placement: &'a dyn PlacementPolicy,
    pub(super) profiler: &'a dyn Profiler,
}

impl<'a> ClusterView<'a> {
    /// How a job runs now.
    pub fn run(&self, job: JobId) -> Option<&'a Run> {
        self.progress[job].run.as_ref()
    }

    /// Work of a job still to be done at speed 1.
    pub fn remaining(&self, job: JobId) -> SimDuration {
        let progress = &self.progress[job];
        progress.remaining.saturating_sub(self.done_in_run(job))
    }

    /// Work that a job's user thinks is still to be done: the estimate less what was done, or what it
    /// takes to go on as long again once that is nothing.
    pub fn estimated_remaining(&self, job: JobId) -> SimDuration {
        let done = self.jobs[job].work - self.remaining(job);
        match self.jobs[job].estimate.saturating_sub(done) {
            SimDuration::ZERO => done,
            left => left,
        }
    }

    /// When a running job is thought to end.
    pub fn estimated_end(&self, job: JobId) -> Option<SimTime> {
        let run = self.run(job)?;
        let left = self.checkpoint.length(self.estimated_remaining(job), run.speed)?;
        Some(run.begins.max(self.now) + left)
    }

    /// Time that a job has held devices.
    pub fn held(&self, job: JobId) -> SimDuration {
        let progress = &self.progress[job];
        progress.held + progress.run.as_ref().map_or(SimDuration::ZERO, |run| self.now.since(run.since))
    }

    /// Devices × time that a job has had, in device-seconds: Tiresias' attained service.
    pub fn attained_seconds(&self, job: JobId) -> f64 {
        let progress = &self.progress[job];
        let running = progress.run.as_ref().map_or(0, |run| {
            u128::from(self.now.since(run.since).picos()) * milli(&run.gang, &self.jobs[job])
        });
        (progress.attained + running) as f64 / (1000.0 * crate::units::PICOS_PER_SECOND as f64)
    }

    /// When a job first started.
    pub fn first_start(&self, job: JobId) -> Option<SimTime> {
        self.progress[job].first_start
    }

    /// Since when a waiting job waits.
    pub fn waiting_since(&self, job: JobId) -> SimTime {
        self.progress[job].waiting_since
    }

    /// How often a job was preempted.
    pub fn preemptions(&self, job: JobId) -> u32 {
        self.progress[job].preemptions
    }

    /// How long a preempted job takes to get back to where it was.
    pub fn restart_delay(&self) -> SimDuration {
        self.checkpoint.save + self.checkpoint.restore
    }

    /// How fast a job works on a gang.
    pub fn speed(&self, job: JobId, gang: &Gang) -> f64 {
        self.jobs[job].speed_on(gang, self.profiler)
    }

    /// How long so much work takes at a speed, regular checkpoints included; `None` beyond the clock.
    pub fn length(&self, work: SimDuration, speed: f64) -> Option<SimDuration> {
        self.checkpoint.length(work, speed)
    }

    /// Where a job would be placed on a machine of which this is free, with `size` devices.
    ///
    /// The job's kinds are tried in its order of preference; a gang on which its speed is 0 is none.
    pub fn placed(&self, job: JobId, size: u32, free: &Free) -> Option<Gang> {
        let kinds = self.jobs[job].kinds.iter();
        kinds.copied().find_map(|kind| self.placed_on(job, size, kind, free))
    }

    /// The same on one kind of device.
    pub fn placed_on(
        &self,
        job: JobId,
        size: u32,
        kind: crate::cluster::KindId,
        free: &Free,
    ) -> Option<Gang> {
        let demand = self.jobs[job].demand_of(size);
        // The cheap question first: most of the time the answer is that there is too little.
        if demand.share == crate::cluster::job::WHOLE && demand.devices > free.whole_of(kind) {
            return None;
        }
        let gang = self.placement.place(&Ask { kind, demand: &demand }, free, self.machine)?;
        let speed = self.speed(job, &gang);
        (speed > 0.0 && speed.is_finite()).then_some(gang)
    }

    /// An answer to be drafted: nothing decided yet.
    pub fn draft(&'a self) -> Draft<'a> {
        Draft { view: self, free: self.free.clone(), stopped: BTreeSet::new(), started: BTreeMap::new() }
    }
}

impl ClusterView<'_> {
    fn done_in_run(&self, job: JobId) -> SimDuration {
        self.progress[job].run.as_ref().map_or(SimDuration::ZERO, |run| {
            let elapsed = SimDuration::from_picos(self.now.picos().saturating_sub(run.begins.picos()));
            self.checkpoint.work_done(elapsed, run.speed).at_all
        })
    }
}

/// Devices of a gang in thousandths.
pub(super) fn milli(gang: &Gang, job: &Job) -> u128 {
    u128::from(gang.size()) * u128::from(job.demand.share)
}

/// An answer in the making: what would be free, were it given.
pub struct Draft<'a> {
    view: &'a ClusterView<'a>,
    free: Free,
    stopped: BTreeSet<JobId>,
    started: BTreeMap<JobId, Gang>,
}

impl Draft<'_> {
    /// What would be free.
    pub fn free(&self) -> &Free {
        &self.free
    }

    /// Whether nothing more can start, whatever it is.
    pub fn is_full(&self) -> bool {
        self.view.every_job_needs_devices && self.free.is_exhausted()
    }

    /// Whether a job would run.
    pub fn runs(&self, job: JobId) -> bool {
        self.started.contains_key(&job) || (self.view.running.contains(&job) && !self.stopped.contains(&job))
    }

    /// Lets a job start with its whole gang, if there is room.
    pub fn start(&mut self, job: JobId) -> bool {
        // A job that was to stop stays where it is, if it still can.
        if self.stopped.contains(&job) && self.keep(job) {
            return true;
        }
        let size = self.view.jobs[job].demand.devices;
        match self.view.placed(job, size, &self.free) {
            Some(gang) => {
                self.start_on(job, gang);
                true
            }
            None => false,
        }
    }

    /// Lets a job start on a gang, which is free.
    pub fn start_on(&mut self, job: JobId, gang: Gang) {
        self.free.take(self.view.machine, &gang, &self.view.jobs[job].demand_of(gang.size()));
        let before = self.started.insert(job, gang);
        assert!(before.is_none(), "{job} is started twice");
    }

    /// Lets a job that was to stop go on where it is; says whether there is still room.
    pub fn keep(&mut self, job: JobId) -> bool {
        let Some(run) = self.view.run(job) else { return false };
        let demand = self.view.jobs[job].demand_of(run.gang.size());
        let can = self.stopped.contains(&job) && self.free.has(&run.gang, &demand);
        if can {
            self.free.take(self.view.machine, &run.gang, &demand);
            self.stopped.remove(&job);
        }
        can
    }

    /// Stops a running job.
    pub fn stop(&mut self, job: JobId) {
        let run = self.view.run(job).expect("only a running job is stopped");
        assert!(self.stopped.insert(job), "{job} is stopped twice");
        self.free.give(self.view.machine, &run.gang, &self.view.jobs[job].demand_of(run.gang.size()));
    }

    /// Stops jobs from the end of `victims` until `job` can start, and starts it; if it cannot even
    /// when all have stopped, nothing changes.
    pub fn start_instead(&mut self, job: JobId, victims: &mut VecDeque<JobId>) -> bool {
        let size = self.view.jobs[job].demand.devices;
        let mut free = self.free.clone();
        for left in (0..victims.len()).rev() {
            let victim = victims[left];
            let run = self.view.run(victim).expect("victims run");
            free.give(self.view.machine, &run.gang, &self.view.jobs[victim].demand_of(run.gang.size()));
            if let Some(gang) = self.view.placed(job, size, &free) {
                for victim in victims.drain(left..) {
                    self.stop(victim);
                }
                self.start_on(job, gang);
                return true;
            }
        }
        false
    }

    /// The answer: first what stops, then what starts, each in order of arrival. A job that stops and
    /// starts on the devices it has is left alone.
    pub fn actions(mut self) -> Vec<ClusterAction> {
        let view = self.view;
        let stays = |job: &JobId, gang: &Gang| view.run(*job).is_some_and(|run| run.gang == *gang);
        let left_alone: Vec<JobId> =
            self.started.iter().filter(|(job, gang)| stays(job, gang)).map(|(job, _)| *job).collect();
        for job in left_alone {
            self.started.remove(&job);
            self.stopped.remove(&job);
        }
        let stops = self.stopped.into_iter().map(|job| ClusterAction::Preempt { job });
        let starts = self.started.into_iter().map(|(job, gang)| ClusterAction::Start { job, gang });
        stops.chain(starts).collect()
    }
}
