//! How long a step takes.
//!
//! A step is known by its [`StepShape`]; a [`StepCost`] says how long each pipeline stage is busy with
//! it. [`Affine`] is a line in the number of tokens; [`Priced`](crate::serving::priced::Priced) asks the
//! compute model for every kernel of the step.

use serde::{Deserialize, Serialize};

use crate::ids::ReplicaId;
use crate::units::SimDuration;

/// Some tokens of one prompt that a step computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// How many tokens.
    pub queries: u64,
    /// How many tokens of the request are computed when the step ends: those that the last of them sees.
    pub keys: u64,
}

/// What a step computes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepShape {
    /// Parts of prompts of more than one token.
    pub chunks: Vec<Chunk>,
    /// Requests of which it computes one token.
    pub decodes: u64,
    /// Tokens that those see, together.
    pub decode_keys: u64,
    /// Requests that get a token of their answer.
    pub sampled: u64,
    /// Tokens in all.
    pub tokens: u64,
}

impl StepShape {
    /// Adds tokens of a request.
    pub(super) fn add(&mut self, tokens: u32, keys: u32, sampled: bool) {
        let (queries, keys) = (u64::from(tokens), u64::from(keys));
        if queries == 1 {
            self.decodes += 1;
            self.decode_keys += keys;
        } else {
            self.chunks.push(Chunk { queries, keys });
        }
        self.sampled += u64::from(sampled);
        self.tokens += queries;
    }

    /// Empties it, keeping its memory.
    pub(super) fn clear(&mut self) {
        let mut chunks = std::mem::take(&mut self.chunks);
        chunks.clear();
        *self = StepShape { chunks, ..StepShape::default() };
    }
}

/// What a stage does in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageTime {
    /// How long it is busy.
    pub busy: SimDuration,
    /// How long its results then travel to the next stage, while it can go on.
    pub sending: SimDuration,
}

/// Says how long steps take.
///
/// Contract: the same shape always takes the same time on the same replica; a step with work takes some.
pub trait StepCost {
    /// Pipeline stages.
    fn stages(&self) -> usize;

    /// What a stage of a replica does in a step.
    fn time(&mut self, replica: ReplicaId, stage: usize, step: &StepShape) -> StageTime;
}

/// fixed + per_token · tokens, on one stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Affine {
    /// What a step takes whatever it computes.
    pub fixed: SimDuration,
    /// What each of its tokens adds.
    pub per_token: SimDuration,
}

impl StepCost for Affine {
    fn stages(&self) -> usize {
        1
    }

    fn time(&mut self, _replica: ReplicaId, _stage: usize, step: &StepShape) -> StageTime {
        StageTime { busy: self.fixed + self.per_token * step.tokens, sending: SimDuration::ZERO }
    }
}
