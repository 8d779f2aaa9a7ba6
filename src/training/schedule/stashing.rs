//! Which weights a micro-batch meets where the pipeline is not emptied for an update.

use crate::ids::Stage;
use crate::training::schedule::PipelineShape;

/// How a stage keeps more than one version of its weights, so that a micro-batch goes backward through the
/// weights that it went forward through.
///
/// Version `v` is what a stage has after its `v`-th update. Updates are made of *groups* of micro-batches, one
/// after the other; a group works with a version some updates older than the one that its own update steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stashing {
    /// An update after every micro-batch, which went forward through the newest weights of the stage.
    Newest,
    /// The same, but through the version that the first stage had when the micro-batch entered it.
    Vertical,
    /// An update after as many micro-batches as a step has, always one version behind.
    Doubled,
}

impl Stashing {
    /// Micro-batches of an update.
    pub fn group(self, shape: PipelineShape) -> u32 {
        match self {
            Stashing::Newest | Stashing::Vertical => 1,
            Stashing::Doubled => shape.micro_batches,
        }
    }

    /// How many updates older the weights are that a gradient was computed with than those that it steps,
    /// once the pipeline is full.
    pub fn delay(self, shape: PipelineShape, stage: Stage) -> u32 {
        match self {
            Stashing::Newest => shape.ranks - 1 - stage.0,
            Stashing::Vertical => shape.ranks - 1,
            // A stage alone has no other micro-batch under way.
            Stashing::Doubled => u32::from(shape.ranks > 1),
        }
    }

    /// Which version a group works with at a stage.
    pub fn version(self, shape: PipelineShape, stage: Stage, group: u32) -> u32 {
        group.saturating_sub(self.delay(shape, stage))
    }

    /// How many versions a stage keeps at most: the newest and those that gradients are still to come from.
    pub fn versions(self, shape: PipelineShape, stage: Stage) -> u32 {
        self.delay(shape, stage) + 1
    }
}
