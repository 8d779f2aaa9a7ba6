//! Random numbers of a bucket, the same places on every replica, so that they can be summed on the way.
//!
//! Stich et al., "Sparsified SGD with Memory", NeurIPS 2018, definition 2.1 (rand_k).

use serde::{Deserialize, Serialize};

use crate::training::compression::{GradientCompression, Scheme, wrong_fraction};

/// Places drawn anew in each step from a stream that all replicas share.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandomK {
    /// What part of the numbers is sent.
    pub fraction: f64,
    /// Whether the rest is kept for the next step.
    pub error_feedback: bool,
}

impl Default for RandomK {
    fn default() -> Self {
        RandomK { fraction: 0.01, error_feedback: true }
    }
}

impl GradientCompression for RandomK {
    fn scheme(&self) -> Scheme {
        Scheme::Random { fraction: self.fraction }
    }
    fn feeds_back(&self) -> bool {
        self.error_feedback
    }
    fn mistake(&self) -> Option<(&'static str, String)> {
        wrong_fraction(self.fraction)
    }
}
