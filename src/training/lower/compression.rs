//! Gradients are made small before they travel, and made whole again.
//!
//! Packing runs between the kernels of the backward pass, as soon as a bucket is complete: so do
//! PyTorch's communication hooks (`DistributedDataParallel.register_comm_hook`).

use crate::collective::CollectiveKind;
use crate::compute::{Kernel, Pass};
use crate::hardware::Precision;
use crate::ids::{BufferId, Rank, Stage};
use crate::model::Piece;
use crate::program::{Format, Formula, OpLabel, Packing, Part, Reduction};
use crate::trace::{Activity, MemoryUse, Stream};
use crate::training::compression::Scheme;
use crate::training::lower::sync::Bucket;
use crate::training::lower::{Lowering, kernels};
use crate::training::state::{ParameterBytes, ParameterSlots, low_rank_of};
use crate::units::Bytes;

/// Passes over 32-bit keys in which a radix selection finds the largest, eight bits at a time (Alabi et
/// al., "Fast k-Selection Algorithms for Graphics Processing Units", JEA 2012, section 4).
const SELECTION_PASSES: u32 = 4;

/// Bytes of a place and of a scale on the wire.
const PLACE: u64 = 4;
const SCALE: u64 = 4;

impl Lowering<'_> {
    /// Whether gradients are packed before they are exchanged.
    pub(super) fn packs(&self) -> bool {
        self.plan.compression.scheme() != Scheme::Whole
    }

    /// Packs and exchanges a bucket among the replicas, for every tensor rank of the stage.
    pub(super) fn compress_bucket(&mut self, stage: Stage, bucket: &Bucket) {
        for group in self.holder_groups(stage) {
            let elements: u64 = self.gradients_of(group[0], bucket).iter().map(|g| self.elements(*g)).sum();
            let part = |fraction: f64| ((elements as f64 * fraction).ceil() as u64).clamp(1, elements);
            match self.plan.compression.scheme() {
                Scheme::Whole => unreachable!("a bucket that travels whole is not packed"),
                Scheme::Largest { fraction } => {
                    let keep = part(fraction);
                    let packing = Packing::Largest { keep: keep as u32 };
                    let bytes = keep * (self.gradient_width() + PLACE);
                    self.gather_packets(stage, bucket, &group, packing, 2 * keep, bytes);
                }
                Scheme::Random { fraction } => self.sum_places(stage, bucket, &group, part(fraction)),
                Scheme::Sign => {
                    let bytes = elements.div_ceil(8) + SCALE * bucket.len() as u64;
                    self.gather_packets(stage, bucket, &group, Packing::Sign, elements, bytes);
                }
                Scheme::Narrow { format, block } => {
                    self.sum_narrow(stage, bucket, &group, (format, block), elements);
                }
                Scheme::LowRank { .. } => self.sum_factors(stage, bucket, &group),
            }
        }
    }

    /// Every replica gets the packets of all and sums them.
    fn gather_packets(
        &mut self,
        stage: Stage,
        bucket: &Bucket,
        group: &[Rank],
        packing: Packing,
        packet: u64,
        bytes: u64,
    ) {
        let members = group.len() as u64;
        let mut parts = Vec::new();
        for rank in self.plan.simulated(group) {
            let own = self.pack(rank, bucket, packing, packet, bytes);
            let all = self.wire_buffer(rank, packet * members, bytes * members);
            parts.push(Part { rank, reads: vec![own], writes: vec![all] });
        }
        let arrived = self.travel(stage, CollectiveKind::AllGather, group, bytes * members, parts);
        for (rank, packets) in arrived {
            self.unpack(rank, bucket, packing, group, packets);
        }
    }

    /// Numbers from the same places are summed on the way.
    fn sum_places(&mut self, stage: Stage, bucket: &Bucket, group: &[Rank], keep: u64) {
        let packing = Packing::Random { keep: keep as u32, bucket: self.next_bucket() };
        let bytes = keep * self.gradient_width();
        let mut parts = Vec::new();
        for rank in self.plan.simulated(group) {
            let packet = self.pack(rank, bucket, packing, keep, bytes);
            parts.push(Part { rank, reads: vec![packet], writes: vec![packet] });
        }
        for (rank, packet) in self.travel(stage, CollectiveKind::AllReduce, group, bytes, parts) {
            self.unpack(rank, bucket, packing, group, packet);
        }
    }

    /// Each replica gets everybody's version of its piece, sums it, and hands the sum to all.
    fn sum_narrow(
        &mut self,
        stage: Stage,
        bucket: &Bucket,
        group: &[Rank],
        (format, block): (Format, u32),
        elements: u64,
    ) {
        let members = group.len() as u64;
        let packing = Packing::Narrow { format, block };
        let piece = elements.div_ceil(members);
        let padded = piece * members;
        let bytes_of = |count: u64| count + SCALE * count.div_ceil(u64::from(block));
        let mut parts = Vec::new();
        for rank in self.plan.simulated(group) {
            let packet = self.pack(rank, bucket, packing, padded, bytes_of(padded));
            let pieces = self.wire_buffer(rank, padded, bytes_of(padded));
            parts.push(Part { rank, reads: vec![packet], writes: vec![pieces] });
        }
        let arrived = self.travel(stage, CollectiveKind::AllToAll, group, bytes_of(padded), parts);
        let mut parts = Vec::new();
        for (rank, pieces) in arrived {
            let sum = self.wire_buffer(rank, piece, bytes_of(piece));
            let all = self.wire_buffer(rank, padded, bytes_of(padded));
            let formula = Formula::SumPieces { format, block, members: members as u32 };
            let kernel = kernels::elementwise(piece, members as u32, 1, members as u32, Precision::I8);
            self.emitter.run(rank, formula, kernel, &[pieces], &[sum], &[]);
            self.emitter.flush(&[rank]);
            parts.push(Part { rank, reads: vec![sum], writes: vec![all] });
        }
        for (rank, all) in self.travel(stage, CollectiveKind::AllGather, group, bytes_of(padded), parts) {
            self.unpack(rank, bucket, packing, group, all);
        }
    }

    /// Left factors are summed, made orthonormal and multiplied back; right factors are summed.
    fn sum_factors(&mut self, stage: Stage, bucket: &Bucket, group: &[Rank]) {
        let width = self.gradient_width();
        let ranks = self.plan.simulated(group);
        let mut lefts = Vec::new();
        let mut parts = Vec::new();
        for &rank in &ranks {
            self.emitter.phase(Activity::Optimizer, "compress gradients");
            let left = self.left_factors(rank, bucket);
            let buffers: Vec<BufferId> = left.iter().map(|matrix| matrix.left).collect();
            let buffers = [buffers, self.whole_gradients(rank, bucket)].concat();
            self.emitter.flush(&[rank]);
            parts.push(Part { rank, reads: buffers.clone(), writes: buffers });
            lefts.push(left);
        }
        let bytes = self.elements_of(&parts[0].reads) * width;
        self.exchange_packets(stage, CollectiveKind::AllReduce, group, bytes, parts);
        if lefts[0].is_empty() {
            return;
        }
        let mut parts = Vec::new();
        for (&rank, left) in ranks.iter().zip(&lefts) {
            self.emitter.phase(Activity::Optimizer, "compress gradients");
            for matrix in left {
                let Matrix { rows, columns, rank: factor, .. } = *matrix;
                let formula = Formula::LowRankRight { columns: columns as u32, rank: factor as u32 };
                let kernel = product(columns, factor, rows);
                let updates = [matrix.left, matrix.right];
                self.emitter.run(rank, formula, kernel, &[matrix.gradient], &[], &updates);
            }
            self.emitter.flush(&[rank]);
            let rights: Vec<BufferId> = left.iter().map(|matrix| matrix.right).collect();
            parts.push(Part { rank, reads: rights.clone(), writes: rights });
        }
        let bytes = self.elements_of(&parts[0].reads) * width;
        self.exchange_packets(stage, CollectiveKind::AllReduce, group, bytes, parts);
        for (&rank, left) in ranks.iter().zip(&lefts) {
            self.emitter.phase(Activity::Optimizer, "decompress gradients");
            for matrix in left {
                let Matrix { rows, columns, rank: factor, .. } = *matrix;
                let (columns32, members) = (columns as u32, group.len() as u32);
                let formula = Formula::LowRankSum { columns: columns32, rank: factor as u32, members };
                let updates: Vec<BufferId> = [matrix.gradient].into_iter().chain(matrix.error).collect();
                let reads = [matrix.left, matrix.right];
                self.emitter.run(rank, formula, product(rows, columns, factor), &reads, &[], &updates);
            }
            self.emitter.flush(&[rank]);
        }
    }

    /// p = (g + e)·q of every matrix of a bucket that is sent as factors.
    fn left_factors(&mut self, rank: Rank, bucket: &Bucket) -> Vec<Matrix> {
        let mut made = Vec::new();
        for &(piece, position) in bucket {
            let slots = &self.emitter.state().of(rank, piece)[position];
            let Some((rows, columns, factor)) = low_rank_of(self.plan, &slots.parameter) else { continue };
            let (slot, error) = (slots.factor.expect("a factor of each matrix"), slots.error);
            let right = self.emitter.slot(slot);
            let error = error.map(|slot| self.emitter.slot(slot));
            let gradient = self.emitter.parameters(rank, piece)[position].gradient();
            let left = self.wire_buffer(rank, rows * factor, rows * factor * self.gradient_width());
            let formula = Formula::LowRankLeft { columns: columns as u32, rank: factor as u32 };
            let updates: Vec<BufferId> = [gradient].into_iter().chain(error).collect();
            self.emitter.run(rank, formula, product(rows, factor, columns), &[right], &[left], &updates);
            made.push(Matrix { rows, columns, rank: factor, gradient, left, right, error });
        }
        made
    }

    /// The gradients of a bucket that low-rank compression leaves as they are.
    fn whole_gradients(&mut self, rank: Rank, bucket: &Bucket) -> Vec<BufferId> {
        let plan = self.plan;
        let whole = |lowering: &Self, &(piece, position): &(Piece, usize)| {
            let slots: &ParameterSlots = &lowering.emitter.state().of(rank, piece)[position];
            low_rank_of(plan, &slots.parameter).is_none()
        };
        let bucket: Bucket = bucket.iter().filter(|entry| whole(self, entry)).copied().collect();
        self.gradients_of(rank, &bucket)
    }

    /// p = g + e; what is sent of it.
    fn pack(&mut self, rank: Rank, bucket: &Bucket, packing: Packing, packet: u64, bytes: u64) -> BufferId {
        let gradients = self.gradients_of(rank, bucket);
        let state = self.emitter.state();
        let slots = bucket.iter().filter_map(|&(piece, position)| state.of(rank, piece)[position].error);
        let errors: Vec<BufferId> = slots.map(|slot| self.emitter.slot(slot)).collect();
        let elements = self.elements_of(&gradients);
        let packed = self.wire_buffer(rank, packet, bytes);
        // Gradient and error are read, the error and the packet written; a selection reads them again.
        let passes = if matches!(packing, Packing::Largest { .. }) { SELECTION_PASSES } else { 0 };
        let kept = u32::from(!errors.is_empty());
        let kernel = kernels::elementwise(elements, 1 + kept + passes, 1 + kept, 2, Precision::F32);
        self.emitter.phase(Activity::Optimizer, "compress gradients");
        self.emitter.run(rank, Formula::Pack { packing }, kernel, &gradients, &[packed], &errors);
        self.emitter.flush(&[rank]);
        packed
    }

    fn unpack(&mut self, rank: Rank, bucket: &Bucket, packing: Packing, group: &[Rank], packets: BufferId) {
        let gradients = self.gradients_of(rank, bucket);
        let (elements, received) = (self.elements_of(&gradients), self.elements(packets));
        let formula = Formula::Unpack { packing, members: group.len() as u32 };
        let inputs = received.div_ceil(elements.max(1)) as u32;
        let kernel = kernels::elementwise(elements, inputs, 1, 1, Precision::F32);
        self.emitter.phase(Activity::Optimizer, "decompress gradients");
        self.emitter.run(rank, formula, kernel, &[packets], &[], &gradients);
        self.emitter.flush(&[rank]);
    }

    /// Exchanges packets; what each rank then has.
    fn travel(
        &mut self,
        stage: Stage,
        kind: CollectiveKind,
        group: &[Rank],
        bytes: u64,
        parts: Vec<Part>,
    ) -> Vec<(Rank, BufferId)> {
        let arrived = parts.iter().map(|part| (part.rank, part.writes[0])).collect();
        self.exchange_packets(stage, kind, group, bytes, parts);
        arrived
    }

    fn exchange_packets(
        &mut self,
        stage: Stage,
        kind: CollectiveKind,
        group: &[Rank],
        bytes: u64,
        parts: Vec<Part>,
    ) {
        let label = OpLabel { name: "reduce gradients", stage: Some(stage), ..OpLabel::default() };
        let (stream, activity) = (Stream::Data, Activity::DataComm);
        self.emitter.exchange(kind, stream, activity, label, Bytes(bytes), Reduction::Sum, group, parts);
    }

    fn gradients_of(&mut self, rank: Rank, bucket: &Bucket) -> Vec<BufferId> {
        let gradient =
            |&(piece, position): &(Piece, usize)| self.emitter.parameters(rank, piece)[position].gradient();
        bucket.iter().map(gradient).collect()
    }

    /// Room for `elements` numbers that take `bytes` on the wire.
    fn wire_buffer(&mut self, rank: Rank, elements: u64, bytes: u64) -> BufferId {
        self.emitter.packed_buffer(rank, elements, Bytes(bytes), MemoryUse::Buffers)
    }

    fn gradient_width(&self) -> u64 {
        ParameterBytes::of(self.plan).gradient()
    }

    fn elements(&self, buffer: BufferId) -> u64 {
        self.emitter.elements(buffer)
    }

    fn elements_of(&self, buffers: &[BufferId]) -> u64 {
        buffers.iter().map(|&buffer| self.elements(buffer)).sum()
    }

    fn next_bucket(&mut self) -> u32 {
        self.buckets_packed += 1;
        self.buckets_packed
    }
}

/// A matrix of a bucket, with its factors.
#[derive(Debug, Clone, Copy)]
struct Matrix {
    rows: u64,
    columns: u64,
    rank: u64,
    gradient: BufferId,
    left: BufferId,
    right: BufferId,
    error: Option<BufferId>,
}

fn product(m: u64, n: u64, k: u64) -> Option<Kernel> {
    Some(Kernel::Gemm { batch: 1, m, n, k, precision: Precision::F32, pass: Pass::Forward })
}
