//! As few nodes as possible, the tightest that fit.

use serde::{Deserialize, Serialize};

use crate::cluster::placement::{Ask, PlacementPolicy, Within, fewest_nodes, gang, rooms};
use crate::cluster::{Free, Gang, Machine};

/// The node with the least room that can take the whole gang; else the roomiest are filled, and the
/// rest goes to the tightest that can take it. Whole nodes stay free for large gangs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BestFit {}

impl PlacementPolicy for BestFit {
    fn place(&self, ask: &Ask, free: &Free, machine: &Machine) -> Option<Gang> {
        let rooms = rooms(ask, free, machine)?;
        let parts = fewest_nodes(rooms, ask.demand.pieces(), |rooms, left| {
            rooms.iter().filter(|room| room.slots >= left).min_by_key(|room| (room.slots, room.node)).copied()
        });
        Some(gang(ask, free, machine, parts, Within::Fullest))
    }
}
