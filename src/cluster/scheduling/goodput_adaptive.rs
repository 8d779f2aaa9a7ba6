//! Devices go where they raise goodput most, after Pollux.
//!
//! Qiao et al., "Pollux: Co-adaptive Cluster Scheduling for Goodput-Optimized Deep Learning", OSDI
//! 2021, section 4.2: the fitness is the power mean with p = −1 of the jobs' speedups over a fair share,
//! moves are charged their restart, and no job grows to more than twice the most it has had.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cluster::scheduling::ClusterScheduler;
use crate::cluster::{ClusterAction, ClusterView, Free, KindId, News};
use crate::ids::JobId;
use crate::units::{PICOS_PER_SECOND, SimDuration, SimTime};

/// Every interval the machine is divided anew among elastic jobs.
///
/// Where Pollux searches allocations genetically, devices are dealt out greedily: each job first gets the
/// fewest that it works with, in order of arrival, then devices go wherever they lower Σ 1/speedup
/// most, counted per device and looking ahead up to the job's limit (so that a step at the edge of a
/// node does not stop it). With speedups that saturate, that is the best division by number; where the
/// devices lie is the placement's. Jobs that are not elastic get what they ask for or nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GoodputAdaptive {
    /// How often the machine is divided.
    pub interval: SimDuration,
    #[serde(skip)]
    next: SimTime,
    /// The most devices that a job has had.
    #[serde(skip)]
    most_had: BTreeMap<JobId, u32>,
}

/// Every 60 s, as in the paper's evaluation.
impl Default for GoodputAdaptive {
    fn default() -> Self {
        let interval = SimDuration::from_picos(60 * PICOS_PER_SECOND);
        GoodputAdaptive { interval, next: SimTime::ZERO, most_had: BTreeMap::new() }
    }
}

impl ClusterScheduler for GoodputAdaptive {
    fn decide(&mut self, view: &ClusterView) -> Vec<ClusterAction> {
        for news in view.news {
            if let News::Finished(job) = news {
                self.most_had.remove(job);
            }
        }
        if view.pending.is_empty() && view.running.is_empty() {
            return Vec::new();
        }
        if view.now < self.next && !view.running.is_empty() {
            return vec![ClusterAction::Wake { at: self.next }];
        }
        let division = self.divide(view);
        let mut actions = self.draft(view, &division);
        self.next = view.now + self.interval;
        actions.push(ClusterAction::Wake { at: self.next });
        actions
    }

    fn admits(&self) -> Result<(), String> {
        match self.interval {
            SimDuration::ZERO => Err("`interval` is longer than nothing".into()),
            _ => Ok(()),
        }
    }
}

/// How many devices of which kind a job gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    kind: KindId,
    devices: u32,
}

