//! The run: events happen, the scheduler is asked, and what it decides is done.
//!
//! What ends makes room first, then jobs arrive, then the scheduler is asked once for the whole
//! moment. A gang starts whole or not at all; its devices are held from then until the job is done,
//! preempted, or one of them fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::cluster::job::WHOLE;
use crate::cluster::outcome::{ClusterOutcome, Ended, JobRecord, Outage, Reason, Sample, Stay};
use crate::cluster::placement::PlacementSpec;
use crate::cluster::scheduling::ClusterSchedulerSpec;
use crate::cluster::speed::Profiler;
use crate::cluster::view::{Progress, Run, milli};
use crate::cluster::{ClusterAction, ClusterView, Demand, Free, Gang, Job, KindId, Machine, News};
use crate::engine::{EventClass, EventHandle, EventQueue};
use crate::ids::{DeviceId, IdVec, JobId};
use crate::rng::{RngExt, Seed, Stream};
use crate::units::{SimDuration, SimTime};

/// Everything that decides a run.
#[derive(Debug, Clone)]
pub struct ClusterPlan {
    /// Where jobs run.
    pub machine: Machine,
    /// The jobs, in order of arrival.
    pub jobs: IdVec<JobId, Job>,
    /// Who runs when.
    pub scheduler: ClusterSchedulerSpec,
    /// Who runs where.
    pub placement: PlacementSpec,
    /// What stopping and going on costs.
    pub checkpoint: Checkpoint,
    /// How devices fail; `None` when they do not.
    pub failures: Option<Failures>,
    /// Where random streams grow from.
    pub seed: Seed,
}

/// What stopping and going on costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checkpoint {
    /// Writing one: a preempted job holds its devices so much longer, a job that writes them
    /// regularly stands still meanwhile.
    pub save: SimDuration,
    /// Reading one: a job that has run before makes no progress for so long after it starts.
    pub restore: SimDuration,
    /// Progress between two that are written in case of a failure; without, a failure undoes everything
    /// since the job last started.
    pub interval: Option<SimDuration>,
}

/// Work done in some time.
pub(super) struct Done {
    /// In all.
    pub at_all: SimDuration,
    /// Of that, what a checkpoint has.
    pub kept: SimDuration,
}

impl Checkpoint {
    /// How long `work` takes at `speed`, regular checkpoints included (none is written at the end).
    /// `None` beyond 213 days.
    pub(super) fn length(&self, work: SimDuration, speed: f64) -> Option<SimDuration> {
        let running = if speed == 1.0 {
            work.picos()
        } else {
            let picos = (work.picos() as f64 / speed).ceil();
            // f64 reaches u64::MAX rounded up to 2^64, which does not fit.
            if picos >= u64::MAX as f64 {
                return None;
            }
            picos as u64
        };
        let saves = self.interval.map_or(0, |every| running.saturating_sub(1) / every.picos());
        let saving = saves.checked_mul(self.save.picos())?;
        running.checked_add(saving).map(SimDuration::from_picos)
    }

    /// Work done in `elapsed` at `speed`.
    pub(super) fn work_done(&self, elapsed: SimDuration, speed: f64) -> Done {
        let work = |running: u64| match speed {
            1.0 => SimDuration::from_picos(running),
            speed => SimDuration::from_picos((running as f64 * speed).floor() as u64),
        };
        match self.interval {
            None => Done { at_all: work(elapsed.picos()), kept: SimDuration::ZERO },
            Some(every) => {
                let cycle = every.picos() + self.save.picos();
                let (cycles, rest) = (elapsed.picos() / cycle, elapsed.picos() % cycle);
                let kept = cycles * every.picos();
                Done { at_all: work(kept + rest.min(every.picos())), kept: work(kept) }
            }
        }
    }
}

/// How devices fail: after exponentially distributed times, each by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Failures {
    /// Mean time of a device's service until it fails.
    pub mtbf: SimDuration,
    /// How long it is then out of service.
    pub repair: SimDuration,
}

/// Why a run ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterFailure {
    /// A job asks for more than the machine has.
    TooLarge {
        /// Which job.
        job: String,
        /// What it asks for.
        asks: String,
        /// What there is.
        machine: String,
    },
    /// Time is counted to 213 days, and a job would end later.
    TooLong {
        /// Which job.
        job: String,
    },
    /// Jobs wait, nothing runs, and nothing will happen any more.
    Stuck {
        /// The scheduler.
        scheduler: &'static str,
        /// How many jobs wait.
        waiting: usize,
        /// The first of them.
        first: String,
    },
}

