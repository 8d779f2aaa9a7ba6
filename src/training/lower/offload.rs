//! What travels between a rank and its host: gradients down and stepped weights up, saved activations down and,
//! a little before their backward pass, up again.
//!
//! A host rank stands beside each rank, on the processor of its node; it has queues of its own, so copies go both
//! ways at once and beside the kernels, and the processor steps one piece while the next is on its way.

use std::collections::BTreeMap;

use crate::ids::{BufferId, MicroBatch, OpId, Rank, SlotId, Stage};
use crate::model::Piece;
use crate::program::{Formula, OpLabel, OptimizerRule, Part};
use crate::trace::{Activity, MemoryUse, Stream};
use crate::training::lower::{Cell, Lowering, Saved, kernels};
use crate::training::state::ParameterBytes;
use crate::units::Bytes;

/// What a host holds of a micro-batch, by the buffer that it was.
pub(super) type Held = BTreeMap<BufferId, BufferId>;

impl Lowering<'_> {
    /// One way between a rank and its host.
    pub(super) fn copy_over(
        &mut self,
        name: &'static str,
        piece: Option<Piece>,
        bytes: Bytes,
        from: Part,
        into: Part,
    ) -> OpId {
        let layer = match piece {
            Some(Piece::Block(layer) | Piece::Dense(layer)) => Some(layer),
            _ => None,
        };
        let label = OpLabel { name, layer, ..OpLabel::default() };
        self.emitter.send_parts(Stream::Host, Activity::HostComm, label, bytes, from, into)
    }

    /// Sends gradients of a piece to the rank's host, where they are added to those of earlier micro-batches.
    pub(super) fn gradients_down(&mut self, rank: Rank, piece: Piece, gradients: &[BufferId]) {
        if gradients.is_empty() {
            return;
        }
        let host = self.plan.host_of(rank);
        let width = ParameterBytes::of(self.plan).gradient();
        let slots: Vec<SlotId> =
            self.emitter.state().of(rank, piece).iter().map(|slots| slots.on_host().gradient).collect();
        let kept: Vec<BufferId> = slots.iter().map(|&slot| self.emitter.slot(slot)).collect();
        let first = self.on_host.insert((rank, piece));
        let landing: Vec<BufferId> = kept
            .iter()
            .map(|&kept| {
                let elements = self.emitter.elements(kept);
                let land = |lowering: &mut Self| {
                    lowering.emitter.bytes_buffer(host, elements, width, MemoryUse::Gradients)
                };
                // The first micro-batch's need not be added to anything.
                if first { kept } else { land(self) }
            })
            .collect();
        let elements: u64 = kept.iter().map(|&kept| self.emitter.elements(kept)).sum();
        let from = Part { rank, reads: gradients.to_vec(), writes: Vec::new() };
        let into = Part { rank: host, reads: Vec::new(), writes: landing.clone() };
        self.copy_over("gradients to host", Some(piece), Bytes(elements * width), from, into);
        if !first {
            let (activity, label) = self.emitter.named(Activity::Optimizer, "add gradients");
            let kernel = kernels::elementwise(elements, 2, 1, 1, crate::hardware::Precision::F32);
            self.emitter.run(host, Formula::Accumulate, kernel, &landing, &[], &kept);
            self.emitter.flush(&[host]);
            self.emitter.rename(activity, label);
        }
    }

    /// Sends what a rank has summed of its gradients to its host, piece by piece, where that has not been done
    /// micro-batch by micro-batch.
    pub(super) fn summed_gradients_down(&mut self, rank: Rank) {
        // Clipped first.
        self.emitter.flush(&[rank]);
        for piece in self.pieces_of(rank) {
            let state = self.emitter.state();
            let gradients: Vec<BufferId> =
                state.of(rank, piece).iter().map(|slots| self.summed_gradient(slots)).collect();
            self.gradients_down(rank, piece, &gradients);
        }
    }

    /// The host steps the weights of a rank piece by piece, and sends them up.
    pub(super) fn step_on_host(&mut self, rank: Rank) {
        let host = self.plan.host_of(rank);
        let width = ParameterBytes::of(self.plan).weight();
        for piece in self.pieces_of(rank) {
            self.emitter.phase(Activity::Optimizer, "optimizer");
            self.emitter.piece(piece);
            let state = self.emitter.state();
            let stepped =
                state.of(rank, piece).iter().map(|slots| slots.share.map_or(slots.elements, |s| s.elements));
            let elements: u64 = stepped.sum();
            let mut kernel = kernels::optimizer(elements, self.plan.moments(), self.plan.precision);
            let (mut masters, mut weights) = (Vec::new(), Vec::new());
            for slots in state.of(rank, piece) {
                let kept = slots.on_host();
                let [master, gradient] = [kept.weight, kept.gradient].map(|slot| self.emitter.slot(slot));
                let mut updates = vec![master];
                updates.extend(slots.moments.iter().map(|&moment| self.emitter.slot(moment)));
                let rule =
                    if slots.parameter.decayed { OptimizerRule::Decayed } else { OptimizerRule::Plain };
                self.emitter.run(
                    host,
                    Formula::Optimizer { rule },
                    kernel.take(),
                    &[gradient],
                    &[],
                    &updates,
                );
                masters.push(master);
                weights.push(self.emitter.slot(slots.stepped()));
            }
            self.emitter.flush(&[host]);
            let from = Part { rank: host, reads: masters, writes: Vec::new() };
            let into = Part { rank, reads: Vec::new(), writes: weights };
            self.copy_over("weights from host", Some(piece), Bytes(elements * width), from, into);
        }
    }

    /// The pieces that a rank holds something of, last first, as their gradients become ready.
    fn pieces_of(&self, rank: Rank) -> Vec<Piece> {
        let held = |piece: &&Piece| !self.emitter.state().of(rank, **piece).is_empty();
        self.pieces.iter().rev().filter(held).copied().collect()
    }

    /// What a block has saved goes to the hosts of a cell's ranks.
    pub(super) fn saved_down(
        &mut self,
        cell: &Cell,
        micro_batch: MicroBatch,
        piece: Piece,
        saved: &mut Saved,
    ) {
        let key = (cell.replica, cell.stage, micro_batch, cell.part);
        for buffer in saved.buffers_mut() {
            let about = self.emitter.describe(*buffer);
            let is_known = self.hosted.get(&key).is_some_and(|held| held.contains_key(buffer));
            if about.slot.is_some()
                || about.usage != MemoryUse::Activations
                || about.bytes == Bytes::ZERO
                || is_known
            {
                continue;
            }
            let host = self.plan.host_of(about.rank);
            let landed =
                self.emitter.packed_buffer(host, about.elements, about.bytes, MemoryUse::Activations);
            let from = Part { rank: about.rank, reads: vec![*buffer], writes: Vec::new() };
            let into = Part { rank: host, reads: Vec::new(), writes: vec![landed] };
            self.copy_over("activations to host", Some(piece), about.bytes, from, into);
            self.hosted.entry(key).or_default().insert(*buffer, landed);
        }
    }

    /// What a block has saved comes back from the hosts, not before the rank has come near it.
    pub(super) fn saved_up(
        &mut self,
        cell: &Cell,
        micro_batch: MicroBatch,
        piece: Piece,
        saved: &mut Saved,
        fetched: &mut Held,
    ) {
        let key = (cell.replica, cell.stage, micro_batch, cell.part);
        let ahead = self.plan.offload.prefetch as usize;
        for buffer in saved.buffers_mut() {
            if let Some(&there) = fetched.get(buffer) {
                *buffer = there;
                continue;
            }
            let Some(landed) = self.hosted.get_mut(&key).and_then(|held| held.remove(buffer)) else {
                continue;
            };
            let about = self.emitter.describe(*buffer);
            let there = self.emitter.packed_buffer(about.rank, about.elements, about.bytes, about.usage);
            let from = Part { rank: self.plan.host_of(about.rank), reads: vec![landed], writes: Vec::new() };
            let into = Part { rank: about.rank, reads: Vec::new(), writes: vec![there] };
            let op = self.copy_over("activations from host", Some(piece), about.bytes, from, into);
            let near = self.piece_ends[about.rank].iter().rev().nth(ahead).copied().flatten();
            near.into_iter().for_each(|near| self.emitter.after(near, op));
            fetched.insert(*buffer, there);
            *buffer = there;
        }
    }

    /// Whether what a stage has saved of a piece goes to hosts.
    pub(super) fn saves_on_host(&self, _stage: Stage, piece: Piece) -> bool {
        self.trains && self.plan.offload.activations && matches!(piece, Piece::Block(_))
    }
}

impl Saved {
    /// Every buffer of a block's pass that its backward pass reads.
    fn buffers_mut(&mut self) -> Vec<&mut BufferId> {
        match self {
            Saved::Block(block) => block.buffers_mut(),
            Saved::Input(x) => x.iter_mut().collect(),
            _ => Vec::new(),
        }
    }
}
