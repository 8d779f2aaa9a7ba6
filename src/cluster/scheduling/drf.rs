//! Dominant resource fairness.
//!
//! Ghodsi et al., "Dominant Resource Fairness: Fair Allocation of Multiple Resource Types", NSDI 2011,
//! section 4.2, algorithm 1.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cluster::scheduling::ClusterScheduler;
use crate::cluster::{ClusterAction, ClusterView, Job, Machine};
use crate::ids::JobId;

/// The user with the smallest dominant share starts the next job; what runs is not disturbed.
///
/// A user's dominant share is the greatest of the shares of devices, CPU and memory that its running
/// jobs have of the machine (a resource that the machine does not count is left out). Among users
/// with equal shares, and among jobs of a user, the one whose job came first goes first.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drf {
    /// Whether nothing else starts once the next job does not fit, as in the paper; otherwise its user's
    /// later jobs and then the other users are tried.
    pub strict: bool,
}

impl Default for Drf {
    fn default() -> Self {
        Drf { strict: true }
    }
}

impl ClusterScheduler for Drf {
    fn decide(&mut self, view: &ClusterView) -> Vec<ClusterAction> {
        let totals = Totals::of(view.machine);
        let mut used: BTreeMap<&str, Used> = BTreeMap::new();
        for &job in view.running {
            used.entry(&view.jobs[job].user).or_default().add(&view.jobs[job]);
        }
        let mut queues: BTreeMap<&str, Vec<JobId>> = BTreeMap::new();
        for &job in view.pending.iter().rev() {
            queues.entry(&view.jobs[job].user).or_default().push(job);
        }
        let mut draft = view.draft();
        // Each user's next job is the last of its list.
        while !draft.is_full() {
            let share = |user: &str| used.get(user).map_or(0.0, |used| used.dominant_share(&totals));
            let neediest = queues
                .iter()
                .filter_map(|(user, queue)| queue.last().map(|&job| (share(user), job, *user)))
                .min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let Some((_, job, user)) = neediest else { break };
            queues.get_mut(user).expect("a user with a queue").pop();
            if draft.start(job) {
                used.entry(user).or_default().add(&view.jobs[job]);
            } else if self.strict {
                break;
            }
        }
        draft.actions()
    }
}

/// What the machine has in all, by resource; `None` where it is not counted.
struct Totals([Option<f64>; 3]);

impl Totals {
    fn of(machine: &Machine) -> Self {
        let sum = |of: fn(&crate::cluster::machine::Host) -> u64| {
            let each = machine.nodes().iter().map(|node| of(&node.host));
            each.clone().all(|amount| amount != u64::MAX).then(|| each.sum::<u64>() as f64)
        };
        let devices = machine.devices() as f64 * f64::from(crate::cluster::job::WHOLE);
        let some = |total: Option<f64>| total.filter(|&total| total > 0.0);
        Totals([some(Some(devices)), some(sum(|host| host.cpu_milli)), some(sum(|host| host.memory_mib))])
    }
}

/// What a user's jobs hold, by resource.
#[derive(Default)]
struct Used([u64; 3]);

impl Used {
    fn add(&mut self, job: &Job) {
        let demand = [job.demand.milli(), job.demand.cpu_milli, job.demand.memory_mib];
        for (used, more) in self.0.iter_mut().zip(demand) {
            *used += more;
        }
    }

    fn dominant_share(&self, totals: &Totals) -> f64 {
        let shares = self.0.iter().zip(totals.0).filter_map(|(&used, total)| Some(used as f64 / total?));
        shares.fold(0.0, f64::max)
    }
}
