//! One forward, one backward: each stage runs a few forwards ahead, then alternates.
//!
//! Narayanan et al., "Efficient Large-Scale Language Model Training on GPU Clusters Using
//! Megatron-LM", SC 2021, section 2.2.

use serde::{Deserialize, Serialize};

use crate::ids::{PipelineRank, Stage};
use crate::training::schedule::{Orders, PipelineOp, PipelineSchedule, PipelineShape};

/// 1F1B without interleaving.
///
/// With `p` stages and `m` micro-batches the bubble is `(p - 1) / (m + p - 1)` of the step, as GPipe's
/// is; but stage `s` holds at most `p - s` micro-batches instead of `m`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneFOneB {}

impl PipelineSchedule for OneFOneB {
    fn order(&self, shape: PipelineShape) -> Orders {
        shape.ranks().map(|rank| rank_order(rank, shape)).collect()
    }
}

pub(super) fn rank_order(rank: PipelineRank, shape: PipelineShape) -> Vec<PipelineOp> {
    let stage = Stage(rank.0);
    let mut forwards = shape.micro_batches().map(|m| PipelineOp::forward(stage, m));
    let mut backwards = shape.micro_batches().map(|m| PipelineOp::backward(stage, m));

    // Warm up: enough forwards that the last stage can start while this one waits for its gradients.
    let mut order: Vec<PipelineOp> = forwards.by_ref().take(shape.ranks_after(rank)).collect();
    // Steady state: every forward is followed by the oldest backward.
    for forward in forwards {
        order.push(forward);
        order.extend(backwards.next());
    }
    // Drain.
    order.extend(backwards);
    order
}
