//! Closed forms.

use crate::ids::LinkId;
use crate::network::tests::{Step, flow, links, run};
use crate::network::{LinkTable, NetworkSpec};
use crate::units::{Bandwidth, Bytes, SimDuration, SimTime};

const SECOND: u64 = 1_000_000_000_000;
const GIGA: u64 = 1_000_000_000;

fn seconds(moments: &[u64]) -> Vec<SimTime> {
    moments.iter().map(|&second| SimTime::from_picos(second * SECOND)).collect()
}

/// Packets whose sources do nothing about marks: DCQCN is slow to find the rate of a link that is narrower
/// than the source's own, which is no matter of queues.
fn unhurried(name: &str) -> NetworkSpec {
    match name {
        "packet" => serde_json::from_str(r#"{"packet": {"congestion": "none"}}"#).unwrap(),
        name => network(name),
    }
}

fn network(name: &str) -> NetworkSpec {
    NetworkSpec::from_name(name).unwrap()
}

/// Starts flows (route, GB, weight) at whole seconds; when each finishes.
fn finish(name: &str, links: &LinkTable, flows: &[(u64, &[u32], u64, f64)]) -> Vec<SimTime> {
    let steps: Vec<_> = flows
        .iter()
        .map(|&(at, route, giga, weight)| {
            (SimTime::from_picos(at * SECOND), Step::Start(flow(route, giga * GIGA, weight)))
        })
        .collect();
    run(&mut *network(name).model(links), &steps, |_, _| ()).into_values().collect()
}

fn giga(bandwidths: &[f64]) -> LinkTable {
    links(&bandwidths.iter().map(|rate| rate * 1e9).collect::<Vec<_>>(), SimDuration::ZERO)
}

/// Half each for 2 s; then the longer one has 1 GB left and the link for itself.
#[test]
fn two_flows_halve_a_link_until_the_shorter_ends() {
    let ends = finish("fluid", &giga(&[1.0]), &[(0, &[0], 1, 1.0), (0, &[0], 2, 1.0)]);
    assert_eq!(ends, seconds(&[2, 3]));
}

/// Both links are full with two flows each: everyone has half.
#[test]
fn on_a_parking_lot_the_long_flow_has_as_much_as_the_short() {
    let ends =
        finish("fluid", &giga(&[1.0, 1.0]), &[(0, &[0, 1], 1, 1.0), (0, &[0], 1, 1.0), (0, &[1], 1, 1.0)]);
    assert_eq!(ends, seconds(&[2, 2, 2]));
}

/// Links of 1 and 2 GB/s: the first gives half to each of its flows, which leaves 1.5 GB/s of the
/// second to its own. 3 GB take 6, 6 and 2 s.
#[test]
fn what_a_flow_cannot_use_elsewhere_is_left_to_others() {
    let ends =
        finish("fluid", &giga(&[1.0, 2.0]), &[(0, &[0, 1], 3, 1.0), (0, &[0], 3, 1.0), (0, &[1], 3, 1.0)]);
    assert_eq!(ends, seconds(&[6, 6, 2]));
}

/// 10 GB at 0 and 4 GB at 2 s over 1 GB/s: 2 GB alone, then half each; the second needs 8 s, in which
/// the first moves 4 more; its last 4 GB take 4 s.
#[test]
fn a_flow_slows_down_while_another_is_there() {
    let ends = finish("fluid", &giga(&[1.0]), &[(0, &[0], 10, 1.0), (2, &[0], 4, 1.0)]);
    assert_eq!(ends, seconds(&[14, 10]));
}

/// Weights 3 and 1 over 1 GB/s: 3 GB at 0.75 GB/s take 4 s; by then the other has moved 1 GB of its 3,
/// and goes on alone for 2 s.
#[test]
fn flows_share_by_weight() {
    let ends = finish("fluid", &giga(&[1.0]), &[(0, &[0], 3, 3.0), (0, &[0], 3, 1.0)]);
    assert_eq!(ends, seconds(&[4, 6]));
}

/// Without sharing, 10 GB and 4 GB over 1 GB/s take 10 s and 4 s, weights or not.
#[test]
fn analytic_flows_do_not_see_each_other() {
    let ends = finish("analytic", &giga(&[1.0]), &[(0, &[0], 10, 3.0), (2, &[0], 4, 1.0)]);
    assert_eq!(ends, seconds(&[10, 6]));
}

/// α–β: three latencies and the bytes over the narrowest link, rounded up to a picosecond.
#[test]
fn a_lone_flow_takes_the_latencies_of_its_route_and_its_bytes_over_the_narrowest_link() {
    let links = links(&[50e9, 7e9, 25e9], SimDuration::from_nanos(500));
    for name in ["analytic", "fluid"] {
        for bytes in [0, 1, 4_096, 1_234_567_890_123] {
            let steps = [(SimTime::ZERO, Step::Start(flow(&[0, 1, 2], bytes, 1.0)))];
            let ends = run(&mut *network(name).model(&links), &steps, |_, _| ());
            let expected = Bytes(bytes) / Bandwidth::per_second(7e9) + SimDuration::from_nanos(1_500);
            assert_eq!(ends[&0], SimTime::ZERO + expected, "{bytes} bytes, {name}");
        }
    }
}

/// A flow from a device to itself, and one without bytes over links without latency, end at once.
#[test]
fn what_does_not_move_takes_no_time() {
    let ends = finish("fluid", &giga(&[1.0]), &[(3, &[], 5, 1.0), (3, &[0], 0, 1.0)]);
    assert_eq!(ends, seconds(&[3, 3]));
}

/// 4 GB over 1 GB/s: 1 s of moving, 7 s of waiting, 1 s at full and 4 s at half speed.
#[test]
fn a_flow_waits_for_a_failed_link_and_loses_nothing() {
    for name in ["analytic", "fluid"] {
        let set = |at: u64, bandwidth: Option<f64>| {
            let step = Step::Set(LinkId(0), bandwidth.map(Bandwidth::per_second));
            (SimTime::from_picos(at * SECOND), step)
        };
        let start = (SimTime::ZERO, Step::Start(flow(&[1, 0], 4 * GIGA, 1.0)));
        let steps = [start, set(1, None), set(8, Some(1e9)), set(9, Some(0.5e9))];
        let mut network = network(name).model(&giga(&[1.0, 1.0]));
        let mut changes = Vec::new();
        let ends = run(&mut *network, &steps, |now, network| changes.push((now, network.next_change())));
        assert_eq!(ends[&0], seconds(&[13])[0], "{name}");
        assert_eq!(changes[1], (seconds(&[1])[0], None), "nothing moves while the link is down");
        assert_eq!(network.carried().as_slice(), [4e9, 4e9]);
    }
}

/// The same a thousand times smaller, packet by packet and flit by flit: 4 MB over two links of 1 GB/s,
/// of which the second moves nothing between 1 and 8 ms and half as much from 9 ms on. The last packet
/// (flit) crosses the second link after the first: one packet (a few cycles) later.
#[test]
fn packets_wait_for_a_failed_link_and_none_is_lost() {
    for name in ["packet", "flit"] {
        let millis = |at: u64| SimTime::from_picos(at * SECOND / 1000);
        let set = |at: u64, bandwidth: Option<f64>| {
            (millis(at), Step::Set(LinkId(0), bandwidth.map(Bandwidth::per_second)))
        };
        let start = (SimTime::ZERO, Step::Start(flow(&[1, 0], 4_000_000, 1.0)));
        let steps = [start, set(1, None), set(8, Some(1e9)), set(9, Some(0.5e9))];
        let mut network = network(name).model(&giga(&[1.0, 1.0]));
        let ends = run(&mut *network, &steps, |_, _| ());
        let late = ends[&0].since(millis(13));
        assert!(late <= SimDuration::from_micros(19), "{name}: {late} late");
        assert_eq!(network.carried().as_slice(), [4e6, 4e6], "{name}");
    }
}

/// Store and forward: the first packet pays every link, the others follow at the narrowest. So a lone
/// flow of packets is later than a fluid by at most a packet on each other link, and a picosecond of
/// rounding at each.
#[test]
fn a_lone_flow_of_packets_is_a_packet_a_hop_behind_a_fluid() {
    let rates = [50e9, 7e9, 25e9];
    let links = links(&rates, SimDuration::from_nanos(500));
    for bytes in [0, 1, 4_096, 9_000, 9_001, 1_234_567_890] {
        let end = |name: &str| {
            let steps = [(SimTime::ZERO, Step::Start(flow(&[0, 1, 2], bytes, 1.0)))];
            run(&mut *unhurried(name).model(&links), &steps, |_, _| ())[&0]
        };
        let (fluid, packet) = (end("fluid"), end("packet"));
        let packet_a_hop: SimDuration =
            rates.iter().map(|&rate| Bytes(9_000.min(bytes)) / Bandwidth::per_second(rate)).sum();
        assert!(packet >= fluid, "{bytes} bytes: {packet} {fluid}");
        let behind = packet.since(fluid);
        assert!(behind <= packet_a_hop + SimDuration::from_picos(3), "{bytes} bytes: {behind} behind");
    }
}

/// Flits are counted in cycles of the fastest link: a long lone flow agrees within a part in a thousand.
#[test]
fn a_long_lone_flow_takes_as_long_at_every_fidelity() {
    let links = links(&[50e9, 25e9, 50e9], SimDuration::from_nanos(100));
    for name in NetworkSpec::NAMES {
        let steps = [(SimTime::ZERO, Step::Start(flow(&[0, 1, 2], 50_000_000, 1.0)))];
        let end = run(&mut *unhurried(name).model(&links), &steps, |_, _| ())[&0];
        let apart = end.seconds() / (50e6 / 25e9) - 1.0;
        assert!((0.0..1e-3).contains(&apart), "{name}: {apart}");
    }
}

/// A third of 1 GB/s is no whole number of anything: 1 GB each ends within 1 ps after 3 s, never before.
#[test]
fn rounding_never_delivers_early() {
    let ends = finish("fluid", &giga(&[1.0]), &[(0, &[0], 1, 1.0), (0, &[0], 1, 1.0), (0, &[0], 1, 1.0)]);
    for end in ends {
        assert!((3 * SECOND..=3 * SECOND + 1).contains(&end.picos()), "{} ps", end.picos());
    }
}

#[test]
#[should_panic(
    expected = "the network changes at 1000000000000 ps, but was told to come to 1000000000001 ps"
)]
fn a_change_cannot_be_passed_by() {
    let mut network = network("fluid").model(&giga(&[1.0]));
    network.start(SimTime::ZERO, flow(&[0], GIGA, 1.0));
    network.advance(SimTime::from_picos(SECOND + 1), &mut Vec::new());
}
