//! GPipe: every forward, then every backward.
//!
//! Huang et al., "GPipe: Efficient Training of Giant Neural Networks using Pipeline Parallelism",
//! NeurIPS 2019, section 2.3.

use serde::{Deserialize, Serialize};

use crate::ids::{IdVec, Stage};
use crate::training::schedule::{PipelineOp, PipelineSchedule, PipelineShape};

/// All forwards, then all backwards in reverse order, so that the last activations are freed first.
///
/// With `p` stages and `m` micro-batches the bubble is `(p - 1) / (m + p - 1)` of the step, and every
/// stage holds the activations of all `m`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GPipe {}

impl PipelineSchedule for GPipe {
    fn order(&self, shape: PipelineShape) -> IdVec<Stage, Vec<PipelineOp>> {
        let forwards = shape.micro_batches().map(PipelineOp::forward);
        let backwards = shape.micro_batches().map(PipelineOp::backward);
        let order: Vec<PipelineOp> =
            forwards.chain(backwards.collect::<Vec<_>>().into_iter().rev()).collect();
        shape.stages().map(|_| order.clone()).collect()
    }
}
