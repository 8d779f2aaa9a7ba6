//! Replicas step alone, average, and a slow momentum carries the average on.
//!
//! Wang et al., "SlowMo: Improving Communication-Efficient Distributed SGD with Slow Momentum", ICLR
//! 2020, algorithm 1, with the base optimiser's buffers kept where they are.

use serde::{Deserialize, Serialize};

use crate::ids::StepIndex;
use crate::program::OuterRule;
use crate::training::sync::{GradientSync, SyncAction};

/// τ base steps, an exact average, a slow step.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlowMo {
    /// Steps taken together, on summed gradients, before replicas part.
    pub after: u32,
    /// τ, steps between two averages; the paper's 12.
    pub every: u32,
    /// α, the slow learning rate; the paper's 1.
    pub learning_rate: f32,
    /// β, the slow momentum; the paper tunes it from 0.4 to 0.8 and takes 0.7 for image tasks.
    pub momentum: f32,
}

impl Default for SlowMo {
    fn default() -> Self {
        SlowMo { after: 0, every: 12, learning_rate: 1.0, momentum: 0.7 }
    }
}

impl GradientSync for SlowMo {
    fn action(&self, step: StepIndex) -> SyncAction {
        SyncAction::averaging(self.after, self.every, step)
    }
    fn outer(&self) -> Option<OuterRule> {
        Some(OuterRule::Slow { rate: self.learning_rate, momentum: self.momentum })
    }
    fn period(&self) -> u32 {
        self.every
    }
    fn together(&self) -> u32 {
        self.after
    }
}
