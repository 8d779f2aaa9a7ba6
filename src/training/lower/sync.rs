//! The end of a step: gradients meet, are clipped, and the optimiser steps; or sub-models are fused.

use std::collections::BTreeMap;

use crate::collective::CollectiveKind;
use crate::ids::{BufferId, Rank, Stage};
use crate::model::Piece;
use crate::program::{Formula, OpLabel, OptimizerRule, Part, Reduction};
use crate::trace::{Activity, MemoryUse, Stream};
use crate::training::lower::{Cell, Lowering, kernels};
use crate::training::state::{ParameterBytes, ParameterSlots};
use crate::training::sync::SyncAction;
use crate::units::Bytes;

/// Parameters of a stage whose gradients (or weights) travel together: indices into the parameters of
/// each piece, last piece first, as the backward pass makes them ready.
pub(super) type Bucket = Vec<(Piece, usize)>;

impl Lowering<'_> {
    /// Sums the gradients of a stage over replicas, bucket by bucket. Each bucket leaves when its last
    /// gradient is ready, under what is left of the backward pass.
    pub(super) fn reduce_gradients(&mut self, stage: Stage) {
        if self.plan.zero.shares_gradients() {
            // They have been reduced micro-batch by micro-batch.
            self.sum_over_groups(stage);
            return;
        }
        if self.plan.sums_some_over_tensor() {
            self.sum_common_gradients(stage);
        }
        let reduces = self.plan.sync.action(self.step) == SyncAction::ReduceGradients;
        if !reduces || self.plan.replicas() == 1 {
            return;
        }
        let width = ParameterBytes::of(self.plan).gradient();
        let sent = self.sent_early[stage];
        for bucket in self.buckets(stage, width).into_iter().skip(sent) {
            if self.packs() {
                self.compress_bucket(stage, &bucket);
            } else if self.shares(stage, &bucket) {
                self.scatter_bucket(stage, &bucket);
            } else {
                self.exchange_bucket(stage, &bucket, width, "reduce gradients", true);
            }
        }
        if self.plan.zero.shares() {
            self.sum_over_groups(stage);
        }
    }

    /// Packs and sends the buckets that are complete with this piece, between its backward pass and that of
    /// the piece before it.
    pub(super) fn send_packed(&mut self, stage: Stage, piece: Piece) {
        let reduces = self.plan.sync.action(self.step) == SyncAction::ReduceGradients;
        if !reduces || self.plan.replicas() == 1 || self.plan.schedule.copies() > 1 {
            return;
        }
        let mut buckets = self.buckets(stage, ParameterBytes::of(self.plan).gradient());
        if self.plan.sums_some_over_tensor() {
            // The last one waits for a sum over tensor ranks.
            buckets.pop();
        }
        while let Some(bucket) = buckets.get(self.sent_early[stage]) {
            // Pieces come last first.
            if bucket.last().is_none_or(|&(last, _)| last < piece) {
                return;
            }
            self.sent_early[stage] += 1;
            self.compress_bucket(stage, bucket);
        }
    }

    /// Whether replicas share the parameters of a bucket.
    pub(super) fn shares(&self, stage: Stage, bucket: &Bucket) -> bool {
        let first = self.plan.cell_ranks(0, 0, stage)[0];
        let (piece, at) = bucket[0];
        self.emitter.state().of(first, piece)[at].share.is_some()
    }

    /// Whether the parameters of a bucket are experts', which other replicas hold together.
    pub(super) fn is_of_experts(&self, stage: Stage, bucket: &[(Piece, usize)]) -> bool {
        let first = self.plan.cell_ranks(0, 0, stage)[0];
        let (piece, at) = bucket[0];
        self.emitter.state().of(first, piece)[at].parameter.of_experts
    }

    /// Sums over tensor ranks the gradients of what they all hold whole: with split rows each has seen
    /// its own rows only, and of a router each has seen what its own part of the experts says.
    fn sum_common_gradients(&mut self, stage: Stage) {
        let label = OpLabel { name: "common gradients", stage: Some(stage), ..OpLabel::default() };
        let width = ParameterBytes::of(self.plan).gradient();
        let pieces: Vec<Piece> = self.plan.stages[stage].clone().map(|index| self.pieces[index]).collect();
        for (replica, copy) in self.plan.simulated_copies() {
            let ranks = self.plan.cell_ranks(replica, copy, stage);
            self.sum_common(&ranks, &pieces, label, width);
        }
    }

    /// The same for one piece of one micro-batch.
    pub(super) fn sum_common_of(&mut self, cells: &[Cell], piece: Piece) {
        let label = OpLabel { name: "common gradients", stage: Some(cells[0].stage), ..OpLabel::default() };
        let width = ParameterBytes::of(self.plan).gradient();
        for cell in cells {
            self.sum_common(&cell.group, &[piece], label, width);
        }
    }

    fn sum_common(&mut self, ranks: &[Rank], pieces: &[Piece], label: OpLabel, width: u64) {
        let mut parts = Vec::new();
        for rank in self.plan.simulated(ranks) {
            let mut buffers = Vec::new();
            for &piece in pieces {
                let state = self.emitter.state();
                let held = self.emitter.parameters(rank, piece);
                let common = held.iter().zip(state.of(rank, piece));
                let plan = self.plan;
                let common = common.filter(|(_, slots)| plan.sums_over_tensor(&slots.parameter));
                buffers.extend(common.map(|(buffers, _)| buffers.gradient()));
            }
            parts.push(Part { rank, reads: buffers.clone(), writes: buffers });
        }
        let elements: u64 = parts[0].reads.iter().map(|&buffer| self.emitter.elements(buffer)).sum();
        if elements > 0 {
            let (kind, bytes) = (CollectiveKind::AllReduce, Bytes(elements * width));
            let (stream, activity) = (Stream::Tensor, Activity::TensorComm);
            self.emitter.exchange(kind, stream, activity, label, bytes, Reduction::Sum, ranks, parts);
        }
    }

    /// Cuts the parameters of a stage into buckets of at least the plan's size, last piece first.
    fn buckets(&self, stage: Stage, width: u64) -> Vec<Bucket> {
        let first = self.plan.cell_ranks(0, 0, stage)[0];
        let mut buckets = Vec::new();
        let mut bucket = Bucket::new();
        // What waits for a sum over tensor ranks at the end must not keep the others waiting.
        let mut late = Bucket::new();
        // Experts are held by other replicas together than the rest.
        let mut experts = Bucket::new();
        let (mut bytes, mut expert_bytes) = (0, 0);
        for index in self.plan.stages[stage].clone().rev() {
            let piece = self.pieces[index];
            for (position, slots) in self.emitter.state().of(first, piece).iter().enumerate() {
                if self.plan.sums_over_tensor(&slots.parameter) {
                    late.push((piece, position));
                } else if slots.parameter.of_experts && self.plan.expert > 1 {
                    experts.push((piece, position));
                    expert_bytes += slots.elements * width;
                } else {
                    bucket.push((piece, position));
                    bytes += slots.elements * width;
                }
            }
            if expert_bytes >= self.plan.bucket.get() {
                buckets.push(std::mem::take(&mut experts));
                expert_bytes = 0;
            }
            if bytes >= self.plan.bucket.get() {
                buckets.push(std::mem::take(&mut bucket));
                bytes = 0;
            }
        }
        buckets.extend([bucket, experts, late].into_iter().filter(|bucket| !bucket.is_empty()));
        buckets
    }

    /// All-reduces one bucket over the replicas, for every tensor rank of the stage.
    fn exchange_bucket(
        &mut self,
        stage: Stage,
        bucket: &Bucket,
        width: u64,
        name: &'static str,
        gradients: bool,
    ) {
        let tensor_ranks = if self.plan.folded { 1 } else { self.plan.mesh.tensor as usize };
        // Of experts those replicas that hold the same ones.
        let apart = if self.is_of_experts(stage, bucket) { self.plan.expert } else { 1 };
        let apart = if self.plan.folded { (apart, 1) } else { (apart, apart) };
        let groups = (0..tensor_ranks).flat_map(|tensor| (0..apart.1).map(move |holds| (tensor, holds)));
        for (tensor, holds) in groups {
            let copies = self.plan.copies().filter(|(replica, _)| replica % apart.0 == holds);
            let group: Vec<Rank> =
                copies.map(|(replica, copy)| self.plan.cell_ranks(replica, copy, stage)[tensor]).collect();
            if group.len() == 1 {
                continue;
            }
            let parts: Vec<Part> = self
                .plan
                .simulated(&group)
                .into_iter()
                .map(|rank| {
                    let buffers = self.bucket_buffers(rank, bucket, gradients);
                    Part { rank, reads: buffers.clone(), writes: buffers }
                })
                .collect();
            let elements: u64 = parts[0].reads.iter().map(|&buffer| self.emitter.elements(buffer)).sum();
            let label = OpLabel { name, stage: Some(stage), ..OpLabel::default() };
            let bytes = Bytes(elements * width);
            self.emitter.exchange(
                CollectiveKind::AllReduce,
                Stream::Data,
                Activity::DataComm,
                label,
                bytes,
                Reduction::Sum,
                &group,
                parts,
            );
        }
    }

    fn bucket_buffers(&mut self, rank: Rank, bucket: &Bucket, gradients: bool) -> Vec<BufferId> {
        let buffers = bucket.iter().map(|&(piece, position)| {
            let parameter = self.emitter.parameters(rank, piece)[position];
            if gradients { parameter.gradient() } else { parameter.weight }
        });
        buffers.collect()
    }

    /// Clips, steps and, where sub-models are fused, averages.
    pub(super) fn synchronise_and_update(&mut self) {
        // In half precision the norm tells whether gradients have overflowed, clipped or not.
        let half = self.plan.precision == crate::hardware::Precision::F16;
        if let Some(limit) = self.plan.clip.or(half.then_some(f32::INFINITY)) {
            self.clip(limit);
        }
        for rank in self.plan.simulated_ranks() {
            self.step_parameters(rank);
        }
        if self.plan.zero.shares() && !self.plan.zero.shares_weights() {
            let width = ParameterBytes::of(self.plan).weight();
            for (stage, _) in self.plan.stages.enumerate() {
                for bucket in self.buckets(stage, width) {
                    if self.shares(stage, &bucket) {
                        self.gather_stepped(stage, &bucket);
                    }
                }
            }
        }
        if self.plan.sync.action(self.step) == SyncAction::AverageParameters && self.plan.replicas() > 1 {
            self.average_parameters();
        }
        if let SyncAction::MixWithNeighbours { graph, .. } = self.plan.sync.action(self.step) {
            self.mix_with_neighbours(&graph.neighbours(self.plan.replicas(), self.step));
        }
    }

    /// Scales all gradients of a replica by min(1, limit / ‖g‖), the norm taken over every stage and
    /// tensor rank with each parameter of one copy of the model counted once.
    ///
    /// Pascanu et al., "On the difficulty of training recurrent neural networks", 2013, algorithm 1.
    fn clip(&mut self, limit: f32) {
        let mesh = self.plan.mesh;
        self.emitter.phase(Activity::Optimizer, "gradient norm");
        let simulated: Vec<Rank> = self.plan.simulated_ranks().collect();
        let norms: BTreeMap<Rank, BufferId> =
            simulated.iter().map(|&rank| (rank, self.squared_norm(rank))).collect();
        // Those that hold everything once between them.
        let together = self.plan.sharers().max(self.plan.expert);
        for sharing in 0..mesh.data / together {
            let group: Vec<Rank> =
                mesh.all().filter(|&rank| mesh.coordinates(rank).data / together == sharing).collect();
            let members = self.plan.simulated(&group);
            if group.len() == 1 || members.is_empty() {
                continue;
            }
            let part = |&rank: &Rank| Part { rank, reads: vec![norms[&rank]], writes: vec![norms[&rank]] };
            let parts = members.iter().map(part).collect();
            self.emitter.flush(&members);
            let label = OpLabel { name: "gradient norm", ..OpLabel::default() };
            self.emitter.exchange(
                CollectiveKind::AllReduce,
                Stream::Data,
                Activity::DataComm,
                label,
                Bytes(4),
                Reduction::Sum,
                &group,
                parts,
            );
        }
        self.emitter.phase(Activity::Optimizer, "optimizer");
        for rank in simulated {
            let gradients = self.gradients(rank, |_| true);
            let elements = gradients.iter().map(|&g| self.emitter.elements(g)).sum();
            let kernel = kernels::elementwise(elements, 1, 1, 1, crate::hardware::Precision::F32);
            let formula = Formula::Clip { limit };
            self.emitter.run(rank, formula, kernel, &[norms[&rank]], &[], &gradients);
        }
    }

    /// The same for a replica on one rank, which nobody waits for.
    pub(super) fn clip_alone(&mut self, rank: Rank, limit: f32) {
        self.emitter.phase(Activity::Optimizer, "gradient norm");
        let norm = self.squared_norm(rank);
        let gradients = self.gradients(rank, |_| true);
        let elements = gradients.iter().map(|&g| self.emitter.elements(g)).sum();
        let kernel = kernels::elementwise(elements, 1, 1, 1, crate::hardware::Precision::F32);
        self.emitter.run(rank, Formula::Clip { limit }, kernel, &[norm], &[], &gradients);
        self.emitter.flush(&[rank]);
    }

    fn squared_norm(&mut self, rank: Rank) -> BufferId {
        // What every tensor rank holds whole is counted by the first of them, and what all of those hold that
        // divide experts among them likewise.
        let at = self.plan.mesh.coordinates(rank);
        let first = at.tensor == 0;
        let first_of_experts = at.data % self.plan.expert == 0;
        let counted = self.gradients(rank, |slots| {
            slots.copy == 0
                && (first || !slots.parameter.is_replicated())
                && (first_of_experts || slots.parameter.of_experts || slots.share.is_some())
        });
        let elements = counted.iter().map(|&g| self.emitter.elements(g)).sum();
        let norm = self.emitter.bytes_buffer(rank, 1, 4, MemoryUse::Buffers);
        let kernel = kernels::elementwise(elements, 1, 0, 2, crate::hardware::Precision::F32);
        self.emitter.run(rank, Formula::SquaredNorm, kernel, &counted, &[norm], &[]);
        norm
    }

    fn gradients(&mut self, rank: Rank, counts: impl Fn(&ParameterSlots) -> bool) -> Vec<BufferId> {
        let state = self.emitter.state();
        let slots = state.of_rank(rank).filter(|slots| counts(slots));
        slots.map(|slots| self.summed_gradient(slots)).collect()
    }

    /// One optimiser step of every parameter of a rank, as one op with one fused kernel.
    fn step_parameters(&mut self, rank: Rank) {
        let state = self.emitter.state();
        let stepped = |slots: &ParameterSlots| slots.share.map_or(slots.elements, |share| share.elements);
        let elements: u64 = state.of_rank(rank).map(stepped).sum();
        if elements == 0 {
            return;
        }
        self.emitter.phase(Activity::Optimizer, "optimizer");
        let mut kernel = kernels::optimizer(elements, self.plan.moments(), self.plan.precision);
        for slots in state.of_rank(rank) {
            let gradient = self.summed_gradient(slots);
            let mut updates = vec![self.emitter.slot(slots.stepped())];
            updates.extend(slots.moments.iter().map(|&moment| self.emitter.slot(moment)));
            let rule = if slots.parameter.decayed { OptimizerRule::Decayed } else { OptimizerRule::Plain };
            let formula = Formula::Optimizer { rule };
            self.emitter.run(rank, formula, kernel.take(), &[gradient], &[], &updates);
        }
        self.emitter.flush(&[rank]);
    }

    /// Model fusion: every replica's parameters become the average of all.
    fn average_parameters(&mut self) {
        let width = ParameterBytes::of(self.plan).weight();
        for (stage, _) in self.plan.stages.enumerate() {
            for bucket in self.buckets(stage, width) {
                self.exchange_bucket(stage, &bucket, width, "average parameters", false);
            }
        }
        self.emitter.phase(Activity::Optimizer, "average parameters");
        let factor = 1.0 / self.plan.replicas() as f32;
        for rank in self.plan.simulated_ranks() {
            let state = self.emitter.state();
            let weights: Vec<BufferId> =
                state.of_rank(rank).map(|slots| self.emitter.slot(slots.stepped())).collect();
            let elements = weights.iter().map(|&w| self.emitter.elements(w)).sum();
            let kernel = kernels::elementwise(elements, 1, 1, 1, self.plan.precision);
            self.emitter.run(rank, Formula::Scale { factor }, kernel, &[], &[], &weights);
            self.emitter.flush(&[rank]);
            self.step_average(rank);
        }
    }

    /// Where replicas meet through an outer optimiser, it steps their average on from the last one.
    fn step_average(&mut self, rank: Rank) {
        let Some(rule) = self.plan.sync.outer() else { return };
        let state = self.emitter.state();
        for slots in state.of_rank(rank) {
            let outer = slots.outer.expect("an outer optimiser keeps its state");
            let updates = [slots.stepped(), outer[0], outer[1]].map(|slot| self.emitter.slot(slot));
            // Weights, the last average and the velocity are read and written.
            let kernel = kernels::elementwise(slots.elements, 3, 3, 6, crate::hardware::Precision::F32);
            self.emitter.run(rank, Formula::Outer { rule }, kernel, &[], &[], &updates);
        }
        self.emitter.flush(&[rank]);
    }
}
