//! The algorithms, one file each.

mod auto;
mod binomial;
mod bruck;
mod chain;
mod direct;
mod double_binary_tree;
mod gathers;
mod halving_doubling;
mod hierarchical;
mod nvls;
mod pairwise;
mod pxn;
mod ring;
mod synthesized;

pub use auto::{Auto, Choice};
use gathers::Step;

use crate::collective::{Action, Collective, CollectiveKind, CommPlan, Member, PlanBuilder, Transfer};
use crate::hardware::Topology;
use crate::registry;

registry! {
    /// `collective:` of a workload, `--algorithm` of the command.
    pub enum AlgorithmSpec: CollectiveAlgorithm {
        /// neighbour to neighbour around one or more rings, 2(n−1)/n of the bytes
        "ring" => Ring(ring::Ring),
        /// everyone to everyone at once, one round
        "direct" => Direct(direct::Direct),
        /// two complementary trees, logarithmic latency at full bandwidth (NCCL)
        "double_binary_tree" => DoubleBinaryTree(double_binary_tree::DoubleBinaryTree),
        /// recursive halving and doubling (Thakur et al.)
        "halving_doubling" => HalvingDoubling(halving_doubling::HalvingDoubling),
        /// ⌈log₂ n⌉ rounds for small messages (Bruck et al.)
        "bruck" => Bruck(bruck::Bruck),
        /// all-to-all in n − 1 rounds of disjoint pairs
        "pairwise" => Pairwise(pairwise::Pairwise),
        /// a binomial tree for broadcast and reduce
        "binomial" => Binomial(binomial::Binomial),
        /// a pipelined chain for broadcast and reduce
        "chain" => Chain(chain::Chain),
        /// dimension by dimension: in the node, then across
        "hierarchical" => Hierarchical(hierarchical::Hierarchical),
        /// the switch adds and multicasts (NVLink SHARP)
        "nvls" => Nvls(nvls::Nvls),
        /// all-to-all along rails: through the node, then its own NIC
        "pxn" => Pxn(pxn::Pxn),
        /// a schedule searched for this very topology (after TACOS)
        "synthesized" => Synthesized(synthesized::Synthesized),
        /// the quickest by prediction, protocol included, as NCCL's tuner chooses
        "auto" => Auto(auto::Auto),
    }
}

impl AlgorithmSpec {
    /// The same algorithm with what follows itself cut into this many chunks.
    ///
    /// # Errors
    /// When nothing of it does.
    pub fn in_chunks(mut self, count: u32) -> Result<Self, String> {
        match &mut self {
            AlgorithmSpec::Ring(ring) => ring.chunks = Some(count),
            AlgorithmSpec::DoubleBinaryTree(tree) => tree.chunks = count,
            AlgorithmSpec::Chain(chain) => chain.chunks = count,
            AlgorithmSpec::Hierarchical(hierarchical) => hierarchical.chunks = count,
            AlgorithmSpec::Nvls(nvls) => nvls.chunks = count,
            _ => return Err(CHUNKED.to_owned()),
        }
        Ok(self)
    }
}

const CHUNKED: &str = "only `ring`, `double_binary_tree`, `chain`, `hierarchical` and `nvls` go in chunks";

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
    plan.transfer(Transfer::copy(Member(0), Member(1), 0, 1));
    plan.build()
}

/// Every member gives piece j to member j at once, each beginning with its neighbour so that no
/// member is everybody's first target.
///
/// (n − 1) transfers of S/n a member; with a link of its own for each pair (n−1)·S/(n·B) in all.
fn all_to_all(members: u32) -> CommPlan {
    let mut plan = PlanBuilder::with_output(members, members);
    for shift in 0..members {
        plan.transfers((0..members).map(|from| gift(members, from, (from + shift) % members)));
    }
    plan.build()
}

/// What a member gives another in an all-to-all.
fn gift(members: u32, from: u32, to: u32) -> Transfer {
    Transfer { target: members + from, ..Transfer::copy(Member(from), Member(to), to, 1) }
}

