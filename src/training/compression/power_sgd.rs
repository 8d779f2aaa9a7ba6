//! Two thin matrices for each matrix.
//!
//! Vogels, Karimireddy and Jaggi, "PowerSGD: Practical Low-Rank Gradient Compression for Distributed
//! Optimization", NeurIPS 2019, algorithms 1 and 2.

use serde::{Deserialize, Serialize};

use crate::training::compression::{GradientCompression, Scheme};

/// One step of subspace iteration a training step, beginning with the last one's factor.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PowerSgd {
    /// Columns of the factors; the paper's experiments take 1, 2 and 4.
    pub rank: u32,
    /// Whether what the factors leave out is kept for the next step.
    pub error_feedback: bool,
}

impl Default for PowerSgd {
    fn default() -> Self {
        PowerSgd { rank: 2, error_feedback: true }
    }
}

impl GradientCompression for PowerSgd {
    fn scheme(&self) -> Scheme {
        Scheme::LowRank { rank: self.rank }
    }
    fn feeds_back(&self) -> bool {
        self.error_feedback
    }
    fn mistake(&self) -> Option<(&'static str, String)> {
        (self.rank == 0).then(|| ("rank", "the factors have at least one column".to_owned()))
    }
}
