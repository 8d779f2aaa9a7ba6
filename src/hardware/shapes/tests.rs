//! Every shape against a count and a search of the graph it makes.

use super::*;
use crate::hardware::support::device;
use crate::ids::DeviceId;
use crate::units::{Bandwidth, Bytes, Clock, FlopRate};

fn shape(text: &str) -> ShapeSpec {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Each shape in several sizes; the first is its default.
fn sizes_of(name: &str) -> Vec<ShapeSpec> {
    let more: &[&str] = match name {
        "ring" => &[r#"{"devices": 1}"#, r#"{"devices": 2}"#, r#"{"devices": 3}"#, r#"{"devices": 9}"#],
        "torus" => &[
            r#"{"sizes": [4]}"#,
            r#"{"sizes": [2, 2]}"#,
            r#"{"sizes": [4, 2]}"#,
            r#"{"sizes": [3, 4]}"#,
            r#"{"sizes": [2, 3, 2]}"#,
            r#"{"sizes": [3, 1, 3]}"#,
            r#"{"sizes": [4, 4, 4]}"#,
        ],
        "mesh" => &[
            r#"{"sizes": [5]}"#,
            r#"{"sizes": [2, 2]}"#,
            r#"{"sizes": [4, 3]}"#,
            r#"{"sizes": [2, 2, 2]}"#,
            r#"{"sizes": [3, 3]}"#,
        ],
        "fully_connected" => {
            &[r#"{"devices": 1}"#, r#"{"devices": 2}"#, r#"{"devices": 5}"#, r#"{"devices": 20}"#]
        }
        "star" => &[r#"{"devices": 1}"#, r#"{"devices": 2}"#, r#"{"devices": 7}"#, r#"{"devices": 40}"#],
        "fat_tree" => &[
            r#"{"k": 2}"#,
            r#"{"k": 4, "oversubscription": 2.0}"#,
            r#"{"k": 6}"#,
            r#"{"k": 8, "oversubscription": 4.0}"#,
        ],
        "rail" => &[
            r#"{"nodes": 1}"#,
            r#"{"nodes": 1, "node_devices": 1}"#,
            r#"{"nodes": 3, "node_devices": 1, "unit": 1}"#,
            r#"{"nodes": 4, "node_devices": 2, "unit": 2, "oversubscription": 2.0}"#,
            r#"{"nodes": 6, "node_devices": 2, "unit": 2, "oversubscription": 2.0, "spines": 2}"#,
            r#"{"nodes": 4, "node_devices": 1}"#,
            r#"{"nodes": 4, "node_devices": 2, "domain": 2, "unit": 2}"#,
            r#"{"nodes": 5, "node_devices": 2, "unit": 2}"#,
            r#"{"nodes": 64, "node_devices": 4, "unit": 8}"#,
        ],
        "dragonfly" => &[
            r#"{"groups": 4, "routers": 3, "router_devices": 1, "global_ports": 1}"#,
            r#"{"groups": 3, "routers": 1, "router_devices": 1, "global_ports": 2}"#,
            r#"{"groups": 1, "routers": 4, "router_devices": 2, "global_ports": 0}"#,
            r#"{"groups": 19, "routers": 6, "router_devices": 3, "global_ports": 3}"#,
        ],
        "dragonfly_plus" => &[
            r#"{"groups": 3, "leaves": 2, "spines": 1, "leaf_devices": 1, "global_ports": 2}"#,
            r#"{"groups": 1, "leaves": 1, "leaf_devices": 3}"#,
            r#"{"groups": 1, "leaves": 3}"#,
            r#"{"groups": 9, "leaves": 4, "spines": 4, "leaf_devices": 4, "global_ports": 2}"#,
        ],
        "hgx" => &[
            r#"{"devices": 4}"#,
            r#"{"devices": 4, "switch_devices": 1}"#,
            r#"{"devices": 6, "switch_devices": 3, "uplink": {"class": "pcie", "bandwidth": "300 GB/s"}}"#,
        ],
        "pcie_tree" => &[
            r#"{"sockets": 1}"#,
            r#"{"sockets": 1, "switches": 1}"#,
            r#"{"sockets": 2, "switches": 3, "socket_link": {"bandwidth": "200 GB/s"}}"#,
            r#"{"sockets": 4, "switches": 2, "switch_devices": 1}"#,
        ],
        "nvl72" => &[
            r#"{"trays": 2, "tray_devices": 2}"#,
            r#"{"racks": 2, "trays": 2, "tray_devices": 2, "oversubscription": 2.0}"#,
            r#"{"racks": 8}"#,
        ],
        other => panic!("give `{other}` some sizes"),
    };
    let default = ShapeSpec::from_name(name).expect("a listed name");
    std::iter::once(default)
        .chain(more.iter().map(|text| shape(&format!("{{\"{name}\": {text}}}"))))
        .collect()
}

#[test]
fn every_shape_is_what_its_closed_form_says() {
    for name in ShapeSpec::NAMES {
        for shape in sizes_of(name) {
            let facts = shape.facts();
            let topology =
                shape.build(name, &device()).unwrap_or_else(|problems| panic!("{shape:?}: {problems:?}"));
            assert_eq!(topology.devices().len() as u64, facts.devices, "devices of {shape:?}");
            assert_eq!(topology.links().len() as u64, facts.links, "links of {shape:?}");
            assert_eq!(topology.searched_diameter() as u64, facts.diameter, "diameter of {shape:?}");
            check_bisection(&shape, &topology);
        }
    }
}

/// Up to 12 devices the search is exact; beyond it is an upper bound that, for these shapes, the
/// closed form attains (their first half of devices is a best half).
fn check_bisection(shape: &ShapeSpec, topology: &Topology) {
    let (searched, exact) = topology.searched_bisection();
    match shape.facts().bisection {
        Some(closed) if exact => {
            let error = (closed.get() / searched - 1.0).abs();
            assert!(error < 1e-9, "bisection of {shape:?}: {closed} by closed form, {searched} by search");
        }
        Some(closed) => {
            assert!(closed.get() <= searched * (1.0 + 1e-9), "bisection of {shape:?}: {closed} > {searched}");
        }
        None => assert_eq!(topology.devices().len() > 1, searched > 0.0, "{shape:?} falls apart"),
    }
}

#[test]
fn every_shape_is_symmetric_and_routes_every_pair() {
    for name in ShapeSpec::NAMES {
        for shape in sizes_of(name) {
            let topology = shape.build(name, &device()).expect("checked above");
            check_symmetric(&topology);
            // All pairs of small machines, every seventh of large ones.
            let step = if topology.devices().len() > 40 { 7 } else { 1 };
            for from in topology.devices().ids().step_by(step) {
                for to in topology.devices().ids().step_by(step) {
                    check_route(&topology, from, to);
                }
            }
        }
    }
}

fn check_symmetric(topology: &Topology) {
    let mut ways: std::collections::BTreeMap<_, i64> = std::collections::BTreeMap::new();
    for link in topology.links() {
        let what = (link.bandwidth.get().to_bits(), link.latency, link.class, link.dimension);
        let (key, sign) = if link.from < link.to {
            ((link.from, link.to, what), 1)
        } else {
            ((link.to, link.from, what), -1)
        };
        *ways.entry(key).or_default() += sign;
    }
    assert!(ways.values().all(|balance| *balance == 0), "{} has a link without one back", topology.name());
}

/// Drawings have no two vertices on one spot.
#[test]
fn every_vertex_of_a_shape_is_drawn_in_a_place_of_its_own() {
    for name in ShapeSpec::NAMES {
        for shape in sizes_of(name) {
            let topology = shape.build(name, &device()).expect("checked above");
            let places: std::collections::BTreeSet<(i64, i64)> = topology
                .positions()
                .iter()
                .map(|place| ((place.x * 1e3).round() as i64, (place.y * 1e3).round() as i64))
                .collect();
            assert_eq!(
                places.len(),
                topology.graph().node_count(),
                "{shape:?} draws two vertices in one place"
            );
        }
    }
}

/// A route is a chain of links from one device to the other that passes through no other device,
/// unless devices forward, and is no longer than the diameter.
fn check_route(topology: &Topology, from: DeviceId, to: DeviceId) {
    let route = topology.route(from, to, 3);
    assert!(route.len() <= topology.diameter());
    assert_eq!(route.is_empty(), from == to);
    let mut at = topology.vertex_of(from);
    for &link in route.iter() {
        let link = &topology.links()[link];
        assert_eq!(link.from, at);
        at = link.to;
        let passes_device = topology.vertex(at).device().is_some_and(|device| device != to);
        assert!(topology.devices_forward() || !passes_device);
    }
    assert_eq!(at, topology.vertex_of(to));
}

#[test]
fn absurd_sizes_are_refused_before_anything_is_built() {
    for text in [
        r#"{"ring": {"devices": 18446744073709551615}}"#,
        r#"{"torus": {"sizes": [4294967296, 4294967296]}}"#,
        r#"{"fully_connected": {"devices": 100000}}"#,
        r#"{"fat_tree": {"k": 4294967296}}"#,
        r#"{"rail": {"nodes": 18446744073709551615, "unit": 18446744073709551615}}"#,
        r#"{"nvl72": {"racks": 18446744073709551615}}"#,
        r#"{"dragonfly": {"groups": 18446744073709551615, "routers": 18446744073709551615}}"#,
    ] {
        let problems = shape(text).build("absurd", &device()).expect_err(text);
        assert!(problems[0].message.contains("at most"), "{text}: {problems:?}");
    }
}

#[test]
fn wrong_parameters_are_named() {
    let wrong = |text: &str| shape(text).check().into_iter().map(|problem| problem.path).collect::<Vec<_>>();
    assert_eq!(wrong(r#"{"ring": {"devices": 0}}"#), ["devices"]);
    assert_eq!(wrong(r#"{"torus": {"sizes": [4, 0]}}"#), ["sizes[1]"]);
    assert_eq!(wrong(r#"{"fat_tree": {"k": 5, "oversubscription": 0.5}}"#), ["oversubscription", "k"]);
    assert_eq!(wrong(r#"{"rail": {"nodes": 33, "domain": 2}}"#), ["nodes"]);
    assert_eq!(wrong(r#"{"dragonfly": {"groups": 10}}"#), ["groups"]);
    assert_eq!(wrong(r#"{"hgx": {"devices": 7}}"#), ["switch_devices"]);
    assert!(serde_json::from_str::<ShapeSpec>(r#"{"ring": {"size": 4}}"#).is_err());
}

/// A 4×4 torus route finishes x before it starts on y: (0,0) → (1,2) is one step in dimension 0,
/// then two in dimension 1.
#[test]
fn torus_routes_are_dimension_ordered() {
    let topology = shape(r#"{"torus": {"sizes": [4, 4]}}"#).build("torus", &device()).unwrap();
    for flow in 0..20 {
        let route = topology.route(DeviceId(0), DeviceId(9), flow);
        let dimensions: Vec<_> =
            route.iter().map(|link| topology.links()[*link].dimension.unwrap()).collect();
        assert_eq!(dimensions, [0, 1, 1]);
    }
}

/// Traffic between two accelerators of a node stays on the fast switch; of equal index on two nodes
/// of a unit it crosses one leaf (4 links); of different index a spine as well (6 links).
#[test]
fn rails_carry_equal_indices_over_one_leaf() {
    let topology = ShapeSpec::from_name("rail").unwrap().build("rail", &device()).unwrap();
    let names = |to| {
        let route = topology.route(DeviceId(0), DeviceId(to), 0);
        route
            .iter()
            .map(|link| topology.vertex_name(topology.links()[*link].to).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(5), ["domain0/switch", "node0/device5"]);
    assert_eq!(names(8), ["node0/nic0", "unit0/leaf0", "node1/nic0", "node1/device0"]);
    let across = names(13);
    assert_eq!(across.len(), 6);
    assert!(across[2].starts_with("spine") && across[3] == "unit0/leaf5", "{across:?}");
}

/// 1,000 flows between two devices over four spines: each spine gets about a quarter, and the same
/// flow always the same one.
#[test]
fn ecmp_spreads_flows_over_the_spines_and_repeats_itself() {
    let topology = ShapeSpec::from_name("rail").unwrap().build("rail", &device()).unwrap();
    let again = ShapeSpec::from_name("rail").unwrap().build("rail", &device()).unwrap();
    let mut counts = std::collections::BTreeMap::new();
    for flow in 0..1_000 {
        let route = topology.route(DeviceId(0), DeviceId(13), flow);
        assert_eq!(route, again.route(DeviceId(0), DeviceId(13), flow));
        *counts.entry(route[2]).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 4);
    assert!(counts.values().all(|count| (200..300).contains(count)), "{counts:?}");
}

/// An 8-bit product on a device that only has bf16 runs at bf16's rate.
#[test]
fn the_device_of_a_shape_stands_in_every_place() {
    let spec = device();
    let topology = ShapeSpec::from_name("star").unwrap().build("star", &spec).unwrap();
    assert!(topology.devices().iter().all(|device| Arc::ptr_eq(&device.spec, &spec)));
    assert_eq!((spec.clock, spec.memory.capacity), (Clock::from_hertz(1_000_000_000), Bytes(1 << 30)));
    assert_eq!(spec.peak(crate::hardware::Precision::F8), Some(FlopRate::per_second(1e12)));
    assert_eq!(spec.memory.bandwidth, Bandwidth::per_second(1e12));
}
