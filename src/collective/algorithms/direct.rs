//! Direct: everyone sends to everyone at once.
//!
//! Chan et al., "Collective communication: theory, practice, and experience", CCPE 2007, section 4:
//! the fewest rounds, one for each half of an all-reduce, at the price of n − 1 messages at once from
//! and to every member. With a full mesh of links (or a switch): 2(α + (n−1)·S/(n·B)) for an
//! all-reduce over one port of bandwidth B.

use serde::{Deserialize, Serialize};

use super::{all_to_all, root_of, send};
use crate::collective::algorithms::CollectiveAlgorithm;
use crate::collective::{Collective, CollectiveKind, CommPlan, Member, PlanBuilder, Transfer};
use crate::hardware::Topology;

/// Everyone sends to everyone.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Direct {}

impl CollectiveAlgorithm for Direct {
    fn plan(&self, call: &Collective, _topology: &Topology) -> CommPlan {
        let n = call.members();
        match call.kind {
            CollectiveKind::SendReceive => send(),
            CollectiveKind::AllToAll => all_to_all(n),
            CollectiveKind::Broadcast { .. } => {
                let root = root_of(call.kind);
                let mut plan = PlanBuilder::new(n, 1);
                plan.transfers(others(root, n).map(|other| Transfer::copy(root, other, 0, 1)));
                plan.build()
            }
            CollectiveKind::Reduce { .. } => {
                let root = root_of(call.kind);
                let mut plan = PlanBuilder::new(n, 1);
                plan.transfers(others(root, n).map(|other| Transfer::reduce(other, root, 0, 1)));
                plan.build()
            }
            CollectiveKind::AllReduce => {
                let mut plan = PlanBuilder::new(n, n);
                to_owners(&mut plan, n);
                from_owners(&mut plan, n);
                plan.build()
            }
            CollectiveKind::ReduceScatter => {
                let mut plan = PlanBuilder::new(n, n);
                to_owners(&mut plan, n);
                plan.build()
            }
            CollectiveKind::AllGather => {
                let mut plan = PlanBuilder::new(n, n);
                from_owners(&mut plan, n);
                plan.build()
            }
        }
    }
}

/// Everyone but `member`, beginning with its neighbour.
fn others(member: Member, n: u32) -> impl Iterator<Item = Member> {
    (1..n).map(move |shift| Member((member.0 + shift) % n))
}

/// Every piece to its owner, which adds it.
fn to_owners(plan: &mut PlanBuilder, n: u32) {
    for owner in (0..n).map(Member) {
        plan.transfers(others(owner, n).map(|from| Transfer::reduce(from, owner, owner.0, 1)));
    }
}

/// Every owner's piece to everyone.
fn from_owners(plan: &mut PlanBuilder, n: u32) {
    for owner in (0..n).map(Member) {
        plan.transfers(others(owner, n).map(|to| Transfer::copy(owner, to, owner.0, 1)));
    }
}
