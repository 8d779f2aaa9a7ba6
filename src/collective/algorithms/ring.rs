//! Ring: pieces travel around, each member adding its own or keeping a copy.
//!
//! Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", JPDC
//! 2009, section 3: reduce-scatter in n − 1 rounds, then all-gather in n − 1 rounds, S/n a round, so
//! 2(n−1)(α + S/(n·B)) for an all-reduce and half of it for its halves. Broadcast and reduce go along
//! the ring in pieces, which follow each other: (n − 2 + c)(α + S/(c·B)) with c pieces.
//!
//! The rounds may be cut into chunks too: a member passes a chunk on while the next one is on its way to
//! it, so that a round takes the greater of S/(n·B) and α + S/(c·n·B) (NCCL's slices).
//!
//! With several channels the buffer is cut once more, and each channel has a ring of its own: every
//! second one runs the other way around, and between the nodes of a machine each channel crosses at
//! another device, so that all network cards work at once (as NCCL's rings do).

use serde::{Deserialize, Serialize};

use super::{all_to_all, nodes_of, root_of, send};
use crate::collective::algorithms::CollectiveAlgorithm;
use crate::collective::{
    Action, Collective, CollectiveKind, CommPlan, Member, Passes, PlanBuilder, Rings, Transfer,
};
use crate::hardware::Topology;

/// Rings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ring {
    /// How many rings share the work; the first runs in member order.
    pub channels: u16,
    /// Chunks in which what goes around follows itself; unless given, a broadcast or a reduce in 8, and the
    /// pieces of the other kinds whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunks: Option<u32>,
}

impl Default for Ring {
    fn default() -> Self {
        Ring { channels: 1, chunks: None }
    }
}

/// Chunks of a broadcast or a reduce.
const CHUNKS_ALONG: u32 = 8;

impl CollectiveAlgorithm for Ring {
    fn plan(&self, call: &Collective, topology: &Topology) -> CommPlan {
        let n = call.members();
        let channels = u32::from(self.channels.max(1));
        let rings = || (0..channels).map(|channel| Circle::new(channel, call, topology));
        let in_rounds = |passes| {
            let orders = rings().map(|ring| ring.order).collect();
            CommPlan::of_rings(Rings::new(orders, self.chunks.unwrap_or(1).max(1), passes))
        };
        match call.kind {
            CollectiveKind::SendReceive => send(),
            CollectiveKind::AllToAll => all_to_all(n),
            CollectiveKind::Broadcast { .. } | CollectiveKind::Reduce { .. } => {
                let chunks = self.chunks.unwrap_or(CHUNKS_ALONG).max(1);
                let mut plan = PlanBuilder::new(n, channels * chunks).in_order();
                rings().for_each(|ring| ring.along(call.kind, chunks, &mut plan));
                plan.build()
            }
            CollectiveKind::AllReduce => in_rounds(Passes::AllReduce),
            CollectiveKind::ReduceScatter => in_rounds(Passes::ReduceScatter),
            CollectiveKind::AllGather => in_rounds(Passes::AllGather),
        }
    }
}

/// One ring.
struct Circle {
    channel: u32,
    /// The members, from one to the next.
    order: Vec<Member>,
}

impl Circle {
    fn new(channel: u32, call: &Collective, topology: &Topology) -> Self {
        let mut order: Vec<Member> = match nodes_of(call, topology) {
            Some(per_node) if channel > 0 && per_node > 1 => through_nodes(channel, per_node, call.members()),
            _ => (0..call.members()).map(Member).collect(),
        };
        if channel % 2 == 1 {
            order.reverse();
        }
        Circle { channel, order }
    }

    fn hop(&self, at: usize, piece: u32, action: Action) -> Transfer {
        let next = self.order[(at + 1) % self.order.len()];
        Transfer { action, channel: self.channel as u16, ..Transfer::copy(self.order[at], next, piece, 1) }
    }

    /// Broadcast away from the root, or reduce towards it, chunk after chunk.
    fn along(&self, kind: CollectiveKind, chunks: u32, plan: &mut PlanBuilder) {
        let n = self.order.len();
        let root =
            self.order.iter().position(|member| *member == root_of(kind)).expect("a root of the group");
        let (first, action) = match kind {
            CollectiveKind::Reduce { .. } => (root + 1, Action::Reduce),
            _ => (root, Action::Copy),
        };
        for chunk in 0..chunks {
            let piece = self.channel * chunks + chunk;
            plan.transfers((0..n - 1).map(|hop| self.hop((first + hop) % n, piece, action)));
        }
    }
}

/// Node after node, entering and leaving each by devices that stand at the same place in theirs:
/// devices c, c+1, …, c−1 of an even node, and back from c−1 to c in the next.
fn through_nodes(channel: u32, per_node: u32, members: u32) -> Vec<Member> {
    let member = |at: u32| {
        let (node, step) = (at / per_node, at % per_node);
        let step = if node % 2 == 0 { step } else { per_node - 1 - step };
        // Channels 2k and 2k + 1 are one ring in both directions.
        Member(node * per_node + (step + channel / 2) % per_node)
    };
    (0..members).map(member).collect()
}
