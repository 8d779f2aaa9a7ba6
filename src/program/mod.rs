//! The graph of ops: what every rank does, in which order, on which buffers.
//!
//! A [`Program`] is one intermediate form with two back ends: [`runtime`](crate::runtime) finds out
//! *when* each op happens, [`numeric`](crate::numeric) *what* it computes. It knows no durations, no
//! hardware and no policies; policies decided which ops there are.
//!
//! - A **buffer** is a piece of one rank's memory. It lives for a step (activations, messages) or for
//!   the whole run (weights, gradients, optimiser state: these are *slots*). A step-lived buffer is
//!   allocated when the first op that writes it begins and freed when the last op that uses it ends,
//!   so memory over time comes out of the schedule and needs no model of its own.
//! - An **instruction** is one formula on buffers, with the kernel that it costs.
//! - An **op** is a run of instructions on one rank's compute stream, or a rank's part in an exchange.
//!   Ops of one stream run in order; across streams, dependencies order them. The
//!   [`Builder`] derives them from what ops read and write.
//! - An **exchange** is one call of a collective with its plan of transfers.
//! - A **routing** is a decision that is made while the program runs and that sizes go by: which tokens go to
//!   which experts.
//!
//! Everything is kept in flat arrays: a large program has millions of ops.

mod builder;
mod exchange;
mod formula;
mod routing;
mod view;

pub use crate::collective::Reduction;
pub use builder::{Builder, ExchangeSpec, InstructionSpec, OpSpec, Part};
pub use exchange::{Exchange, Folded, Participant, RoutedExchange};
pub use formula::{Format, Formula, OptimizerRule, OuterRule, Packing};
pub use routing::{Arrivals, ArrivalsAt, Routing};
pub use view::petgraph_view;

use std::ops::Range;

use crate::compute::Kernel;
use crate::ids::{
    BufferId, CollectiveId, Id, IdVec, KernelId, LayerId, MicroBatch, OpId, Rank, RoutingId, SlotId, Stage,
};
use crate::trace::{Activity, MemoryUse, Stream};
use crate::units::Bytes;

/// What every rank does in one step (or, for asynchronous training, in a whole run).
#[derive(Debug, Clone, Default)]
pub struct Program {
    ranks: usize,
    ops: IdVec<OpId, Op>,
    instructions: Vec<Instruction>,
    operands: Vec<BufferId>,
    buffers: IdVec<BufferId, Buffer>,
    exchanges: IdVec<CollectiveId, Exchange>,
    kernels: IdVec<KernelId, Kernel>,
    routings: IdVec<RoutingId, Routing>,
    arrivals: Vec<ArrivalsAt>,
    successors: Rows,
    predecessors: Vec<u32>,
    /// By op, the buffers that it touches.
    touched: Rows,
}

/// A run of instructions, or a rank's part in an exchange.
#[derive(Debug, Clone)]
pub struct Op {
    /// Whose op it is.
    pub rank: Rank,
    /// The in-order queue it waits in.
    pub stream: Stream,
    /// What a timeline calls it.
    pub activity: Activity,
    /// What it is about.
    pub label: OpLabel,
    /// What it does.
    pub action: Action,
}

/// What an op is about; absent parts do not apply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpLabel {
    /// A short name in the field's words.
    pub name: &'static str,
    /// The pipeline stage.
    pub stage: Option<Stage>,
    /// The micro-batch.
    pub micro_batch: Option<MicroBatch>,
    /// The layer.
    pub layer: Option<LayerId>,
}

/// What an op does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Instructions one after the other on the rank's device.
    Compute(Range<u32>),
    /// This rank's part in an exchange, which begins when every part has come to the head of its
    /// stream with its inputs ready.
    Exchange(CollectiveId),
}

/// One formula on buffers, with the kernel that it costs.
#[derive(Debug, Clone, Copy)]
pub struct Instruction {
    /// What it computes.
    pub formula: Formula,
    /// What it costs; nothing when another instruction's kernel already includes it.
    pub kernel: Option<KernelId>,
    /// The rows that its kernel goes by, where that is written for as many as there nominally are.
    pub arrivals: Option<Arrivals>,
    operands: u32,
    reads: u16,
    writes: u16,
    updates: u16,
}

/// A piece of one rank's memory.
#[derive(Debug, Clone, Copy)]
pub struct Buffer {
    /// Whose memory.
    pub rank: Rank,
    /// How many numbers it holds.
    pub elements: u64,
    /// How much of the simulated device's memory it takes, in the precision of the scenario.
    pub bytes: Bytes,
    /// What for.
    pub usage: MemoryUse,
    /// The slot that keeps it for the whole run; `None` when it lives for a step.
    pub slot: Option<SlotId>,
    /// Whether ops use it in the order in which they happen to run, which is what a server's weights are
    /// for.
    pub shared: bool,
    /// The rows that its size goes by, where it is written for as many as there nominally are.
    pub arrivals: Option<Arrivals>,
    /// How many ops use it, which is when a step-lived one is freed.
    pub users: u32,
}

