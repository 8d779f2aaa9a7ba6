//! Double binary tree: two trees, each carrying half; who is inside one is a leaf of the other.
//!
//! Sanders, Speck and Träff, "Two-tree algorithms for full bandwidth broadcast, reduction and scan",
//! Parallel Computing 35(12), 2009; NCCL's `tree` since 2.4. All members but the root form two binary
//! trees in which every member has its children on both sides of it, so that the odd ones are leaves.
//! The second tree is the first mirrored, or shifted by one where mirroring would leave the leaves
//! leaves. The buffer flows in chunks: an all-reduce takes about 2·log₂n·α + 2S/B, a broadcast or
//! reduce log₂n·α + S/B. A reduce-scatter or all-gather has nothing to gain from trees.

use serde::{Deserialize, Serialize};

use super::{root_of, send, spread};
use crate::collective::algorithms::CollectiveAlgorithm;
use crate::collective::{Collective, CollectiveKind, CommPlan, Member, Transfer};
use crate::hardware::Topology;

/// Two complementary trees, pipelined.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DoubleBinaryTree {
    /// Pieces in which each half follows itself through its tree.
    pub chunks: u32,
}

impl Default for DoubleBinaryTree {
    fn default() -> Self {
        DoubleBinaryTree { chunks: 16 }
    }
}

impl CollectiveAlgorithm for DoubleBinaryTree {
    fn plan(&self, call: &Collective, _topology: &Topology) -> CommPlan {
        if call.kind == CollectiveKind::SendReceive {
            return send();
        }
        let n = call.members();
        let root = root_of(call.kind).0;
        let edges = [0, 1].map(|tree| tree_edges(n, tree));
        spread(call.kind, n, 2 * self.chunks.max(1), |piece| {
            let tree = (piece % 2) as u16;
            let member = |index: u32| Member((root + index) % n);
            let edge = |&(from, to): &(u32, u32)| Transfer {
                channel: tree,
                ..Transfer::copy(member(from), member(to), piece, 1)
            };
            edges[usize::from(tree)].iter().map(edge).collect()
        })
    }

    fn admits(&self, call: &Collective, _topology: &Topology) -> Result<(), String> {
        super::only_whole_buffers(call, "double_binary_tree")
    }
}

/// The edges of a tree, parents before children. Index 0 is the root, outside of both trees' binary
/// part; it feeds the top of each.
fn tree_edges(n: u32, tree: u32) -> Vec<(u32, u32)> {
    // The place of whoever stands at `index` of the first tree in the other one.
    let place = |index: u32| match (index, tree) {
        (0, _) | (_, 0) => index,
        _ if n % 2 == 1 => n - index,
        _ => index % (n - 1) + 1,
    };
    let mut edges: Vec<(u32, u32)> = (1..n).map(|index| (parent(index, n), index)).collect();
    // Indices with more trailing zeros stand higher; the root highest.
    edges.sort_by_key(|&(_, child)| (std::cmp::Reverse(child.trailing_zeros()), child));
    edges.into_iter().map(|(from, to)| (place(from), place(to))).collect()
}

/// In the in-order tree over 1…n−1 an index stands at the height of its lowest set bit, below the one
/// place that is half as fine, or, where that is beyond the end, below the next one before it.
fn parent(index: u32, n: u32) -> u32 {
    let low = 1 << index.trailing_zeros();
    let up = (index ^ low) | (low << 1);
    if up < n { up } else { index ^ low }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sanders et al., theorem 1: nobody but the root has children in both trees, and nobody has more
    /// than two in either.
    #[test]
    fn who_is_inside_one_tree_is_a_leaf_of_the_other() {
        for n in 2..200 {
            let children = [0, 1].map(|tree| {
                let mut children = vec![0; n as usize];
                tree_edges(n, tree).iter().for_each(|&(from, _)| children[from as usize] += 1);
                children
            });
            for (index, (one, other)) in children[0].iter().zip(&children[1]).enumerate().skip(1) {
                assert!(*one == 0 || *other == 0, "{index} of {n}");
                assert!(*one <= 2 && *other <= 2, "{index} of {n}");
            }
        }
    }

    /// The height of a complete binary tree, and the root above it.
    #[test]
    fn trees_are_as_low_as_binary_trees_can_be() {
        for n in 2..200_u32 {
            let depth = |mut index: u32| {
                let mut depth = 0;
                while index != 0 {
                    (index, depth) = (parent(index, n), depth + 1);
                }
                depth
            };
            let deepest = (1..n).map(depth).max().unwrap();
            assert!(deepest <= n.ilog2() + 1, "{n}: {deepest}");
        }
    }
}
