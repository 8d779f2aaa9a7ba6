//! Static batching: what served before iteration-level scheduling.
//!
//! Described by Yu et al., "Orca", OSDI 2022, section 2 and figure 3, as request-level scheduling.

use serde::{Deserialize, Serialize};

use crate::serving::batching::{BatchingPolicy, at_least_one};
use crate::serving::kv::BlockPool;
use crate::serving::{BatchDecision, Request, ServingView};

/// When nothing runs, the first of those who wait are taken, and nobody joins them until all are done.
///
/// All prompts are computed in one step; then every step yields a token for each request that is not
/// done. An answer is given out at its own last token; its slot stays empty. A request has room for
/// its whole answer from the start, so nobody is preempted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StaticBatch {
    /// Requests of a batch, at most.
    pub size: u32,
}

impl Default for StaticBatch {
    fn default() -> Self {
        StaticBatch { size: 32 }
    }
}

impl BatchingPolicy for StaticBatch {
    fn next_batch(&mut self, view: &ServingView) -> BatchDecision {
        let mut draft = view.draft();
        for &request in view.running {
            let pending = view.pending(request);
            if pending > 0 {
                let room = view.requests[request].cached_at_most();
                assert!(draft.schedule_holding(request, pending, room), "its room was taken when it came");
            }
        }
        if view.running.is_empty() {
            for &request in view.waiting.values().take(self.size as usize) {
                let room = view.requests[request].cached_at_most();
                if !draft.schedule_holding(request, view.pending(request), room) {
                    break;
                }
            }
        }
        draft.decision()
    }

    fn most_running(&self) -> u32 {
        self.size
    }

    fn reserved(&self, request: &Request, _pool: &BlockPool) -> Option<u64> {
        Some(request.cached_at_most())
    }

    fn admits(&self) -> Result<(), String> {
        at_least_one([("size", self.size)])
    }
}
