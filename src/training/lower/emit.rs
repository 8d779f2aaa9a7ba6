//! Gathers instructions into ops, and ops into the program.
//!
//! Instructions of a rank gather until something must happen between them (a collective, the end of
//! a pass); then they become one op. So an op is as long as it can be and as short as it must be.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::collective::{AlgorithmSpec, Block, Collective, CollectiveKind, CommPlan, Member, blocks};
use crate::compute::Kernel;
use crate::hardware::Precision;
use crate::ids::{BufferId, CollectiveId, DeviceId, IdVec, MicroBatch, OpId, Rank, RoutingId, SlotId, Stage};
use crate::model::Piece;
use crate::program::{
    Arrivals, ArrivalsAt, Builder, ExchangeSpec, Folded, Formula, InstructionSpec, OpLabel, OpSpec, Part,
    Program, Reduction, RoutedExchange, Routing,
};
use crate::trace::{Activity, MemoryUse, Stream};
use crate::training::TrainingPlan;
use crate::training::lower::{Cell, PerRank, kernels};
use crate::training::state::{ParameterSlots, State};
use crate::units::Bytes;

/// The transfers of a call and, where ranks are folded, the groups that they stand for.
type Planned = (Arc<CommPlan>, Option<Arc<Folded>>);

/// Buffers at hand for some of a piece's parameters, by their position.
type AtHand = Vec<Option<BufferId>>;

pub(super) struct Emitter<'a> {
    plan: &'a TrainingPlan,
    state: &'a State,
    builder: Builder,
    pending: IdVec<Rank, Vec<InstructionSpec>>,
    /// Weight gradients that have not found their op yet.
    weights: IdVec<Rank, Vec<InstructionSpec>>,
    put_off: bool,
    taken_off: Vec<(Rank, InstructionSpec)>,
    activity: Activity,
    label: OpLabel,
    plans: BTreeMap<(&'static str, Bytes, Vec<Rank>), Planned>,
    /// Weights that replicas share, gathered for their next use, and gradients of one micro-batch.
    gathered: BTreeMap<(Rank, Piece), AtHand>,
    fresh: BTreeMap<(Rank, Piece), AtHand>,
    /// The blocks that the transfers of an all-to-all carry, by its plan.
    blocks: BTreeMap<usize, Arc<[Vec<Block>]>>,
    last: IdVec<Rank, Option<OpId>>,
}

impl<'a> Emitter<'a> {
    pub(super) fn new(plan: &'a TrainingPlan, state: &'a State) -> Self {
        let ranks = plan.placement.len();
        Emitter {
            plan,
            state,
            builder: Builder::new(ranks),
            pending: IdVec::filled(Vec::new(), ranks),
            weights: IdVec::filled(Vec::new(), ranks),
            put_off: false,
            taken_off: Vec::new(),
            activity: Activity::Other,
            label: OpLabel::default(),
            plans: BTreeMap::new(),
            gathered: BTreeMap::new(),
            fresh: BTreeMap::new(),
            blocks: BTreeMap::new(),
            last: IdVec::filled(None, ranks),
        }
    }

    pub(super) fn build(self) -> Program {
        assert!(self.pending.iter().all(Vec::is_empty), "every instruction found its op");
        self.builder.build()
    }

    /// What the ops from now on are called.
    pub(super) fn pass(
        &mut self,
        activity: Activity,
        name: &'static str,
        stage: Stage,
        micro_batch: MicroBatch,
    ) {
        self.activity = activity;
        self.label = OpLabel { name, stage: Some(stage), micro_batch: Some(micro_batch), layer: None };
        self.put_off = false;
    }

    /// What the ops from now on are called when they belong to no micro-batch.
    pub(super) fn phase(&mut self, activity: Activity, name: &'static str) {
        self.activity = activity;
        self.label = OpLabel { name, ..OpLabel::default() };
        self.put_off = false;
    }

