//! Replicas step alone for long, and an outer optimiser steps what they have in common by how far they
//! have come.
//!
//! Douillard et al., "DiLoCo: Distributed Low-Communication Training of Language Models", 2023,
//! algorithm 1.

use serde::{Deserialize, Serialize};

use crate::ids::StepIndex;
use crate::program::OuterRule;
use crate::training::sync::{GradientSync, SyncAction};

/// H inner steps, then Nesterov momentum on the mean of what they did.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiLoCo {
    /// Steps taken together, on summed gradients, before replicas part: the paper starts from a
    /// pretrained model, 24,000 of its 88,000 steps (section 3.1).
    pub after: u32,
    /// H, steps between two exchanges; the paper's 500.
    pub every: u32,
    /// The outer learning rate; the paper's 0.7.
    pub learning_rate: f32,
    /// The outer momentum; the paper's 0.9.
    pub momentum: f32,
}

impl Default for DiLoCo {
    fn default() -> Self {
        DiLoCo { after: 0, every: 500, learning_rate: 0.7, momentum: 0.9 }
    }
}

impl GradientSync for DiLoCo {
    fn action(&self, step: StepIndex) -> SyncAction {
        SyncAction::averaging(self.after, self.every, step)
    }
    fn outer(&self) -> Option<OuterRule> {
        Some(OuterRule::Nesterov { rate: self.learning_rate, momentum: self.momentum })
    }
    fn period(&self) -> u32 {
        self.every
    }
    fn together(&self) -> u32 {
        self.after
    }
}