/// The kinds that are made of the rounds of an all-gather: itself, backwards a reduce-scatter, both an
/// all-reduce. A member begins a round when its part of the one before is done.
fn gathered(kind: CollectiveKind, members: u32, all_gather: &[Vec<Transfer>]) -> CommPlan {
    let mut plan = PlanBuilder::new(members, members);
    let in_rounds = all_gather.len() > 1;
    let mut round = |moves: &mut dyn Iterator<Item = Transfer>| {
        if in_rounds {
            plan.next_round();
        }
        plan.transfers(moves);
    };
    if kind != CollectiveKind::AllGather {
        all_gather.iter().rev().for_each(|moves| round(&mut reversed(moves)));
    }
    if kind != CollectiveKind::ReduceScatter {
        all_gather.iter().for_each(|moves| round(&mut moves.iter().copied()));
    }
    plan.build()
}

/// The kinds that are made of a broadcast, chunk after chunk: itself, backwards a reduce, both an
/// all-reduce.
fn spread(
    kind: CollectiveKind,
    members: u32,
    chunks: u32,
    broadcast: impl Fn(u32) -> Vec<Transfer>,
) -> CommPlan {
    let mut plan = PlanBuilder::new(members, chunks).in_order();
    for chunk in 0..chunks {
        let moves = broadcast(chunk);
        if !matches!(kind, CollectiveKind::Broadcast { .. }) {
            plan.transfers(reversed(&moves));
        }
        if !matches!(kind, CollectiveKind::Reduce { .. }) {
            plan.transfers(moves);
        }
    }
    plan.build()
}

/// The same transfers backwards, adding.
fn reversed(moves: &[Transfer]) -> impl Iterator<Item = Transfer> + '_ {
    let back = |&forth: &Transfer| Transfer {
        from: forth.to,
        to: forth.from,
        source: forth.target,
        target: forth.source,
        action: Action::Reduce,
        ..forth
    };
    moves.iter().rev().map(back)
}

/// The steps of a gather as transfers of pieces of the same number.
fn blocks(steps: &[Step], member: impl Fn(u32) -> Member) -> Vec<Transfer> {
    let transfer = |step: &Step| Transfer::copy(member(step.from), member(step.to), step.block, step.blocks);
    steps.iter().map(transfer).collect()
}

/// Kinds that have a root, and who it is.
fn root_of(kind: CollectiveKind) -> Member {
    match kind {
        CollectiveKind::Broadcast { root } | CollectiveKind::Reduce { root } => root,
        _ => Member(0),
    }
}

/// How many members of a group share a node, if as many do in each and stand side by side.
fn nodes_of(call: &Collective, topology: &Topology) -> Option<u32> {
    let node = |member: usize| topology.devices()[call.group[member]].node;
    let members = call.group.len();
    let per_node = (1..members).find(|&member| node(member) != node(0)).unwrap_or(members);
    let regular = members.is_multiple_of(per_node)
        && (0..members).all(|member| node(member) == node(member / per_node * per_node))
        && (per_node..members).step_by(per_node).all(|member| node(member) != node(member - 1));
    regular.then_some(per_node as u32)
}

/// The blocks of an all-to-all on their way over other members. A member holds them in its two buffers
/// by turns: nothing of the next round can meet what has not left in this one.
struct Relay {
    plan: PlanBuilder,
    members: u32,
}

/// Where a member holds a block.
#[derive(Clone, Copy)]
struct Held {
    member: u32,
    /// The first buffer, or the second.
    second: bool,
    at: u32,
}

impl Relay {
    fn new(members: u32) -> Self {
        Relay { plan: PlanBuilder::with_output(members, members), members }
    }

    fn carry(&mut self, from: Held, to: Held) {
        let place = |held: Held| if held.second { self.members + held.at } else { held.at };
        let (source, target) = (place(from), place(to));
        let copy = Transfer::copy(Member(from.member), Member(to.member), source, 1);
        self.plan.transfer(Transfer { target, ..copy });
    }
}

fn not_all_to_all(call: &Collective, algorithm: &str) -> Result<(), String> {
    match call.kind {
        CollectiveKind::AllToAll => {
            Err(format!("`{algorithm}` cannot carry out an all-to-all; `pairwise`, `bruck` and `direct` can"))
        }
        _ => Ok(()),
    }
}

fn only_whole_buffers(call: &Collective, algorithm: &str) -> Result<(), String> {
    match call.kind {
        CollectiveKind::ReduceScatter | CollectiveKind::AllGather | CollectiveKind::AllToAll => Err(format!(
            "`{algorithm}` carries whole buffers, so it cannot carry out a {}; `ring` and `direct` can",
            call.kind.name()
        )),
        _ => Ok(()),
    }
}