    /// Which micro-batch (or turn of a worker) the ops from now on are about.
    pub(super) fn about(&mut self, micro_batch: MicroBatch) {
        self.label.micro_batch = Some(micro_batch);
    }

    /// Makes `later` wait for `earlier` beyond what their buffers ask for.
    pub(super) fn after(&mut self, earlier: OpId, later: OpId) {
        self.builder.after(earlier, later);
    }

    /// Makes an op on a stream of what has gathered on a rank.
    pub(super) fn flush_to(&mut self, rank: Rank, stream: Stream) -> OpId {
        let instructions = std::mem::take(&mut self.pending[rank]);
        let op = OpSpec { rank, stream, activity: self.activity, label: self.label };
        self.builder.compute(op, instructions)
    }

    /// A slot that ops use in whatever order they run.
    pub(super) fn shared_slot(&mut self, slot: SlotId) -> BufferId {
        let buffer = self.slot(slot);
        self.builder.share(buffer);
        buffer
    }

    /// Which piece the instructions from now on belong to.
    pub(super) fn piece(&mut self, piece: Piece) {
        self.label.layer = match piece {
            Piece::Block(layer) | Piece::Dense(layer) => Some(layer),
            Piece::Embedding | Piece::Head | Piece::Loss => None,
        };
    }

    /// Does something under another activity, as ops of its own.
    pub(super) fn activity(&mut self, ranks: &[Rank], activity: Activity) -> Activity {
        self.flush(ranks);
        std::mem::replace(&mut self.activity, activity)
    }

    /// Whether weight gradients wait for a pass of their own.
    pub(super) fn put_off_weights(&mut self, put_off: bool) {
        self.put_off = put_off;
    }

    /// The weight gradients put off since the last call.
    pub(super) fn take_put_off(&mut self) -> Vec<(Rank, InstructionSpec)> {
        std::mem::take(&mut self.taken_off)
    }

    /// The slots of a piece's parameters, as buffers: weight and gradient of each.
    pub(super) fn parameters(&mut self, rank: Rank, piece: Piece) -> Vec<ParameterBuffers> {
        let slots = self.state.of(rank, piece);
        let gathered = self.gathered.get(&(rank, piece)).cloned();
        let fresh = self.fresh.get(&(rank, piece)).cloned();
        let of = |held: &Option<AtHand>, at: usize| held.as_ref()?.get(at).copied().flatten();
        let buffers = slots.iter().enumerate().map(|(at, slots)| ParameterBuffers {
            weight: slots.weight.map(|slot| self.slot(slot)).or(of(&gathered, at)).expect("weights at hand"),
            gradient: slots.gradient.map(|slot| self.slot(slot)).or(of(&fresh, at)),
        });
        buffers.collect()
    }

    /// The weight of a piece's parameter is in this buffer until it is gathered anew.
    pub(super) fn gathered(&mut self, rank: Rank, piece: Piece, position: usize, buffer: BufferId) {
        put(self.gathered.entry((rank, piece)).or_default(), position, buffer);
    }

    /// The gradient of a piece's parameter goes to this buffer from now on.
    pub(super) fn fresh_gradient(&mut self, rank: Rank, piece: Piece, position: usize, buffer: BufferId) {
        put(self.fresh.entry((rank, piece)).or_default(), position, buffer);
    }

    /// The compute op of a rank that came last.
    pub(super) fn last_op(&self, rank: Rank) -> Option<OpId> {
        self.last[rank]
    }

    /// Makes every part of an exchange wait for what `earlier` names of its rank.
    pub(super) fn exchange_after(&mut self, exchange: CollectiveId, earlier: impl Fn(Rank) -> Option<OpId>) {
        for (rank, op) in self.builder.parts_of(exchange) {
            if let Some(earlier) = earlier(rank) {
                self.builder.after(earlier, op);
            }
        }
    }

