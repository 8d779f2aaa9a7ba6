//! PipeDream-2BW: the pipeline is never emptied, and two versions of the weights are enough.
//!
//! Narayanan et al., "Memory-Efficient Pipeline-Parallel DNN Training", ICML 2021, section 3.1.

use serde::{Deserialize, Serialize};

use crate::training::schedule::one_f_one_b;
use crate::training::schedule::{Orders, PipelineSchedule, PipelineShape, Stashing};

/// 1F1B that goes on over all steps, with gradients summed over the micro-batches of a step and applied one
/// version late: `W(t+1) = W(t) − ν·∇f(W(t−1))` on every stage, from `W(−1) = W(0)` on.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipeDream2Bw {}

impl PipelineSchedule for PipeDream2Bw {
    fn order(&self, shape: PipelineShape) -> Orders {
        shape.ranks().map(|rank| one_f_one_b::rank_order(rank, shape)).collect()
    }

    fn admits(&self, shape: PipelineShape) -> Result<(), String> {
        let (p, m) = (shape.ranks, shape.micro_batches);
        if m < p {
            return Err(format!(
                "two versions are enough where a step has at least as many micro-batches as the pipeline has ranks: \
                 {m} are fewer than {p}"
            ));
        }
        Ok(())
    }

    fn stashing(&self) -> Option<Stashing> {
        Some(Stashing::Doubled)
    }
}
