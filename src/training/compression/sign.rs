//! One bit a number.
//!
//! Karimireddy et al., "Error Feedback Fixes SignSGD and other Gradient Compression Schemes", ICML 2019,
//! section 3 (scaled sign, by layer): C(p) = ‖p‖₁/d · sign(p).

use serde::{Deserialize, Serialize};

use crate::training::compression::{GradientCompression, Scheme};

/// Signs, and the mean magnitude of each parameter.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sign {
    /// Whether what the signs leave out is kept for the next step.
    pub error_feedback: bool,
}

impl Default for Sign {
    fn default() -> Self {
        Sign { error_feedback: true }
    }
}

impl GradientCompression for Sign {
    fn scheme(&self) -> Scheme {
        Scheme::Sign
    }
    fn feeds_back(&self) -> bool {
        self.error_feedback
    }
}
