//! Pairwise: n − 1 rounds, in each of which everyone exchanges with one other.
//!
//! Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH",
//! IJHPCA 2005, sections 3.3 and 3.4. In round r a member exchanges with the one whose number differs in
//! the bits of r, where n is a power of two; else it gives to the r-th after it and gets from the r-th
//! before. A round ends before the next begins, so no port ever carries two messages:
//! (n−1)(α + S/(n·B)), twice that for an all-reduce.

use serde::{Deserialize, Serialize};

use super::{gift, send};
use crate::collective::algorithms::CollectiveAlgorithm;
use crate::collective::{Collective, CollectiveKind, CommPlan, Member, PlanBuilder, Transfer};
use crate::hardware::Topology;

/// One partner after the other.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pairwise {}

impl CollectiveAlgorithm for Pairwise {
    fn plan(&self, call: &Collective, _topology: &Topology) -> CommPlan {
        let n = call.members();
        let scatter = |from, to: u32| Transfer::reduce(Member(from), Member(to), to, 1);
        let gather = |from: u32, to| Transfer::copy(Member(from), Member(to), from, 1);
        let mut plan = PlanBuilder::new(n, n);
        match call.kind {
            CollectiveKind::SendReceive => return send(),
            CollectiveKind::AllToAll => {
                plan = PlanBuilder::with_output(n, n);
                plan.transfers((0..n).map(|own| gift(n, own, own)));
                rounds(n, &mut plan, |from, to| gift(n, from, to));
            }
            CollectiveKind::ReduceScatter => rounds(n, &mut plan, scatter),
            CollectiveKind::AllGather => rounds(n, &mut plan, gather),
            _ => {
                rounds(n, &mut plan, scatter);
                rounds(n, &mut plan, gather);
            }
        }
        plan.build()
    }

    fn admits(&self, call: &Collective, _topology: &Topology) -> Result<(), String> {
        match call.kind {
            CollectiveKind::Broadcast { .. } | CollectiveKind::Reduce { .. } => Err(format!(
                "in `pairwise` everyone gives, so it cannot carry out a {}; `binomial` and `chain` can",
                call.kind.name()
            )),
            _ => Ok(()),
        }
    }
}

fn rounds(n: u32, plan: &mut PlanBuilder, exchange: impl Fn(u32, u32) -> Transfer) {
    let partner = |from: u32, round: u32| if n.is_power_of_two() { from ^ round } else { (from + round) % n };
    for round in 1..n {
        plan.next_round();
        plan.transfers((0..n).map(|from| exchange(from, partner(from, round))));
    }
}