/// Compressed rows of a sparse relation: row `i` is `items[starts[i]..starts[i + 1]]`.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    starts: Vec<u32>,
    items: Vec<u32>,
}

impl Rows {
    /// The rows of `pairs` (row, item), keeping the order of items within a row.
    pub fn from_pairs(rows: usize, pairs: &[(u32, u32)]) -> Rows {
        let mut starts = vec![0_u32; rows + 1];
        for &(row, _) in pairs {
            starts[row as usize + 1] += 1;
        }
        for row in 0..rows {
            starts[row + 1] += starts[row];
        }
        let mut next = starts.clone();
        let mut items = vec![0_u32; pairs.len()];
        for &(row, item) in pairs {
            items[next[row as usize] as usize] = item;
            next[row as usize] += 1;
        }
        Rows { starts, items }
    }

    /// The items of a row.
    pub fn row(&self, row: usize) -> &[u32] {
        &self.items[self.starts[row] as usize..self.starts[row + 1] as usize]
    }
}

impl Program {
    /// How many ranks take part.
    pub fn ranks(&self) -> usize {
        self.ranks
    }

    /// The ops, in an order in which they could run one after the other.
    pub fn ops(&self) -> &IdVec<OpId, Op> {
        &self.ops
    }

    /// The buffers.
    pub fn buffers(&self) -> &IdVec<BufferId, Buffer> {
        &self.buffers
    }

    /// The exchanges.
    pub fn exchanges(&self) -> &IdVec<CollectiveId, Exchange> {
        &self.exchanges
    }

    /// The distinct kernels; instructions name them.
    pub fn kernels(&self) -> &IdVec<KernelId, Kernel> {
        &self.kernels
    }

    /// The decisions that sizes go by.
    pub fn routings(&self) -> &IdVec<RoutingId, Routing> {
        &self.routings
    }

    /// Whose arrivals they are.
    pub fn arrivals(&self, arrivals: Arrivals) -> ArrivalsAt {
        self.arrivals[arrivals.0.get() as usize - 1]
    }

    /// The ops that wait for `op` (those later in its own stream need no entry).
    pub fn successors(&self, op: OpId) -> impl Iterator<Item = OpId> + '_ {
        self.successors.row(op.index()).iter().map(|&next| OpId(next))
    }

    /// How many ops of other streams each op waits for.
    pub fn predecessor_counts(&self) -> &[u32] {
        &self.predecessors
    }

    /// The same program without the dependency of `to` on `from`: what a wrong lowering would have made.
    /// Tests hold that such a program is caught.
    pub fn without_dependency(&self, from: OpId, to: OpId) -> Program {
        let pairs: Vec<(u32, u32)> = self
            .ops
            .ids()
            .flat_map(|op| self.successors(op).map(move |next| (op, next)))
            .filter(|&edge| edge != (from, to))
            .map(|(op, next)| (op.0, next.0))
            .collect();
        let mut wrong = Program { successors: Rows::from_pairs(self.ops.len(), &pairs), ..self.clone() };
        wrong.predecessors[to.index()] -= 1;
        wrong
    }

    /// The instructions of a compute op; none for an exchange.
    pub fn instructions(&self, op: OpId) -> &[Instruction] {
        match &self.ops[op].action {
            Action::Compute(range) => &self.instructions[range.start as usize..range.end as usize],
            Action::Exchange(_) => &[],
        }
    }

    /// What an instruction reads.
    pub fn reads(&self, instruction: &Instruction) -> &[BufferId] {
        let start = instruction.operands as usize;
        &self.operands[start..start + usize::from(instruction.reads)]
    }

    /// What an instruction writes afresh.
    pub fn writes(&self, instruction: &Instruction) -> &[BufferId] {
        let start = instruction.operands as usize + usize::from(instruction.reads);
        &self.operands[start..start + usize::from(instruction.writes)]
    }

    /// What an instruction changes in place (a gradient added to, a weight stepped).
    pub fn updates(&self, instruction: &Instruction) -> &[BufferId] {
        let start =
            instruction.operands as usize + usize::from(instruction.reads) + usize::from(instruction.writes);
        &self.operands[start..start + usize::from(instruction.updates)]
    }

    /// Every buffer that an op touches, each once, in order of identity.
    pub fn touched(&self, op: OpId) -> impl ExactSizeIterator<Item = BufferId> + '_ {
        self.touched.row(op.index()).iter().map(|&buffer| BufferId(buffer))
    }
}
