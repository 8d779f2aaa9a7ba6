//! Micro-batches that go through every stage as the first one does.
//!
//! Where nothing is computed and one rank stands for all of its kind, the passes of two micro-batches
//! through a stage differ by their names alone. So those of the first are written out, with those whose
//! passes differ (the last through a stage, behind which its gradients leave piece by piece), and the others
//! repeat the first.

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;

use crate::ids::{IdVec, MicroBatch, Stage};
use crate::program::PatternId;
use crate::training::TrainingPlan;
use crate::training::compression::Scheme;
use crate::training::schedule::{Orders, Pass, PipelineOp};

/// Passes that have been lowered, and which of the others repeat them.
#[derive(Debug, Default)]
pub(super) struct Passes {
    done: FxHashSet<PipelineOp>,
    /// Whether a micro-batch repeats the first; empty where none does.
    repeats: IdVec<MicroBatch, bool>,
    patterns: BTreeMap<(Pass, Stage), PatternId>,
}

impl Passes {
    /// Nothing done yet of these orders.
    pub(super) fn of(plan: &TrainingPlan, orders: &Orders) -> Self {
        let one_of_each_stage = plan.mesh.pipeline * plan.ranks_of_each() == plan.mesh.ranks();
        let all_alike = plan.folded
            && one_of_each_stage
            && plan.schedule.copies() == 1
            && plan.schedule.stashing().is_none()
            && !plan.offload.any()
            && !plan.zero.shares_gradients()
            && plan.compression.scheme() == Scheme::Whole;
        let repeats = if all_alike { repeating(plan, orders) } else { IdVec::new() };
        Passes { repeats, ..Passes::default() }
    }

    /// Whether a pass has been lowered.
    pub(super) fn done(&self, op: PipelineOp) -> bool {
        self.done.contains(&op)
    }

    /// A pass has been lowered.
    pub(super) fn note(&mut self, op: PipelineOp) {
        self.done.insert(op);
    }

    /// Whether others repeat a pass.
    pub(super) fn is_pattern(&self, op: PipelineOp) -> bool {
        op.micro_batch == FIRST && !self.repeats.is_empty()
    }

    /// Others may repeat a pass from now on.
    pub(super) fn keep(&mut self, op: PipelineOp, pattern: PatternId) {
        self.patterns.insert((op.pass, op.stage), pattern);
    }

    /// What a pass repeats, if it does.
    pub(super) fn pattern(&self, op: PipelineOp) -> Option<PatternId> {
        let repeats = self.repeats.get(op.micro_batch).is_some_and(|&repeats| repeats);
        repeats.then(|| self.patterns[&(op.pass, op.stage)])
    }
}

/// The micro-batch that others repeat.
const FIRST: MicroBatch = MicroBatch(0);

/// Which micro-batches repeat the first in every stage; none where it is not the first of each.
fn repeating(plan: &TrainingPlan, orders: &Orders) -> IdVec<MicroBatch, bool> {
    let mut repeats = IdVec::filled(true, plan.micro_batches as usize);
    repeats[FIRST] = false;
    for order in orders {
        let mut begun: BTreeMap<(Pass, Stage), ()> = BTreeMap::new();
        let mut weight_passes_left: BTreeMap<Stage, u32> = BTreeMap::new();
        for op in order {
            if begun.insert((op.pass, op.stage), ()).is_none() && op.micro_batch != FIRST {
                return IdVec::new();
            }
            let left = weight_passes_left.entry(op.stage).or_insert(plan.micro_batches);
            // A stage's gradients leave behind its last pass.
            let last = *left <= 1 && op.pass != Pass::Forward;
            if last {
                repeats[op.micro_batch] = false;
            }
            if matches!(op.pass, Pass::Backward | Pass::BackwardWeight) {
                *left -= 1;
            }
        }
    }
    if repeats.iter().any(|&repeats| repeats) { repeats } else { IdVec::new() }
}
