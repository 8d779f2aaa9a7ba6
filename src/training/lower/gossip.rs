//! Replicas send their weights to their neighbours, and each takes the mean of what it has and gets.

use crate::ids::{BufferId, Rank, Stage};
use crate::program::{Formula, OpLabel, Part};
use crate::trace::{Activity, MemoryUse, Stream};
use crate::training::lower::{Lowering, kernels};
use crate::training::state::ParameterBytes;
use crate::units::Bytes;

impl Lowering<'_> {
    /// Every rank takes the mean of its weights and of those of the replicas so far before its own.
    pub(super) fn mix_with_neighbours(&mut self, distances: &[u32]) {
        let stages: Vec<Stage> = self.plan.stages.ids().collect();
        for stage in stages {
            for group in self.replica_groups(stage) {
                let landed: Vec<Vec<Vec<BufferId>>> =
                    distances.iter().map(|&by| self.send_weights(stage, &group, by as usize)).collect();
                for (at, &rank) in group.iter().enumerate() {
                    let landed: Vec<&[BufferId]> = landed.iter().map(|from| &from[at][..]).collect();
                    self.mix(rank, stage, &landed);
                }
            }
        }
    }

    /// Each member of a group sends its weights of a stage `by` members on; what landed at each.
    fn send_weights(&mut self, stage: Stage, group: &[Rank], by: usize) -> Vec<Vec<BufferId>> {
        let width = ParameterBytes::of(self.plan).weight();
        let mut landed = vec![Vec::new(); group.len()];
        for (at, &rank) in group.iter().enumerate() {
            let to = (at + by) % group.len();
            let weights = self.stage_weights(rank, stage);
            let elements: Vec<u64> = weights.iter().map(|&w| self.emitter.elements(w)).collect();
            landed[to] = elements
                .iter()
                .map(|&count| self.emitter.bytes_buffer(group[to], count, width, MemoryUse::Buffers))
                .collect();
            let bytes = Bytes(elements.iter().sum::<u64>() * width);
            let from = Part { rank, reads: weights, writes: Vec::new() };
            let into = Part { rank: group[to], reads: Vec::new(), writes: landed[to].clone() };
            let label = OpLabel { name: "mix with neighbours", stage: Some(stage), ..OpLabel::default() };
            self.emitter.send_parts(Stream::Data, Activity::DataComm, label, bytes, from, into);
        }
        landed
    }

    /// w = (w + Σ what landed) / (neighbours + 1)
    fn mix(&mut self, rank: Rank, stage: Stage, landed: &[&[BufferId]]) {
        let weights = self.stage_weights(rank, stage);
        let elements = weights.iter().map(|&w| self.emitter.elements(w)).sum();
        self.emitter.phase(Activity::Optimizer, "mix with neighbours");
        let inputs = landed.len() as u32 + 1;
        let mut kernel = kernels::elementwise(elements, inputs, 1, inputs, self.plan.precision);
        for from in landed {
            self.emitter.run(rank, Formula::Accumulate, kernel.take(), from, &[], &weights);
        }
        let factor = 1.0 / inputs as f32;
        self.emitter.run(rank, Formula::Scale { factor }, None, &[], &[], &weights);
        self.emitter.flush(&[rank]);
    }

    fn stage_weights(&mut self, rank: Rank, stage: Stage) -> Vec<BufferId> {
        let pieces: Vec<_> = self.plan.stages[stage].clone().map(|index| self.pieces[index]).collect();
        let state = self.emitter.state();
        let slots = pieces.into_iter().flat_map(|piece| state.of(rank, piece));
        slots.map(|slots| self.emitter.slot(slots.stepped())).collect()
    }
}
