//! What replicas hold together travels: weights to those who need them, gradients to those who keep
//! them, stepped weights back (ZeRO's stages 1 to 3, FSDP, HSDP).

use crate::collective::CollectiveKind;
use crate::ids::{BufferId, Rank, Stage};
use crate::model::Piece;
use crate::program::{Formula, OpLabel, Part, Reduction};
use crate::trace::{Activity, MemoryUse, Stream};
use crate::training::lower::sync::Bucket;
use crate::training::lower::{Cell, Lowering, kernels};
use crate::training::state::{ParameterBytes, ParameterSlots};
use crate::units::Bytes;

impl Lowering<'_> {
    /// Stage 3: every rank gets the weights of a piece from the replicas that share them, as many pieces
    /// ahead of the one at work as the plan says. They are freed after their last use.
    pub(super) fn gather_weights(&mut self, cells: &[Cell], piece: Piece) {
        if !self.plan.zero.shares_weights() {
            return;
        }
        let ahead = self.plan.zero.prefetch as usize;
        for (group, of_experts) in self.sharing_groups(cells) {
            let members = self.plan.simulated(&group);
            let parts: Vec<Part> =
                members.iter().map(|&rank| self.gathering(rank, piece, of_experts)).collect();
            if parts[0].reads.is_empty() {
                continue;
            }
            let width = ParameterBytes::of(self.plan).weight();
            let bytes = self.padded_bytes(members[0], piece, of_experts, width);
            let label = self.label("gather weights", cells[0].stage);
            let exchange = self.emitter.exchange(
                CollectiveKind::AllGather,
                Stream::Weights,
                Activity::DataComm,
                label,
                bytes,
                Reduction::Sum,
                &group,
                parts,
            );
            let ends = &self.piece_ends;
            let wait_for = |rank| ends[rank].iter().rev().nth(ahead).copied().flatten();
            self.emitter.exchange_after(exchange, wait_for);
        }
    }

    /// A rank's part in gathering a piece: it brings its shares and gets whole weights.
    fn gathering(&mut self, rank: Rank, piece: Piece, of_experts: bool) -> Part {
        let width = ParameterBytes::of(self.plan).weight();
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        for (at, slots) in self.emitter.state().of(rank, piece).iter().enumerate() {
            if !self.travels(slots, of_experts) {
                continue;
            }
            reads.push(self.emitter.slot(slots.stepped()));
            let whole = self.emitter.bytes_buffer(rank, slots.elements, width, MemoryUse::Parameters);
            self.emitter.gathered(rank, piece, at, whole);
            writes.push(whole);
        }
        Part { rank, reads, writes }
    }

    /// Whether a parameter is shared, and by the replicas that share experts or by those that share the rest.
    fn travels(&self, slots: &ParameterSlots, of_experts: bool) -> bool {
        slots.share.is_some() && (slots.parameter.of_experts && self.plan.expert > 1) == of_experts
    }

    /// Stages 2 and 3: the gradients of a micro-batch begin at nothing.
    pub(super) fn begin_gradients(&mut self, cells: &[Cell], piece: Piece) {
        if !self.plan.zero.shares_gradients() {
            return;
        }
        let width = ParameterBytes::of(self.plan).gradient();
        for &rank in cells.iter().flat_map(|cell| &cell.ranks) {
            let slots = self.emitter.state().of(rank, piece).iter().enumerate();
            let shared: Vec<(usize, u64)> = slots
                .filter(|(_, slots)| slots.gradient.is_none())
                .map(|(at, slots)| (at, slots.elements))
                .collect();
            let mut fresh = Vec::new();
            for &(at, count) in &shared {
                let gradient = self.emitter.bytes_buffer(rank, count, width, MemoryUse::Gradients);
                self.emitter.fresh_gradient(rank, piece, at, gradient);
                fresh.push(gradient);
            }
            if !fresh.is_empty() {
                let kernel = kernels::fill(shared.iter().map(|(_, count)| count).sum());
                self.emitter.run(rank, Formula::Zero, kernel, &[], &fresh, &[]);
            }
        }
    }

    /// Stages 2 and 3: the gradients of a piece are summed, and each replica adds its share to what it
    /// keeps.
    pub(super) fn share_gradients(&mut self, cells: &[Cell], piece: Piece) {
        if !self.plan.zero.shares_gradients() {
            return;
        }
        if self.plan.sums_some_over_tensor() {
            self.sum_common_of(cells, piece);
        }
        for (group, of_experts) in self.sharing_groups(cells) {
            let first = self.plan.simulated(&group)[0];
            let slots = self.emitter.state().of(first, piece).iter().enumerate();
            let shared = slots.filter(|(_, slots)| self.travels(slots, of_experts));
            let bucket: Vec<(Piece, usize)> = shared.map(|(at, _)| (piece, at)).collect();
            if bucket.is_empty() {
                continue;
            }
            let shares = self.reduce_scatter(&group, cells[0].stage, &bucket);
            for (rank, shares) in self.plan.simulated(&group).into_iter().zip(shares) {
                let state = self.emitter.state();
                let kept = bucket.iter().filter_map(|&(_, at)| state.of(rank, piece)[at].share?.gradient);
                let kept: Vec<BufferId> = kept.map(|slot| self.emitter.slot(slot)).collect();
                let elements = shares.iter().map(|&share| self.emitter.elements(share)).sum();
                let kernel = kernels::elementwise(elements, 2, 1, 1, crate::hardware::Precision::F32);
                self.emitter.run(rank, Formula::Accumulate, kernel, &shares, &[], &kept);
            }
        }
    }

    /// Stage 1: the gradients of a bucket are summed, and each replica gets its share.
    pub(super) fn scatter_bucket(&mut self, stage: Stage, bucket: &Bucket) {
        for group in self.stage_groups(stage, self.is_of_experts(stage, bucket)) {
            let shares = self.reduce_scatter(&group, stage, bucket);
            for (rank, shares) in self.plan.simulated(&group).into_iter().zip(shares) {
                for (&(piece, at), share) in bucket.iter().zip(shares) {
                    let slots = &self.emitter.state().of(rank, piece)[at];
                    self.reduced.insert(slots.stepped(), share);
                }
            }
        }
    }

    /// Sums the gradients of a bucket over a sharing group; every rank's shares.
    fn reduce_scatter(
        &mut self,
        group: &[Rank],
        stage: Stage,
        bucket: &[(Piece, usize)],
    ) -> Vec<Vec<BufferId>> {
        let width = ParameterBytes::of(self.plan).gradient();
        // Where gradients are kept whole, the share is a view of them.
        let share_width = if self.plan.zero.shares_gradients() { width } else { 0 };
        let mut parts = Vec::new();
        let mut padded = 0;
        for rank in self.plan.simulated(group) {
            let (mut reads, mut writes) = (Vec::new(), Vec::new());
            padded = 0;
            for &(piece, at) in bucket {
                reads.push(self.emitter.parameters(rank, piece)[at].gradient());
                let share = self.emitter.state().of(rank, piece)[at].share.expect("replicas share").elements;
                padded += share * group.len() as u64;
                writes.push(self.emitter.bytes_buffer(rank, share, share_width, MemoryUse::Gradients));
            }
            parts.push(Part { rank, reads, writes });
        }
        let shares = parts.iter().map(|part| part.writes.clone()).collect();
        let label = self.label("reduce gradients", stage);
        let (kind, stream) = (CollectiveKind::ReduceScatter, Stream::Data);
        let bytes = Bytes(padded * width);
        self.emitter.exchange(kind, stream, Activity::DataComm, label, bytes, Reduction::Sum, group, parts);
        shares
    }

    /// Hybrid sharding: groups that share sum what each of their ranks keeps.
    pub(super) fn sum_over_groups(&mut self, stage: Stage) {
        if self.plan.sharers() == self.plan.mesh.data {
            return;
        }
        let width = ParameterBytes::of(self.plan).gradient();
        let of_first_group = self.stage_groups(stage, false).into_iter().take(self.plan.mesh.tensor as usize);
        let firsts: Vec<Rank> = self.plan.simulated(&of_first_group.flatten().collect::<Vec<_>>());
        for first in firsts {
            let ranks = self.plan.same_share(first);
            let part = |lowering: &mut Self, rank: Rank| {
                let buffers = lowering.stage_shares(stage, rank);
                Part { rank, reads: buffers.clone(), writes: buffers }
            };
            let members = self.plan.simulated(&ranks);
            let parts: Vec<Part> = members.into_iter().map(|rank| part(self, rank)).collect();
            let elements: u64 = parts[0].reads.iter().map(|&buffer| self.emitter.elements(buffer)).sum();
            let label = self.label("reduce shares", stage);
            let (kind, bytes) = (CollectiveKind::AllReduce, Bytes(elements * width));
            self.emitter.exchange(
                kind,
                Stream::Data,
                Activity::DataComm,
                label,
                bytes,
                Reduction::Sum,
                &ranks,
                parts,
            );
        }
    }

    /// A rank's shares of the summed gradients of a stage.
    fn stage_shares(&mut self, stage: Stage, rank: Rank) -> Vec<BufferId> {
        let state = self.emitter.state();
        let pieces: Vec<Piece> = self.plan.stages[stage].clone().map(|index| self.pieces[index]).collect();
        let slots = pieces.into_iter().flat_map(|piece| state.of(rank, piece));
        slots.map(|slots| self.summed_gradient(slots)).collect()
    }

    /// The gradient that the optimiser reads: summed, and this replica's share where replicas share.
    pub(super) fn summed_gradient(&mut self, slots: &ParameterSlots) -> BufferId {
        let kept = match slots.share {
            Some(share) => share.gradient,
            None => slots.gradient,
        };
        match kept {
            Some(slot) => self.emitter.slot(slot),
            None => self.reduced[&slots.stepped()],
        }
    }

    /// Stages 1 and 2: stepped shares become whole weights in every replica.
    pub(super) fn gather_stepped(&mut self, stage: Stage, bucket: &Bucket) {
        let width = ParameterBytes::of(self.plan).weight();
        for group in self.stage_groups(stage, self.is_of_experts(stage, bucket)) {
            let part = |lowering: &mut Self, rank: Rank| {
                let (mut reads, mut writes) = (Vec::new(), Vec::new());
                for &(piece, at) in bucket {
                    let slots = &lowering.emitter.state().of(rank, piece)[at];
                    reads.push(lowering.emitter.slot(slots.stepped()));
                    writes.push(lowering.emitter.slot(slots.weight.expect("weights are held whole")));
                }
                Part { rank, reads, writes }
            };
            let members = self.plan.simulated(&group);
            let parts: Vec<Part> = members.into_iter().map(|rank| part(self, rank)).collect();
            let shares: u64 = parts[0].reads.iter().map(|&buffer| self.emitter.elements(buffer)).sum();
            let bytes = Bytes(shares * group.len() as u64 * width);
            let label = self.label("gather weights", stage);
            let (kind, stream) = (CollectiveKind::AllGather, Stream::Weights);
            let activity = Activity::DataComm;
            self.emitter.exchange(kind, stream, activity, label, bytes, Reduction::Sum, &group, parts);
        }
    }

    /// The sharing groups among the ranks of cells, one for each tensor rank and group of replicas; and those
    /// that share experts, where that are others.
    fn sharing_groups(&self, cells: &[Cell]) -> Vec<(Vec<Rank>, bool)> {
        let group = |cell: &Cell, of_experts: bool| {
            let plan = self.plan;
            let group = move |&rank: &Rank| (plan.sharing_group_of(rank, of_experts), of_experts);
            cell.ranks.iter().map(group).collect::<Vec<_>>()
        };
        let leads = cells.iter().step_by(self.plan.sharers() as usize);
        let mut groups: Vec<_> = leads.flat_map(|cell| group(cell, false)).collect();
        if self.plan.sharers_of(true) > 1 && self.plan.expert > 1 {
            groups.extend(cells.iter().take(self.plan.expert as usize).flat_map(|cell| group(cell, true)));
        }
        groups
    }

    fn stage_groups(&self, stage: Stage, of_experts: bool) -> Vec<Vec<Rank>> {
        let of_experts = of_experts && self.plan.expert > 1;
        let replicas = 0..self.plan.simulated_replicas();
        let leads: Vec<u32> = if of_experts {
            replicas.take(self.plan.expert as usize).collect()
        } else {
            replicas.step_by(self.plan.sharers() as usize).collect()
        };
        let leads = leads.into_iter();
        let leads = leads.flat_map(|replica| self.plan.simulated(&self.plan.cell_ranks(replica, 0, stage)));
        leads.map(|rank| self.plan.sharing_group_of(rank, of_experts)).collect()
    }

    /// Bytes of a piece of the model on the wire, shares filled up.
    fn padded_bytes(&self, rank: Rank, piece: Piece, of_experts: bool, width: u64) -> Bytes {
        let slots = self.emitter.state().of(rank, piece).iter();
        let shares = slots.filter(|slots| self.travels(slots, of_experts)).filter_map(|slots| slots.share);
        let sharers = u64::from(self.plan.sharers_of(of_experts));
        Bytes(shares.map(|share| share.elements).sum::<u64>() * sharers * width)
    }

    fn label(&self, name: &'static str, stage: Stage) -> OpLabel {
        OpLabel { name, stage: Some(stage), ..OpLabel::default() }
    }
}
