//! Each replica trains a sub-model of its own; every so often the sub-models are fused into their
//! average.
//!
//! McDonald, Hall and Mann, "Distributed Training Strategies for the Structured Perceptron", NAACL
//! 2010, section 3 (iterative parameter mixing); Stich, "Local SGD Converges Fast and Communicates
//! Little", ICLR 2019, algorithm 1.

use serde::{Deserialize, Serialize};

use crate::ids::StepIndex;
use crate::training::sync::{GradientSync, SyncAction};

/// Parameters are averaged after every `every`-th step; optimiser state stays with its replica.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ParameterAveraging {
    /// Steps taken together, on summed gradients, before replicas part (post-local SGD: Lin et
    /// al., "Don't Use Large Mini-Batches, Use Local SGD", ICLR 2020, section 3).
    pub after: u32,
    /// Steps between two averages; with 1, plain SGD takes the same steps as gradient averaging.
    pub every: u32,
}

impl Default for ParameterAveraging {
    fn default() -> Self {
        ParameterAveraging { after: 0, every: 1 }
    }
}

impl GradientSync for ParameterAveraging {
    fn action(&self, step: StepIndex) -> SyncAction {
        SyncAction::averaging(self.after, self.every, step)
    }
    fn period(&self) -> u32 {
        self.every
    }
    fn together(&self) -> u32 {
        self.after
    }
}
