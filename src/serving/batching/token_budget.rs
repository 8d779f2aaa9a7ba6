//! A step as a budget of tokens: what vLLM V1 and its variants share.
//!
//! `vllm/v1/core/sched/scheduler.py`, `Scheduler.schedule`; the idea of prefills in chunks that fill up
//! steps of decodes is that of Agrawal et al., "Taming Throughput-Latency Tradeoff in LLM Inference with
//! Sarathi-Serve", OSDI 2024.

use crate::serving::batching::at_least_one;
use crate::serving::{BatchDecision, Draft, ServingView};

/// What limits a step.
#[derive(Debug, Clone, Copy)]
pub struct TokenBudget {
    /// Tokens of a step, at most.
    pub tokens: u32,
    /// Requests that run at once, at most.
    pub requests: u32,
    /// Tokens of one request in a step, at most.
    pub chunk: Option<u32>,
}

impl TokenBudget {
    /// First whoever runs, in order of admission, gets its pending tokens, as far as the budget goes; if
    /// blocks lack, whoever was admitted last is preempted. Then, if nobody was preempted, whoever waits
    /// is admitted in order with what is left of the budget, until one does not fit.
    pub fn next_batch(&self, view: &ServingView) -> BatchDecision {
        let mut draft = view.draft();
        let left = self.go_on(view, &mut draft);
        if !draft.preempts() {
            self.admit(view, &mut draft, left);
        }
        draft.decision()
    }

    fn go_on(&self, view: &ServingView, draft: &mut Draft) -> u32 {
        let mut left = self.tokens;
        let mut end = view.running.len();
        let mut at = 0;
        while at < end && left > 0 {
            let request = view.running[at];
            let tokens = self.part(view.pending(request), left);
            if tokens == 0 {
                at += 1;
                continue;
            }
            if draft.schedule(request, tokens) {
                left -= tokens;
                at += 1;
                continue;
            }
            // The last that may be disturbed gives way; when that is the request itself, nothing follows.
            match (at..end).rev().find(|&place| !view.in_flight(view.running[place])) {
                Some(victim) => {
                    draft.preempt(view.running[victim]);
                    end = victim;
                }
                None => break,
            }
        }
        left
    }

    fn admit(&self, view: &ServingView, draft: &mut Draft, mut left: u32) {
        let seats = (self.requests as usize).saturating_sub(view.running.len());
        for &request in view.waiting.values().take(seats) {
            let tokens = self.part(view.pending(request), left);
            if tokens == 0 || !draft.schedule(request, tokens) {
                break;
            }
            left -= tokens;
        }
    }

    fn part(&self, pending: u32, left: u32) -> u32 {
        pending.min(left).min(self.chunk.unwrap_or(u32::MAX))
    }

    /// Why the limits would not do.
    pub fn admits(&self) -> Result<(), String> {
        at_least_one([
            ("max_batched_tokens", self.tokens),
            ("max_requests", self.requests),
            ("long_prefill_tokens", self.chunk.unwrap_or(1)),
        ])
    }
}
