//! The mesh: how many ranks each axis has, and who is where.

use crate::ids::{Id, IdVec, Rank};

/// An axis of the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Axis {
    /// Replicas with different data.
    Data,
    /// Stages with different layers.
    Pipeline,
    /// Ranks with different parts of a sequence.
    Context,
    /// Ranks with different parts of each layer.
    Tensor,
}

/// How many ranks each axis has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mesh {
    /// Replicas.
    pub data: u32,
    /// Stages.
    pub pipeline: u32,
    /// Parts of a sequence.
    pub context: u32,
    /// Parts of a layer.
    pub tensor: u32,
}

/// Where a rank is, or which rank is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coordinates {
    /// Replica.
    pub data: u32,
    /// Stage.
    pub pipeline: u32,
    /// Part of the sequence.
    pub context: u32,
    /// Part of the layer.
    pub tensor: u32,
}

/// Ranks are numbered as in Megatron-LM: tensor ranks are neighbours, then context, then data, then
/// pipeline, so that the busiest groups share a node.
impl Mesh {
    /// How many ranks there are.
    pub fn ranks(&self) -> u32 {
        self.data * self.pipeline * self.context * self.tensor
    }

    /// The rank at these coordinates.
    pub fn rank(&self, at: Coordinates) -> Rank {
        Rank(((at.pipeline * self.data + at.data) * self.context + at.context) * self.tensor + at.tensor)
    }

    /// Where a rank is.
    pub fn coordinates(&self, rank: Rank) -> Coordinates {
        let (rest, tensor) = (rank.0 / self.tensor, rank.0 % self.tensor);
        let (rest, context) = (rest / self.context, rest % self.context);
        let (pipeline, data) = (rest / self.data, rest % self.data);
        Coordinates { data, pipeline, context, tensor }
    }

    /// How many ranks an axis has.
    pub fn size(&self, axis: Axis) -> u32 {
        match axis {
            Axis::Data => self.data,
            Axis::Pipeline => self.pipeline,
            Axis::Context => self.context,
            Axis::Tensor => self.tensor,
        }
    }

    /// The ranks that differ from `of` along `axis` only, in order, `of` among them.
    pub fn group(&self, of: Rank, axis: Axis) -> Vec<Rank> {
        let at = self.coordinates(of);
        let along = |index| match axis {
            Axis::Data => Coordinates { data: index, ..at },
            Axis::Pipeline => Coordinates { pipeline: index, ..at },
            Axis::Context => Coordinates { context: index, ..at },
            Axis::Tensor => Coordinates { tensor: index, ..at },
        };
        (0..self.size(axis)).map(|index| self.rank(along(index))).collect()
    }

    /// A list with an item for every rank.
    pub fn per_rank<T>(&self, f: impl FnMut(Rank) -> T) -> IdVec<Rank, T> {
        IdVec::from_fn(self.ranks() as usize, f)
    }

    /// Every rank.
    pub fn all(&self) -> impl Iterator<Item = Rank> + use<> {
        (0..self.ranks() as usize).map(Rank::from_index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rank_has_its_own_coordinates() {
        let mesh = Mesh { data: 2, pipeline: 3, context: 2, tensor: 4 };
        for rank in mesh.all() {
            assert_eq!(mesh.rank(mesh.coordinates(rank)), rank);
        }
        assert_eq!(mesh.all().count(), 48);
    }

    /// 2 × 2 × 2: tensor ranks are neighbours, data ranks two apart, stages four apart.
    #[test]
    fn tensor_ranks_are_neighbours() {
        let mesh = Mesh { data: 2, pipeline: 2, context: 1, tensor: 2 };
        assert_eq!(mesh.group(Rank(0), Axis::Tensor), [Rank(0), Rank(1)]);
        assert_eq!(mesh.group(Rank(0), Axis::Data), [Rank(0), Rank(2)]);
        assert_eq!(mesh.group(Rank(5), Axis::Pipeline), [Rank(1), Rank(5)]);
    }
}
