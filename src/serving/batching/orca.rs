//! Iteration-level scheduling.
//!
//! Yu et al., "Orca: A Distributed Serving System for Transformer-Based Generative Models", OSDI 2022,
//! algorithm 1.

use serde::{Deserialize, Serialize};

use crate::ids::RequestId;
use crate::serving::batching::{BatchingPolicy, at_least_one};
use crate::serving::kv::BlockPool;
use crate::serving::{BatchDecision, Request, ServingView};

/// Before every step requests are chosen in order of arrival, up to `max_requests`; one that has not run
/// joins if slots can be reserved for all the tokens that it may ever have, and otherwise ends the choice.
///
/// Prompts are computed whole, beside decodes. As reservations are for the longest possible answer,
/// nobody is preempted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Orca {
    /// Requests of a step, at most: the paper's max_bs.
    pub max_requests: u32,
    /// How many tokens are reserved for a request: the paper's max_tokens.
    pub reserve: Reserve,
}

/// How long an answer is thought to become (Kwon et al., SOSP 2023, section 6.1, name the three).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reserve {
    /// As long as it will be: "Orca (Oracle)".
    Oracle,
    /// At most twice as long: the next power of two, "Orca (Pow2)".
    Pow2,
    /// So many tokens of prompt and answer together: "Orca (Max)".
    Max(u32),
}

impl Default for Orca {
    fn default() -> Self {
        Orca { max_requests: 32, reserve: Reserve::Oracle }
    }
}

impl BatchingPolicy for Orca {
    fn next_batch(&mut self, view: &ServingView) -> BatchDecision {
        let mut draft = view.draft();
        let room = |request: RequestId| self.reservation(&view.requests[request], &view.pool);
        // Whoever runs came before whoever waits, as the choice ends with the first that must wait.
        for &request in view.running.iter().take(self.max_requests as usize) {
            let pending = view.pending(request);
            if pending > 0 {
                assert!(draft.schedule_holding(request, pending, room(request)), "its slots are reserved");
            }
        }
        let seats = (self.max_requests as usize).saturating_sub(view.running.len());
        for &request in view.waiting.values().take(seats) {
            if !draft.schedule_holding(request, view.pending(request), room(request)) {
                break;
            }
        }
        draft.decision()
    }

    fn most_running(&self) -> u32 {
        self.max_requests
    }

    fn reserved(&self, request: &Request, pool: &BlockPool) -> Option<u64> {
        Some(self.reservation(request, pool))
    }

    fn admits(&self) -> Result<(), String> {
        at_least_one([("max_requests", self.max_requests)])
    }
}

impl Orca {
    fn reservation(&self, request: &Request, pool: &BlockPool) -> u64 {
        let most = request.cached_at_most();
        let tokens = match self.reserve {
            Reserve::Oracle => most,
            Reserve::Pow2 => u64::from(request.prompt) + u64::from(request.output).next_power_of_two() - 1,
            Reserve::Max(tokens) => most.max(u64::from(tokens)),
        };
        // A reservation beyond the cache would never be had; the whole cache is then what it gets.
        tokens.min(pool.total() * u64::from(pool.block()))
    }
}
