//! Who is who: identities that cannot be mistaken for one another, and lists indexed by them.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

/// What can index an [`IdVec`]: a type that is a small whole number in disguise.
pub trait Id: Copy + Ord + fmt::Debug {
    /// The identity with this index.
    fn from_index(index: usize) -> Self;
    /// The index of this identity.
    fn index(self) -> usize;
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl Id for $name {
            fn from_index(index: usize) -> Self {
                $name(u32::try_from(index).expect(concat!("fewer than 2^32 of ", stringify!($name))))
            }
            fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!(concat!($prefix, "{}"), self.0))
            }
        }
    )*};
}

ids! {
    /// A process of a parallel run; it owns one device.
    Rank "rank ";
    /// A device of a topology (a GPU, a CPU, an FPGA …), counted without the switches.
    DeviceId "device ";
    /// A node of a topology: the devices of one machine, which share its memory and its network cards.
    NodeId "node ";
    /// A device or a switch: a vertex of the topology graph.
    VertexId "vertex ";
    /// A directed link of a topology.
    LinkId "link ";
    /// A pipeline stage.
    Stage "stage ";
    /// A place along the pipeline axis of the mesh; it is home to one or more stages.
    PipelineRank "pipeline rank ";
    /// A micro-batch of a step.
    MicroBatch "micro-batch ";
    /// A layer of a neural network.
    LayerId "layer ";
    /// An operation of a program.
    OpId "op ";
    /// A buffer that operations of a program read and write.
    BufferId "buffer ";
    /// A kernel, among the distinct ones of a program.
    KernelId "kernel ";
    /// A place that keeps a buffer for the whole run: a weight, a gradient, an optimiser's moment.
    SlotId "slot ";
    /// One call of a collective: one group, one payload, one moment.
    CollectiveId "collective ";
    /// Where the tokens of a group go: one layer, one micro-batch.
    RoutingId "routing ";
    /// A transfer within a collective's plan.
    TransferId "transfer ";
    /// A flow through the network.
    FlowId "flow ";
    /// An optimiser step of a training run.
    StepIndex "step ";
    /// A task of a task graph.
    TaskId "task ";
    /// Data that one task of a graph hands to another: an edge of the graph.
    DataId "data ";
    /// A request to a serving system.
    RequestId "request ";
    /// A replica of a served model.
    ReplicaId "replica ";
    /// A job of a cluster.
    JobId "job ";
    /// A shard of a corpus: documents that are read together.
    ShardId "shard ";
    /// A worker of a pool: what serves one item at a time.
    WorkerId "worker ";
}

/// A list indexed by its own kind of identity.
pub struct IdVec<I, T> {
    items: Vec<T>,
    id: PhantomData<fn(I)>,
}

impl<I: Id, T> IdVec<I, T> {
    /// An empty list.
    pub const fn new() -> Self {
        IdVec { items: Vec::new(), id: PhantomData }
    }

    /// The list of `f` over the first `len` identities.
    pub fn from_fn(len: usize, mut f: impl FnMut(I) -> T) -> Self {
        (0..len).map(|index| f(I::from_index(index))).collect()
    }

    /// Appends an item and returns its identity.
    pub fn push(&mut self, item: T) -> I {
        self.items.push(item);
        I::from_index(self.items.len() - 1)
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The identities, in order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = I> + ExactSizeIterator + use<I, T> {
        (0..self.items.len()).map(I::from_index)
    }

    /// The items, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.items.iter()
    }

    /// The items, in order, to change.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.items.iter_mut()
    }

    /// Identities with their items.
    pub fn enumerate(&self) -> impl DoubleEndedIterator<Item = (I, &T)> + ExactSizeIterator {
        self.items.iter().enumerate().map(|(index, item)| (I::from_index(index), item))
    }

    /// The item, or nothing when there is no such identity.
    pub fn get(&self, id: I) -> Option<&T> {
        self.items.get(id.index())
    }

    /// The items as a plain slice.
    pub fn as_slice(&self) -> &[T] {
        &self.items
    }
}

impl<I: Id, T: Clone> IdVec<I, T> {
    /// `len` copies of `item`.
    pub fn filled(item: T, len: usize) -> Self {
        vec![item; len].into_iter().collect()
    }
}

impl<I: Id, T> Index<I> for IdVec<I, T> {
    type Output = T;
    fn index(&self, id: I) -> &T {
        &self.items[id.index()]
    }
}

impl<I: Id, T> IndexMut<I> for IdVec<I, T> {
    fn index_mut(&mut self, id: I) -> &mut T {
        &mut self.items[id.index()]
    }
}

impl<I, T> FromIterator<T> for IdVec<I, T> {
    fn from_iter<It: IntoIterator<Item = T>>(items: It) -> Self {
        IdVec { items: items.into_iter().collect(), id: PhantomData }
    }
}

impl<I, T> IntoIterator for IdVec<I, T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<'a, I, T> IntoIterator for &'a IdVec<I, T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

impl<I, T: Clone> Clone for IdVec<I, T> {
    fn clone(&self) -> Self {
        IdVec { items: self.items.clone(), id: PhantomData }
    }
}

impl<I, T> Default for IdVec<I, T> {
    fn default() -> Self {
        IdVec { items: Vec::new(), id: PhantomData }
    }
}

impl<I, T: PartialEq> PartialEq for IdVec<I, T> {
    fn eq(&self, other: &Self) -> bool {
        self.items == other.items
    }
}

impl<I, T: Eq> Eq for IdVec<I, T> {}

impl<I, T: fmt::Debug> fmt::Debug for IdVec<I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.items.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_indexed_by_its_own_identities() {
        let mut names: IdVec<Rank, &str> = IdVec::new();
        let zero = names.push("zero");
        let one = names.push("one");
        assert_eq!((names[zero], names[one]), ("zero", "one"));
        assert_eq!(names.ids().collect::<Vec<_>>(), [Rank(0), Rank(1)]);
        assert_eq!(Rank(3).to_string(), "rank 3");
    }
}
