//! Which tokens of which requests the next step computes.
//!
//! A policy is asked whenever its replica could start a step and something has happened, once for all
//! that happened at a moment: steps that end come first, then arrivals, then the question. It drafts
//! its answer on a [`Draft`](crate::serving::view::Draft), which knows what would be free.
//!
//! A request's pending tokens are computed in order; the step that computes the last of them yields one
//! more token of the answer. So a prefill yields the first token, and a decode is a step over the one
//! token that the step before has yielded. A preempted request loses its keys and values and computes
//! them anew, those of the tokens it has generated included (recomputation; Kwon et al., SOSP 2023,
//! section 4.5); it waits before everyone who has not run.
//!
//! Ties that a paper leaves open go to the request that came first.
//!
//! To add one, write its file and list it here; the conformance tests will find it.

mod orca;
mod sjf;
mod static_batch;
mod token_budget;
mod vllm_v0;
mod vllm_v1;

use crate::registry;
use crate::serving::kv::BlockPool;
use crate::serving::{BatchDecision, Request, ServingView};

registry! {
    /// `batching:` of a serving workload.
    pub enum BatchingSpec: BatchingPolicy {
        /// a batch is taken, and the next only when all of it is done
        "static" => Static(static_batch::StaticBatch),
        /// iteration-level scheduling with reserved slots (Yu et al.)
        "orca" => Orca(orca::Orca),
        /// prefills first and alone, then decodes (PagedAttention; vLLM 0.x)
        "vllm_v0" => VllmV0(vllm_v0::VllmV0),
        /// a budget of tokens a step, prefills in chunks beside decodes (vLLM V1)
        "vllm_v1" => VllmV1(vllm_v1::VllmV1),
        /// as vLLM V1, but the shortest waiting request is admitted first
        "sjf" => Sjf(sjf::Sjf),
    }
}

/// Decides what the next step computes.
///
/// Contract: work is of requests that run or wait and have at least as many pending tokens, each once,
/// with blocks that are free after what was preempted; only running requests that are part of no step
/// in flight are preempted, and those are not part of the step. While requests are there and no step is
/// in flight, it starts one (requests that could never fit are refused at the door).
pub trait BatchingPolicy {
    /// What should be done now.
    fn next_batch(&mut self, view: &ServingView) -> BatchDecision;

    /// Requests that run at once, at most.
    fn most_running(&self) -> u32;

    /// What the queue is ordered by, before the order of arrival; less goes first.
    fn precedence(&self, _request: &Request) -> u64 {
        0
    }

    /// Tokens that a request must not exceed to be computed at all; `None` when there is no such limit.
    fn longest_prefill(&self) -> Option<u32> {
        None
    }

    /// Tokens for which a request gets room when it is admitted; `None`: for those that are computed.
    fn reserved(&self, _request: &Request, _pool: &BlockPool) -> Option<u64> {
        None
    }

    /// Tells how many tokens a request may have, before the run: where a limit was not given, it follows.
    fn fit(&mut self, _context: u32) {}

    /// Blocks that are kept free when a request is admitted, of so many.
    fn kept_free(&self, _blocks: u64) -> u64 {
        0
    }

    /// Why its parameters would not do, with the parameter's name and what would.
    fn admits(&self) -> Result<(), String>;
}

/// Parameters that are at least 1.
fn at_least_one<const N: usize>(parameters: [(&str, u32); N]) -> Result<(), String> {
    match parameters.into_iter().find(|(_, value)| *value == 0) {
        Some((name, _)) => Err(format!("`{name}` is at least 1, not 0")),
        None => Ok(()),
    }
}