    pub(super) fn slot(&mut self, slot: SlotId) -> BufferId {
        let about = self.state.slots()[slot];
        self.builder.slot(slot, about.rank, about.elements, about.bytes, about.usage)
    }

    /// A buffer in the precision of activations.
    pub(super) fn activation(&mut self, rank: Rank, elements: u64) -> BufferId {
        let bytes = self.plan.precision.bytes_of(elements);
        self.builder.buffer(rank, elements, bytes, MemoryUse::Activations)
    }

    /// A buffer of numbers of a given width.
    pub(super) fn bytes_buffer(
        &mut self,
        rank: Rank,
        elements: u64,
        bytes: u64,
        usage: MemoryUse,
    ) -> BufferId {
        self.builder.buffer(rank, elements, Bytes(elements * bytes), usage)
    }

    /// A buffer of numbers that are packed into fewer bytes than they would take alone.
    pub(super) fn packed_buffer(
        &mut self,
        rank: Rank,
        elements: u64,
        bytes: Bytes,
        usage: MemoryUse,
    ) -> BufferId {
        self.builder.buffer(rank, elements, bytes, usage)
    }

    pub(super) fn elements(&self, buffer: BufferId) -> u64 {
        self.builder.describe(buffer).elements
    }

    /// Adds an instruction to a rank's next op.
    pub(super) fn run(
        &mut self,
        rank: Rank,
        formula: Formula,
        kernel: Option<Kernel>,
        reads: &[BufferId],
        writes: &[BufferId],
        updates: &[BufferId],
    ) {
        self.instruction(rank, spec(formula, kernel, reads, writes, updates));
    }

    pub(super) fn instruction(&mut self, rank: Rank, instruction: InstructionSpec) {
        self.pending[rank].push(instruction);
    }

    /// Adds a weight gradient: it may run beside a collective, or be put off to a pass of its own.
    pub(super) fn run_weight(
        &mut self,
        rank: Rank,
        formula: Formula,
        kernel: Option<Kernel>,
        reads: &[BufferId],
        updates: &[BufferId],
    ) {
        self.weight_instruction(rank, spec(formula, kernel, reads, &[], updates));
    }

    /// Adds a weight gradient that is written out.
    pub(super) fn weight_instruction(&mut self, rank: Rank, instruction: InstructionSpec) {
        if self.put_off {
            self.taken_off.push((rank, instruction));
        } else {
            self.weights[rank].push(instruction);
        }
    }

    /// Adds a kernel that takes its time beside what it belongs to.
    pub(super) fn beside(&mut self, rank: Rank, kernel: Option<Kernel>) {
        self.run(rank, Formula::Beside, kernel, &[], &[], &[]);
    }

    /// The same beside a weight gradient.
    pub(super) fn beside_weight(&mut self, rank: Rank, kernel: Option<Kernel>) {
        self.run_weight(rank, Formula::Beside, kernel, &[], &[]);
    }

    /// Makes ops of what has gathered on these ranks.
    pub(super) fn flush(&mut self, ranks: &[Rank]) {
        for &rank in ranks {
            let weights = std::mem::take(&mut self.weights[rank]);
            self.pending[rank].extend(weights);
            self.flush_pending(rank);
        }
    }

    pub(super) fn flush_pending(&mut self, rank: Rank) {
        let instructions = std::mem::take(&mut self.pending[rank]);
        if !instructions.is_empty() {
            let op = OpSpec { rank, stream: Stream::Compute, activity: self.activity, label: self.label };
            self.last[rank] = Some(self.builder.compute(op, instructions));
        }
    }

