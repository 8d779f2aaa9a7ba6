//! In which order each pipeline stage works through its micro-batches.
//!
//! A schedule is a pure function of a [`PipelineShape`]. It knows nothing of time, devices or
//! transfers: [`lower`](crate::training::lower) adds the transfers, [`runtime`](crate::runtime) the
//! time.
//!
//! To add one, write its file and list it here. `tests/suite/schedules.rs` will find it.

mod gpipe;
mod one_f_one_b;

use crate::ids::{Id, IdVec, MicroBatch, Stage};
use crate::registry;

registry! {
    /// `schedule:` of a training workload.
    pub enum ScheduleSpec: PipelineSchedule {
        "gpipe" => GPipe(gpipe::GPipe),
        "one_f_one_b" => OneFOneB(one_f_one_b::OneFOneB),
    }
}

/// What a schedule needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PipelineShape {
    /// How many stages there are.
    pub stages: u32,
    /// How many micro-batches a step has.
    pub micro_batches: u32,
}

/// One thing that a stage does with one micro-batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PipelineOp {
    /// Forward, backward, or a half of backward.
    pub pass: Pass,
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

/// Orders the passes of every stage.
///
/// Contract: every stage does every micro-batch's forward once, and its backward once (or its two
/// halves, input first); a stage's backward of a micro-batch comes after its forward; and the orders of
/// all stages together can be run without a deadlock.
pub trait PipelineSchedule {
    /// The order of each stage.
    fn order(&self, shape: PipelineShape) -> IdVec<Stage, Vec<PipelineOp>>;

    /// Why this schedule cannot be used with a shape, and what would do.
    fn admits(&self, _shape: PipelineShape) -> Result<(), String> {
        Ok(())
    }
}

impl PipelineOp {
    /// The forward pass of a micro-batch.
    pub fn forward(micro_batch: MicroBatch) -> Self {
        PipelineOp { pass: Pass::Forward, micro_batch }
    }

    /// The whole backward pass of a micro-batch.
    pub fn backward(micro_batch: MicroBatch) -> Self {
        PipelineOp { pass: Pass::Backward, micro_batch }
    }
}

impl PipelineShape {
    /// The stages, first to last.
    pub fn stages(self) -> impl Iterator<Item = Stage> {
        (0..self.stages as usize).map(Stage::from_index)
    }

    /// The micro-batches, first to last.
    pub fn micro_batches(self) -> impl Iterator<Item = MicroBatch> {
        (0..self.micro_batches as usize).map(MicroBatch::from_index)
    }

    /// How many stages come after `stage`.
    pub fn stages_after(self, stage: Stage) -> usize {
        (self.stages - 1 - stage.0) as usize
    }
}
