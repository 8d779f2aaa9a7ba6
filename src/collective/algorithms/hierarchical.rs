//! Hierarchical: one dimension of the machine after the other.
//!
//! The group is a grid, innermost dimension first: the devices of a node, the nodes; or X, Y and Z of a
//! torus. A reduce-scatter along the first dimension leaves 1/d₁ of the buffer to the second, and so on;
//! an all-gather comes back the same way; an all-reduce does both. (Rashidi et al., "ASTRA-sim: enabling
//! SW/HW co-design exploration for distributed DL training platforms", ISPASS 2020; Cho et al.,
//! "BlueConnect", MLSys 2019.) With d₁ devices in a node of bandwidth B₁ and d₂ nodes over B₂ a device,
//! an all-reduce by rings takes 2(d₁−1)(α₁ + S/(d₁B₁)) + 2(d₂−1)(α₂ + S/(d₁d₂B₂)).
//!
//! A broadcast goes along the outermost dimension first, an all-to-all sorts blocks by the receiver's
//! place in one dimension after the other, so that few large messages leave a node.

use serde::{Deserialize, Serialize};

use super::gathers::{self, Step};
use super::{Held, Relay, gathered, nodes_of, root_of, send, spread};
use crate::collective::algorithms::CollectiveAlgorithm;
use crate::collective::{Collective, CollectiveKind, CommPlan, Member, Transfer};
use crate::hardware::Topology;

/// Dimension by dimension.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hierarchical {
    /// The sizes of the dimensions, innermost first; none: the devices of a node, and the nodes.
    pub dimensions: Vec<u32>,
    /// How each dimension is done, innermost first; the last one holds for those beyond.
    pub by: Vec<Within>,
    /// Pieces in which a broadcast or a reduce follows itself.
    pub chunks: u32,
}

/// How members that differ in one dimension alone gather.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Within {
    /// Around a ring.
    Ring,
    /// Everyone to everyone at once.
    Direct,
    /// Recursive halving and doubling.
    HalvingDoubling,
    /// Bruck's rounds.
    Bruck,
}

impl Default for Hierarchical {
    fn default() -> Self {
        Hierarchical { dimensions: Vec::new(), by: vec![Within::Ring], chunks: 8 }
    }
}

impl CollectiveAlgorithm for Hierarchical {
    fn plan(&self, call: &Collective, topology: &Topology) -> CommPlan {
        let n = call.members();
        let grid = self.grid(call, topology);
        match call.kind {
            CollectiveKind::SendReceive => send(),
            CollectiveKind::AllToAll => all_to_all(&grid, n),
            CollectiveKind::Broadcast { .. } | CollectiveKind::Reduce { .. } => {
                let root = root_of(call.kind).0;
                spread(call.kind, n, self.chunks.max(1), |chunk| grid.broadcast(root, chunk))
            }
            CollectiveKind::AllReduce => {
                // Nobody owns a piece, so they are numbered so that whatever moves together is in a row.
                let moves = self.all_gather(&grid, n, &|piece| grid.turned(piece));
                gathered(call.kind, n, &[moves])
            }
            kind => gathered(kind, n, &[self.all_gather(&grid, n, &|piece| piece)]),
        }
    }

    fn admits(&self, call: &Collective, _topology: &Topology) -> Result<(), String> {
        let n = call.members();
        let product = self.dimensions.iter().map(|&size| u64::from(size)).product::<u64>();
        if !self.dimensions.is_empty() && product != u64::from(n) {
            return Err(format!("the dimensions hold {product} members, the group has {n}"));
        }
        if self.by.is_empty() {
            return Err("`hierarchical` needs at least one way in `by`".to_owned());
        }
        Ok(())
    }
}

impl Hierarchical {
    fn grid(&self, call: &Collective, topology: &Topology) -> Grid {
        let n = call.members();
        if !self.dimensions.is_empty() {
            return Grid { sizes: self.dimensions.clone() };
        }
        match nodes_of(call, topology) {
            Some(per_node) => Grid { sizes: vec![per_node, n / per_node] },
            None => Grid { sizes: vec![n] },
        }
    }

    /// From the outermost dimension to the innermost; `label` numbers the pieces.
    fn all_gather(&self, grid: &Grid, n: u32, label: &dyn Fn(u32) -> u32) -> Vec<Transfer> {
        let mut moves = Vec::new();
        for dimension in (0..grid.sizes.len()).rev() {
            let by = self.by[dimension.min(self.by.len() - 1)];
            let steps = by.steps(grid.sizes[dimension]);
            for step in steps {
                for first in (0..n).filter(|&member| grid.at(member, dimension) == 0) {
                    let member = |at| Member(grid.moved(first, dimension, at));
                    let pieces = grid.pieces(first, dimension, &step, label);
                    moves.extend(runs(pieces).into_iter().map(|(piece, count)| {
                        Transfer::copy(member(step.from), member(step.to), piece, count)
                    }));
                }
            }
        }
        moves
    }
}