impl fmt::Display for ClusterFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClusterFailure::TooLarge { job, asks, machine } => {
                write!(f, "job `{job}` asks for {asks}, more than the whole of {machine} can give")
            }
            ClusterFailure::TooLong { job } => {
                write!(
                    f,
                    "job `{job}` would end later than 213 days after the first arrival, where the clock ends"
                )
            }
            ClusterFailure::Stuck { scheduler, waiting, first } => write!(
                f,
                "{waiting} jobs wait (the first is `{first}`), nothing runs, and `{scheduler}` starts none of them"
            ),
        }
    }
}

impl std::error::Error for ClusterFailure {}

/// Runs every job to its end.
///
/// # Errors
/// See [`ClusterFailure`].
///
/// # Panics
/// When the scheduler decides what is not legal; the message names it.
pub fn run(plan: &ClusterPlan, profiler: &dyn Profiler) -> Result<ClusterOutcome, ClusterFailure> {
    let mut cluster = Cluster::new(plan, profiler)?;
    while cluster.finished < plan.jobs.len() {
        let Some((now, event)) = cluster.queue.pop() else { return Err(cluster.stuck()) };
        match event {
            Event::Finish(job) => cluster.finish(now, job),
            Event::Repair(device) => cluster.repair(now, device),
            Event::Fail(device) => cluster.fail(now, device)?,
            Event::Arrive(job) => cluster.arrive(now, job),
            Event::Decide => cluster.decide(now)?,
        }
    }
    Ok(cluster.into_outcome())
}

/// Refuses jobs that would not fit on the empty machine, and says how long the others take alone.
///
/// # Errors
/// [`ClusterFailure::TooLarge`] for the first such job, [`ClusterFailure::TooLong`] for one that alone
/// would outlast the clock.
pub fn alone(
    plan: &ClusterPlan,
    profiler: &dyn Profiler,
) -> Result<IdVec<JobId, SimDuration>, ClusterFailure> {
    let empty = Free::all(&plan.machine);
    // Jobs that ask for the same are placed the same.
    let mut gangs: BTreeMap<(Demand, Vec<KindId>), Vec<Gang>> = BTreeMap::new();
    let of = |job: &Job| {
        let gangs = gangs.entry((job.demand, job.kinds.clone())).or_insert_with(|| {
            let place = |&kind: &KindId| {
                let ask = crate::cluster::placement::Ask { kind, demand: &job.demand };
                plan.placement.place(&ask, &empty, &plan.machine)
            };
            job.kinds.iter().filter_map(place).collect()
        });
        let speed = gangs
            .iter()
            .map(|gang| job.speed_on(gang, profiler))
            .find(|&speed| speed > 0.0 && speed.is_finite());
        let speed = speed.ok_or_else(|| too_large(job, &plan.machine))?;
        let length = plan.checkpoint.length(job.work, speed);
        length.ok_or_else(|| ClusterFailure::TooLong { job: job.name.clone() })
    };
    plan.jobs.iter().map(of).collect::<Result<Vec<_>, _>>().map(|all| all.into_iter().collect())
}

/// What is said of a job that would not fit on the empty machine.
pub fn too_large(job: &Job, machine: &Machine) -> ClusterFailure {
    ClusterFailure::TooLarge { job: job.name.clone(), asks: asks(job, machine), machine: machine.to_string() }
}

/// What a job asks for, in words.
fn asks(job: &Job, machine: &Machine) -> String {
    let Demand { devices, share, cpu_milli, memory_mib, one_node } = job.demand;
    let kinds: Vec<&str> = job.kinds.iter().map(|&kind| machine.kind_name(kind)).collect();
    let kinds = if kinds.is_empty() { "a kind that there is not".to_owned() } else { kinds.join(" or ") };
    let mut parts = Vec::new();
    match (devices, share) {
        (0, _) => {}
        (1, share) if share < WHOLE => parts.push(format!("{share}/1000 of a device of {kinds}")),
        (1, _) => parts.push(format!("1 device of {kinds}")),
        (devices, _) => parts.push(format!("{devices} devices of {kinds}")),
    }
    if cpu_milli > 0 {
        parts.push(format!("{} CPU cores", cpu_milli as f64 / 1000.0));
    }
    if memory_mib > 0 {
        parts.push(format!("{memory_mib} MiB of memory"));
    }
    if one_node {
        parts.push("all in one node".to_owned());
    }
    parts.join(", ")
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Finish(JobId),
    Repair(DeviceId),
    Fail(DeviceId),
    Arrive(JobId),
    Decide,
}

