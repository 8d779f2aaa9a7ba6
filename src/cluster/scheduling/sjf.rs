//! Shortest job first.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::cluster::scheduling::ClusterScheduler;
use crate::cluster::{ClusterAction, ClusterView, News};
use crate::ids::JobId;
use crate::units::SimDuration;

/// Of the waiting jobs the one with the shortest estimate starts first; what runs is not disturbed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sjf {
    /// Whether nobody overtakes a shorter job that does not fit; otherwise whoever fits starts.
    pub strict: bool,
    #[serde(skip)]
    waiting: BTreeSet<(SimDuration, JobId)>,
}

impl Default for Sjf {
    fn default() -> Self {
        Sjf { strict: true, waiting: BTreeSet::new() }
    }
}

impl ClusterScheduler for Sjf {
    fn decide(&mut self, view: &ClusterView) -> Vec<ClusterAction> {
        for news in view.news {
            if let News::Arrived(job) | News::Failed(job) = *news {
                self.waiting.insert((view.jobs[job].estimate, job));
            }
        }
        let mut draft = view.draft();
        let mut started = Vec::new();
        for &(estimate, job) in &self.waiting {
            if draft.is_full() {
                break;
            } else if draft.start(job) {
                started.push((estimate, job));
            } else if self.strict {
                break;
            }
        }
        for job in started {
            self.waiting.remove(&job);
        }
        draft.actions()
    }
}
