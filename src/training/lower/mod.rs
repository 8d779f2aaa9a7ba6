//! Turns a training plan into the program of one step.
//!
//! The schedule says in which order a stage does its passes; lowering writes out what each pass does,
//! layer by layer ([`gpt`], [`dense`]), adds the sends between stages, the collectives between tensor
//! and data ranks ([`sync`]), and the update. Who waits for whom follows from the buffers.

mod dense;
mod emit;
mod gpt;
mod kernels;
mod sync;

use std::collections::BTreeMap;
use std::fmt;

use crate::ids::{BufferId, IdVec, MicroBatch, PipelineRank, Rank, Stage, StepIndex};
use crate::model::Piece;
use crate::program::{Formula, InstructionSpec, Program};
use crate::trace::{Activity, MemoryUse};
use crate::training::TrainingPlan;
use crate::training::lower::emit::Emitter;
use crate::training::schedule::{Orders, Pass, PipelineOp};
use crate::training::state::State;
use crate::training::sync::SyncAction;

/// The tensor ranks of one stage of one replica: they work on a micro-batch together.
#[derive(Debug, Clone)]
struct Cell {
    replica: u32,
    stage: Stage,
    ranks: Vec<Rank>,
}

/// A buffer on each rank of a cell.
type PerRank = Vec<BufferId>;

/// Which cell and which micro-batch.
type Key = (u32, Stage, MicroBatch);

/// What a piece's forward pass keeps for its backward pass.
#[derive(Debug, Clone)]
enum Saved {
    Embedding {
        tokens: PerRank,
    },
    Block(Box<gpt::BlockSaved>),
    /// The input of a block that is computed again.
    Input(PerRank),
    Head(Box<gpt::HeadSaved>),
    Dense(dense::DenseSaved),
    Loss(dense::LossSaved),
}

/// The orders of the ranks wait for each other in a circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadlock {
    /// What each pipeline rank would do next.
    pub waiting: Vec<(PipelineRank, PipelineOp)>,
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the schedule deadlocks:")?;
        for (rank, op) in &self.waiting {
            write!(f, " {rank} waits to do {:?} of {} through {};", op.pass, op.micro_batch, op.stage)?;
        }
        Ok(())
    }
}

impl std::error::Error for Deadlock {}

/// The program of step `step`.
///
/// # Errors
/// When the schedule's orders wait for each other in a circle.
pub fn lower(plan: &TrainingPlan, state: &State, step: StepIndex) -> Result<Program, Deadlock> {
    let mut lowering = Lowering::new(plan, state, step);
    lowering.passes(&plan.schedule.order(plan.shape()))?;
    lowering.synchronise_and_update();
    Ok(lowering.emitter.build())
}

/// The forward passes alone of one step's batch: for the loss on data that training never sees.
pub fn lower_evaluation(plan: &TrainingPlan, state: &State) -> Program {
    let mut lowering = Lowering::new(plan, state, StepIndex(0));
    lowering.trains = false;
    let shape = plan.shape();
    let mut orders: Orders = IdVec::filled(Vec::new(), shape.ranks as usize);
    for micro_batch in shape.micro_batches() {
        for (stage, _) in plan.stages.enumerate() {
            let home = plan.schedule.home(shape, plan.copy_of(micro_batch), stage);
            orders[home].push(PipelineOp::forward(stage, micro_batch));
        }
    }
    lowering.passes(&orders).expect("forward passes alone never wait in a circle");
    lowering.emitter.build()
}

struct Lowering<'a> {
    plan: &'a TrainingPlan,
    step: StepIndex,
    /// Whether gradients are made, which are then zeroed first.
    trains: bool,
    pieces: Vec<Piece>,
    emitter: Emitter<'a>,
    /// Activations that have been sent to a cell, and gradients that have.
    arrived_forward: BTreeMap<Key, PerRank>,
    arrived_backward: BTreeMap<Key, PerRank>,
    /// Inputs and targets that a cell has loaded.
    targets: BTreeMap<Key, PerRank>,
    saved: BTreeMap<Key, Vec<Saved>>,
    /// Weight gradients that a split backward pass has put off.
    put_off: BTreeMap<Key, Vec<(Rank, InstructionSpec)>>,
    begun: BTreeMap<Rank, ()>,
    weight_passes_left: IdVec<Stage, u32>,
}

impl<'a> Lowering<'a> {
    fn new(plan: &'a TrainingPlan, state: &'a State, step: StepIndex) -> Self {
        Lowering {
            plan,
            step,
            trains: true,
            pieces: plan.model.pieces(),
            emitter: Emitter::new(plan, state),
            arrived_forward: BTreeMap::new(),
            arrived_backward: BTreeMap::new(),
            targets: BTreeMap::new(),
            saved: BTreeMap::new(),
            put_off: BTreeMap::new(),
            begun: BTreeMap::new(),
            weight_passes_left: IdVec::filled(plan.micro_batches, plan.stages.len()),
        }
    }

