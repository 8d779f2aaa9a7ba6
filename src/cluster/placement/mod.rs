//! Which free devices a gang gets.
//!
//! A placement is asked for one kind of device at a time and answers with a whole gang or with
//! nothing: where enough of the machine is free, it finds a gang. It knows nothing of time, of who
//! waits, or of how fast a job would run.
//!
//! Within a node the devices with the smallest numbers are taken; a job that shares a device gets the
//! fullest that has room, so that whole devices stay whole (`spread` takes the emptiest).
//!
//! To add one, write its file and list it here; the conformance tests will find it.

mod best_fit;
mod packed;
mod spread;
mod topology_aware;

use crate::cluster::job::WHOLE;
use crate::cluster::{Demand, Free, Gang, KindId, Machine};
use crate::ids::{DeviceId, NodeId};
use crate::registry;

registry! {
    /// `placement:` of a cluster workload.
    pub enum PlacementSpec: PlacementPolicy {
        /// as few nodes as possible
        "packed" => Packed(packed::Packed),
        /// as many nodes as possible
        "spread" => Spread(spread::Spread),
        /// the fullest node that still fits
        "best_fit" => BestFit(best_fit::BestFit),
        /// the nearest devices by route
        "topology_aware" => TopologyAware(topology_aware::TopologyAware),
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Devices of this kind …
    pub kind: KindId,
    /// … as many and as much of each.
    pub demand: &'a Demand,
}

/// Chooses devices for a gang.
///
/// Contract: a gang has exactly the devices that were asked for, all of the kind, each with enough
/// left, in one node if that was asked; whenever the nodes' free pieces suffice there is a gang; the
/// answer depends on the arguments alone.
pub trait PlacementPolicy {
    /// A gang from what is free.
    fn place(&self, ask: &Ask, free: &Free, machine: &Machine) -> Option<Gang>;

    /// Whether the machine's hops must be [measured](Machine::measure) for it.
    fn needs_distances(&self) -> bool {
        false
    }
}

/// A node with how many pieces it can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    node: NodeId,
    slots: u32,
}

/// The nodes of the kind with room, in order, if together they have enough.
fn rooms(ask: &Ask, free: &Free, machine: &Machine) -> Option<Vec<Room>> {
    let pieces = ask.demand.pieces();
    let nodes = machine.nodes_of(ask.kind).iter();
    let rooms: Vec<Room> = nodes
        .map(|&node| Room { node, slots: free.slots(machine, node, ask.demand) })
        .filter(|room| if ask.demand.one_node { room.slots >= pieces } else { room.slots > 0 })
        .collect();
    let total = rooms.iter().fold(0_u32, |total, room| total.saturating_add(room.slots));
    (total >= pieces).then_some(rooms)
}

/// As few nodes as possible: the roomiest are filled, and `last` chooses among those that hold the rest.
fn fewest_nodes(
    mut rooms: Vec<Room>,
    pieces: u32,
    last: impl Fn(&[Room], u32) -> Option<Room>,
) -> Vec<(NodeId, u32)> {
    let mut left = pieces;
    let mut parts = Vec::new();
    loop {
        if let Some(room) = last(&rooms, left) {
            parts.push((room.node, left));
            return parts;
        }
        let roomiest = (0..rooms.len())
            .max_by_key(|&at| (rooms[at].slots, std::cmp::Reverse(at)))
            .expect("rooms for every piece");
        let room = rooms.remove(roomiest);
        parts.push((room.node, room.slots));
        left -= room.slots;
    }
}

/// Which devices of a node are taken first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    /// Those with the least left that is enough.
    Fullest,
    /// Those with the most left.
    Emptiest,
}

/// A gang with so many pieces in these nodes.
fn gang(ask: &Ask, free: &Free, machine: &Machine, mut parts: Vec<(NodeId, u32)>, within: Within) -> Gang {
    parts.sort_unstable();
    let choose = |(node, pieces): (NodeId, u32)| {
        let count = if ask.demand.devices == 0 { 0 } else { pieces as usize };
        (node, devices(ask.demand, free, machine, node, count, within))
    };
    Gang { kind: ask.kind, parts: parts.into_iter().map(choose).collect() }
}

/// `count` devices of a node, in order.
fn devices(
    demand: &Demand,
    free: &Free,
    machine: &Machine,
    node: NodeId,
    count: usize,
    within: Within,
) -> Vec<DeviceId> {
    let able =
        machine.nodes()[node].devices.iter().copied().filter(|&device| free.left(device) >= demand.share);
    if demand.share == WHOLE {
        return able.take(count).collect();
    }
    let mut able: Vec<DeviceId> = able.collect();
    match within {
        Within::Fullest => able.sort_by_key(|&device| (free.left(device), device)),
        Within::Emptiest => able.sort_by_key(|&device| (std::cmp::Reverse(free.left(device)), device)),
    }
    able.truncate(count);
    able.sort_unstable();
    able
}
