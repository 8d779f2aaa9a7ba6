//! Turns a sequence of ops into a program: derives who waits for whom from what ops read and write.
//!
//! Ops are given in an order in which they could run one after the other. The builder then knows, for
//! every buffer, who wrote it last and who has read it since, so that a reader waits for the writer
//! and a writer for the readers. An op earlier in the same stream is waited for anyway and needs no
//! entry.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::compute::Kernel;
use crate::ids::{BufferId, CollectiveId, Id, IdVec, KernelId, OpId, Rank, RoutingId, SlotId};
use crate::program::{
    Action, Arrivals, ArrivalsAt, Buffer, Exchange, Folded, Formula, Instruction, Op, OpLabel, Participant,
    Program, Reduction, RoutedExchange, Routing, Rows,
};
use crate::trace::{Activity, MemoryUse, Stream};
use crate::units::Bytes;

/// Whose op, in which queue, called what.
#[derive(Debug, Clone, Copy)]
pub struct OpSpec {
    /// Whose.
    pub rank: Rank,
    /// In which queue.
    pub stream: Stream,
    /// What a timeline calls it.
    pub activity: Activity,
    /// What it is about.
    pub label: OpLabel,
}

/// Buffers that an instruction names: mostly few, and a program has millions of such lists.
pub type Operands = SmallVec<[BufferId; 4]>;

/// One formula on buffers, before it has its place in a program.
#[derive(Debug, Clone)]
pub struct InstructionSpec {
    /// What it computes.
    pub formula: Formula,
    /// What it costs.
    pub kernel: Option<Kernel>,
    /// The rows that the kernel goes by.
    pub arrivals: Option<Arrivals>,
    /// What it reads.
    pub reads: Operands,
    /// What it writes afresh.
    pub writes: Operands,
    /// What it changes in place.
    pub updates: Operands,
}

/// An exchange, before its parts are ops.
#[derive(Debug, Clone)]
pub struct ExchangeSpec {
    /// What the group does.
    pub kind: crate::collective::CollectiveKind,
    /// How values meet.
    pub reduction: Reduction,
    /// Size of the whole buffer on the wire.
    pub bytes: Bytes,
    /// The transfers.
    pub plan: std::sync::Arc<crate::collective::CommPlan>,
    /// What it stands for, where ranks that do the same are simulated once.
    pub folded: Option<std::sync::Arc<Folded>>,
    /// What an all-to-all's blocks go by.
    pub routed: Option<RoutedExchange>,
    /// The queue its ops wait in.
    pub stream: Stream,
    /// What a timeline calls it.
    pub activity: Activity,
    /// What it is about.
    pub label: OpLabel,
    /// The group, in member order.
    pub parts: Vec<Part>,
}

/// A member's buffers.
#[derive(Debug, Clone)]
pub struct Part {
    /// Who.
    pub rank: Rank,
    /// The payload given.
    pub reads: Vec<BufferId>,
    /// Where the result goes.
    pub writes: Vec<BufferId>,
}

/// Who used a buffer since it was last written.
#[derive(Debug, Clone, Default)]
struct Uses {
    writer: Option<OpId>,
    readers: SmallVec<[OpId; 2]>,
}

/// Builds a [`Program`] op by op.
#[derive(Debug)]
pub struct Builder {
    program: Program,
    uses: IdVec<BufferId, Uses>,
    slots: FxHashMap<SlotId, BufferId>,
    kernel_ids: FxHashMap<Kernel, KernelId>,
    edges: Vec<(u32, u32)>,
    touched: Vec<(u32, u32)>,
}

impl Builder {
    /// An empty program for `ranks` ranks.
    pub fn new(ranks: usize) -> Self {
        Builder {
            program: Program { ranks, ..Program::default() },
            uses: IdVec::new(),
            slots: FxHashMap::default(),
            kernel_ids: FxHashMap::default(),
            edges: Vec::new(),
            touched: Vec::new(),
        }
    }