impl GoodputAdaptive {
    /// How many devices each job gets.
    fn divide(&self, view: &ClusterView) -> BTreeMap<JobId, Part> {
        let mut left = free_and_held(view);
        let jobs: Vec<JobId> = view.pending.union(view.running).copied().collect();
        let mut parts: BTreeMap<JobId, Part> = BTreeMap::new();
        for &job in &jobs {
            let least = *view.jobs[job].sizes().start();
            let kinds = view.jobs[job].kinds.iter();
            if let Some(&kind) = kinds.into_iter().find(|kind| left[kind] >= least) {
                *left.get_mut(&kind).expect("a kind of the machine") -= least;
                parts.insert(job, Part { kind, devices: least });
            }
        }
        let mut speeds = Speeds { view, known: BTreeMap::new(), fair: fair_share(view, jobs.len()) };
        loop {
            let gains = parts.iter().filter_map(|(&job, &part)| {
                let room = left[&part.kind].min(self.limit(view, job).saturating_sub(part.devices));
                let now = 1.0 / speeds.speedup(job, part);
                let gain = |more: u32| {
                    let then = 1.0 / speeds.speedup(job, Part { devices: part.devices + more, ..part });
                    ((now - then) / f64::from(more), more)
                };
                let best = (1..=room).map(gain).max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))?;
                (best.0 > 0.0).then_some((best.0, job, best.1))
            });
            let best = gains.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
            let Some((_, job, more)) = best else { break };
            let part = parts.get_mut(&job).expect("it has a part");
            part.devices += more;
            *left.get_mut(&part.kind).expect("a kind of the machine") -= more;
        }
        self.charge_moves(view, &mut parts, &mut speeds);
        parts
    }

    /// A job keeps what it has where growing would not make good its restart.
    fn charge_moves(&self, view: &ClusterView, parts: &mut BTreeMap<JobId, Part>, speeds: &mut Speeds) {
        for (&job, part) in parts {
            let Some(run) = view.run(job) else { continue };
            let has = Part { kind: run.gang.kind, devices: run.gang.size() };
            if part.devices <= has.devices {
                continue;
            }
            // REALLOC_FACTOR(δ) = (T − R·δ) / (T + δ), T the job's age, R its moves so far.
            let age = view.now.since(view.jobs[job].arrival).seconds();
            let delay = view.restart_delay().seconds();
            let moves = f64::from(view.preemptions(job));
            let factor = ((age - moves * delay) / (age + delay)).max(0.0);
            if speeds.speedup(job, *part) * factor <= speeds.speedup(job, has) {
                *part = has;
            }
        }
    }

    /// The most devices that a job may have now.
    fn limit(&self, view: &ClusterView, job: JobId) -> u32 {
        let sizes = view.jobs[job].sizes();
        let had = self.most_had.get(&job).copied().unwrap_or(0);
        (*sizes.end()).min((2 * had).max(*sizes.start()))
    }

    fn draft(&mut self, view: &ClusterView, division: &BTreeMap<JobId, Part>) -> Vec<ClusterAction> {
        let mut draft = view.draft();
        for &job in view.running {
            let has = view.run(job).map(|run| Part { kind: run.gang.kind, devices: run.gang.size() });
            if has != division.get(&job).copied() {
                draft.stop(job);
            }
        }
        for (&job, part) in division {
            if draft.runs(job) {
                continue;
            }
            match view.placed_on(job, part.devices, part.kind, draft.free()) {
                Some(gang) => draft.start_on(job, gang),
                None => {
                    draft.keep(job);
                }
            }
            if draft.runs(job) {
                let had = self.most_had.entry(job).or_default();
                *had = part.devices.max(*had);
            }
        }
        draft.actions()
    }
}

/// Devices of each kind that nobody uses or that running jobs hold.
fn free_and_held(view: &ClusterView) -> BTreeMap<KindId, u32> {
    let mut left: BTreeMap<KindId, u32> =
        view.machine.kinds().map(|kind| (kind, view.free.whole_of(kind))).collect();
    for run in view.running.iter().filter_map(|&job| view.run(job)) {
        *left.get_mut(&run.gang.kind).expect("a kind of the machine") += run.gang.size();
    }
    left
}

/// A job's equal share of the machine, at least a device.
fn fair_share(view: &ClusterView, jobs: usize) -> u32 {
    (view.machine.devices() / jobs.max(1)).max(1) as u32
}

/// Speeds by number of devices, as the placement would place them on the empty machine.
struct Speeds<'a> {
    view: &'a ClusterView<'a>,
    known: BTreeMap<(JobId, KindId, u32), f64>,
    fair: u32,
}

impl Speeds<'_> {
    /// SPEEDUP(A) = goodput(A) / goodput of a fair share.
    fn speedup(&mut self, job: JobId, part: Part) -> f64 {
        let sizes = self.view.jobs[job].sizes();
        let fair = Part { devices: self.fair.clamp(*sizes.start(), *sizes.end()), ..part };
        self.speed(job, part) / self.speed(job, fair).max(f64::MIN_POSITIVE)
    }

    fn speed(&mut self, job: JobId, part: Part) -> f64 {
        let view = self.view;
        *self.known.entry((job, part.kind, part.devices)).or_insert_with(|| {
            let everything = Free::all(view.machine);
            view.placed_on(job, part.devices, part.kind, &everything)
                .map_or(0.0, |gang| view.speed(job, &gang))
        })
    }
}
