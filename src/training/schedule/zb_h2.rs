//! Zero bubble with twice the memory of 1F1B.
//!
//! Qi et al., "Zero Bubble Pipeline Parallelism", ICLR 2024, section 2.1.2, figure 3.

use serde::{Deserialize, Serialize};

use crate::ids::{PipelineRank, Stage};
use crate::training::schedule::{Orders, PipelineOp, PipelineSchedule, PipelineShape};

/// Twice the forwards of 1F1B ahead, W put off twice as far as in ZB-H1.
///
/// With enough micro-batches and `F = B = W` no rank idles between its first and its last pass: the
/// bubble is `(p - 1)(F + B - 2W)`. A rank keeps at most `2p - 1` micro-batches. The ranks end one
/// after the other as they began, which removes the bubble of the whole run only where the optimiser
/// step does not wait for all of them (section 4 of the paper); here it waits where gradients are
/// clipped by their global norm.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZbH2 {}

impl PipelineSchedule for ZbH2 {
    fn order(&self, shape: PipelineShape) -> Orders {
        let order = |rank| split_order(rank, shape, 2 * shape.ranks_after(rank), 2 * rank.0 as usize);
        shape.ranks().map(order).collect()
    }
}

/// `ahead` forwards; then forward and B in turn, each followed by the W of `put_off` micro-batches
/// before; then what is left, a W after every B.
pub(super) fn split_order(
    rank: PipelineRank,
    shape: PipelineShape,
    ahead: usize,
    put_off: usize,
) -> Vec<PipelineOp> {
    let stage = Stage(rank.0);
    let mut forwards = shape.micro_batches().map(|m| PipelineOp::forward(stage, m));
    let mut weights = shape.micro_batches().map(|m| PipelineOp::backward_weight(stage, m));
    let mut order: Vec<PipelineOp> = forwards.by_ref().take(ahead).collect();
    for (done, micro_batch) in shape.micro_batches().enumerate() {
        order.extend(forwards.next());
        order.push(PipelineOp::backward_input(stage, micro_batch));
        if done >= put_off {
            order.extend(weights.next());
        }
    }
    order.extend(weights);
    order
}
