//! Shortest remaining time first.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::cluster::scheduling::ClusterScheduler;
use crate::cluster::scheduling::preemptive::by_priority;
use crate::cluster::{ClusterAction, ClusterView, News};
use crate::ids::JobId;
use crate::units::SimDuration;

/// The jobs with the least work left (by their estimates) run, at the cost of those with more.
///
/// At equal remainders what runs stays. A gang that does not fit, whoever would be stopped for it, is
/// passed over.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Srtf {
    /// Whether everything after a job that does not fit is left as it is.
    pub strict: bool,
    #[serde(skip)]
    waiting: BTreeSet<(SimDuration, JobId)>,
}

impl ClusterScheduler for Srtf {
    fn decide(&mut self, view: &ClusterView) -> Vec<ClusterAction> {
        for news in view.news {
            if let News::Arrived(job) | News::Failed(job) = *news {
                self.waiting.insert((view.estimated_remaining(job), job));
            }
        }
        let key = |job: JobId| (view.estimated_remaining(job), job);
        let mut running: Vec<(SimDuration, JobId)> = view.running.iter().map(|&job| key(job)).collect();
        running.sort_unstable();
        let actions = by_priority(view, &running, self.waiting.iter().copied(), self.strict).actions();
        for action in &actions {
            match action {
                ClusterAction::Start { job, .. } => {
                    self.waiting.remove(&key(*job));
                }
                ClusterAction::Preempt { job } => {
                    self.waiting.insert(key(*job));
                }
                ClusterAction::Wake { .. } => {}
            }
        }
        actions
    }
}