    /// Sums (or takes the maximum of) a buffer over the tensor ranks of a cell. Weight gradients that
    /// have gathered run while the sum is on its way.
    pub(super) fn reduce_tensor(
        &mut self,
        cell: &Cell,
        buffers: &PerRank,
        precision: Precision,
        reduction: Reduction,
    ) {
        if cell.group.len() == 1 {
            let weights = std::mem::take(&mut self.weights[cell.ranks[0]]);
            self.pending[cell.ranks[0]].extend(weights);
            return;
        }
        for &rank in &cell.ranks {
            self.flush_pending(rank);
        }
        let bytes = precision.bytes_of(self.elements(buffers[0]));
        let parts = cell.ranks.iter().zip(buffers).map(|(&rank, &buffer)| Part {
            rank,
            reads: vec![buffer],
            writes: vec![buffer],
        });
        let label = OpLabel { name: "all-reduce", ..self.label };
        let kind = CollectiveKind::AllReduce;
        let (stream, activity) = (Stream::Tensor, Activity::TensorComm);
        self.exchange(kind, stream, activity, label, bytes, reduction, &cell.group, parts.collect());
        for &rank in &cell.ranks {
            let weights = std::mem::take(&mut self.weights[rank]);
            self.pending[rank].extend(weights);
            self.flush_pending(rank);
        }
    }

    /// Every rank of a cell gets the rows of all (`whole` numbers), each having its own.
    pub(super) fn gather_rows(&mut self, cell: &Cell, buffers: &PerRank, whole: u64) -> PerRank {
        let gathered: PerRank = cell.ranks.iter().map(|&rank| self.activation(rank, whole)).collect();
        self.tensor_exchange(cell, CollectiveKind::AllGather, buffers, &gathered, whole);
        gathered
    }

    /// Every rank of a cell gets its own rows of the sum of all (`whole` numbers each).
    pub(super) fn scatter_rows(&mut self, cell: &Cell, buffers: &PerRank, whole: u64) -> PerRank {
        let own = whole / cell.group.len() as u64;
        let scattered: PerRank = cell.ranks.iter().map(|&rank| self.activation(rank, own)).collect();
        self.tensor_exchange(cell, CollectiveKind::ReduceScatter, buffers, &scattered, whole);
        scattered
    }

    /// An exchange of the tensor ranks of a cell in the precision of activations; weight gradients
    /// that have gathered run while it is on its way.
    fn tensor_exchange(
        &mut self,
        cell: &Cell,
        kind: CollectiveKind,
        reads: &PerRank,
        writes: &PerRank,
        whole: u64,
    ) {
        for &rank in &cell.ranks {
            self.flush_pending(rank);
        }
        let parts = cell.ranks.iter().zip(reads.iter().zip(writes));
        let parts =
            parts.map(|(&rank, (&read, &write))| Part { rank, reads: vec![read], writes: vec![write] });
        let label = OpLabel { name: kind.name(), ..self.label };
        let (stream, activity) = (Stream::Tensor, Activity::TensorComm);
        let bytes = self.plan.precision.bytes_of(whole);
        self.exchange(kind, stream, activity, label, bytes, Reduction::Sum, &cell.group, parts.collect());
        self.flush(&cell.ranks);
    }

    /// An exchange of a group, with the parts of those that are simulated.
    #[allow(clippy::too_many_arguments)] // what an exchange is, once
    pub(super) fn exchange(
        &mut self,
        kind: CollectiveKind,
        stream: Stream,
        activity: Activity,
        label: OpLabel,
        bytes: Bytes,
        reduction: Reduction,
        group: &[Rank],
        parts: Vec<Part>,
    ) -> CollectiveId {
        let (plan, folded) = self.plan_of(kind, bytes, group);
        self.builder.exchange(ExchangeSpec {
            kind,
            reduction,
            bytes,
            plan,
            folded,
            routed: None,
            stream,
            activity,
            label,
            parts,
        })
    }

