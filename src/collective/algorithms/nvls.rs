//! In-network: switches add what passes upwards and multiply what passes downwards.
//!
//! NVLink SHARP (`nvls`; NVIDIA, "NVLink SHARP", NCCL 2.17 release notes) and SHARP on InfiniBand: Graham
//! et al., "Scalable Hierarchical Aggregation Protocol (SHArP)", COM-HPC 2016. For each piece its owner
//! asks the switches for the sum: everyone's contribution crosses each link of the tree that joins them
//! once, the sum alone goes down to the owner. What the owner has goes up once and is multiplied. An
//! all-reduce so moves S up and S down every device's link, nearly twice as fast as a ring's 2(n−1)/n·S:
//! in chunks that follow each other (1 + 1/c)·S/B and a little.
//!
//! A switch is taken to add and multiply at the speed of its links.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{all_to_all, root_of, send};
use crate::collective::algorithms::CollectiveAlgorithm;
use crate::collective::{Collective, CollectiveKind, CommPlan, Member, Part, PlanBuilder, Transfer};
use crate::hardware::Topology;
use crate::ids::{LinkId, TransferId};

/// Sums and copies made by the switches.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nvls {
    /// Pieces in which a member's share follows itself.
    pub chunks: u32,
}

impl Default for Nvls {
    fn default() -> Self {
        Nvls { chunks: 8 }
    }
}

impl CollectiveAlgorithm for Nvls {
    fn plan(&self, call: &Collective, topology: &Topology) -> CommPlan {
        let n = call.members();
        let chunks = self.chunks.max(1);
        match call.kind {
            CollectiveKind::SendReceive => return send(),
            CollectiveKind::AllToAll => return all_to_all(n),
            _ => {}
        }
        let rooted = matches!(call.kind, CollectiveKind::Broadcast { .. } | CollectiveKind::Reduce { .. });
        let owners: Vec<Member> =
            if rooted { vec![root_of(call.kind)] } else { (0..n).map(Member).collect() };
        let trees: Vec<Tree> = owners.iter().map(|&owner| Tree::new(owner, call, topology)).collect();
        let mut plan = PlanBuilder::new(n, owners.len() as u32 * chunks);
        let (reduces, copies) = match call.kind {
            CollectiveKind::ReduceScatter | CollectiveKind::Reduce { .. } => (true, false),
            CollectiveKind::AllGather | CollectiveKind::Broadcast { .. } => (false, true),
            _ => (true, true),
        };
        let (mut sums, mut multicasts) = (Vec::new(), Vec::new());
        for chunk in 0..chunks {
            let piece = |tree: usize| tree as u32 * chunks + chunk;
            if reduces {
                let moves = trees.iter().enumerate().flat_map(|(at, tree)| tree.sum(piece(at)));
                sums = follow(&mut plan, &sums, moves);
            }
            if copies {
                let moves = trees.iter().enumerate().flat_map(|(at, tree)| tree.multicast(piece(at)));
                multicasts = follow(&mut plan, &multicasts, moves);
            }
        }
        plan.build()
    }

    fn admits(&self, call: &Collective, topology: &Topology) -> Result<(), String> {
        let through_switches = !topology.devices_forward()
            && call
                .group
                .iter()
                .all(|&device| device == call.group[0] || topology.route(device, call.group[0], 0).len() > 1);
        if through_switches {
            Ok(())
        } else {
            Err("`nvls` needs switches between the members, and these are joined directly".to_owned())
        }
    }
}

/// Adds the transfers of a chunk, each after those of the chunk before that the same member gave.
fn follow(
    plan: &mut PlanBuilder,
    before: &[(Member, TransferId)],
    moves: impl Iterator<Item = Transfer>,
) -> Vec<(Member, TransferId)> {
    let mut these = Vec::new();
    for transfer in moves {
        let id = plan.transfer(transfer);
        let same = before.iter().filter(|(giver, _)| *giver == transfer.from);
        same.for_each(|&(_, earlier)| plan.wait(earlier, id));
        these.push((transfer.from, id));
    }
    these
}

/// How an owner is joined to the others: of every route, what no earlier one covers.
struct Tree {
    owner: Member,
    up: Vec<(Member, Part)>,
    down: Vec<(Member, Part)>,
}

impl Tree {
    fn new(owner: Member, call: &Collective, topology: &Topology) -> Self {
        let n = call.members();
        let others = || (1..n).map(move |shift| Member((owner.0 + shift) % n));
        let route =
            |from: Member, to: Member| topology.route(call.group[from.index()], call.group[to.index()], 0);
        let mut covered = BTreeSet::new();
        let up = others().map(|from| {
            let route = route(from, owner);
            let links = fresh(route.iter(), &mut covered);
            (from, if links == route.len() { Part::Whole } else { Part::First(links as u8) })
        });
        let up = up.collect();
        let mut covered = BTreeSet::new();
        let down = others().map(|to| {
            let route = route(owner, to);
            let links = fresh(route.iter().rev(), &mut covered);
            (to, if links == route.len() { Part::Whole } else { Part::Last(links as u8) })
        });
        Tree { owner, up, down: down.collect() }
    }

    fn sum(&self, piece: u32) -> impl Iterator<Item = Transfer> + '_ {
        let reduce = move |&(from, part)| Transfer { part, ..Transfer::reduce(from, self.owner, piece, 1) };
        self.up.iter().map(reduce)
    }

    fn multicast(&self, piece: u32) -> impl Iterator<Item = Transfer> + '_ {
        let copy = move |&(to, part)| Transfer { part, ..Transfer::copy(self.owner, to, piece, 1) };
        self.down.iter().map(copy)
    }
}

/// How many links come before the first that is covered, at least one; they are covered from now on.
fn fresh<'a>(links: impl Iterator<Item = &'a LinkId>, covered: &mut BTreeSet<LinkId>) -> usize {
    links.take_while(|&&link| covered.insert(link)).count().max(1)
}
