//! Queues, pauses, marks and drops.

use std::sync::Arc;

use proptest::prelude::*;

use crate::ids::{FlowId, LinkId};
use crate::network::packet::{Congestion, Ecn, Packet, PacketNetwork, Recovery, Routing};
use crate::network::{Flow, LinkState, LinkTable, NetworkModel};
use crate::units::{Bandwidth, Bytes, SimDuration, SimTime};

fn links(rates: &[f64], latency: SimDuration) -> LinkTable {
    rates.iter().map(|&rate| LinkState { bandwidth: Some(Bandwidth::per_second(rate)), latency }).collect()
}

fn flow(route: &[u32], bytes: u64) -> Flow {
    let route: Arc<[LinkId]> = route.iter().map(|&link| LinkId(link)).collect();
    Flow { route, bytes: Bytes(bytes), weight: 1.0 }
}

/// Runs flows that start at once; when each ends.
fn run(network: &mut PacketNetwork, flows: &[Flow]) -> Vec<SimTime> {
    let ids: Vec<FlowId> = flows.iter().map(|flow| network.start(SimTime::ZERO, flow.clone())).collect();
    let mut ends = vec![SimTime::ZERO; flows.len()];
    let mut finished = Vec::new();
    while let Some(now) = network.next_change() {
        network.advance(now, &mut finished);
        for id in finished.drain(..) {
            ends[ids.iter().position(|&known| known == id).unwrap()] = now;
        }
    }
    ends
}

fn plain(mtu: u64) -> Packet {
    Packet { mtu: Bytes(mtu), congestion: Congestion::None, ..Packet::default() }
}

/// PHYSICS §5: each of three links takes 81.92 ns for a packet and 500 ns of latency; the sixteenth packet
/// leaves the first link after 16 of these, and crosses two more: 18 · 81 920 + 1 500 000 ps.
#[test]
fn packets_are_stored_and_forwarded() {
    let links = links(&[50e9; 3], SimDuration::from_nanos(500));
    let mut network = PacketNetwork::new(&plain(4096), &links);
    let ends = run(&mut network, &[flow(&[0, 1, 2], 16 * 4096)]);
    assert_eq!(ends[0].picos(), 2_974_560);
}

/// The vectors of the fluid network (PHYSICS §5, there in GB and s), here in 10 MB and 10 ms: long flows share
/// as it says, to within 1 %: sources take turns, and what passes through takes turns with them.
#[test]
fn long_flows_share_max_min_fairly() {
    let check = |rates: &[f64], flows: &[(&[u32], u64)], expected: &[f64]| {
        let rates: Vec<f64> = rates.iter().map(|rate| rate * 1e9).collect();
        let flows: Vec<Flow> = flows.iter().map(|(route, size)| flow(route, size * 10_000_000)).collect();
        let mut network = PacketNetwork::new(&plain(9000), &links(&rates, SimDuration::ZERO));
        for (end, expected) in run(&mut network, &flows).iter().zip(expected) {
            let apart = end.seconds() / (expected * 0.01) - 1.0;
            assert!(apart.abs() < 0.01, "{rates:?}: {end} instead of {} ms", expected * 10.0);
        }
    };
    check(&[1.0], &[(&[0], 1), (&[0], 2)], &[2.0, 3.0]);
    check(&[1.0, 1.0], &[(&[0, 1], 1), (&[0], 1), (&[1], 1)], &[2.0, 2.0, 2.0]);
    check(&[1.0, 2.0], &[(&[0, 1], 3), (&[0], 3), (&[1], 3)], &[6.0, 6.0, 2.0]);
    // Rates .1, .1, .1, .8, 3.1 at first; when the fifth ends at 3/3.1 s and the fourth at 3/.8 s, the first
    // three still have their third of the first link: 30 s.
    let five: [(&[u32], u64); 5] = [(&[0, 1, 2], 3), (&[0, 1], 3), (&[0], 3), (&[1, 2], 3), (&[2], 3)];
    check(&[0.3, 1.0, 4.0], &five, &[30.0, 30.0, 30.0, 3.75, 3.0 / 3.1]);
}

/// Weights 3 and 1 over 1 GB/s, 30 MB each: 40 and 60 ms.
#[test]
fn sources_share_by_weight() {
    let mut network = PacketNetwork::new(&plain(9000), &links(&[1e9], SimDuration::ZERO));
    let heavy = Flow { weight: 3.0, ..flow(&[0], 30_000_000) };
    let ends = run(&mut network, &[heavy, flow(&[0], 30_000_000)]);
    assert!((ends[0].seconds() / 0.04 - 1.0).abs() < 1e-3, "{}", ends[0]);
    assert!((ends[1].seconds() / 0.06 - 1.0).abs() < 1e-3, "{}", ends[1]);
}

