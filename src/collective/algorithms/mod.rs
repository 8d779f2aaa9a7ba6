//! The algorithms, one file each.

mod direct;
mod ring;

use crate::collective::{Action, Collective, CollectiveKind, CommPlan, Member, PlanBuilder, Transfer};
use crate::hardware::Topology;
use crate::registry;

registry! {
    /// `collective:` of a workload, `--algorithm` of the command.
    pub enum AlgorithmSpec: CollectiveAlgorithm {
        "ring" => Ring(ring::Ring),
        "direct" => Direct(direct::Direct),
    }
}

/// Turns a call into transfers.
///
/// Contract: the plan does what its kind promises, by the [oracle](crate::collective::oracle), and its
/// transfers are given in an order in which they could be done one after the other.
pub trait CollectiveAlgorithm {
    /// The transfers of a call that the algorithm [admits](Self::admits).
    fn plan(&self, call: &Collective, topology: &Topology) -> CommPlan;

    /// Why a call cannot be carried out this way, and what would do.
    fn admits(&self, _call: &Collective, _topology: &Topology) -> Result<(), String> {
        Ok(())
    }
}

/// Member 0 gives its buffer to member 1: what every algorithm does for a send.
fn send() -> CommPlan {
    let mut plan = PlanBuilder::new(2, 1);
    plan.transfer(whole(Member(0), Member(1), 1));
    plan.build()
}

/// All pieces of a buffer, copied.
fn whole(from: Member, to: Member, pieces: u32) -> Transfer {
    Transfer { from, to, source: 0, target: 0, count: pieces, action: Action::Copy, channel: 0 }
}

/// Every member gives piece j to member j at once, each beginning with its neighbour so that no
/// member is everybody's first target.
///
/// (n − 1) transfers of S/n a member; with a link of its own for each pair (n−1)·S/(n·B) in all.
fn all_to_all(members: u32) -> CommPlan {
    let mut plan = PlanBuilder::with_output(members, members);
    for shift in 0..members {
        for from in 0..members {
            let to = (from + shift) % members;
            plan.transfer(Transfer {
                from: Member(from),
                to: Member(to),
                source: to,
                target: members + from,
                count: 1,
                action: Action::Copy,
                channel: 0,
            });
        }
    }
    plan.build()
}

/// Kinds that have a root, and who it is.
fn root_of(kind: CollectiveKind) -> Member {
    match kind {
        CollectiveKind::Broadcast { root } | CollectiveKind::Reduce { root } => root,
        _ => Member(0),
    }
}
