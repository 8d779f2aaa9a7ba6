//! Gathers instructions into ops, and ops into the program.
//!
//! Instructions of a rank gather until something must happen between them (a collective, the end of
//! a pass); then they become one op. So an op is as long as it can be and as short as it must be.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::collective::{AlgorithmSpec, Collective, CollectiveKind, CommPlan, Member};
use crate::compute::Kernel;
use crate::hardware::Precision;
use crate::ids::{BufferId, CollectiveId, DeviceId, IdVec, MicroBatch, OpId, Rank, SlotId, Stage};
use crate::model::Piece;
use crate::program::{
    Buffer, Builder, ExchangeSpec, Folded, Formula, InstructionSpec, OpLabel, OpSpec, Part, PatternId,
    Program, Reduction,
};
use crate::trace::{Activity, MemoryUse, Stream};
use crate::training::TrainingPlan;
use crate::training::lower::{Cell, PerRank, kernels};
use crate::training::state::{ParameterSlots, State};
use crate::units::Bytes;

/// The transfers of a call and, where ranks are folded, the groups that they stand for.
type Planned = (Arc<CommPlan>, Option<Arc<Folded>>);

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
    /// The groups that a group stands for.
    mirrored: BTreeMap<Vec<Rank>, Arc<Folded>>,
    /// Weights that replicas share, gathered for their next use, and gradients of one micro-batch.
    gathered: BTreeMap<(Rank, Piece), Vec<BufferId>>,
    fresh: BTreeMap<(Rank, Piece), Vec<BufferId>>,
    /// Which version of its weights each rank works with.
    versions: IdVec<Rank, u32>,
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
            mirrored: BTreeMap::new(),
            gathered: BTreeMap::new(),
            fresh: BTreeMap::new(),
            versions: IdVec::filled(0, ranks),
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

    /// What is written from here on is a pass that others will repeat.
    pub(super) fn begin_pattern(&mut self) {
        self.builder.begin_pattern();
    }

    /// The pass ends here.
    pub(super) fn end_pattern(&mut self) -> PatternId {
        self.builder.end_pattern()
    }

    /// Does what a pass did, with another micro-batch.
    pub(super) fn repeat(&mut self, pattern: PatternId, micro_batch: MicroBatch) {
        self.builder.repeat(pattern, micro_batch);
    }

    /// What the ops now are called, by another name.
    pub(super) fn label(&self, name: &'static str) -> OpLabel {
        OpLabel { name, ..self.label }
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
        let of = |held: &Option<Vec<BufferId>>, at: usize| held.as_ref().map(|held| held[at]);
        let version = self.versions[rank];
        let buffers = slots.iter().enumerate().map(|(at, slots)| ParameterBuffers {
            weight: slots
                .version(version)
                .map(|slot| self.slot(slot))
                .or(of(&gathered, at))
                .expect("weights at hand"),
            gradient: slots.gradient.map(|slot| self.slot(slot)).or(of(&fresh, at)),
        });
        buffers.collect()
    }

    /// Which version of its weights a rank works with from now on.
    pub(super) fn use_version(&mut self, rank: Rank, version: u32) {
        self.versions[rank] = version;
    }

    /// The weights of a piece are in these buffers until they are gathered anew.
    pub(super) fn gathered(&mut self, rank: Rank, piece: Piece, buffers: Vec<BufferId>) {
        self.gathered.insert((rank, piece), buffers);
    }

    /// The gradients of a piece go to these buffers from now on.
    pub(super) fn fresh_gradients(&mut self, rank: Rank, piece: Piece, buffers: Vec<BufferId>) {
        self.fresh.insert((rank, piece), buffers);
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

    pub(super) fn describe(&self, buffer: BufferId) -> Buffer {
        *self.builder.describe(buffer)
    }

    /// Names ops otherwise for a while; see [`rename`](Self::rename).
    pub(super) fn named(&mut self, activity: Activity, name: &'static str) -> (Activity, OpLabel) {
        let before = (self.activity, self.label);
        (self.activity, self.label) = (activity, OpLabel { name, ..self.label });
        before
    }

    /// Ends that.
    pub(super) fn rename(&mut self, activity: Activity, label: OpLabel) {
        (self.activity, self.label) = (activity, label);
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
        let instruction = spec(formula, kernel, reads, &[], updates);
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

    fn flush_pending(&mut self, rank: Rank) {
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
        if cell.groups[0].len() == 1 {
            for &rank in &cell.ranks {
                let weights = std::mem::take(&mut self.weights[rank]);
                self.pending[rank].extend(weights);
            }
            return;
        }
        for &rank in &cell.ranks {
            self.flush_pending(rank);
        }
        let bytes = precision.bytes_of(self.elements(buffers[0]));
        let label = OpLabel { name: "all-reduce", ..self.label };
        let kind = CollectiveKind::AllReduce;
        let (stream, activity) = (Stream::Tensor, Activity::TensorComm);
        for (group, ranks, buffers) in cell.tensor_groups(buffers) {
            let parts = ranks.iter().zip(buffers);
            let parts =
                parts.map(|(&rank, &buffer)| Part { rank, reads: vec![buffer], writes: vec![buffer] });
            self.exchange(kind, stream, activity, label, bytes, reduction, group, parts.collect());
        }
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
        let own = whole / cell.groups[0].len() as u64;
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
        let label = OpLabel { name: kind.name(), ..self.label };
        let (stream, activity) = (Stream::Tensor, Activity::TensorComm);
        let bytes = self.plan.precision.bytes_of(whole);
        let both: Vec<(BufferId, BufferId)> = reads.iter().copied().zip(writes.iter().copied()).collect();
        for (group, ranks, both) in cell.tensor_groups(&both) {
            let parts = ranks.iter().zip(both);
            let parts =
                parts.map(|(&rank, &(read, write))| Part { rank, reads: vec![read], writes: vec![write] });
            self.exchange(kind, stream, activity, label, bytes, Reduction::Sum, group, parts.collect());
        }
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
            stream,
            activity,
            label,
            parts,
        })
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
        let spec = ExchangeSpec { kind, reduction, bytes, plan, folded, stream, activity, label, parts };
        self.builder.send(spec)
    }

    /// The plan of a collective, made once for each kind, size and group of devices; where the plan of
    /// training is folded, with the groups that it stands for.
    fn plan_of(&mut self, kind: CollectiveKind, bytes: Bytes, ranks: &[Rank]) -> Planned {
        let plan = self.plan;
        let devices =
            |ranks: &[Rank]| -> Vec<DeviceId> { ranks.iter().map(|&rank| plan.placement[rank]).collect() };
        let mirrored = &mut self.mirrored;
        let known = self.plans.entry((kind.name(), bytes, ranks.to_vec()));
        let make = || {
            let call = Collective { kind, bytes, group: devices(ranks).into() };
            let stand_for = || {
                let groups = plan.mirrored(ranks).iter().map(|group| devices(group)).collect();
                let members = (0_u32..).zip(ranks).filter(|(_, rank)| plan.simulates(**rank));
                Arc::new(Folded { groups, simulated: members.map(|(at, _)| Member(at)).collect() })
            };
            let transfers = algorithm_of(plan, &call).plan(&call, &plan.topology);
            let folded =
                plan.folded.then(|| mirrored.entry(ranks.to_vec()).or_insert_with(stand_for).clone());
            (Arc::new(transfers), folded)
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

/// Groups from this size on sum a few numbers (a gradient norm) by trees, in one chunk: a ring would pass them
/// on twice as often as it has members. NCCL's tuner chooses trees for small payloads too.
const MANY_RANKS: usize = 32;
const FEW_BYTES: Bytes = Bytes(64);

fn algorithm_of(plan: &TrainingPlan, call: &Collective) -> AlgorithmSpec {
    let scalar = call.kind == CollectiveKind::AllReduce && call.bytes <= FEW_BYTES;
    let trees = || AlgorithmSpec::from_name("double_binary_tree")?.in_chunks(1).ok();
    let tree = (scalar && call.group.len() >= MANY_RANKS).then(trees);
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

fn spec(
    formula: Formula,
    kernel: Option<Kernel>,
    reads: &[BufferId],
    writes: &[BufferId],
    updates: &[BufferId],
) -> InstructionSpec {
    InstructionSpec { formula, kernel, reads: reads.into(), writes: writes.into(), updates: updates.into() }
}
