//! Least attained service, as in Tiresias.
//!
//! Gu et al., "Tiresias: A GPU Cluster Manager for Distributed Deep Learning", NSDI 2019, section 3.3
//! (two-dimensional attained service, discretised queues, PROMOTEKNOB); where the paper is silent, the
//! order of its simulator is kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cluster::scheduling::ClusterScheduler;
use crate::cluster::scheduling::preemptive::by_priority;
use crate::cluster::{ClusterAction, ClusterView, News};
use crate::ids::JobId;
use crate::units::{PICOS_PER_SECOND, SimDuration, SimTime};

/// Jobs that have had least of the machine run first; how long they will take nobody needs to know.
///
/// A job's attained service is its devices × the time it has held them. *Discretised*: a job moves
/// from one queue to the next when its service reaches the queue's threshold. Queues go in order;
/// within a queue, jobs that run come first, in the order in which they came to it, then those that
/// wait; whoever does not fit is passed over. *Continuous*: all jobs in order of their service, looked
/// at again after every quantum in which jobs wait.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Las {
    /// Queues, or a continuum.
    pub priority: Priority,
    /// Device-seconds at which a job leaves each queue but the last.
    pub thresholds: Vec<f64>,
    /// A job that has waited this many times as long as it has run returns to the first queue
    /// (PROMOTEKNOB); none returns when it is absent.
    pub promote: Option<f64>,
    /// How often the continuum is looked at.
    pub quantum: SimDuration,
    #[serde(skip)]
    queues: Vec<Vec<JobId>>,
    #[serde(skip)]
    jobs: BTreeMap<JobId, Standing>,
}

/// What service decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// The queue, and within a queue the order of arrival there.
    Discretised,
    /// The order itself.
    Continuous,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy)]
struct Standing {
    queue: usize,
    /// Service in device-seconds, and time held, when the job last came to the first queue.
    service_before: f64,
    held_before: SimDuration,
    /// Time waited since then, not counting the wait that goes on.
    waited: SimDuration,
}

/// Two queues, parted at 3,600 device-seconds: the two-queue example in the README of the simulator that
/// the paper's authors published.
impl Default for Las {
    fn default() -> Self {
        Las {
            priority: Priority::Discretised,
            thresholds: vec![3600.0],
            promote: None,
            quantum: SimDuration::from_picos(60 * PICOS_PER_SECOND),
            queues: Vec::new(),
            jobs: BTreeMap::new(),
        }
    }
}

impl ClusterScheduler for Las {
    fn decide(&mut self, view: &ClusterView) -> Vec<ClusterAction> {
        match self.priority {
            Priority::Discretised => self.by_queue(view),
            Priority::Continuous => self.by_service(view),
        }
    }

    fn admits(&self) -> Result<(), String> {
        let rising = self.thresholds.windows(2).all(|pair| pair[0] < pair[1]);
        if self.thresholds.iter().any(|&limit| !(limit > 0.0 && limit.is_finite())) || !rising {
            return Err("`thresholds` are positive device-seconds that rise from queue to queue".into());
        }
        if self.promote.is_some_and(|knob| !(knob > 0.0 && knob.is_finite())) {
            return Err("`promote` is a positive number".into());
        }
        if self.quantum == SimDuration::ZERO {
            return Err("`quantum` is longer than nothing".into());
        }
        Ok(())
    }
}

impl Las {
    fn by_queue(&mut self, view: &ClusterView) -> Vec<ClusterAction> {
        self.queues.resize(self.thresholds.len() + 1, Vec::new());
        for news in view.news {
            match *news {
                News::Arrived(job) => {
                    let standing = Standing {
                        queue: 0,
                        service_before: 0.0,
                        held_before: SimDuration::ZERO,
                        waited: SimDuration::ZERO,
                    };
                    self.jobs.insert(job, standing);
                    self.queues[0].push(job);
                }
                News::Finished(job) => {
                    let standing = self.jobs.remove(&job).expect("a job that finishes has arrived");
                    self.queues[standing.queue].retain(|&other| other != job);
                }
                News::Failed(_) => {}
            }
        }
        self.demote(view);
        self.promote(view);
        let ranked = self.queues.iter().flatten().copied().enumerate();
        let (running, waiting): (Vec<_>, Vec<_>) = ranked.partition(|(_, job)| view.running.contains(job));
        let draft = by_priority(view, &running, waiting.into_iter(), false);
        for queue in &mut self.queues {
            queue.sort_by_key(|&job| !draft.runs(job));
        }
        let mut actions = draft.actions();
        for action in &actions {
            let (ClusterAction::Start { job, .. }, now) = (action, view.now) else { continue };
            if view.first_start(*job).is_some() && !view.running.contains(job) {
                let standing = self.jobs.get_mut(job).expect("it has arrived");
                standing.waited += now.since(view.waiting_since(*job));
            }
        }
        let stops: Vec<JobId> = stopped(&actions);
        let next = self.next_move(view, &actions, &stops);
        actions.extend(next.map(|at| ClusterAction::Wake { at }));
        actions
    }

