//! Ring: pieces travel around, each member adding its own or keeping a copy.
//!
//! Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", JPDC
//! 2009, section 3: reduce-scatter in n − 1 rounds, then all-gather in n − 1 rounds, S/n a round, so
//! 2(n−1)(α + S/(n·B)) for an all-reduce and half of it for its halves. Broadcast and reduce go along
//! the ring in pieces, which follow each other: (n − 2 + c)(α + S/(c·B)) with c pieces.

use serde::{Deserialize, Serialize};

use super::{all_to_all, root_of, send};
use crate::collective::algorithms::CollectiveAlgorithm;
use crate::collective::{Action, Collective, CollectiveKind, CommPlan, Member, PlanBuilder, Transfer};
use crate::hardware::Topology;

/// The ring in member order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ring {
    /// Pieces in which a broadcast or a reduce follows itself around the ring.
    pub chunks: u32,
}

impl Default for Ring {
    fn default() -> Self {
        Ring { chunks: 8 }
    }
}

impl CollectiveAlgorithm for Ring {
    fn plan(&self, call: &Collective, _topology: &Topology) -> CommPlan {
        let n = call.members();
        match call.kind {
            CollectiveKind::SendReceive => send(),
            CollectiveKind::AllToAll => all_to_all(n),
            CollectiveKind::Broadcast { .. } | CollectiveKind::Reduce { .. } => self.along(call.kind, n),
            CollectiveKind::AllReduce => {
                let mut plan = PlanBuilder::new(n, n);
                // After reduce-scatter member i has the sum of piece i, with which all-gather begins.
                reduce_scatter(&mut plan, n);
                all_gather(&mut plan, n);
                plan.build()
            }
            CollectiveKind::ReduceScatter => {
                let mut plan = PlanBuilder::new(n, n);
                reduce_scatter(&mut plan, n);
                plan.build()
            }
            CollectiveKind::AllGather => {
                let mut plan = PlanBuilder::new(n, n);
                all_gather(&mut plan, n);
                plan.build()
            }
        }
    }
}

impl Ring {
    /// Broadcast away from the root, or reduce towards it, chunk after chunk.
    fn along(&self, kind: CollectiveKind, n: u32) -> CommPlan {
        let chunks = self.chunks.max(1);
        let mut plan = PlanBuilder::new(n, chunks);
        let root = root_of(kind).0;
        let (first, action) = match kind {
            CollectiveKind::Reduce { .. } => (root + 1, Action::Reduce),
            _ => (root, Action::Copy),
        };
        for chunk in 0..chunks {
            for hop in 0..n - 1 {
                let from = (first + hop) % n;
                plan.transfer(step(from, n, chunk, action));
            }
        }
        plan.build()
    }
}

/// Piece i starts at member i + 1 and ends, summed, at member i.
fn reduce_scatter(plan: &mut PlanBuilder, n: u32) {
    for round in 0..n - 1 {
        for from in 0..n {
            let piece = (from + 2 * n - 1 - round) % n;
            plan.transfer(step(from, n, piece, Action::Reduce));
        }
    }
}

/// Piece i starts at member i and ends everywhere.
fn all_gather(plan: &mut PlanBuilder, n: u32) {
    for round in 0..n - 1 {
        for from in 0..n {
            let piece = (from + n - round) % n;
            plan.transfer(step(from, n, piece, Action::Copy));
        }
    }
}

/// One piece to the next member.
fn step(from: u32, n: u32, piece: u32, action: Action) -> Transfer {
    let to = Member((from + 1) % n);
    Transfer { from: Member(from), to, source: piece, target: piece, count: 1, action, channel: 0 }
}
