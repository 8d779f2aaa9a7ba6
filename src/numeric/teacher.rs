//! A trained model whose logits another learns from.
//!
//! Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2.

use crate::ids::StepIndex;
use crate::numeric::layers::distillation::Distils;
use crate::numeric::values::Values;
use crate::program::Program;

/// Says what it thinks of every step's batch.
pub struct Teacher {
    /// Its numbers, and where the student's batches come from.
    values: Values,
    /// Its forward pass over a step's batch, in one micro-batch on one rank.
    forward: Program,
    distils: Distils,
}

/// What a teacher says of a batch.
pub(super) struct Lesson {
    pub(super) logits: Vec<f32>,
    pub(super) distils: Distils,
}

impl Teacher {
    /// A teacher with these numbers.
    pub fn new(values: Values, forward: Program, distils: Distils) -> Self {
        Teacher { values, forward, distils }
    }

    pub(super) fn lesson(&mut self, step: StepIndex) -> Lesson {
        Lesson { logits: self.values.logits(&self.forward, step), distils: self.distils }
    }
}
