//! As few hops as possible between the devices of a gang.

use serde::{Deserialize, Serialize};

use crate::cluster::job::WHOLE;
use crate::cluster::placement::{Ask, PlacementPolicy, Room, Within, gang, rooms};
use crate::cluster::{Free, Gang, Machine};
use crate::ids::{DeviceId, NodeId};

/// The gang with the fewest hops between its devices, summed over pairs of them.
///
/// A gang that fits in one node goes to the tightest that can take it, onto the devices nearest to each
/// other. A larger one grows greedily from each node in turn, the nearest node next, and the best
/// of these gangs is taken (equals: the one with less room left in its nodes, then the one grown from
/// the first node). The cost is that of Amaral et al., "Topology-Aware GPU Scheduling for Learning
/// Workloads in Cloud Environments", SC 2017, section 4, counted in hops; the search is ours.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopologyAware {}

impl PlacementPolicy for TopologyAware {
    fn place(&self, ask: &Ask, free: &Free, machine: &Machine) -> Option<Gang> {
        let rooms = rooms(ask, free, machine)?;
        let pieces = ask.demand.pieces();
        let tightest =
            rooms.iter().filter(|room| room.slots >= pieces).min_by_key(|room| (room.slots, room.node));
        let parts = match tightest {
            Some(room) => vec![(room.node, pieces)],
            None => grown(&rooms, pieces, machine),
        };
        let mut gang = gang(ask, free, machine, parts, Within::Fullest);
        if ask.demand.share == WHOLE {
            for (node, devices) in &mut gang.parts {
                *devices = nearest(free, machine, *node, devices.len());
            }
        }
        Some(gang)
    }

    fn needs_distances(&self) -> bool {
        true
    }
}

/// The best gang of those that grow from each node.
fn grown(rooms: &[Room], pieces: u32, machine: &Machine) -> Vec<(NodeId, u32)> {
    let from = |seed: &Room| {
        let mut near: Vec<Room> = rooms.to_vec();
        near.sort_by_key(|room| {
            (machine.hops(seed.node, room.node), std::cmp::Reverse(room.slots), room.node)
        });
        let mut left = pieces;
        let mut parts = Vec::new();
        let mut spare = 0;
        for room in near {
            let taken = room.slots.min(left);
            parts.push((room.node, taken));
            left -= taken;
            spare = room.slots - taken;
            if left == 0 {
                break;
            }
        }
        (cost(&parts, machine), spare, parts)
    };
    let best = rooms.iter().map(from).min_by_key(|(cost, spare, _)| (*cost, *spare));
    best.expect("rooms for every piece").2
}

/// Hops between nodes, summed over pairs of devices.
fn cost(parts: &[(NodeId, u32)], machine: &Machine) -> u64 {
    let pairs = parts.iter().enumerate().flat_map(|(at, a)| parts[..at].iter().map(move |b| (a, b)));
    pairs.map(|(a, b)| u64::from(machine.hops(a.0, b.0)) * u64::from(a.1) * u64::from(b.1)).sum()
}

/// `count` free devices of a node with the fewest hops between them, grown greedily from each.
fn nearest(free: &Free, machine: &Machine, node: NodeId, count: usize) -> Vec<DeviceId> {
    let devices = &machine.nodes()[node].devices;
    let able: Vec<usize> = (0..devices.len()).filter(|&at| free.left(devices[at]) == WHOLE).collect();
    let grow = |&seed: &usize| {
        let mut chosen = vec![seed];
        let mut total = 0;
        while chosen.len() < count {
            let added = |at: usize| -> u64 {
                chosen.iter().map(|&other| u64::from(machine.hops_within(node, at, other))).sum()
            };
            let others = able.iter().copied().filter(|at| !chosen.contains(at));
            let next = others.min_by_key(|&at| (added(at), at)).expect("enough devices");
            total += added(next);
            chosen.push(next);
        }
        chosen.sort_unstable();
        (total, chosen)
    };
    let best = able.iter().map(grow).min().map(|(_, chosen)| chosen).unwrap_or_default();
    best.into_iter().take(count).map(|at| devices[at]).collect()
}