struct Cluster<'a> {
    plan: &'a ClusterPlan,
    scheduler: ClusterSchedulerSpec,
    profiler: &'a dyn Profiler,
    queue: EventQueue<Event>,
    free: Free,
    progress: IdVec<JobId, Progress>,
    endings: IdVec<JobId, Option<EventHandle>>,
    pending: BTreeSet<JobId>,
    running: BTreeSet<JobId>,
    every_job_needs_devices: bool,
    /// Jobs that wait, by what they ask for.
    classes: BTreeMap<(Demand, Vec<KindId>), u32>,
    /// Why each class waits, since `reasons_since`.
    reasons: Vec<((u32, Reason), u32)>,
    reasons_since: SimTime,
    news: Vec<News>,
    decide_at: Option<EventHandle>,
    /// Until when a preempted job still writes its checkpoint on a device.
    ready_at: IdVec<DeviceId, SimTime>,
    /// Since when a device is out of service.
    down: BTreeMap<DeviceId, SimTime>,
    lifetimes: IdVec<DeviceId, Stream>,
    /// Jobs in the system × time, for the company each job had.
    crowd: u128,
    crowd_since: SimTime,
    busy_milli: u64,
    finished: usize,
    outcome: ClusterOutcome,
}

impl<'a> Cluster<'a> {
    fn new(plan: &'a ClusterPlan, profiler: &'a dyn Profiler) -> Result<Self, ClusterFailure> {
        let alone = alone(plan, profiler)?;
        let mut queue = EventQueue::new();
        for (id, job) in plan.jobs.enumerate() {
            queue.schedule(job.arrival, EventClass::Arrival, Event::Arrive(id));
        }
        let progress = |job: &Job| Progress { remaining: job.work, ..Progress::default() };
        let record = |alone: SimDuration| JobRecord { alone, ..JobRecord::default() };
        let devices = plan.machine.devices();
        let failures = plan.seed.child("device failures");
        let mut cluster = Cluster {
            plan,
            scheduler: plan.scheduler.clone(),
            profiler,
            queue,
            free: Free::all(&plan.machine),
            progress: plan.jobs.iter().map(progress).collect(),
            endings: plan.jobs.ids().map(|_| None).collect(),
            pending: BTreeSet::new(),
            running: BTreeSet::new(),
            every_job_needs_devices: plan.jobs.iter().all(|job| job.demand.devices > 0),
            classes: BTreeMap::new(),
            reasons: Vec::new(),
            reasons_since: SimTime::ZERO,
            news: Vec::new(),
            decide_at: None,
            ready_at: IdVec::filled(SimTime::ZERO, devices),
            down: BTreeMap::new(),
            lifetimes: match plan.failures {
                Some(_) => IdVec::from_fn(devices, |device: DeviceId| failures.stream(&device.to_string())),
                None => IdVec::new(),
            },
            crowd: 0,
            crowd_since: SimTime::ZERO,
            busy_milli: 0,
            finished: 0,
            outcome: ClusterOutcome {
                jobs: alone.into_iter().map(record).collect(),
                ..ClusterOutcome::default()
            },
        };
        for device in cluster.lifetimes.ids() {
            cluster.age(SimTime::ZERO, device);
        }
        Ok(cluster)
    }

    fn arrive(&mut self, now: SimTime, job: JobId) {
        self.count_crowd(now);
        // Until it leaves, `company` keeps what had accumulated when it came.
        self.outcome.jobs[job].company = self.crowd as f64;
        self.progress[job].waiting_since = now;
        self.wait(job);
        self.tell(now, News::Arrived(job));
    }

    fn finish(&mut self, now: SimTime, job: JobId) {
        self.count_crowd(now);
        self.endings[job] = None;
        self.leave(now, job, Ended::Finished, SimDuration::ZERO);
        self.finished += 1;
        let arrival = self.plan.jobs[job].arrival;
        let record = &mut self.outcome.jobs[job];
        record.finish = now;
        let stayed = now.since(arrival).picos().max(1) as f64;
        record.company = (self.crowd as f64 - record.company) / stayed;
        self.progress[job].remaining = SimDuration::ZERO;
        self.tell(now, News::Finished(job));
    }