/// Eight senders of 50 GB/s onto a link of 50 GB/s.
fn incast(spec: &Packet, bytes: u64) -> (PacketNetwork, Vec<SimTime>) {
    let mut network = PacketNetwork::new(spec, &links(&[50e9; 9], SimDuration::from_nanos(500)));
    let flows: Vec<Flow> = (0..8).map(|sender| flow(&[sender, 8], bytes)).collect();
    let ends = run(&mut network, &flows);
    (network, ends)
}

/// The last link is busy throughout: 8 · 4 MB at 50 GB/s, the first packet and the latencies before that.
#[test]
fn incast_queues_and_the_receiver_is_never_idle() {
    let (network, ends) = incast(&plain(8000), 4_000_000);
    let last = ends.iter().max().unwrap().picos();
    assert_eq!(last, 2 * 500_000 + 160_000 + 8 * 4_000_000 * 20);
    let counters = network.counters().unwrap();
    assert_eq!((counters.longest_queue, counters.dropped_packets), (Some(LinkId(8)), 0));
    // All send until they have sent all; then seven of eight bytes wait, but one packet that is being sent.
    assert!(counters.longest_queue_bytes > 27_000_000, "{}", counters.longest_queue_bytes);
}

/// With little room pauses hold the senders back; nothing is lost and the receiver stays busy. What was held
/// back is little beyond the threshold: what a pause comes too late for.
#[test]
fn pauses_lose_nothing() {
    let spec = Packet { buffer: Bytes(400_000), ..plain(8000) };
    let (network, ends) = incast(&spec, 4_000_000);
    let last = ends.iter().max().unwrap().picos();
    assert_eq!(last, 2 * 500_000 + 160_000 + 8 * 4_000_000 * 20);
    let counters = network.counters().unwrap();
    assert!(counters.pauses > 8, "{counters:?}");
    assert_eq!(counters.dropped_packets, 0);
    // An eighth of what is free, and 50 GB/s · 1 us + two packets of headroom, from each of eight links.
    let most = 8 * (50_000 + 50_000 + 2 * 8_000 + 8_000);
    assert!(counters.longest_queue_bytes <= most, "{} of {most}", counters.longest_queue_bytes);
}

/// Without pauses the buffer overflows. Go-back-N brings every byte all the same; without it, what was
/// dropped is missing and counted.
#[test]
fn drops_are_counted_and_repaired() {
    for recovery in [Recovery::GoBackN, Recovery::None] {
        let spec = Packet { buffer: Bytes(100_000), pfc: false, recovery, ..plain(8000) };
        let (network, ends) = incast(&spec, 1_000_000);
        assert!(ends.iter().all(|end| end.picos() > 0), "every flow ends");
        let counters = network.counters().unwrap();
        assert!(counters.dropped_packets > 100, "{counters:?}");
        let delivered: u64 = network.flows.iter().map(|flow| flow.delivered).sum();
        match recovery {
            Recovery::GoBackN => {
                assert_eq!(delivered, 8_000_000);
                assert!(counters.resent_bytes > counters.dropped_bytes);
            }
            Recovery::None => assert_eq!(delivered + counters.dropped_bytes, 8_000_000),
        }
    }
}

