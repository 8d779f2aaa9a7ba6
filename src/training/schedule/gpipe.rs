//! Huang et al., "GPipe: Efficient Training of Giant Neural Networks using Pipeline Parallelism",
//! NeurIPS 2019, section 2.3.

use serde::{Deserialize, Serialize};

use crate::ids::Stage;
use crate::training::schedule::{Orders, PipelineOp, PipelineSchedule, PipelineShape};

/// All forwards, then all backwards in reverse order, so that the last activations are freed first.
///
/// With `p` stages and `m` micro-batches the bubble is `(p - 1) / (m + p - 1)` of the step, and every
/// stage holds the activations of all `m`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GPipe {}

impl PipelineSchedule for GPipe {
    fn order(&self, shape: PipelineShape) -> Orders {
        let of_stage = |stage: Stage| {
            let forwards = shape.micro_batches().map(|m| PipelineOp::forward(stage, m));
            let backwards: Vec<_> = shape.micro_batches().map(|m| PipelineOp::backward(stage, m)).collect();
            forwards.chain(backwards.into_iter().rev()).collect()
        };
        shape.ranks().map(|rank| of_stage(Stage(rank.0))).collect()
    }
}