    /// A device fails: whoever uses it waits again, from its last checkpoint.
    fn fail(&mut self, now: SimTime, device: DeviceId) -> Result<(), ClusterFailure> {
        let holders: Vec<JobId> = self
            .running
            .iter()
            .copied()
            .filter(|&job| {
                self.progress[job].run.as_ref().is_some_and(|run| run.gang.devices().any(|d| d == device))
            })
            .collect();
        for job in holders {
            let run = self.progress[job].run.clone().expect("a holder runs");
            let elapsed = SimDuration::from_picos(now.picos().saturating_sub(run.begins.picos()));
            let done = self.plan.checkpoint.work_done(elapsed, run.speed);
            self.progress[job].remaining -= done.kept;
            let lost = SimDuration::from_seconds((done.at_all - done.kept).seconds() / run.speed);
            let record = &mut self.outcome.jobs[job];
            record.lost += lost;
            record.failures += 1;
            self.cancel_ending(job);
            self.leave(now, job, Ended::Failed, lost);
            self.progress[job].waiting_since = now;
            self.wait(job);
            self.tell(now, News::Failed(job));
        }
        self.free.serve(&self.plan.machine, device, false);
        self.down.insert(device, now);
        let repair = self.plan.failures.expect("devices fail").repair;
        let back = now.picos().checked_add(repair.picos()).map(SimTime::from_picos);
        let back = back.ok_or_else(|| ClusterFailure::TooLong { job: "the repair of a device".into() })?;
        self.queue.schedule(back, EventClass::Finish, Event::Repair(device));
        self.ask(now);
        Ok(())
    }

    fn repair(&mut self, now: SimTime, device: DeviceId) {
        self.free.serve(&self.plan.machine, device, true);
        let start = self.down.remove(&device).expect("only what is down is repaired");
        self.outcome.outages.push(Outage { device, start, end: now });
        self.age(now, device);
        self.ask(now);
    }

    /// Draws when a device in service fails next: inversion of the exponential distribution.
    fn age(&mut self, now: SimTime, device: DeviceId) {
        let failures = self.plan.failures.expect("devices fail");
        let uniform: f64 = self.lifetimes[device].random();
        let life = -(1.0 - uniform).ln() * failures.mtbf.picos() as f64;
        let at = now.picos() as f64 + life;
        // A device that outlives the clock never fails.
        if at < u64::MAX as f64 {
            let at = SimTime::from_picos((at as u64).max(now.picos()));
            self.queue.schedule(at, EventClass::Finish, Event::Fail(device));
        }
    }

    fn decide(&mut self, now: SimTime) -> Result<(), ClusterFailure> {
        self.decide_at = None;
        self.count_reasons(now);
        let news = std::mem::take(&mut self.news);
        let view = ClusterView {
            now,
            machine: &self.plan.machine,
            jobs: &self.plan.jobs,
            pending: &self.pending,
            running: &self.running,
            news: &news,
            free: &self.free,
            every_job_needs_devices: self.every_job_needs_devices,
            progress: &self.progress,
            checkpoint: &self.plan.checkpoint,
            placement: &*self.plan.placement,
            profiler: self.profiler,
        };
        let actions = self.scheduler.decide(&view);
        self.outcome.decisions += 1;
        for action in actions {
            match action {
                ClusterAction::Start { job, gang } => self.start(now, job, gang)?,
                ClusterAction::Preempt { job } => self.preempt(now, job),
                ClusterAction::Wake { at } => {
                    let name = self.scheduler.name();
                    assert!(at > now, "`{name}` wants to be asked again at {at}, but it is already {now}");
                    self.ask(at);
                }
            }
        }
        self.find_reasons();
        self.sample(now);
        Ok(())
    }

