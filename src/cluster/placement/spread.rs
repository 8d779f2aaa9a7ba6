//! As evenly as possible.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cluster::placement::{Ask, PlacementPolicy, Within, gang, rooms};
use crate::cluster::{Free, Gang, Machine};
use crate::ids::NodeId;

/// Device by device to the node with the most room: what Kubernetes calls least allocated.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spread {}

impl PlacementPolicy for Spread {
    fn place(&self, ask: &Ask, free: &Free, machine: &Machine) -> Option<Gang> {
        let mut rooms = rooms(ask, free, machine)?;
        let mut parts: BTreeMap<NodeId, u32> = BTreeMap::new();
        if ask.demand.one_node {
            let roomiest = rooms.iter().max_by_key(|room| (room.slots, Reverse(room.node)))?;
            parts.insert(roomiest.node, ask.demand.pieces());
        } else {
            for _ in 0..ask.demand.pieces() {
                let roomiest = rooms.iter_mut().max_by_key(|room| (room.slots, Reverse(room.node)))?;
                roomiest.slots -= 1;
                *parts.entry(roomiest.node).or_default() += 1;
            }
        }
        Some(gang(ask, free, machine, parts.into_iter().collect(), Within::Emptiest))
    }
}
