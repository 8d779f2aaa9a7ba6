//! Who holds the same of a stage: the groups that gradients and weights are exchanged among.

use crate::ids::{Rank, Stage};
use crate::training::lower::Lowering;

impl Lowering<'_> {
    /// All ranks that hold the same of a stage, one group for each tensor rank: gradients are summed over
    /// them, as each has seen samples or tokens of its own.
    pub(super) fn holder_groups(&self, stage: Stage) -> Vec<Vec<Rank>> {
        let cells = self.cells_of(stage);
        let of_cell = |cell: &Vec<Rank>, tensor: usize| -> Vec<Rank> {
            cell.iter().skip(tensor).step_by(self.tensor_ranks()).copied().collect()
        };
        let group = |tensor: usize| cells.iter().flat_map(|cell| of_cell(cell, tensor)).collect();
        (0..self.simulated_tensor()).map(group).collect()
    }

    /// Those of them that work on one part of their sequences, of every replica.
    pub(super) fn replica_groups(&self, stage: Stage) -> Vec<Vec<Rank>> {
        let cells = self.cells_of(stage);
        let places =
            (0..cells[0].len()).filter(|place| place % self.tensor_ranks() < self.simulated_tensor());
        let groups = places.map(|place| cells.iter().map(|cell| cell[place]).collect::<Vec<Rank>>());
        groups.filter(|group| self.plan.simulates(group[0])).collect()
    }

    /// Those of them that share the sequences of one replica.
    pub(super) fn context_groups(&self, stage: Stage) -> Vec<Vec<Rank>> {
        let group = |cell: &[Rank], tensor: usize| {
            cell.iter().skip(tensor).step_by(self.tensor_ranks()).copied().collect()
        };
        let simulated = self.plan.simulated_copies();
        let cells = simulated.map(|(replica, copy)| self.plan.cell_ranks(replica, copy, stage));
        let groups = cells.flat_map(|cell| {
            (0..self.simulated_tensor()).map(|tensor| group(&cell, tensor)).collect::<Vec<_>>()
        });
        groups.collect()
    }

    /// The ranks of a stage in every replica and copy of the model.
    fn cells_of(&self, stage: Stage) -> Vec<Vec<Rank>> {
        self.plan.copies().map(|(replica, copy)| self.plan.cell_ranks(replica, copy, stage)).collect()
    }

    fn tensor_ranks(&self) -> usize {
        self.plan.mesh.tensor as usize
    }

    fn simulated_tensor(&self) -> usize {
        if self.plan.folded { 1 } else { self.tensor_ranks() }
    }
}
