//! vLLM's second scheduler.
//!
//! `vllm/v1/core/sched/scheduler.py` of version 0.8 and later, first come, first served; blocks are taken
//! for the chunk that a step computes, and none is kept free.

use serde::{Deserialize, Serialize};

use crate::serving::batching::BatchingPolicy;
use crate::serving::batching::token_budget::TokenBudget;
use crate::serving::{BatchDecision, ServingView};

/// Every step computes at most `max_batched_tokens` tokens: first those of requests that run, decodes
/// and unfinished prompts alike, then prompts of those that wait, the last as far as the budget goes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VllmV1 {
    /// Tokens of a step, at most; `max_num_batched_tokens`.
    pub max_batched_tokens: u32,
    /// Requests that run at once, at most; `max_num_seqs`.
    pub max_requests: u32,
    /// Tokens of one prompt in a step, at most; `long_prefill_token_threshold`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub long_prefill_tokens: Option<u32>,
}

impl Default for VllmV1 {
    fn default() -> Self {
        VllmV1 { max_batched_tokens: 2048, max_requests: 256, long_prefill_tokens: None }
    }
}

impl VllmV1 {
    fn budget(&self) -> TokenBudget {
        TokenBudget {
            tokens: self.max_batched_tokens,
            requests: self.max_requests,
            chunk: self.long_prefill_tokens,
        }
    }
}

impl BatchingPolicy for VllmV1 {
    fn next_batch(&mut self, view: &ServingView) -> BatchDecision {
        self.budget().next_batch(view)
    }

    fn most_running(&self) -> u32 {
        self.max_requests
    }

    fn admits(&self) -> Result<(), String> {
        self.budget().admits()
    }
}
