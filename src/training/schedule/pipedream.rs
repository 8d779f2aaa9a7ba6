//! PipeDream: the pipeline is never emptied.
//!
//! Narayanan et al., "PipeDream: Generalized Pipeline Parallelism for DNN Training", SOSP 2019, sections 3.2
//! (1F1B) and 3.3 (weight stashing, vertical sync).

use serde::{Deserialize, Serialize};

use crate::training::schedule::one_f_one_b;
use crate::training::schedule::{Orders, PipelineSchedule, PipelineShape, Stashing};

/// 1F1B that goes on over all steps. Each stage steps its weights after every micro-batch's backward pass, and
/// keeps the weights of each micro-batch under way for it.
///
/// Of p stages, stage s (from 0) computes the t-th gradient with weights that are p − 1 − s updates old:
/// `w(t+1) = w(t) − ν·∇f(w₀(t−p+1), w₁(t−p+2), …, w₍p₋₁₎(t))`; with vertical sync all are p − 1 updates old. It
/// keeps p − s versions (with vertical sync p). Once the pipeline is full, no stage idles.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PipeDream {
    /// Whether a micro-batch meets the same version at every stage: the one that the first stage had when it
    /// entered.
    pub vertical_sync: bool,
}

impl PipelineSchedule for PipeDream {
    fn order(&self, shape: PipelineShape) -> Orders {
        shape.ranks().map(|rank| one_f_one_b::rank_order(rank, shape)).collect()
    }

    fn stashing(&self) -> Option<Stashing> {
        Some(if self.vertical_sync { Stashing::Vertical } else { Stashing::Newest })
    }
}