    /// A buffer that lives from its first writer to its last user.
    pub fn buffer(&mut self, rank: Rank, elements: u64, bytes: Bytes, usage: MemoryUse) -> BufferId {
        self.uses.push(Uses::default());
        self.program.buffers.push(Buffer {
            rank,
            elements,
            bytes,
            usage,
            slot: None,
            shared: false,
            arrivals: None,
            users: 0,
        })
    }

    /// A decision that sizes go by.
    pub fn routing(&mut self, routing: Routing) -> RoutingId {
        self.program.routings.push(routing)
    }

    /// The rows that arrive at a member of a routing.
    pub fn arrivals(&mut self, at: ArrivalsAt) -> Arrivals {
        self.program.arrivals.push(at);
        let count = u32::try_from(self.program.arrivals.len()).expect("fewer than 2^32 arrivals");
        Arrivals(std::num::NonZeroU32::new(count).expect("one was pushed"))
    }

    /// Makes the size of a buffer go by rows that arrive.
    pub fn sized_by(&mut self, buffer: BufferId, arrivals: Arrivals) {
        self.program.buffers[buffer].arrivals = Some(arrivals);
    }

    /// The buffer that a slot keeps for the whole run; the same one each time it is asked for.
    pub fn slot(
        &mut self,
        slot: SlotId,
        rank: Rank,
        elements: u64,
        bytes: Bytes,
        usage: MemoryUse,
    ) -> BufferId {
        if let Some(&known) = self.slots.get(&slot) {
            return known;
        }
        let buffer = self.buffer(rank, elements, bytes, usage);
        self.program.buffers[buffer].slot = Some(slot);
        self.slots.insert(slot, buffer);
        buffer
    }

    /// Lets ops use a buffer in whatever order they run: nobody waits for anybody because of it.
    pub fn share(&mut self, buffer: BufferId) {
        self.program.buffers[buffer].shared = true;
    }

    /// What is known of a buffer.
    pub fn describe(&self, buffer: BufferId) -> &Buffer {
        &self.program.buffers[buffer]
    }

    /// Instructions one after the other on a rank's device.
    pub fn compute(&mut self, spec: OpSpec, instructions: Vec<InstructionSpec>) -> OpId {
        let start = index(self.program.instructions.len());
        let id = OpId::from_index(self.program.ops.len());
        let mut reads = Vec::new();
        let mut writes = Vec::new();
        for instruction in instructions {
            reads.extend(instruction.reads.iter().chain(&instruction.updates));
            writes.extend(instruction.writes.iter().chain(&instruction.updates));
            self.add_instruction(instruction);
        }
        let end = index(self.program.instructions.len());
        self.push(spec, Action::Compute(start..end));
        self.order(id, &reads, &writes);
        id
    }

    /// An exchange of a group: one op for each member.
    pub fn exchange(&mut self, spec: ExchangeSpec) -> CollectiveId {
        let collective = CollectiveId::from_index(self.program.exchanges.len());
        let participants = spec
            .parts
            .iter()
            .map(|part| {
                let op = self.push(
                    OpSpec {
                        rank: part.rank,
                        stream: spec.stream,
                        activity: spec.activity,
                        label: spec.label,
                    },
                    Action::Exchange(collective),
                );
                self.order(op, &part.reads, &part.writes);
                Participant { rank: part.rank, op, reads: part.reads.clone(), writes: part.writes.clone() }
            })
            .collect();
        self.program.exchanges.push(Exchange {
            kind: spec.kind,
            reduction: spec.reduction,
            bytes: spec.bytes,
            plan: spec.plan,
            participants,
            folded: spec.folded,
            routed: spec.routed,
        })
    }

    /// A send: the sender's op alone, which writes the receiver's buffer. The receiver needs no op of
    /// its own because whoever uses the buffer waits for the send.
    pub fn send(&mut self, spec: ExchangeSpec) -> OpId {
        let [from, to] = &spec.parts[..] else { panic!("a send has a sender and a receiver") };
        let collective = CollectiveId::from_index(self.program.exchanges.len());
        let sender =
            OpSpec { rank: from.rank, stream: spec.stream, activity: spec.activity, label: spec.label };
        let op = self.push(sender, Action::Exchange(collective));
        self.order(op, &from.reads, &to.writes);
        let participants = vec![
            Participant { rank: from.rank, op, reads: from.reads.clone(), writes: Vec::new() },
            Participant { rank: to.rank, op, reads: Vec::new(), writes: to.writes.clone() },
        ];
        self.program.exchanges.push(Exchange {
            kind: spec.kind,
            reduction: spec.reduction,
            bytes: spec.bytes,
            plan: spec.plan,
            participants,
            folded: spec.folded,
            routed: None,
        });
        op
    }

