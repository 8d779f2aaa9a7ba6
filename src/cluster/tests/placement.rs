//! What every placement keeps to, and what tells them apart.

use std::sync::Arc;

use crate::cluster::placement::{Ask, PlacementSpec};
use crate::cluster::support::machine;
use crate::cluster::{Demand, Free, Gang, KindId, Machine};
use crate::ids::{DeviceId, Id, NodeId};

/// Takes the first devices of nodes so that these are left.
fn with_left(machine: &Machine, left: &[u32]) -> Free {
    let mut free = Free::all(machine);
    for (node, &left) in machine.nodes().ids().zip(left) {
        let devices = &machine.nodes()[node].devices;
        let taken = devices[..devices.len() - left as usize].to_vec();
        let gang = Gang { kind: KindId(0), parts: vec![(node, taken.clone())] };
        free.take(machine, &gang, &Demand::devices(taken.len() as u32));
    }
    free
}

fn placed(name: &str, machine: &Machine, free: &Free, demand: Demand) -> Option<Vec<(u32, usize)>> {
    let policy = PlacementSpec::from_name(name).unwrap();
    let gang = policy.place(&Ask { kind: KindId(0), demand: &demand }, free, machine)?;
    Some(gang.parts.iter().map(|(node, devices)| (node.0, devices.len())).collect())
}

#[test]
fn packed_takes_the_first_node_and_best_fit_the_tightest() {
    let machine = machine(&[4, 4, 4]);
    let free = with_left(&machine, &[3, 4, 2]);
    let ask = |name, devices| placed(name, &machine, &free, Demand::devices(devices)).unwrap();
    assert_eq!(ask("packed", 2), [(0, 2)]);
    assert_eq!(ask("best_fit", 2), [(2, 2)]);
    assert_eq!(ask("spread", 2), [(0, 1), (1, 1)]);
    // Five: the roomiest node is filled; one is left, which the first can take, or exactly …
    assert_eq!(ask("packed", 5), [(0, 1), (1, 4)]);
    // … the tightest.
    assert_eq!(ask("best_fit", 5), [(1, 4), (2, 1)]);
}

#[test]
fn every_placement_gives_what_was_asked_for_or_nothing() {
    let machine = machine(&[1, 4, 2, 8, 3]);
    for name in PlacementSpec::NAMES {
        for left in [[1, 4, 2, 8, 3], [0, 2, 1, 3, 0], [1, 0, 0, 8, 1], [0, 0, 0, 0, 0]] {
            let free = with_left(&machine, &left);
            let total: u32 = left.iter().sum();
            let most = *left.iter().max().unwrap();
            for devices in 1..=19 {
                let anywhere = Demand::devices(devices);
                check(name, &machine, &free, anywhere, devices <= total);
                check(name, &machine, &free, Demand { one_node: true, ..anywhere }, devices <= most);
            }
        }
    }
}

fn check(name: &str, machine: &Machine, free: &Free, demand: Demand, fits: bool) {
    let policy = PlacementSpec::from_name(name).unwrap();
    let gang = policy.place(&Ask { kind: KindId(0), demand: &demand }, free, machine);
    assert_eq!(gang.is_some(), fits, "{name}: {demand:?}");
    let Some(gang) = gang else { return };
    assert_eq!(gang.size(), demand.devices, "{name}");
    assert!(!demand.one_node || gang.nodes() == 1, "{name}");
    assert!(free.has(&gang, &demand), "{name}");
    let mut devices: Vec<DeviceId> = gang.devices().collect();
    devices.dedup();
    assert_eq!(devices.len() as u32, demand.devices, "{name} gives a device twice");
    for (node, devices) in &gang.parts {
        assert!(devices.iter().all(|&device| machine.node_of(device) == *node), "{name}");
    }
}

/// A line of four nodes, a switch each: two devices that are free at one end and one at the other; the
/// nearest pair of nodes is taken.
#[test]
fn topology_aware_takes_near_nodes() {
    use crate::hardware::{LinkClass, LinkSpec, Topology};
    let text = r#"{"name": "gpu", "kind": "gpu", "source": "made up", "clock": "1 GHz",
        "matrix": {"bf16": "1 TFLOP/s"}, "memory": {"capacity": "1 GiB", "bandwidth": "1 TB/s"}}"#;
    let spec = Arc::new(serde_json::from_str(text).unwrap());
    let mut builder = Topology::builder("line");
    let link = LinkSpec::new(LinkClass::Ethernet, 12.5e9, 1000);
    let mut before = None;
    for index in 0..4 {
        let node = builder.add_node();
        let switch = builder.add_switch(format!("switch{index}"));
        for device in 0..2 {
            let device = builder.add_device(format!("node{index}/gpu{device}"), &spec, node);
            builder.connect(device, switch, link);
        }
        if let Some(before) = before {
            builder.connect(before, switch, link);
        }
        before = Some(switch);
    }
    let topology = builder.build().unwrap();
    let mut machine = Machine::of(&topology);
    machine.measure(&topology);
    assert_eq!(machine.hops(NodeId::from_index(0), NodeId::from_index(3)), 5);
    let free = with_left(&machine, &[1, 0, 1, 1]);
    assert_eq!(placed("topology_aware", &machine, &free, Demand::devices(2)).unwrap(), [(2, 1), (3, 1)]);
    assert_eq!(placed("packed", &machine, &free, Demand::devices(2)).unwrap(), [(0, 1), (2, 1)]);
}