    /// Every pass of every stage, in an order in which each finds what it needs.
    fn passes(&mut self, orders: &Orders) -> Result<(), Deadlock> {
        let shape = self.plan.shape();
        let mut next: IdVec<PipelineRank, usize> = IdVec::filled(0, orders.len());
        loop {
            let mut progress = false;
            for rank in shape.ranks() {
                while let Some(&op) = orders[rank].get(next[rank]).filter(|op| self.is_ready(**op)) {
                    self.pass(op);
                    next[rank] += 1;
                    progress = true;
                }
            }
            if !progress {
                break;
            }
        }
        let waiting: Vec<_> =
            shape.ranks().filter_map(|rank| orders[rank].get(next[rank]).map(|&op| (rank, op))).collect();
        if waiting.is_empty() { Ok(()) } else { Err(Deadlock { waiting }) }
    }

    fn is_ready(&self, op: PipelineOp) -> bool {
        let stage = op.stage;
        let key = (0, stage, op.micro_batch);
        match op.pass {
            Pass::Forward => self.is_first(stage) || self.arrived_forward.contains_key(&key),
            Pass::Backward | Pass::BackwardInput => {
                self.saved.contains_key(&key)
                    && (self.is_last(stage) || self.arrived_backward.contains_key(&key))
            }
            Pass::BackwardWeight => self.put_off.contains_key(&key),
        }
    }

    fn pass(&mut self, op: PipelineOp) {
        let stage = op.stage;
        for replica in 0..self.plan.mesh.data {
            let cell = self.cell(replica, stage, op.micro_batch);
            self.zero_at_first_use(&cell);
            match op.pass {
                Pass::Forward => self.forward(&cell, op.micro_batch),
                Pass::Backward => self.backward(&cell, op.micro_batch, false),
                Pass::BackwardInput => self.backward(&cell, op.micro_batch, true),
                Pass::BackwardWeight => self.backward_weight(&cell, op.micro_batch),
            }
        }
        if matches!(op.pass, Pass::Backward | Pass::BackwardWeight) {
            self.weight_passes_left[stage] -= 1;
            if self.weight_passes_left[stage] == 0 {
                self.reduce_gradients(stage);
            }
        }
    }

    fn cell(&self, replica: u32, stage: Stage, micro_batch: MicroBatch) -> Cell {
        let ranks = self.plan.cell_ranks(replica, self.plan.copy_of(micro_batch), stage);
        Cell { replica, stage, ranks }
    }

    fn is_first(&self, stage: Stage) -> bool {
        stage.0 == 0
    }

    fn is_last(&self, stage: Stage) -> bool {
        stage == self.plan.last_stage()
    }

    /// A rank's first work in a step is to zero its gradients and its loss.
    fn zero_at_first_use(&mut self, cell: &Cell) {
        for &rank in &cell.ranks {
            if self.begun.insert(rank, ()).is_none() {
                self.emitter.zero(rank, self.trains);
            }
        }
    }

    fn forward(&mut self, cell: &Cell, micro_batch: MicroBatch) {
        let key = (cell.replica, cell.stage, micro_batch);
        self.emitter.pass(Activity::Forward, "forward", cell.stage, micro_batch);
        let mut x = self.arrived_forward.remove(&key).unwrap_or_default();
        if self.is_first(cell.stage) || self.is_last(cell.stage) {
            let inputs = self.load(cell, micro_batch);
            if self.is_first(cell.stage) {
                x = inputs;
            }
        }
        let mut saved = Vec::new();
        let mut blocks = 0;
        for index in self.plan.stages[cell.stage].clone() {
            let piece = self.pieces[index];
            self.emitter.piece(piece);
            let (next, keep) = match piece {
                Piece::Block(_) if self.trains && self.plan.recompute.repeats_block(blocks) => {
                    blocks += 1;
                    let (next, _) = self.block_forward(cell, piece, x.clone());
                    (next, Saved::Input(x))
                }
                Piece::Embedding => self.embedding_forward(cell, x),
                Piece::Block(_) => {
                    blocks += 1;
                    self.block_forward(cell, piece, x)
                }
                Piece::Head => self.head_forward(cell, x, &self.targets[&key].clone()),
                Piece::Dense(_) => self.dense_forward(cell, piece, x),
                Piece::Loss => self.loss_forward(cell, x, &self.targets[&key].clone()),
            };
            x = next;
            saved.push(keep);
        }
        self.emitter.flush(&cell.ranks);
        self.saved.insert(key, saved);
        if !self.is_last(cell.stage) {
            let to = self.cell(cell.replica, Stage(cell.stage.0 + 1), micro_batch);
            let arrived = self.emitter.send(cell, x, &to, micro_batch);
            self.arrived_forward.insert((cell.replica, to.stage, micro_batch), arrived);
        }
    }