/// Zhu et al., figure 13: of two flows that meet on a link of 40 Gbit/s, one having had it alone, both get
/// near half. Over the second half of 40 ms neither has less than 35 %, and the queue stays short of pauses.
#[test]
fn dcqcn_converges_to_a_fair_share() {
    let spec = Packet {
        mtu: Bytes(1000),
        ecn: Ecn { kmin: Bytes(5_000), kmax: Bytes(200_000), pmax: 0.01 },
        ..Packet::default()
    };
    let mut network = PacketNetwork::new(&spec, &links(&[5e9; 3], SimDuration::from_micros(1)));
    let first = network.start(SimTime::ZERO, flow(&[0, 2], 1_000_000_000));
    let millis = |at: u64| SimTime::from_picos(at * 1_000_000_000);
    let mut finished = Vec::new();
    let mut come = |network: &mut PacketNetwork, to: SimTime| {
        while let Some(now) = network.next_change().filter(|&now| now <= to) {
            network.advance(now, &mut finished);
        }
    };
    come(&mut network, millis(5));
    let at = network.next_change().unwrap();
    network.advance(at, &mut Vec::new());
    let second = network.start(at, flow(&[1, 2], 1_000_000_000));
    come(&mut network, millis(25));
    let before = [first, second].map(|id| network.flows[id].delivered);
    come(&mut network, millis(45));
    let got = [first, second].map(|id| network.flows[id].delivered);
    let got = [got[0] - before[0], got[1] - before[1]].map(|bytes| bytes as f64 / (5e9 * 0.020));
    assert!(got.iter().all(|share| *share > 0.35), "{got:?}");
    assert!(got[0] + got[1] > 0.9, "{got:?}");
    let counters = network.counters().unwrap();
    assert!(counters.notifications > 50 && counters.pauses == 0, "{counters:?}");
    assert!(counters.longest_queue_bytes < 1_000_000, "{counters:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Bytes injected are delivered, in flight, dropped or discarded, at every moment and for every flow; a
    /// buffer holds what its packets have; pauses or not, whatever the routes.
    #[test]
    fn no_byte_is_unaccounted_for(
        routes in prop::collection::vec(
            prop::sample::subsequence((0..5_u32).collect::<Vec<_>>(), 1..4).prop_shuffle(), 1..12),
        bytes in 1..200_000_u64,
        pfc in any::<bool>(),
        repair in any::<bool>(),
        room in 3_000..40_000_u64,
    ) {
        let recovery = if repair { Recovery::GoBackN } else { Recovery::None };
        let ecn = Ecn { kmin: Bytes(2_000), kmax: Bytes(20_000), pmax: 0.2 };
        let congestion = Congestion::Dcqcn;
        let spec = Packet { buffer: Bytes(room), pfc, recovery, ecn, congestion, ..plain(1000) };
        let rates = [1e9, 2e9, 3e9, 1e9, 5e8];
        let mut network = PacketNetwork::new(&spec, &links(&rates, SimDuration::from_nanos(300)));
        let flows: Vec<Flow> = routes.iter().map(|route| flow(route, bytes)).collect();
        for flow in &flows {
            network.start(SimTime::ZERO, flow.clone());
        }
        let (mut ended, mut finished, mut looks) = (0, Vec::new(), 0);
        while let Some(now) = network.next_change() {
            network.advance(now, &mut finished);
            ended += finished.drain(..).count();
            looks += 1;
            if looks % 7 == 0 {
                accounts_are_right(&network);
            }
        }
        prop_assert_eq!(ended, flows.len());
        let dropped = network.counters().unwrap().dropped_bytes;
        prop_assert!(!pfc || dropped == 0);
        let delivered: u64 = network.flows.iter().map(|flow| flow.delivered).sum();
        let lost = if !pfc && !repair { dropped } else { 0 };
        prop_assert_eq!(delivered + lost, bytes * flows.len() as u64);
    }
}

fn accounts_are_right(network: &PacketNetwork) {
    let mut held = vec![0; network.buffers.len()];
    let mut packets = vec![0; network.flows.len()];
    let mut on_links = vec![0.0; network.ports.len()];
    for (link, port) in network.ports.enumerate() {
        let queued: u64 = port.queued().map(|packet| u64::from(packet.bytes)).sum();
        assert_eq!(port.waiting, queued);
        for packet in port.queued() {
            held[packet.came_by.0 as usize] += u64::from(packet.bytes);
            packets[packet.flow.0 as usize] += 1;
        }
        for packet in &port.flying {
            packets[packet.flow.0 as usize] += 1;
            on_links[link.0 as usize] += f64::from(packet.bytes);
        }
        // What has left is at most what was sent, less than a packet more than what has left.
        let carried = network.carried()[link];
        assert!(carried <= port.sent as f64 + 1e-6 && carried > port.sent as f64 - 1000.5);
    }
    assert_eq!(held, network.buffers, "bare links have a buffer each");
    for (id, flow) in network.flows.enumerate() {
        assert_eq!(flow.on_its_way, packets[id.0 as usize], "{id}");
        assert!(
            flow.delivered + flow.dropped
                <= u64::from(flow.fresh) * 1000 + network.counters().unwrap().resent_bytes
        );
    }
}

/// What is written is checked, one sentence for each mistake.
#[test]
fn settings_that_make_no_sense_are_refused() {
    let read = |text: &str| serde_json::from_str::<Packet>(text).map_err(|why| why.to_string());
    let packet =
        read(r#"{"mtu": "4096 B", "ecn": {"kmin": "100 KB", "kmax": "400 KB"}, "routing": "spray"}"#)
            .unwrap();
    assert_eq!((packet.mtu, packet.ecn.pmax, packet.routing), (Bytes(4096), 0.2, Routing::Spray));
    for (text, why) in [
        (r#"{"mtu": "1 B"}"#, "an `mtu` is 64 B to 1 MiB"),
        (r#"{"buffer": "1 KB"}"#, "has no room for a packet"),
        (r#"{"ecn": {"kmin": "4 MB"}}"#, "is at most `ecn.kmax`"),
        (r#"{"ecn": {"pmax": 2}}"#, "0 to 1, not 2"),
        (r#"{"pfc": false, "routing": "spray"}"#, "go_back_n takes packets that come out of order"),
        (r#"{"routing": "sprya"}"#, "unknown variant `sprya`"),
        (r#"{"kmin": "4 MB"}"#, "unknown field `kmin`"),
    ] {
        let found = read(text).unwrap_err();
        assert!(found.contains(why), "{text}: {found}");
    }
}