    /// Jobs whose service has reached their queue's threshold go to the end of the next.
    fn demote(&mut self, view: &ClusterView) {
        for &job in view.running {
            let standing = self.jobs.get_mut(&job).expect("what runs has arrived");
            let service = view.attained_seconds(job) - standing.service_before;
            while self.thresholds.get(standing.queue).is_some_and(|&limit| service >= limit) {
                self.queues[standing.queue].retain(|&other| other != job);
                standing.queue += 1;
                self.queues[standing.queue].push(job);
            }
        }
    }

    /// Jobs that have waited long go back to the end of the first queue, their service forgotten.
    fn promote(&mut self, view: &ClusterView) {
        for &job in view.pending {
            if self.promotion(view, job).is_some_and(|at| at <= view.now) {
                let standing = self.jobs.get_mut(&job).expect("what waits has arrived");
                self.queues[standing.queue].retain(|&other| other != job);
                *standing = Standing {
                    queue: 0,
                    service_before: view.attained_seconds(job),
                    held_before: view.held(job),
                    waited: SimDuration::ZERO,
                };
                self.queues[0].push(job);
            }
        }
    }

    /// When a waiting job returns to the first queue if it goes on waiting.
    fn promotion(&self, view: &ClusterView, job: JobId) -> Option<SimTime> {
        let standing = &self.jobs[&job];
        let held = view.held(job) - standing.held_before;
        let knob = self.promote.filter(|_| standing.queue > 0 && held > SimDuration::ZERO)?;
        let patience = held.scaled(knob).saturating_sub(standing.waited);
        Some(view.waiting_since(job) + patience)
    }

    /// When the next job changes its queue, if nothing else happens.
    fn next_move(&self, view: &ClusterView, actions: &[ClusterAction], stops: &[JobId]) -> Option<SimTime> {
        let going_on = view.running.iter().filter(|job| !stops.contains(job)).copied();
        let starting = actions.iter().filter_map(|action| match action {
            ClusterAction::Start { job, .. } => Some(*job),
            _ => None,
        });
        let demotions = going_on.chain(starting).filter_map(|job| {
            let standing = &self.jobs[&job];
            let limit = self.thresholds.get(standing.queue)?;
            let demand = &view.jobs[job].demand;
            let rate = demand.milli() as f64 / 1000.0;
            let left = limit - (view.attained_seconds(job) - standing.service_before);
            (rate > 0.0).then(|| later(view.now, left / rate))?
        });
        let waiting = view.pending.iter().copied();
        let promotions = waiting.filter_map(|job| self.promotion(view, job)).filter(|&at| at > view.now);
        demotions.chain(promotions).min()
    }

    fn by_service(&mut self, view: &ClusterView) -> Vec<ClusterAction> {
        // Service as whole picoseconds of a thousandth of a device would overflow; f64's order is total here.
        let key = |&job: &JobId| (Service(view.attained_seconds(job)), job);
        let mut running: Vec<_> =
            view.running.iter().map(key).map(|(service, job)| ((service, false, job), job)).collect();
        let mut waiting: Vec<_> =
            view.pending.iter().map(key).map(|(service, job)| ((service, true, job), job)).collect();
        running.sort_by_key(|(key, _)| *key);
        waiting.sort_by_key(|(key, _)| *key);
        let draft = by_priority(view, &running, waiting.iter().copied(), false);
        let waits = view.pending.iter().chain(view.running).any(|&job| !draft.runs(job));
        let mut actions = draft.actions();
        if waits {
            actions.extend(later(view.now, self.quantum.seconds()).map(|at| ClusterAction::Wake { at }));
        }
        actions
    }
}

/// Attained service, to be ordered by.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Service(f64);

impl Eq for Service {}

impl PartialOrd for Service {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Service {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

fn stopped(actions: &[ClusterAction]) -> Vec<JobId> {
    let of = |action: &ClusterAction| match action {
        ClusterAction::Preempt { job } => Some(*job),
        _ => None,
    };
    actions.iter().filter_map(of).collect()
}

/// The moment some seconds from now, at least a picosecond; none beyond the clock.
fn later(now: SimTime, seconds: f64) -> Option<SimTime> {
    let picos = (seconds.max(0.0) * PICOS_PER_SECOND as f64).ceil().max(1.0);
    let at = if picos < u64::MAX as f64 { now.picos().checked_add(picos as u64) } else { None };
    at.map(SimTime::from_picos)
}