    /// The parts of an exchange: whose, and which op.
    pub fn parts_of(&self, exchange: CollectiveId) -> Vec<(Rank, OpId)> {
        self.program.exchanges[exchange].participants.iter().map(|part| (part.rank, part.op)).collect()
    }

    /// Makes `later` wait for `earlier` beyond what their buffers ask for.
    pub fn after(&mut self, earlier: OpId, later: OpId) {
        self.wait(later, earlier);
    }

    /// The program.
    pub fn build(mut self) -> Program {
        self.edges.sort_unstable();
        self.edges.dedup();
        let ops = self.program.ops.len();
        self.program.predecessors = vec![0; ops];
        for &(_, later) in &self.edges {
            self.program.predecessors[later as usize] += 1;
        }
        self.program.successors = Rows::from_pairs(ops, &self.edges);
        self.program.touched = Rows::from_pairs(ops, &self.touched);
        self.program
    }

    fn push(&mut self, spec: OpSpec, action: Action) -> OpId {
        let OpSpec { rank, stream, activity, label } = spec;
        self.program.ops.push(Op { rank, stream, activity, label, action })
    }

    fn add_instruction(&mut self, spec: InstructionSpec) {
        let kernel = spec.kernel.map(|kernel| self.kernel(kernel));
        let program = &mut self.program;
        let operands = index(program.operands.len());
        let [reads, writes, updates] = [&spec.reads, &spec.writes, &spec.updates].map(|list| {
            program.operands.extend_from_slice(list);
            u16::try_from(list.len()).expect("an instruction has fewer than 2^16 operands of a kind")
        });
        program.instructions.push(Instruction {
            formula: spec.formula,
            kernel,
            arrivals: spec.arrivals,
            operands,
            reads,
            writes,
            updates,
        });
    }

    fn kernel(&mut self, kernel: Kernel) -> KernelId {
        let kernels = &mut self.program.kernels;
        *self.kernel_ids.entry(kernel).or_insert_with_key(|kernel| kernels.push(*kernel))
    }

    /// Makes `op` wait for whoever wrote what it reads, and for whoever used what it writes.
    fn order(&mut self, op: OpId, reads: &[BufferId], writes: &[BufferId]) {
        let mut touched: SmallVec<[BufferId; 16]> = reads.iter().chain(writes).copied().collect();
        touched.sort_unstable();
        touched.dedup();
        for &buffer in &touched {
            self.program.buffers[buffer].users += 1;
            self.touched.push((op.0, buffer.0));
        }
        let private = |buffer: &&BufferId| !self.program.buffers[**buffer].shared;
        let [reads, writes] = [reads, writes]
            .map(|list| list.iter().filter(private).copied().collect::<SmallVec<[BufferId; 8]>>());
        for &buffer in &reads {
            if let Some(writer) = self.uses[buffer].writer {
                self.wait(op, writer);
            }
            self.uses[buffer].readers.push(op);
        }
        for &buffer in &writes {
            let uses = std::mem::replace(
                &mut self.uses[buffer],
                Uses { writer: Some(op), readers: SmallVec::new() },
            );
            for earlier in uses.readers.into_iter().chain(uses.writer) {
                self.wait(op, earlier);
            }
        }
    }

    fn wait(&mut self, later: OpId, earlier: OpId) {
        let (a, b) = (&self.program.ops[earlier], &self.program.ops[later]);
        let same_queue = a.rank == b.rank && a.stream == b.stream && a.stream.is_in_order();
        if earlier != later && !same_queue {
            self.edges.push((earlier.0, later.0));
        }
    }
}

fn index(length: usize) -> u32 {
    u32::try_from(length).expect("a program has fewer than 2^32 parts of a kind")
}
