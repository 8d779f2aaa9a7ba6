//! One call of a collective: who takes part with which buffers, and the plan of its transfers.

use std::sync::Arc;

use crate::collective::{Block, CollectiveKind, CommPlan, Member};
use crate::ids::{BufferId, DeviceId, OpId, Rank, RoutingId};
use crate::program::Reduction;
use crate::units::Bytes;

/// One call of a collective.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// What the group does.
    pub kind: CollectiveKind,
    /// How values meet where the plan reduces.
    pub reduction: Reduction,
    /// Size of the whole buffer on the wire, as nccl-tests counts it.
    pub bytes: Bytes,
    /// The transfers, chosen by a collective algorithm; their members index `participants`.
    pub plan: Arc<CommPlan>,
    /// The group, in member order; of a folded exchange, its simulated members.
    pub participants: Vec<Participant>,
    /// What it stands for, where ranks that do the same are simulated once.
    pub folded: Option<Arc<Folded>>,
    /// What an all-to-all's blocks go by, where they differ in size.
    pub routed: Option<RoutedExchange>,
}

/// Tokens on their way to experts, or back: `bytes` and the buffers of such an exchange are written for as many
/// rows as there nominally are.
#[derive(Debug, Clone)]
pub struct RoutedExchange {
    /// Which decision.
    pub routing: RoutingId,
    /// Whether they are on their way back.
    pub back: bool,
    /// Bytes of a row.
    pub row: Bytes,
    /// Which blocks each transfer carries.
    pub blocks: Arc<[Vec<Block>]>,
}

/// Groups that do the same at the same time, of which one is simulated, and of it some members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    /// The devices of every group in member order, the simulated group first.
    pub groups: Vec<Vec<DeviceId>>,
    /// Which members of that group take part themselves.
    pub simulated: Vec<Member>,
}

impl Exchange {
    /// Members of the group that exchanges, simulated or not.
    pub fn members(&self) -> usize {
        self.folded.as_ref().map_or(self.participants.len(), |folded| folded.groups[0].len())
    }

    /// The ops of the exchange: one for each member, but a send has the sender's alone.
    pub fn ops(&self) -> impl ExactSizeIterator<Item = OpId> + '_ {
        let ops = if self.is_send() { 1 } else { self.participants.len() };
        self.participants[..ops].iter().map(|part| part.op)
    }

    /// Which of [`ops`](Self::ops) is a member's part.
    pub fn op_index(&self, member: usize) -> usize {
        if self.is_send() { 0 } else { member }
    }

    /// Whether the sender's op stands for both members.
    pub fn is_send(&self) -> bool {
        matches!(&self.participants[..], [from, to] if from.op == to.op)
    }
}

/// A member of an exchange and the buffers that it brings.
///
/// Several buffers stand for their concatenation (a gradient bucket). Where reads and writes are the
/// same buffers the exchange works in place. A gathering member reads its piece and writes the whole;
/// a scattering one reads the whole and writes its piece.
#[derive(Debug, Clone)]
pub struct Participant {
    /// Who.
    pub rank: Rank,
    /// The op that is this member's part. The receiver of a send has none of its own: both members
    /// name the sender's.
    pub op: OpId,
    /// The payload given.
    pub reads: Vec<BufferId>,
    /// Where the result goes.
    pub writes: Vec<BufferId>,
}