impl Within {
    fn steps(self, n: u32) -> Vec<Step> {
        match self {
            Within::Ring => gathers::ring(n),
            Within::Direct => gathers::direct(n),
            Within::HalvingDoubling => gathers::recursive_doubling(n).concat(),
            Within::Bruck => gathers::bruck(n).concat(),
        }
    }
}

/// Members in rows: member = x₀ + d₀·(x₁ + d₁·(…)).
struct Grid {
    sizes: Vec<u32>,
}

impl Grid {
    fn stride(&self, dimension: usize) -> u32 {
        self.sizes[..dimension].iter().product()
    }

    fn at(&self, member: u32, dimension: usize) -> u32 {
        member / self.stride(dimension) % self.sizes[dimension]
    }

    /// The member at place `to` of the row through `member`.
    fn moved(&self, member: u32, dimension: usize, to: u32) -> u32 {
        let stride = self.stride(dimension);
        member - self.at(member, dimension) * stride + to * stride
    }

    /// Those pieces of a step that a row's members have gathered or gather: like themselves in the
    /// dimensions inside this one, of the step's blocks in it, and all outside.
    fn pieces(&self, member: u32, dimension: usize, step: &Step, label: &dyn Fn(u32) -> u32) -> Vec<u32> {
        let stride = self.stride(dimension);
        let outer = stride * self.sizes[dimension];
        let outside: u32 = self.sizes[dimension + 1..].iter().product();
        let mut pieces = Vec::with_capacity((outside * step.blocks) as usize);
        for rest in 0..outside {
            let blocks = step.block..step.block + step.blocks;
            pieces.extend(blocks.map(|block| label(member % stride + block * stride + rest * outer)));
        }
        pieces.sort_unstable();
        pieces
    }

    /// The same piece numbered with the innermost dimension as the most significant.
    fn turned(&self, piece: u32) -> u32 {
        (0..self.sizes.len())
            .fold(0, |turned, dimension| turned * self.sizes[dimension] + self.at(piece, dimension))
    }

    /// A piece from the root along binomial trees, the outermost dimension first.
    fn broadcast(&self, root: u32, piece: u32) -> Vec<Transfer> {
        let mut moves = Vec::new();
        let mut holders = vec![root];
        for dimension in (0..self.sizes.len()).rev() {
            let size = self.sizes[dimension];
            let tree = gathers::binomial_tree(size);
            let mut reached = Vec::new();
            for &holder in &holders {
                let member =
                    |index| self.moved(holder, dimension, (self.at(holder, dimension) + index) % size);
                moves.extend(
                    tree.iter().map(|&(from, to)| {
                        Transfer::copy(Member(member(from)), Member(member(to)), piece, 1)
                    }),
                );
                reached.extend((0..size).map(member));
            }
            holders = reached;
        }
        moves
    }
}

/// Numbers in a row: `(first, how many)`.
fn runs(sorted: Vec<u32>) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in sorted {
        match runs.last_mut() {
            Some((first, count)) if *first + *count == number => *count += 1,
            _ => runs.push((number, 1)),
        }
    }
    runs
}

/// After a dimension is done every block is with a member that stands in it where the receiver does. A
/// block's place counts the giver in the dimensions done and the receiver in the others, so that at
/// first it is the receiver and at last the giver.
fn all_to_all(grid: &Grid, n: u32) -> CommPlan {
    let mut relay = Relay::new(n);
    let dimensions = grid.sizes.len();
    for dimension in 0..dimensions {
        let second = dimension % 2 == 1;
        for shift in 0..grid.sizes[dimension] {
            for from in 0..n {
                let here = grid.at(from, dimension);
                let there = (here + shift) % grid.sizes[dimension];
                let to = grid.moved(from, dimension, there);
                for block in (0..n).filter(|&block| grid.at(block, dimension) == there) {
                    relay.carry(
                        Held { member: from, second, at: block },
                        Held { member: to, second: !second, at: grid.moved(block, dimension, here) },
                    );
                }
            }
        }
    }
    if dimensions.is_multiple_of(2) {
        for member in 0..n {
            for at in 0..n {
                relay.carry(Held { member, second: false, at }, Held { member, second: true, at });
            }
        }
    }
    relay.plan.build()
}