    fn start(&mut self, now: SimTime, job: JobId, gang: Gang) -> Result<(), ClusterFailure> {
        let spec = &self.plan.jobs[job];
        let name = self.scheduler.name();
        assert!(self.pending.remove(&job), "`{name}` starts {job}, which does not wait");
        let sizes = spec.sizes();
        assert!(
            sizes.contains(&gang.size()) || spec.demand.devices == 0,
            "`{name}` starts {job} on {} devices, but it works with {sizes:?}",
            gang.size()
        );
        self.unwait(job);
        self.free.take(&self.plan.machine, &gang, &spec.demand_of(gang.size()));
        self.busy_milli += milli(&gang, spec) as u64;
        let progress = &mut self.progress[job];
        let again = progress.first_start.is_some();
        let restore = if again { self.plan.checkpoint.restore } else { SimDuration::ZERO };
        let ready = gang.devices().map(|device| self.ready_at[device]).max().unwrap_or(now).max(now);
        let speed = spec.speed_on(&gang, self.profiler);
        assert!(speed > 0.0 && speed.is_finite(), "`{name}` starts {job} where its speed is {speed}");
        let begins = ready.picos().checked_add(restore.picos());
        let length = self.plan.checkpoint.length(progress.remaining, speed);
        let end = begins.zip(length).and_then(|(begins, length)| begins.checked_add(length.picos()));
        let (Some(begins), Some(end)) = (begins, end) else {
            return Err(ClusterFailure::TooLong { job: spec.name.clone() });
        };
        if !again {
            progress.first_start = Some(now);
            self.outcome.jobs[job].start = now;
        }
        progress.run = Some(Run { gang, since: now, begins: SimTime::from_picos(begins), speed });
        self.running.insert(job);
        let end = SimTime::from_picos(end);
        self.endings[job] = Some(self.queue.schedule(end, EventClass::Finish, Event::Finish(job)));
        Ok(())
    }

    fn preempt(&mut self, now: SimTime, job: JobId) {
        let name = self.scheduler.name();
        let run = self.progress[job].run.clone();
        let run = run.unwrap_or_else(|| panic!("`{name}` preempts {job}, which does not run"));
        let elapsed = SimDuration::from_picos(now.picos().saturating_sub(run.begins.picos()));
        let done = self.plan.checkpoint.work_done(elapsed, run.speed).at_all;
        let progress = &mut self.progress[job];
        progress.remaining = progress.remaining.saturating_sub(done);
        progress.preemptions += 1;
        self.outcome.jobs[job].preemptions += 1;
        // Without progress since the last checkpoint there is nothing to write.
        if done > SimDuration::ZERO {
            let ready = now + self.plan.checkpoint.save;
            for device in run.gang.devices() {
                self.ready_at[device] = self.ready_at[device].max(ready);
            }
        }
        self.cancel_ending(job);
        self.leave(now, job, Ended::Preempted, SimDuration::ZERO);
        self.progress[job].waiting_since = now;
        self.wait(job);
    }

    /// A job gives its devices back.
    fn leave(&mut self, now: SimTime, job: JobId, ended: Ended, lost: SimDuration) {
        let spec = &self.plan.jobs[job];
        let progress = &mut self.progress[job];
        let run = progress.run.take().expect("a job that leaves runs");
        let held = now.since(run.since);
        progress.held += held;
        progress.attained += u128::from(held.picos()) * milli(&run.gang, spec);
        self.free.give(&self.plan.machine, &run.gang, &spec.demand_of(run.gang.size()));
        self.busy_milli -= milli(&run.gang, spec) as u64;
        self.running.remove(&job);
        let record = &mut self.outcome.jobs[job];
        record.held += held;
        record.overhead += run.begins.min(now).since(run.since);
        self.outcome.stays.push(Stay {
            job,
            devices: run.gang.devices().collect(),
            nodes: run.gang.parts.iter().map(|(node, _)| *node).collect(),
            start: run.since,
            begins: run.begins.min(now),
            end: now,
            lost,
            ended,
        });
    }

    fn cancel_ending(&mut self, job: JobId) {
        let handle = self.endings[job].take().expect("a running job ends");
        self.queue.cancel(handle);
    }

    fn wait(&mut self, job: JobId) {
        self.pending.insert(job);
        let spec = &self.plan.jobs[job];
        *self.classes.entry((spec.demand, spec.kinds.clone())).or_default() += 1;
    }

    fn unwait(&mut self, job: JobId) {
        let spec = &self.plan.jobs[job];
        let class = (spec.demand, spec.kinds.clone());
        let count = self.classes.get_mut(&class).expect("a job that waits is counted");
        *count -= 1;
        if *count == 0 {
            self.classes.remove(&class);
        }
    }

    fn tell(&mut self, now: SimTime, news: News) {
        self.news.push(news);
        self.ask(now);
    }