    /// Tokens on their way to experts, or back: buffers of rows of `width` numbers, of which a part of `bytes` is
    /// for each member when they are spread evenly. Weight gradients that have gathered run meanwhile.
    pub(super) fn exchange_tokens(
        &mut self,
        (routing, back): (RoutingId, bool),
        width: u64,
        group: &[Rank],
        parts: Vec<Part>,
    ) {
        let kind = CollectiveKind::AllToAll;
        let elements = self.elements(parts[0].reads[0]);
        let bytes = self.plan.precision.bytes_of(elements);
        let (plan, folded) = self.plan_of(kind, bytes, group);
        // A plan is kept as long as the emitter, so its address names it.
        let key = Arc::as_ptr(&plan) as usize;
        let members = group.len() as u32;
        let blocks = self.blocks.entry(key).or_insert_with(|| blocks(&plan, members).into()).clone();
        let row = self.plan.precision.bytes_of(width);
        let label = OpLabel { name: if back { "combine" } else { "dispatch" }, ..self.label };
        self.builder.exchange(ExchangeSpec {
            kind,
            reduction: Reduction::Sum,
            bytes,
            plan,
            folded,
            routed: Some(RoutedExchange { routing, back, row, blocks }),
            stream: Stream::Tensor,
            activity: Activity::ExpertComm,
            label,
            parts,
        });
    }

    /// A decision of a group which tokens go to which experts.
    pub(super) fn routing(&mut self, routing: Routing) -> RoutingId {
        self.builder.routing(Routing { label: self.label, ..routing })
    }

    /// The rows that arrive at a member of a routing.
    pub(super) fn arrivals(&mut self, routing: RoutingId, member: u32) -> Arrivals {
        self.builder.arrivals(ArrivalsAt { routing, member })
    }

    /// A buffer in the precision of activations whose size goes by rows that arrive; `elements` is what it has
    /// when there are as many as there nominally are.
    pub(super) fn arriving(&mut self, rank: Rank, elements: u64, arrivals: Arrivals) -> BufferId {
        let buffer = self.activation(rank, elements);
        self.builder.sized_by(buffer, arrivals);
        buffer
    }

    /// Which micro-batch the ops are about.
    pub(super) fn micro_batch(&self) -> Option<MicroBatch> {
        self.label.micro_batch
    }

    /// Sends what each rank of a cell holds to the same tensor rank of another stage; returns the
    /// buffers that arrive there. A stage on the same ranks finds them where they are.
    pub(super) fn send(&mut self, cell: &Cell, x: PerRank, to: &Cell, micro_batch: MicroBatch) -> PerRank {
        if cell.ranks == to.ranks {
            return x;
        }
        let forward = to.stage > cell.stage;
        let (stream, name) = if forward {
            (Stream::SendNext, "send forward")
        } else {
            (Stream::SendPrevious, "send backward")
        };
        let label = OpLabel { name, stage: Some(cell.stage), micro_batch: Some(micro_batch), layer: None };
        let mut arrived = Vec::new();
        for ((&rank, &target), buffer) in cell.ranks.iter().zip(&to.ranks).zip(x) {
            let elements = self.elements(buffer);
            let bytes = self.plan.precision.bytes_of(elements);
            let landing = self.activation(target, elements);
            let from = Part { rank, reads: vec![buffer], writes: vec![] };
            let into = Part { rank: target, reads: vec![], writes: vec![landing] };
            self.send_parts(stream, Activity::PipelineComm, label, bytes, from, into);
            arrived.push(landing);
        }
        arrived
    }

    /// A send from one rank to another.
    pub(super) fn send_parts(
        &mut self,
        stream: Stream,
        activity: Activity,
        label: OpLabel,
        bytes: Bytes,
        from: Part,
        into: Part,
    ) -> OpId {
        let kind = CollectiveKind::SendReceive;
        let (plan, folded) = self.plan_of(kind, bytes, &[from.rank, into.rank]);
        let (reduction, parts) = (Reduction::Sum, vec![from, into]);
        let spec = ExchangeSpec {
            kind,
            reduction,
            bytes,
            plan,
            folded,
            routed: None,
            stream,
            activity,
            label,
            parts,
        };
        self.builder.send(spec)
    }

