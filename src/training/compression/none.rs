//! Gradients travel whole.

use serde::{Deserialize, Serialize};

use crate::training::compression::{GradientCompression, Scheme};

/// Nothing is lost.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct None {}

impl GradientCompression for None {
    fn scheme(&self) -> Scheme {
        Scheme::Whole
    }
    fn feeds_back(&self) -> bool {
        false
    }
}
