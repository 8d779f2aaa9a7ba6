//! Interleaved 1F1B: each rank holds several stages that lie apart, so that the pipeline fills sooner.
//!
//! Narayanan et al., "Efficient Large-Scale Language Model Training on GPU Clusters Using
//! Megatron-LM", SC 2021, section 2.2, figure 4.

use serde::{Deserialize, Serialize};

use crate::ids::{MicroBatch, PipelineRank, Stage};
use crate::training::schedule::one_f_one_b;
use crate::training::schedule::{Orders, PipelineOp, PipelineSchedule, PipelineShape};

/// 1F1B over `virtual_stages` stages a rank, the micro-batches in groups of as many as there are ranks.
///
/// The bubble shrinks to `(p - 1) / (v · m)` of the ideal time; messages between stages grow by `v`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Interleaved {
    /// Stages that each rank holds (Megatron-LM's model chunks).
    pub virtual_stages: u32,
}

impl Default for Interleaved {
    /// Two, the least that interleaves.
    fn default() -> Self {
        Interleaved { virtual_stages: 2 }
    }
}

impl PipelineSchedule for Interleaved {
    fn order(&self, shape: PipelineShape) -> Orders {
        shape.ranks().map(|rank| self.rank_order(rank, shape)).collect()
    }

    fn admits(&self, shape: PipelineShape) -> Result<(), String> {
        let (p, m) = (shape.ranks, shape.micro_batches);
        if self.virtual_stages == 0 {
            return Err("`virtual_stages` is at least 1".into());
        }
        if self.virtual_stages > 1 && !m.is_multiple_of(p) {
            return Err(format!(
                "interleaving takes micro-batches in groups of one per pipeline rank: {m} micro-batches do not \
                 divide into groups of {p}; {} would",
                m.next_multiple_of(p)
            ));
        }
        Ok(())
    }

    fn stages_per_rank(&self) -> u32 {
        self.virtual_stages
    }
}

impl Interleaved {
    fn rank_order(&self, rank: PipelineRank, shape: PipelineShape) -> Vec<PipelineOp> {
        let (p, v, m) = (shape.ranks, self.virtual_stages, shape.micro_batches);
        if v == 1 {
            return one_f_one_b::rank_order(rank, shape);
        }
        let total = m * v;
        // The paper's warm-up; with as many micro-batches as ranks nothing is left to alternate.
        let ahead = (p - 1 - rank.0) * 2 + (v - 1) * p;
        let warm_up = if m == p { total } else { ahead.min(total) };
        let forward = |k: u32| PipelineOp::forward(stage(rank, p, k / p % v), micro_batch(k, p, v));
        let backward = |k: u32| PipelineOp::backward(stage(rank, p, v - 1 - k / p % v), micro_batch(k, p, v));
        one_by_one(warm_up, total, forward, backward)
    }
}

/// The `chunk`-th stage of a rank.
fn stage(rank: PipelineRank, ranks: u32, chunk: u32) -> Stage {
    Stage(chunk * ranks + rank.0)
}

/// The micro-batch of a rank's `k`-th pass: `p` micro-batches go through every chunk in turn.
fn micro_batch(k: u32, p: u32, v: u32) -> MicroBatch {
    MicroBatch(k / (p * v) * p + k % p)
}

fn one_by_one(
    warm_up: u32,
    total: u32,
    forward: impl Fn(u32) -> PipelineOp,
    backward: impl Fn(u32) -> PipelineOp,
) -> Vec<PipelineOp> {
    let steady = (warm_up..total).zip(0..).flat_map(|(f, b)| [forward(f), backward(b)]);
    let drain = (total - warm_up..total).map(&backward);
    (0..warm_up).map(&forward).chain(steady).chain(drain).collect()
}