    /// The plan of a collective, made once for each kind, size and group of devices; where the plan of
    /// training is folded, with the groups that it stands for.
    fn plan_of(&mut self, kind: CollectiveKind, bytes: Bytes, ranks: &[Rank]) -> Planned {
        let plan = self.plan;
        let known = self.plans.entry((kind.name(), bytes, ranks.to_vec()));
        let make = || {
            let devices = |ranks: &[Rank]| -> Vec<DeviceId> {
                ranks.iter().map(|&rank| plan.placement[rank]).collect()
            };
            let call = Collective { kind, bytes, group: devices(ranks).into() };
            let mirrored = || {
                let groups = plan.mirrored(ranks).iter().map(|group| devices(group)).collect();
                let members = (0_u32..).zip(ranks).filter(|(_, rank)| plan.simulates(**rank));
                Arc::new(Folded { groups, simulated: members.map(|(at, _)| Member(at)).collect() })
            };
            let transfers = algorithm_of(plan, &call).plan(&call, &plan.topology);
            (Arc::new(transfers), plan.folded.then(mirrored))
        };
        known.or_insert_with(make).clone()
    }

    /// Zeroes a rank's loss and, when it trains, its gradients: the first work of a step.
    pub(super) fn zero(&mut self, rank: Rank, trains: bool) {
        let state = self.state;
        let kept = |slots: &ParameterSlots| slots.gradient.or(slots.share.and_then(|share| share.gradient));
        let gradients = state.of_rank(rank).filter(|_| trains).filter_map(kept);
        let slots: Vec<SlotId> = gradients.chain(state.loss(rank)).collect();
        let buffers: Vec<BufferId> = slots.into_iter().map(|slot| self.slot(slot)).collect();
        if buffers.is_empty() {
            return;
        }
        let elements = buffers.iter().map(|&buffer| self.elements(buffer)).sum();
        self.phase(Activity::Optimizer, "zero gradients");
        self.run(rank, Formula::Zero, kernels::fill(elements), &[], &[], &buffers);
        self.flush(&[rank]);
    }

    pub(super) fn state(&self) -> &'a State {
        self.state
    }
}

/// Groups from this size on sum a few numbers (a gradient norm) by trees: a ring would pass them on
/// twice as often as it has members. NCCL's tuner chooses trees for small payloads too.
const MANY_RANKS: usize = 32;
const FEW_BYTES: Bytes = Bytes(64);

fn algorithm_of(plan: &TrainingPlan, call: &Collective) -> AlgorithmSpec {
    let scalar = call.kind == CollectiveKind::AllReduce && call.bytes <= FEW_BYTES;
    let tree =
        (scalar && call.group.len() >= MANY_RANKS).then(|| AlgorithmSpec::from_name("double_binary_tree"));
    tree.flatten().unwrap_or_else(|| plan.algorithm.clone())
}

/// A parameter's shard as buffers of the program.
#[derive(Debug, Clone, Copy)]
pub(super) struct ParameterBuffers {
    pub(super) weight: BufferId,
    /// Nothing where only a forward pass is made and no gradient is at hand.
    gradient: Option<BufferId>,
}

impl ParameterBuffers {
    pub(super) fn gradient(self) -> BufferId {
        self.gradient.expect("gradients at hand in a backward pass")
    }
}

pub(super) fn spec(
    formula: Formula,
    kernel: Option<Kernel>,
    reads: &[BufferId],
    writes: &[BufferId],
    updates: &[BufferId],
) -> InstructionSpec {
    let (reads, writes, updates) = (reads.into(), writes.into(), updates.into());
    InstructionSpec { formula, kernel, arrivals: None, reads, writes, updates }
}

fn put(at_hand: &mut AtHand, position: usize, buffer: BufferId) {
    if at_hand.len() <= position {
        at_hand.resize(position + 1, None);
    }
    at_hand[position] = Some(buffer);
}
