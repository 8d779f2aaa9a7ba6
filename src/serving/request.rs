//! What arrives: a prompt that wants an answer.

use crate::units::SimTime;

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// When it arrives.
    pub arrival: SimTime,
    /// Tokens of its prompt, at least 1.
    pub prompt: u32,
    /// Tokens of its answer, at least 1. The last ends it; nobody but an oracle knows the number before.
    pub output: u32,
}

impl Request {
    /// Tokens of prompt and answer.
    pub fn tokens(&self) -> u64 {
        u64::from(self.prompt) + u64::from(self.output)
    }

    /// The most tokens that its KV cache ever holds: the last token of an answer is never read again.
    pub fn cached_at_most(&self) -> u64 {
        self.tokens() - 1
    }
}
