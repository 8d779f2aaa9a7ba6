//! The largest numbers of a bucket.
//!
//! Aji and Heafield, "Sparse Communication for Distributed Gradient Descent", EMNLP 2017; Stich et al.,
//! "Sparsified SGD with Memory", NeurIPS 2018, algorithm 1.

use serde::{Deserialize, Serialize};

use crate::training::compression::{GradientCompression, Scheme, wrong_fraction};

/// The largest numbers of a bucket by magnitude (of equals the first), with their places.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopK {
    /// What part of the numbers is sent; Aji and Heafield send 1 %.
    pub fraction: f64,
    /// Whether the rest is kept for the next step.
    pub error_feedback: bool,
}

impl Default for TopK {
    fn default() -> Self {
        TopK { fraction: 0.01, error_feedback: true }
    }
}

impl GradientCompression for TopK {
    fn scheme(&self) -> Scheme {
        Scheme::Largest { fraction: self.fraction }
    }
    fn feeds_back(&self) -> bool {
        self.error_feedback
    }
    fn mistake(&self) -> Option<(&'static str, String)> {
        wrong_fraction(self.fraction)
    }
}
