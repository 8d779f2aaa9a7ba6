//! Shortest job first.

use serde::{Deserialize, Serialize};

use crate::serving::batching::BatchingPolicy;
use crate::serving::batching::token_budget::TokenBudget;
use crate::serving::{BatchDecision, Request, ServingView};

/// Of the waiting requests the shortest is admitted first; what runs is not disturbed for it. Equally
/// short ones go in order of arrival. Steps are those of vLLM V1.
///
/// Lengths of answers are those of an oracle, as in the comparisons of Fu et al., "Efficient LLM
/// Scheduling by Learning to Rank", NeurIPS 2024; with `by: prompt` nothing is known but the prompt.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sjf {
    /// What is short.
    pub by: Length,
    /// Tokens of a step, at most.
    pub max_batched_tokens: u32,
    /// Requests that run at once, at most.
    pub max_requests: u32,
}

/// The length of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    /// Tokens of prompt and answer.
    Total,
    /// Tokens of the answer.
    Output,
    /// Tokens of the prompt.
    Prompt,
}

impl Default for Sjf {
    fn default() -> Self {
        Sjf { by: Length::Total, max_batched_tokens: 2048, max_requests: 256 }
    }
}

impl Sjf {
    fn budget(&self) -> TokenBudget {
        TokenBudget { tokens: self.max_batched_tokens, requests: self.max_requests, chunk: None }
    }
}

impl BatchingPolicy for Sjf {
    fn next_batch(&mut self, view: &ServingView) -> BatchDecision {
        self.budget().next_batch(view)
    }

    fn most_running(&self) -> u32 {
        self.max_requests
    }

    fn precedence(&self, request: &Request) -> u64 {
        match self.by {
            Length::Total => request.tokens(),
            Length::Output => u64::from(request.output),
            Length::Prompt => u64::from(request.prompt),
        }
    }

    fn admits(&self) -> Result<(), String> {
        self.budget().admits()
    }
}