    /// Backward through a stage. With `split`, weight gradients are put off to a pass of their own.
    fn backward(&mut self, cell: &Cell, micro_batch: MicroBatch, split: bool) {
        let key = (cell.replica, cell.stage, micro_batch);
        let (activity, name) = if split {
            (Activity::BackwardInput, "backward-input")
        } else {
            (Activity::Backward, "backward")
        };
        self.emitter.pass(activity, name, cell.stage, micro_batch);
        self.emitter.put_off_weights(split);
        let mut dx = self.arrived_backward.remove(&key).unwrap_or_default();
        let saved = self.saved.remove(&key).expect("a forward pass before its backward pass");
        let copies = self.plan.schedule.copies();
        let last_pass = self.weight_passes_left[cell.stage] <= copies && self.plan.replicas() > 1;
        for (index, keep) in self.plan.stages[cell.stage].clone().zip(saved).rev() {
            let piece = self.pieces[index];
            self.emitter.piece(piece);
            dx = match keep {
                Saved::Embedding { tokens } => self.embedding_backward(cell, dx, &tokens),
                Saved::Block(keep) => self.block_backward(cell, piece, dx, &keep),
                Saved::Input(x) => {
                    let keep = self.block_again(cell, piece, x);
                    self.block_backward(cell, piece, dx, &keep)
                }
                Saved::Head(keep) => self.head_backward(cell, &keep),
                Saved::Dense(keep) => self.dense_backward(cell, piece, dx, &keep),
                Saved::Loss(keep) => self.loss_backward(cell, &keep),
            };
            // In the last micro-batch each piece is an op of its own, so that the bucket with its
            // gradients can leave while the pieces before it are still at work.
            if last_pass {
                self.emitter.flush(&cell.ranks);
            }
        }
        self.emitter.flush(&cell.ranks);
        if split {
            self.put_off.insert(key, self.emitter.take_put_off());
        }
        if !self.is_first(cell.stage) {
            let to = self.cell(cell.replica, Stage(cell.stage.0 - 1), micro_batch);
            let arrived = self.emitter.send(cell, dx, &to, micro_batch);
            self.arrived_backward.insert((cell.replica, to.stage, micro_batch), arrived);
        }
    }

    /// The weight gradients that a split backward pass has put off.
    fn backward_weight(&mut self, cell: &Cell, micro_batch: MicroBatch) {
        let key = (cell.replica, cell.stage, micro_batch);
        self.emitter.pass(Activity::BackwardWeight, "backward-weight", cell.stage, micro_batch);
        for (rank, instruction) in self.put_off.remove(&key).expect("weight gradients that were put off") {
            self.emitter.instruction(rank, instruction);
        }
        self.emitter.flush(&cell.ranks);
    }

    /// Loads a micro-batch; returns the inputs and remembers the targets.
    fn load(&mut self, cell: &Cell, micro_batch: MicroBatch) -> PerRank {
        let samples = self.plan.micro_batch;
        let first = (cell.replica * self.plan.micro_batches + micro_batch.0) * samples as u32;
        let columns = self.input_columns();
        let tokens = self.plan.model.tokens_per_sample() * samples;
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        for (index, &rank) in cell.ranks.iter().enumerate() {
            // Ids and features are four bytes wide each.
            let x = self.emitter.bytes_buffer(rank, tokens * columns, 4, MemoryUse::Buffers);
            let y = self.emitter.bytes_buffer(rank, tokens, 4, MemoryUse::Buffers);
            let formula =
                Formula::Batch { first, count: samples as u32, first_column: index as u32 * columns as u32 };
            self.emitter.run(rank, formula, None, &[], &[x, y], &[]);
            inputs.push(x);
            targets.push(y);
        }
        self.targets.insert((cell.replica, cell.stage, micro_batch), targets);
        inputs
    }

    /// Numbers of an input row that one rank holds.
    fn input_columns(&self) -> u64 {
        match &self.plan.model {
            crate::model::Model::Gpt(_) => 1,
            crate::model::Model::Mlp(mlp) => mlp.inputs,
            crate::model::Model::Linear(linear) => {
                linear.start.len() as u64 / u64::from(self.plan.mesh.tensor)
            }
        }
    }

    /// Rows of an activation: the tokens of a micro-batch.
    fn rows(&self) -> u64 {
        self.plan.micro_batch * self.plan.model.tokens_per_sample()
    }

    /// What one micro-batch counts in the loss whose gradient a replica sees: with summed gradients
    /// the mean over all replicas' micro-batches, with gradients of its own the mean over its own.
    fn loss_scale(&self) -> f32 {
        let samples = match self.plan.sync.action(self.step) {
            SyncAction::ReduceGradients => self.plan.micro_batches * self.plan.mesh.data,
            _ => self.plan.micro_batches / self.plan.schedule.copies(),
        };
        1.0 / samples as f32
    }
}
