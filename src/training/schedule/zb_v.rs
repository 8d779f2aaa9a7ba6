//! Zero bubble in a V: each rank holds a stage on the way down and one on the way back.
//!
//! Qi et al., "Zero Bubble Pipeline Parallelism", ICLR 2024, appendix (ZB-V), and "Pipeline
//! Parallelism with Controllable Memory", NeurIPS 2024, section 3.1 (V-ZB).

use serde::{Deserialize, Serialize};

use crate::ids::{PipelineRank, Stage};
use crate::training::schedule::block::BuildingBlock;
use crate::training::schedule::{Orders, Pass, PipelineSchedule, PipelineShape};

/// Units from pass to pass of F on its way back up the V and of B on its way out. Of all from 1 to 6
/// these are the least that give the shortest step for 2 to 8 ranks (found by trying each).
const WAY_BACK: u64 = 4;
const WAY_OUT: u64 = 2;

/// Two stages a rank, the second half of the model in reverse: rank 0 holds the first and the last
/// stage, so that a backward pass begins where it is needed last. When F, B and W take equally long a
/// step takes its work and the `p - 1` passes until the last rank has begun, which no schedule can do
/// without, and no rank holds more than the first rank of 1F1B.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZbV {}

impl PipelineSchedule for ZbV {
    fn order(&self, shape: PipelineShape) -> Orders {
        let home = |stage| self.home(shape, 0, stage);
        let gap = |pass, stage: Stage| match (pass, stage.0 < shape.ranks) {
            (Pass::Forward, true) | (Pass::BackwardInput, false) => 1,
            (Pass::Forward, false) => WAY_BACK,
            _ => WAY_OUT,
        };
        BuildingBlock::of(2 * shape.ranks, 2, home, gap).repeat(shape, 2 * shape.ranks as usize)
    }

    fn stages_per_rank(&self) -> u32 {
        2
    }

    fn home(&self, shape: PipelineShape, _copy: u32, stage: Stage) -> PipelineRank {
        PipelineRank(stage.0.min(2 * shape.ranks - 1 - stage.0))
    }
}
