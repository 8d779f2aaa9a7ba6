//! Recursive halving and doubling: halves of what is left go to a partner, half as far each time.
//!
//! Rabenseifner, "Optimization of collective reduction operations", ICCS 2004; Thakur, Rabenseifner and
//! Gropp, "Optimization of collective communication operations in MPICH", IJHPCA 2005, section 4. An
//! all-reduce takes 2·log₂n·α + 2(n−1)/n·S/B, its halves half of that. Where n is no power of two, the
//! members beyond it hand their buffer to a neighbour before and get the result after. A broadcast is a
//! scatter along a binomial tree and an all-gather (van de Geijn), a reduce the reverse.

use serde::{Deserialize, Serialize};

use super::gathers::recursive_doubling;
use super::{blocks, gathered, reversed, send};
use crate::collective::algorithms::CollectiveAlgorithm;
use crate::collective::{Collective, CollectiveKind, CommPlan, Member, PlanBuilder, Transfer};
use crate::hardware::Topology;

/// Recursive halving and doubling.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HalvingDoubling {}

impl CollectiveAlgorithm for HalvingDoubling {
    fn plan(&self, call: &Collective, _topology: &Topology) -> CommPlan {
        let n = call.members();
        let rounds = recursive_doubling(n);
        match call.kind {
            CollectiveKind::SendReceive => send(),
            CollectiveKind::Broadcast { root } | CollectiveKind::Reduce { root } => {
                // Counted from the root on, so that the root holds block 0.
                let member = |at: u32| Member((root.0 + at) % n);
                let mut parts = Vec::new();
                scatter(0, n, &mut parts);
                let scattered = parts
                    .iter()
                    .map(|&(to, end, from)| Transfer::copy(member(from), member(to), to, end - to));
                let all_gather = blocks(&rounds.concat(), member);
                let mut plan = PlanBuilder::new(n, n);
                if matches!(call.kind, CollectiveKind::Broadcast { .. }) {
                    plan.transfers(scattered.chain(all_gather));
                } else {
                    // Everyone's sum of its piece comes back to the root the way a scatter would go.
                    let back =
                        scattered.rev().map(|forth| Transfer { from: forth.to, to: forth.from, ..forth });
                    plan.transfers(reversed(&all_gather).chain(back));
                }
                plan.build()
            }
            kind => {
                let rounds: Vec<_> = rounds.iter().map(|steps| blocks(steps, Member)).collect();
                gathered(kind, n, &rounds)
            }
        }
    }

    fn admits(&self, call: &Collective, _topology: &Topology) -> Result<(), String> {
        super::not_all_to_all(call, "halving_doubling")
    }
}

/// `(to, end, from)`: the holder of blocks `from..end` hands `to..end` on, and both go on with theirs.
fn scatter(from: u32, end: u32, edges: &mut Vec<(u32, u32, u32)>) {
    if end - from < 2 {
        return;
    }
    let to = from + (end - from).div_ceil(2);
    edges.push((to, end, from));
    scatter(from, to, edges);
    scatter(to, end, edges);
}
