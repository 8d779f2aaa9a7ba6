//! As few nodes as possible, the first in order.

use serde::{Deserialize, Serialize};

use crate::cluster::placement::{Ask, PlacementPolicy, Within, fewest_nodes, gang, rooms};
use crate::cluster::{Free, Gang, Machine};

/// The first node that can take the whole gang; else the roomiest are filled, and the rest goes to the
/// first that can take it. First fit, with gangs kept together.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Packed {}

impl PlacementPolicy for Packed {
    fn place(&self, ask: &Ask, free: &Free, machine: &Machine) -> Option<Gang> {
        let rooms = rooms(ask, free, machine)?;
        let parts = fewest_nodes(rooms, ask.demand.pieces(), |rooms, left| {
            rooms.iter().find(|room| room.slots >= left).copied()
        });
        Some(gang(ask, free, machine, parts, Within::Fullest))
    }
}
