//! Binomial tree: with every round twice as many have the buffer.
//!
//! Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH",
//! IJHPCA 2005, section 4.2: ⌈log₂n⌉(α + S/B) for a broadcast or a reduce, twice that for an all-reduce;
//! the fewest rounds, so the choice for small buffers.

use serde::{Deserialize, Serialize};

use super::{gathers, root_of, send, spread};
use crate::collective::algorithms::CollectiveAlgorithm;
use crate::collective::{Collective, CollectiveKind, CommPlan, Member, Transfer};
use crate::hardware::Topology;

/// The whole buffer along a binomial tree.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Binomial {}

impl CollectiveAlgorithm for Binomial {
    fn plan(&self, call: &Collective, _topology: &Topology) -> CommPlan {
        if call.kind == CollectiveKind::SendReceive {
            return send();
        }
        let n = call.members();
        let root = root_of(call.kind).0;
        let member = |index: u32| Member((root + index) % n);
        spread(call.kind, n, 1, |_| {
            let edge = |(from, to)| Transfer::copy(member(from), member(to), 0, 1);
            gathers::binomial_tree(n).into_iter().map(edge).collect()
        })
    }

    fn admits(&self, call: &Collective, _topology: &Topology) -> Result<(), String> {
        super::only_whole_buffers(call, "binomial")
    }
}
