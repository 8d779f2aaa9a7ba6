//! The program of a whole run whose pipeline is never emptied: the passes of all steps in one order, an update
//! of each stage among them, and several versions of its weights.

use crate::ids::{MicroBatch, Rank, Stage, StepIndex};
use crate::program::{Formula, OptimizerRule, Program};
use crate::trace::Activity;
use crate::training::TrainingPlan;
use crate::training::lower::{Cell, Deadlock, Lowering, kernels};
use crate::training::schedule::{Pass, PipelineOp, PipelineShape, Stashing};
use crate::training::state::State;

/// Ops that step the weights of a stage; their micro-batch is the last that they were made of.
pub const UPDATE: &str = "update weights";

/// The program of all steps of a plan whose pipeline is never emptied.
///
/// # Errors
/// When the schedule's orders wait for each other in a circle.
pub fn lower_pipelined(plan: &TrainingPlan, state: &State) -> Result<Program, Deadlock> {
    let mut lowering = Lowering::new(plan, state, StepIndex(0));
    let all = PipelineShape { micro_batches: plan.micro_batches * plan.steps, ..plan.shape() };
    lowering.passes(&plan.schedule.order(all))?;
    Ok(lowering.emitter.build())
}

impl Lowering<'_> {
    /// A pass with the weights that its micro-batch is to meet; the last backward pass of a group makes the
    /// stage's next version.
    pub(super) fn stashed_pass(&mut self, stashing: Stashing, cells: &[Cell], op: PipelineOp) {
        let plan = self.plan;
        let (shape, stage) = (plan.shape(), op.stage);
        let size = stashing.group(shape);
        let (group, within) = (op.micro_batch.0 / size, op.micro_batch.0 % size);
        let version = stashing.version(shape, stage, group);
        for &rank in cells.iter().flat_map(|cell| &cell.ranks) {
            self.emitter.use_version(rank, version);
        }
        self.ahead = op.micro_batch.0 / plan.micro_batches;
        // The last stage also gathers the loss, from its forward pass on; nothing comes between that and its
        // backward pass. The others still sum gradients of the group before when they go forward.
        let zeroes = if self.is_last(stage) { Pass::Forward } else { Pass::Backward };
        if within == 0 && op.pass == zeroes {
            cells.iter().flat_map(|cell| &cell.ranks).for_each(|&rank| self.emitter.zero(rank, true));
        }
        if op.pass == Pass::Forward {
            return self.forward(cells, op);
        }
        assert_eq!(op.pass, Pass::Backward, "a pipeline that is never emptied splits no backward pass");
        self.weight_passes_left[stage] = size - within;
        self.backward(cells, op);
        if within + 1 == size {
            self.sent_early[stage] = 0;
            self.reduce_gradients(stage);
            for cell in cells.iter().filter(|cell| cell.part == 0) {
                if let Some(limit) = plan.clip {
                    self.clip_stage(cell, limit);
                }
                self.update(cell, stage, (group, op.micro_batch));
            }
        }
    }

    /// Each rank of a stage makes the next version of its weights from the newest, in the room of the oldest.
    fn update(&mut self, cell: &Cell, stage: Stage, (group, micro_batch): (u32, MicroBatch)) {
        if self.is_last(stage)
            && let Some(&rank) = cell.ranks.first().filter(|&&rank| rank == cell.groups[0][0])
        {
            let loss = self.emitter.state().loss(rank).expect("the last stage gathers the loss");
            let loss = self.emitter.slot(loss);
            let turn = group * self.plan.mesh.data + cell.replica;
            self.emitter.run(rank, Formula::Tell { turn }, None, &[loss], &[], &[]);
        }
        for &rank in &cell.ranks {
            self.update_rank(rank, group);
        }
        self.emitter.pass(Activity::Optimizer, UPDATE, stage, micro_batch);
        self.emitter.flush(&cell.ranks);
    }

    fn update_rank(&mut self, rank: Rank, group: u32) {
        let plan = self.plan;
        let state = self.emitter.state();
        let count = self.emitter.slot(state.updates(rank).expect("a rank that counts its updates"));
        self.emitter.run(rank, Formula::Count, None, &[], &[], &[count]);
        let workers = plan.micro_batches / self.micro_batches_of_update();
        let elements = state.of_rank(rank).map(|slots| slots.elements).sum();
        // Writing the result elsewhere moves as many bytes as writing it in place.
        let mut kernel = kernels::optimizer(elements, plan.moments(), plan.precision);
        for slots in state.of_rank(rank) {
            let [from, to] = [group, group + 1].map(|version| slots.version(version).expect("whole weights"));
            let (newest, next) = (self.emitter.slot(from), self.emitter.slot(to));
            if from != to {
                self.emitter.run(rank, Formula::Copy, None, &[newest], &[next], &[]);
            }
            let gradient = self.emitter.slot(slots.gradient.expect("gradients that are kept whole"));
            let mut updates = vec![next];
            updates.extend(slots.moments.iter().map(|&moment| self.emitter.slot(moment)));
            let rule = if slots.parameter.decayed { OptimizerRule::Decayed } else { OptimizerRule::Plain };
            let formula = Formula::ServerStep { rule, workers };
            self.emitter.run(rank, formula, kernel.take(), &[gradient, count], &[], &updates);
        }
    }
}
