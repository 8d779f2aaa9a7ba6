//! Which transfers make up an all-reduce, in which order.
//!
//! A [`CollectiveAlgorithm`] turns a [`Collective`] into a [`CommPlan`]: transfers of pieces of a
//! buffer between members, ordered by data. It is pure data: the room knows nothing of training, of
//! time passing; of the network it knows only what a flow is. The [`oracle`] says whether a plan does what its kind
//! promises; [`execute`] does it to real numbers.
//!
//! To add an algorithm, write its file in [`algorithms`] and list it there; the conformance suite
//! finds it.

pub mod algorithms;
mod bandwidth;
mod blocks;
mod execute;
pub mod oracle;
mod plan;
pub mod timing;

use std::fmt;
use std::sync::Arc;

pub use algorithms::{AlgorithmSpec, CollectiveAlgorithm};
pub use bandwidth::{algorithm_bandwidth, bus_bandwidth, bus_factor};
pub use blocks::{Block, blocks};
pub use execute::{Reduction, execute};
pub use plan::{Action, CommPlan, Part, PlanBuilder, Transfer, Wire};

use crate::ids::DeviceId;
use crate::units::Bytes;

/// A member of a group, by its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member(pub u32);

impl Member {
    /// Its place in the group.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member {}", self.0)
    }
}

/// What a group does with its buffers. A buffer has as many equal pieces as the group has members;
/// member i's own piece is piece i.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CollectiveKind {
    /// Everyone gets the sum of all buffers.
    AllReduce,
    /// Everyone gets its own piece of the sum.
    ReduceScatter,
    /// Everyone has its own piece and gets all.
    AllGather,
    /// Everyone gets the root's buffer.
    Broadcast {
        /// Who has it.
        root: Member,
    },
    /// The root gets the sum of all buffers.
    Reduce {
        /// Who gets it.
        root: Member,
    },
    /// Everyone gives piece j to member j, and gets piece i of member i's gift.
    AllToAll,
    /// Member 0 gives its buffer to member 1.
    SendReceive,
}

impl CollectiveKind {
    /// Every kind, with member 0 as the root.
    pub const ALL: [CollectiveKind; 7] = [
        CollectiveKind::AllReduce,
        CollectiveKind::ReduceScatter,
        CollectiveKind::AllGather,
        CollectiveKind::Broadcast { root: Member(0) },
        CollectiveKind::Reduce { root: Member(0) },
        CollectiveKind::AllToAll,
        CollectiveKind::SendReceive,
    ];

    /// The name a reader sees.
    pub const fn name(self) -> &'static str {
        match self {
            CollectiveKind::AllReduce => "all-reduce",
            CollectiveKind::ReduceScatter => "reduce-scatter",
            CollectiveKind::AllGather => "all-gather",
            CollectiveKind::Broadcast { .. } => "broadcast",
            CollectiveKind::Reduce { .. } => "reduce",
            CollectiveKind::AllToAll => "all-to-all",
            CollectiveKind::SendReceive => "send-receive",
        }
    }
}

/// One call of a collective.
#[derive(Debug, Clone)]
pub struct Collective {
    /// What is asked.
    pub kind: CollectiveKind,
    /// Size of the whole buffer as nccl-tests counts it: all-gather, what is gathered; reduce-scatter,
    /// what is given; all-to-all, what each member gives in all.
    pub bytes: Bytes,
    /// The devices, in member order.
    pub group: Arc<[DeviceId]>,
}

impl Collective {
    /// How many members there are.
    pub fn members(&self) -> u32 {
        u32::try_from(self.group.len()).expect("fewer than 2^32 members")
    }
}
