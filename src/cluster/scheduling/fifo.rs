//! First in, first out.

use serde::{Deserialize, Serialize};

use crate::cluster::scheduling::ClusterScheduler;
use crate::cluster::{ClusterAction, ClusterView};

/// Jobs start in order of arrival and run to their end.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fifo {
    /// Whether nobody overtakes a job that does not fit; otherwise whoever fits starts.
    pub strict: bool,
}

impl Default for Fifo {
    fn default() -> Self {
        Fifo { strict: true }
    }
}

impl ClusterScheduler for Fifo {
    fn decide(&mut self, view: &ClusterView) -> Vec<ClusterAction> {
        let mut draft = view.draft();
        for &job in view.pending {
            if draft.is_full() || (!draft.start(job) && self.strict) {
                break;
            }
        }
        draft.actions()
    }
}
