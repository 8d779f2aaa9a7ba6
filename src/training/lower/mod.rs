//! Turns a training plan into the program of one step.
//!
//! The schedule says in which order a stage does its passes; lowering writes out what each pass does,
//! layer by layer ([`gpt`], [`dense`]), adds the sends between stages, the collectives between tensor
//! and data ranks ([`sync`], [`sharing`]), and the update. Who waits for whom follows from the buffers.

mod asynchronous;
mod compression;
mod dense;
mod emit;
mod experts;
mod gossip;
mod gpt;
mod kernels;
mod sharing;
mod sync;

pub use asynchronous::{APPLY, PULL, lower_asynchronous, turn};

use std::collections::BTreeMap;
use std::fmt;

use crate::ids::{
    BufferId, IdVec, MicroBatch, OpId, PipelineRank, Rank, RoutingId, SlotId, Stage, StepIndex,
};
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
    /// Those that are simulated: all of them, unless the plan is folded.
    ranks: Vec<Rank>,
    group: Vec<Rank>,
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
    put_off: BTreeMap<(Stage, MicroBatch), Vec<(Rank, InstructionSpec)>>,
    /// The last op of each piece that a rank has gone through, where something waits for pieces.
    piece_ends: IdVec<Rank, Vec<Option<OpId>>>,
    /// Each replica's share of summed gradients, where it lives for a step, by the slot it is for.
    reduced: BTreeMap<SlotId, BufferId>,
    /// Which tokens of a micro-batch go to which experts of a piece: decided once for the replicas from this one
    /// on that hold the experts together.
    routings: BTreeMap<(u32, Piece, MicroBatch), RoutingId>,
    begun: BTreeMap<Rank, ()>,
    weight_passes_left: IdVec<Stage, u32>,
    /// Buckets of each stage that were packed before its backward pass had ended.
    sent_early: IdVec<Stage, usize>,
    buckets_packed: u32,
    /// How many steps later than the program's first the step is that is being written.
    ahead: u32,
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
            piece_ends: IdVec::filled(Vec::new(), plan.placement.len()),
            reduced: BTreeMap::new(),
            routings: BTreeMap::new(),
            begun: BTreeMap::new(),
            weight_passes_left: IdVec::filled(plan.micro_batches, plan.stages.len()),
            sent_early: IdVec::filled(0, plan.stages.len()),
            buckets_packed: 0,
            ahead: 0,
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
            Pass::BackwardWeight => self.put_off.contains_key(&(stage, op.micro_batch)),
        }
    }

    fn pass(&mut self, op: PipelineOp) {
        let replicas = 0..self.plan.simulated_replicas();
        let cells: Vec<Cell> = replicas.map(|replica| self.cell(replica, op.stage, op.micro_batch)).collect();
        for cell in &cells {
            self.zero_at_first_use(cell);
        }
        match op.pass {
            Pass::Forward => self.forward(&cells, op),
            Pass::Backward | Pass::BackwardInput => self.backward(&cells, op),
            Pass::BackwardWeight => self.backward_weight(&cells, op),
        }
        if matches!(op.pass, Pass::Backward | Pass::BackwardWeight) {
            self.weight_passes_left[op.stage] -= 1;
            if self.weight_passes_left[op.stage] == 0 {
                self.reduce_gradients(op.stage);
            }
        }
    }

    fn cell(&self, replica: u32, stage: Stage, micro_batch: MicroBatch) -> Cell {
        let group = self.plan.cell_ranks(replica, self.plan.copy_of(micro_batch), stage);
        Cell { replica, stage, ranks: self.plan.simulated(&group), group }
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

    /// Forward through a stage, in every replica. Piece by piece, because replicas may fetch the weights
    /// of a piece from one another.
    fn forward(&mut self, cells: &[Cell], op: PipelineOp) {
        let (stage, micro_batch) = (op.stage, op.micro_batch);
        self.emitter.pass(Activity::Forward, "forward", stage, micro_batch);
        let mut streams: Vec<PerRank> =
            cells.iter().map(|cell| self.stage_input(cell, micro_batch)).collect();
        let mut saved: Vec<Vec<Saved>> = vec![Vec::new(); cells.len()];
        let mut blocks = 0;
        for index in self.plan.stages[stage].clone() {
            let piece = self.pieces[index];
            let is_block = matches!(piece, Piece::Block(_));
            let again = is_block && self.trains && self.plan.recompute.repeats_block(blocks);
            blocks += u32::from(is_block);
            self.emitter.piece(piece);
            self.gather_weights(cells, piece);
            if self.has_experts(piece) {
                let (next, keep) = self.expert_block_forward(cells, piece, &streams);
                let inputs = std::mem::replace(&mut streams, next);
                for ((saved, keep), input) in saved.iter_mut().zip(keep).zip(inputs) {
                    saved.push(if again { Saved::Input(input) } else { keep });
                }
                self.end_of_piece(cells, false);
                continue;
            }
            for (at, cell) in cells.iter().enumerate() {
                let x = std::mem::take(&mut streams[at]);
                let input = again.then(|| x.clone());
                let (next, keep) = self.piece_forward(cell, piece, x, micro_batch);
                streams[at] = next;
                saved[at].push(input.map_or(keep, Saved::Input));
            }
            self.end_of_piece(cells, false);
        }
        for ((cell, x), saved) in cells.iter().zip(streams).zip(saved) {
            self.emitter.flush(&cell.ranks);
            self.saved.insert((cell.replica, stage, micro_batch), saved);
            if !self.is_last(stage) {
                let to = self.cell(cell.replica, Stage(stage.0 + 1), micro_batch);
                let arrived = self.emitter.send(cell, x, &to, micro_batch);
                self.arrived_forward.insert((cell.replica, to.stage, micro_batch), arrived);
            }
        }
    }

    /// What a stage begins with: what has been sent to it, or a micro-batch of the data.
    fn stage_input(&mut self, cell: &Cell, micro_batch: MicroBatch) -> PerRank {
        let arrived = self.arrived_forward.remove(&(cell.replica, cell.stage, micro_batch));
        if !self.is_first(cell.stage) && !self.is_last(cell.stage) {
            return arrived.unwrap_or_default();
        }
        let inputs = self.load(cell, micro_batch);
        if self.is_first(cell.stage) { inputs } else { arrived.unwrap_or_default() }
    }

    fn piece_forward(
        &mut self,
        cell: &Cell,
        piece: Piece,
        x: PerRank,
        micro_batch: MicroBatch,
    ) -> (PerRank, Saved) {
        let key = (cell.replica, cell.stage, micro_batch);
        match piece {
            Piece::Embedding => self.embedding_forward(cell, x),
            Piece::Block(_) => self.block_forward(cell, piece, x),
            Piece::Head => self.head_forward(cell, x, &self.targets[&key].clone()),
            Piece::Dense(_) => self.dense_forward(cell, piece, x),
            Piece::Loss => self.loss_forward(cell, x, &self.targets[&key].clone()),
        }
    }

    /// Backward through a stage, in every replica. When it is split, weight gradients are put off to a
    /// pass of their own.
    fn backward(&mut self, cells: &[Cell], op: PipelineOp) {
        let (stage, micro_batch) = (op.stage, op.micro_batch);
        let split = op.pass == Pass::BackwardInput;
        let (activity, name) = if split {
            (Activity::BackwardInput, "backward-input")
        } else {
            (Activity::Backward, "backward")
        };
        self.emitter.pass(activity, name, stage, micro_batch);
        let key = |cell: &Cell| (cell.replica, stage, micro_batch);
        let (mut streams, mut saved) = (Vec::new(), Vec::new());
        for cell in cells {
            streams.push(self.arrived_backward.remove(&key(cell)).unwrap_or_default());
            saved.push(self.saved.remove(&key(cell)).expect("a forward pass before its backward pass"));
        }
        // In the last micro-batch each piece is an op of its own, so that the bucket with its
        // gradients can leave while the pieces before it are still at work.
        let last_pass = self.weight_passes_left[stage] <= self.plan.schedule.copies();
        self.emitter.put_off_weights(split);
        for index in self.plan.stages[stage].clone().rev() {
            let piece = self.pieces[index];
            self.emitter.piece(piece);
            self.gather_weights(cells, piece);
            self.begin_gradients(cells, piece);
            let keep = saved.iter_mut().map(|saved| saved.pop().expect("as many pieces backward as forward"));
            let keep: Vec<Saved> = keep.collect();
            streams = if self.has_experts(piece) {
                self.expert_block_backward(cells, piece, streams, keep)
            } else {
                let each = cells.iter().zip(streams).zip(keep);
                each.map(|((cell, dx), keep)| self.piece_backward(cell, piece, dx, keep)).collect()
            };
            self.end_of_piece(cells, last_pass && self.plan.replicas() > 1);
            self.share_gradients(cells, piece);
            if last_pass && !split && self.packs() {
                self.send_packed(stage, piece);
                self.emitter.pass(activity, name, stage, micro_batch);
            }
        }
        for cell in cells {
            self.emitter.flush(&cell.ranks);
        }
        if split {
            let put_off = self.emitter.take_put_off();
            self.put_off.insert((stage, micro_batch), put_off);
        }
        if !self.is_first(stage) {
            for (cell, dx) in cells.iter().zip(streams) {
                let to = self.cell(cell.replica, Stage(stage.0 - 1), micro_batch);
                let arrived = self.emitter.send(cell, dx, &to, micro_batch);
                self.arrived_backward.insert((cell.replica, to.stage, micro_batch), arrived);
            }
        }
    }

    fn piece_backward(&mut self, cell: &Cell, piece: Piece, dx: PerRank, keep: Saved) -> PerRank {
        match keep {
            Saved::Embedding { tokens } => self.embedding_backward(cell, dx, &tokens),
            Saved::Block(keep) => self.block_backward(cell, piece, dx, &keep),
            Saved::Input(x) => {
                let keep = self.block_again(cell, piece, x);
                self.block_backward(cell, piece, dx, &keep)
            }
            Saved::Head(keep) => self.head_backward(cell, &keep),
            Saved::Dense(keep) => self.dense_backward(cell, piece, dx, &keep),
            Saved::Loss(keep) => self.loss_backward(cell, &keep),
        }
    }

    /// Makes ops of what a piece has come to, where something waits for the piece alone.
    fn end_of_piece(&mut self, cells: &[Cell], alone: bool) {
        if !alone && !self.plan.zero.shares_gradients() {
            return;
        }
        for cell in cells {
            self.emitter.flush(&cell.ranks);
            for &rank in &cell.ranks {
                self.piece_ends[rank].push(self.emitter.last_op(rank));
            }
        }
    }

    /// The weight gradients that a split backward pass has put off.
    fn backward_weight(&mut self, cells: &[Cell], op: PipelineOp) {
        self.emitter.pass(Activity::BackwardWeight, "backward-weight", op.stage, op.micro_batch);
        let put_off = self.put_off.remove(&(op.stage, op.micro_batch));
        for (rank, instruction) in put_off.expect("weight gradients that were put off") {
            self.emitter.instruction(rank, instruction);
        }
        for cell in cells {
            self.emitter.flush(&cell.ranks);
        }
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
            let first_column = index as u32 * columns as u32;
            let formula = Formula::Batch { first, count: samples as u32, first_column, ahead: self.ahead };
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
            crate::model::Model::Gpt(_) | crate::model::Model::Moe(_) => 1,
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
