//! In which order each pipeline rank works through its stages and micro-batches.
//!
//! A schedule is a pure function of a [`PipelineShape`]. It says which rank is home to which stage,
//! and what each rank does one after the other. It knows nothing of time, devices or transfers:
//! [`lower`](crate::training::lower) adds the transfers, [`runtime`](crate::runtime) the time.
//!
//! To add one, write its file and list it here. `tests/suite/schedules.rs` will find it.

mod block;
mod custom;
mod dual_pipe;
mod gpipe;
mod interleaved;
pub use interleaved::Interleaved;
mod one_f_one_b;
pub mod optimal;
mod pipedream;
mod pipedream_2bw;
mod stashing;
pub use stashing::Stashing;
mod zb_h1;
mod zb_h2;
mod zb_v;

use crate::ids::{Id, IdVec, MicroBatch, PipelineRank, Stage};
use crate::registry;

registry! {
    /// `schedule:` of a training workload.
    pub enum ScheduleSpec: PipelineSchedule {
        /// all forwards, then all backwards (Huang et al.)
        "gpipe" => GPipe(gpipe::GPipe),
        /// one forward, one backward: p − s activations held (PipeDream-Flush)
        "one_f_one_b" => OneFOneB(one_f_one_b::OneFOneB),
        /// 1F1B over v model chunks a rank, 1/v of the bubble (Megatron)
        "interleaved" => Interleaved(interleaved::Interleaved),
        /// 1F1B with weight gradients in the bubble: a third of it left (Qi et al.)
        "zb_h1" => ZbH1(zb_h1::ZbH1),
        /// no bubble for twice the activations (Qi et al.)
        "zb_h2" => ZbH2(zb_h2::ZbH2),
        /// no bubble at the memory of 1F1B, stages in a V (Qi et al.)
        "zb_v" => ZbV(zb_v::ZbV),
        /// both directions at once, two copies of the weights (DeepSeek-V3)
        "dual_pipe" => DualPipe(dual_pipe::DualPipe),
        /// never emptied: an update a micro-batch, p − s versions of the weights (Narayanan et al. 2019)
        "pipedream" => PipeDream(pipedream::PipeDream),
        /// never emptied: an update a step, one late, two versions of the weights (Narayanan et al. 2021)
        "pipedream_2bw" => PipeDream2Bw(pipedream_2bw::PipeDream2Bw),
        /// the shortest order there is, of small shapes (branch and bound)
        "optimal" => Optimal(optimal::Optimal),
        /// an order of your own, checked
        "custom" => Custom(custom::Custom),
    }
}

/// What a schedule needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PipelineShape {
    /// How many pipeline ranks there are.
    pub ranks: u32,
    /// How many micro-batches a step has.
    pub micro_batches: u32,
}

/// One thing that a pipeline rank does with one micro-batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PipelineOp {
    /// Forward, backward, or a half of backward.
    pub pass: Pass,
    /// Through which of the rank's stages.
    pub stage: Stage,
    /// With which micro-batch.
    pub micro_batch: MicroBatch,
}

/// A pass through a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pass {
    /// Forward.
    Forward,
    /// Backward, input and weight gradients together.
    Backward,
    /// The gradient of the stage's input alone (B).
    BackwardInput,
    /// The gradients of the stage's weights alone (W).
    BackwardWeight,
}

/// What each rank does, one after the other.
pub type Orders = IdVec<PipelineRank, Vec<PipelineOp>>;

/// Orders the passes of every pipeline rank.
///
/// Contract: every stage does every micro-batch's forward once, and its backward once (or its two
/// halves, input first), on the rank that is the stage's home for that micro-batch; a backward pass
/// comes after its forward pass; and the orders of all ranks together can be run without a deadlock.
pub trait PipelineSchedule {
    /// What each rank does.
    fn order(&self, shape: PipelineShape) -> Orders;

    /// Why this schedule cannot be used with a shape, and what would do.
    fn admits(&self, _shape: PipelineShape) -> Result<(), String> {
        Ok(())
    }

    /// How many stages of one copy of the model each rank holds.
    fn stages_per_rank(&self) -> u32 {
        1
    }

    /// How many copies of the model the ranks hold between them. Micro-batches are dealt out among
    /// the copies in equal runs.
    fn copies(&self) -> u32 {
        1
    }

    /// How stages keep several versions of their weights, where the pipeline is not emptied between steps. Then
    /// [`order`](Self::order) is asked for the micro-batches of all steps at once.
    fn stashing(&self) -> Option<Stashing> {
        None
    }

    /// Which rank holds a stage of a copy.
    fn home(&self, shape: PipelineShape, _copy: u32, stage: Stage) -> PipelineRank {
        PipelineRank(stage.0 % shape.ranks)
    }
}

impl PipelineOp {
    /// The forward pass of a micro-batch through a stage.
    pub fn forward(stage: Stage, micro_batch: MicroBatch) -> Self {
        PipelineOp { pass: Pass::Forward, stage, micro_batch }
    }

    /// The whole backward pass of a micro-batch through a stage.
    pub fn backward(stage: Stage, micro_batch: MicroBatch) -> Self {
        PipelineOp { pass: Pass::Backward, stage, micro_batch }
    }

    /// The input half of a backward pass.
    pub fn backward_input(stage: Stage, micro_batch: MicroBatch) -> Self {
        PipelineOp { pass: Pass::BackwardInput, stage, micro_batch }
    }

    /// The weight half of a backward pass.
    pub fn backward_weight(stage: Stage, micro_batch: MicroBatch) -> Self {
        PipelineOp { pass: Pass::BackwardWeight, stage, micro_batch }
    }
}

impl PipelineShape {
    /// The pipeline ranks, first to last.
    pub fn ranks(self) -> impl Iterator<Item = PipelineRank> {
        (0..self.ranks as usize).map(PipelineRank::from_index)
    }

    /// The micro-batches, first to last.
    pub fn micro_batches(self) -> impl Iterator<Item = MicroBatch> {
        (0..self.micro_batches as usize).map(MicroBatch::from_index)
    }

    /// How many ranks come after `rank`.
    pub fn ranks_after(self, rank: PipelineRank) -> usize {
        (self.ranks - 1 - rank.0) as usize
    }
}
