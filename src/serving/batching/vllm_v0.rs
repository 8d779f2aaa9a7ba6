//! vLLM's first scheduler.
//!
//! Kwon et al., "Efficient Memory Management for Large Language Model Serving with PagedAttention",
//! SOSP 2023, sections 4.3 and 4.5; `vllm/core/scheduler.py` of version 0.6, `_schedule_default`.

use serde::{Deserialize, Serialize};

use crate::serving::batching::{BatchingPolicy, at_least_one};
use crate::serving::{BatchDecision, Draft, ServingView};

/// While somebody waits who can be admitted, a step is of prefills alone; otherwise of decodes alone.
///
/// Prefills are admitted first come, first served, whole, while the step has at most
/// `max_batched_tokens` tokens, at most `max_requests` run and a hundredth of the blocks stays free. A
/// decode that needs a block when none is free preempts whoever was admitted last, itself if need be.
///
/// vLLM asks for a free block for every decode, whether its last block is full or not; here, as in the
/// paper, only for one whose last block is full.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VllmV0 {
    /// Tokens of a step, at most; `max_num_batched_tokens`. A longer prompt is refused. Unless given, as
    /// in vLLM, the model's context and at least 2048.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_batched_tokens: Option<u32>,
    /// Requests that run at once, at most; `max_num_seqs`.
    pub max_requests: u32,
    /// Share of the blocks that a prefill leaves free, so that it is not preempted at once.
    pub watermark: f64,
}

impl Default for VllmV0 {
    fn default() -> Self {
        VllmV0 { max_batched_tokens: None, max_requests: 256, watermark: 0.01 }
    }
}

impl BatchingPolicy for VllmV0 {
    fn next_batch(&mut self, view: &ServingView) -> BatchDecision {
        let mut draft = view.draft();
        self.prefill(view, &mut draft);
        if draft.is_idle() {
            decode(view, &mut draft);
        }
        draft.decision()
    }

    fn most_running(&self) -> u32 {
        self.max_requests
    }

    fn longest_prefill(&self) -> Option<u32> {
        self.max_batched_tokens
    }

    fn fit(&mut self, context: u32) {
        self.max_batched_tokens.get_or_insert(context.max(LEAST_BUDGET));
    }

    fn kept_free(&self, blocks: u64) -> u64 {
        (self.watermark * blocks as f64) as u64
    }

    fn admits(&self) -> Result<(), String> {
        if !(0.0..1.0).contains(&self.watermark) {
            return Err(format!("`watermark` is a share from 0 to below 1, not {}", self.watermark));
        }
        at_least_one([
            ("max_batched_tokens", self.max_batched_tokens.unwrap_or(LEAST_BUDGET)),
            ("max_requests", self.max_requests),
        ])
    }
}

const LEAST_BUDGET: u32 = 2048;

impl VllmV0 {
    fn prefill(&self, view: &ServingView, draft: &mut Draft) {
        let kept = self.kept_free(view.pool.total());
        let seats = (self.max_requests as usize).saturating_sub(view.running.len());
        let mut left = self.max_batched_tokens.unwrap_or(LEAST_BUDGET);
        for &request in view.waiting.values().take(seats) {
            let tokens = view.pending(request);
            let free = draft.free().saturating_sub(draft.lacks(request, u64::from(tokens)));
            // What a preempted request has generated can make it longer than the budget: it goes alone.
            if (tokens > left && !draft.is_idle()) || free < kept || !draft.schedule(request, tokens) {
                break;
            }
            left = left.saturating_sub(tokens);
        }
    }
}

fn decode(view: &ServingView, draft: &mut Draft) {
    let mut end = view.running.len();
    let mut at = 0;
    while at < end {
        let request = view.running[at];
        at += 1;
        let pending = view.pending(request);
        if pending == 0 {
            continue;
        }
        while !draft.schedule(request, pending) {
            // The last that may be disturbed gives way; when that is the request itself, it waits.
            let Some(victim) = (at - 1..end).rev().find(|&place| !view.in_flight(view.running[place])) else {
                break;
            };
            draft.preempt(view.running[victim]);
            end = victim;
            if victim == at - 1 {
                break;
            }
        }
    }
}
