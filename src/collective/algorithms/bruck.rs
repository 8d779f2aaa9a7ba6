//! Bruck: ⌈log₂ n⌉ rounds for any n, at the price of bytes that travel more than once.
//!
//! Bruck, Ho, Kipnis, Upfal and Weathersby, "Efficient algorithms for all-to-all communications in
//! multiport message-passing systems", IEEE TPDS 8(11), 1997. An all-gather takes
//! ⌈log₂n⌉·α + (n−1)/n·S/B, a reduce-scatter the same backwards. In an all-to-all round k carries every
//! block whose way has bit k set over 2ᵏ members: ⌈log₂n⌉·α + log₂n·S/(2B) for a power of two.

use serde::{Deserialize, Serialize};

use super::{Held, Relay, blocks, gathered, gathers, send};
use crate::collective::algorithms::CollectiveAlgorithm;
use crate::collective::{Collective, CollectiveKind, CommPlan, Member};
use crate::hardware::Topology;

/// Bruck's rounds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bruck {}

impl CollectiveAlgorithm for Bruck {
    fn plan(&self, call: &Collective, _topology: &Topology) -> CommPlan {
        let n = call.members();
        match call.kind {
            CollectiveKind::SendReceive => send(),
            CollectiveKind::AllToAll => all_to_all(n),
            kind => {
                let rounds: Vec<_> = gathers::bruck(n).iter().map(|steps| blocks(steps, Member)).collect();
                gathered(kind, n, &rounds)
            }
        }
    }

    fn admits(&self, call: &Collective, _topology: &Topology) -> Result<(), String> {
        match call.kind {
            CollectiveKind::Broadcast { .. } | CollectiveKind::Reduce { .. } => Err(format!(
                "`bruck` has no root, so it cannot carry out a {}; `binomial` and `chain` can",
                call.kind.name()
            )),
            _ => Ok(()),
        }
    }
}

/// A block `way` members from its giver is first held where it is given, at its receiver's place, and at
/// last where it is got, at its giver's place; on its way it changes buffers with every hop.
fn all_to_all(n: u32) -> CommPlan {
    let mut relay = Relay::new(n);
    let held = |member: u32, second: bool, way: u32| {
        let at = if second { (member + n - way) % n } else { (member + way) % n };
        Held { member, second, at }
    };
    let rounds = n.next_power_of_two().ilog2();
    for round in 0..rounds {
        let bit = 1_u32 << round;
        relay.plan.next_round();
        for from in 0..n {
            for way in (0..n).filter(|way| way & bit != 0) {
                let second = (way & (bit - 1)).count_ones() % 2 == 1;
                relay.carry(held(from, second, way), held((from + bit) % n, !second, way));
            }
        }
    }
    for member in 0..n {
        for way in (0..n).filter(|way| way.count_ones() % 2 == 0) {
            relay.carry(held(member, false, way), held(member, true, way));
        }
    }
    relay.plan.build()
}