    /// Makes sure that the scheduler is asked at `at` or before.
    fn ask(&mut self, at: SimTime) {
        match self.decide_at.take() {
            Some(handle) if handle.at() <= at => self.decide_at = Some(handle),
            later => {
                if let Some(handle) = later {
                    self.queue.cancel(handle);
                }
                self.decide_at = Some(self.queue.schedule(at, EventClass::Decision, Event::Decide));
            }
        }
    }

    /// Adds the waiting since the last decision to its reasons.
    fn count_reasons(&mut self, now: SimTime) {
        let length = u128::from(now.since(self.reasons_since).picos());
        for &(why, jobs) in &self.reasons {
            *self.outcome.waited.entry(why).or_default() += length * u128::from(jobs);
        }
        self.reasons_since = now;
    }

    /// Finds out why those wait that were not started.
    fn find_reasons(&mut self) {
        let machine = &self.plan.machine;
        let mut down: IdVec<KindId, u32> = machine.kinds().map(|_| 0).collect();
        for &device in self.down.keys() {
            down[machine.nodes()[machine.node_of(device)].kind] += 1;
        }
        self.reasons.clear();
        for ((demand, kinds), &jobs) in &self.classes {
            let of_kind = |&kind: &KindId| self.reason(demand, kind, down[kind]);
            // Of its kinds, the one that is nearest to taking it says why it waits.
            let reason = kinds.iter().map(of_kind).max().unwrap_or(Reason::Busy);
            self.reasons.push(((demand.devices, reason), jobs));
        }
    }

    fn reason(&self, demand: &Demand, kind: KindId, down: u32) -> Reason {
        let machine = &self.plan.machine;
        let enough = |more: u32| match demand.share {
            WHOLE => self.free.whole_of(kind) + more >= demand.devices,
            share => more > 0 || self.shares(kind) >= u64::from(share),
        };
        if !enough(0) {
            return if enough(down) { Reason::OutOfService } else { Reason::Busy };
        }
        let ask = crate::cluster::placement::Ask { kind, demand };
        match self.plan.placement.place(&ask, &self.free, machine) {
            Some(_) => Reason::HeldBack,
            None => Reason::Fragmented,
        }
    }

    /// What is left of the devices of a kind, in thousandths.
    fn shares(&self, kind: KindId) -> u64 {
        let nodes = self.plan.machine.nodes_of(kind).iter();
        let devices = nodes.flat_map(|&node| &self.plan.machine.nodes()[node].devices);
        devices.map(|&device| u64::from(self.free.left(device))).sum()
    }

    fn sample(&mut self, now: SimTime) {
        let machine = &self.plan.machine;
        let mut idle = 0;
        let mut scattered = 0;
        for (id, node) in machine.nodes().enumerate() {
            let whole = self.free.whole(id);
            idle += whole;
            if (whole as usize) < node.devices.len() {
                scattered += whole;
            }
        }
        let wanted =
            self.classes.iter().map(|((demand, _), &jobs)| u64::from(demand.devices) * u64::from(jobs));
        let sample = Sample {
            at: now,
            busy_milli: self.busy_milli,
            idle,
            scattered,
            down: self.down.len() as u32,
            pending: self.pending.len() as u32,
            wanted: wanted.sum(),
            running: self.running.len() as u32,
        };
        let same = |last: &Sample| Sample { at: now, ..*last } == sample;
        if !self.outcome.samples.last().is_some_and(same) {
            self.outcome.samples.push(sample);
        }
    }

    /// Adds the jobs in the system since the last change to the crowd.
    fn count_crowd(&mut self, now: SimTime) {
        let jobs = (self.pending.len() + self.running.len()) as u128;
        self.crowd += jobs * u128::from(now.since(self.crowd_since).picos());
        self.crowd_since = now;
    }

    fn stuck(&self) -> ClusterFailure {
        let first = self.pending.first().map_or_else(String::new, |&job| self.plan.jobs[job].name.clone());
        let scheduler = self.scheduler.name();
        ClusterFailure::Stuck { scheduler, waiting: self.pending.len(), first }
    }

    fn into_outcome(mut self) -> ClusterOutcome {
        let end = self.queue.now();
        self.count_reasons(end);
        self.sample(end);
        for (&device, &start) in &self.down {
            self.outcome.outages.push(Outage { device, start, end });
        }
        self.outcome.events = self.queue.processed();
        self.outcome
    }
}
