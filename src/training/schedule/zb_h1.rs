//! Zero bubble with the memory of 1F1B.
//!
//! Qi et al., "Zero Bubble Pipeline Parallelism", ICLR 2024, section 2.1.1, figure 2.

use serde::{Deserialize, Serialize};

use crate::training::schedule::zb_h2::split_order;
use crate::training::schedule::{Orders, PipelineSchedule, PipelineShape};

/// 1F1B with the backward pass split in B and W: B leaves as soon as it can, and each rank puts its W
/// off by as many micro-batches as its number, which fills the drain.
///
/// The bubble is `(p - 1)(F + B - W)`, a third of 1F1B's when the three take equally long; every rank
/// keeps at most `p` micro-batches, as the first rank of 1F1B does.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZbH1 {}

impl PipelineSchedule for ZbH1 {
    fn order(&self, shape: PipelineShape) -> Orders {
        let order = |rank| split_order(rank, shape, shape.ranks_after(rank), rank.0 as usize);
        shape.ranks().map(order).collect()
    }
}
