//! PXN: messages to another node first go to the neighbour on the receiver's rail.
//!
//! NVIDIA, "Doubling all2all performance with NVIDIA Collective Communication Library 2.12" (2022). In a
//! rail-optimised machine the cards of the devices that stand at the same place in their nodes share a
//! leaf switch. A message to device j of another node goes over NVLink to the own node's device j, and
//! from there over its card, so it never climbs to the spines. What stays in a node goes straight. A
//! block goes on as soon as it has come; the card carries S·(k−1)/k for k nodes.

use serde::{Deserialize, Serialize};

use super::{gift, nodes_of, send};
use crate::collective::algorithms::CollectiveAlgorithm;
use crate::collective::{Collective, CollectiveKind, CommPlan, Member, PlanBuilder, Transfer};
use crate::hardware::Topology;

/// All-to-all over rails.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pxn {}

impl CollectiveAlgorithm for Pxn {
    fn plan(&self, call: &Collective, topology: &Topology) -> CommPlan {
        if call.kind == CollectiveKind::SendReceive {
            return send();
        }
        let n = call.members();
        let per_node = nodes_of(call, topology).expect("`admits` was asked");
        let mut plan = PlanBuilder::with_output(n, n);
        for shift in 0..n {
            for from in 0..n {
                let to = (from + shift) % n;
                let relay = from / per_node * per_node + to % per_node;
                if from / per_node == to / per_node || relay == from {
                    plan.transfer(gift(n, from, to));
                }
            }
        }
        let relayed = Relayed::all(n, per_node);
        for into_output in [true, false] {
            plan.transfers(relayed.iter().filter(|block| block.in_output == into_output).map(Relayed::aside));
        }
        for from_output in [true, false] {
            plan.transfers(relayed.iter().filter(|block| block.in_output == from_output).map(|b| b.on(n)));
        }
        plan.build()
    }

    fn admits(&self, call: &Collective, topology: &Topology) -> Result<(), String> {
        match call.kind {
            CollectiveKind::AllToAll | CollectiveKind::SendReceive => {}
            kind => return Err(format!("`pxn` carries out an all-to-all, not a {}", kind.name())),
        }
        match nodes_of(call, topology) {
            Some(_) => Ok(()),
            None => Err("`pxn` needs as many members of the group in every node, side by side".to_owned()),
        }
    }
}

/// A block that goes to the neighbour first.
struct Relayed {
    from: u32,
    relay: u32,
    to: u32,
    /// Where it rests at the relay, and whether in what the relay gives or in what it gets.
    place: u32,
    in_output: bool,
}

impl Relayed {
    /// Devices i and j of node A swap their blocks for devices j and i of node B. One of them rests
    /// where the other was; that other first moves to where at last a block of B will be, and this
    /// block of B is one of those that rest where another was. So nothing is overwritten too early, and
    /// the two buffers are enough.
    fn all(n: u32, per_node: u32) -> Vec<Relayed> {
        let mut all = Vec::new();
        for shift in 0..n {
            for from in 0..n {
                let to = (from + shift) % n;
                let (here, there) = (from / per_node, to / per_node);
                let (i, j) = (from % per_node, to % per_node);
                if here == there || i == j {
                    continue;
                }
                // Which of the two is which is spread evenly over the devices of a node.
                let ahead = (j + per_node - i) % per_node;
                let first = 2 * ahead < per_node || (2 * ahead == per_node && i < j);
                let in_output = first == (here < there);
                let place = there * per_node + i + if in_output { n } else { 0 };
                all.push(Relayed { from, relay: here * per_node + j, to, place, in_output });
            }
        }
        all
    }

    fn aside(&self) -> Transfer {
        let copy = Transfer::copy(Member(self.from), Member(self.relay), self.to, 1);
        Transfer { target: self.place, ..copy }
    }

    fn on(&self, n: u32) -> Transfer {
        let copy = Transfer::copy(Member(self.relay), Member(self.to), self.place, 1);
        Transfer { target: n + self.from, ..copy }
    }
}
