//! One forward, one backward: each stage runs a few forwards ahead, then alternates.
//!
//! Narayanan et al., "Efficient Large-Scale Language Model Training on GPU Clusters Using
//! Megatron-LM", SC 2021, section 2.2.

use serde::{Deserialize, Serialize};

use crate::ids::{IdVec, Stage};
use crate::training::schedule::{PipelineOp, PipelineSchedule, PipelineShape};

/// 1F1B without interleaving.
///
/// With `p` stages and `m` micro-batches the bubble is `(p - 1) / (m + p - 1)` of the step, as GPipe's
/// is; but stage `s` holds at most `p - s` micro-batches instead of `m`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneFOneB {}

impl PipelineSchedule for OneFOneB {
    fn order(&self, shape: PipelineShape) -> IdVec<Stage, Vec<PipelineOp>> {
        shape.stages().map(|stage| stage_order(stage, shape)).collect()
    }
}

fn stage_order(stage: Stage, shape: PipelineShape) -> Vec<PipelineOp> {
    let mut forwards = shape.micro_batches().map(PipelineOp::forward);
    let mut backwards = shape.micro_batches().map(PipelineOp::backward);

    // Warm up: enough forwards that the last stage can start while this one waits for its gradients.
    let mut order: Vec<PipelineOp> = forwards.by_ref().take(shape.stages_after(stage)).collect();
    // Steady state: every forward is followed by the oldest backward.
    for forward in forwards {
        order.push(forward);
        order.extend(backwards.next());
    }
    // Drain.
    order.extend(backwards);
    order
}
