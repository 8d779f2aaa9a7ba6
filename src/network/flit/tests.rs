//! Cycles, credits and virtual channels.

use std::sync::Arc;

use crate::ids::LinkId;
use crate::network::flit::{Flit, FlitNetwork};
use crate::network::{Flow, LinkState, LinkTable, NetworkModel};
use crate::units::{Bandwidth, Bytes, SimDuration, SimTime};

/// Links of a flit of 32 bytes a nanosecond, four of which a hop takes.
fn links(count: usize) -> LinkTable {
    let link =
        LinkState { bandwidth: Some(Bandwidth::per_second(32e9)), latency: SimDuration::from_nanos(4) };
    (0..count).map(|_| link).collect()
}

fn flow(route: &[u32], flits: u64) -> Flow {
    let route: Arc<[LinkId]> = route.iter().map(|&link| LinkId(link)).collect();
    Flow { route, bytes: Bytes(32 * flits), weight: 1.0 }
}

/// The cycle in which the last of the flows ends, and the network after.
fn run(spec: &Flit, links: &LinkTable, flows: &[Flow]) -> (f64, FlitNetwork) {
    let mut network = FlitNetwork::new(spec, links);
    for flow in flows {
        network.start(SimTime::ZERO, flow.clone());
    }
    let (mut finished, mut last) = (Vec::new(), SimTime::ZERO);
    while let Some(now) = network.next_change() {
        network.advance(now, &mut finished);
        credits_are_right(&network);
        last = now;
    }
    assert_eq!(finished.len(), flows.len());
    ((last.seconds() * 1e9).round(), network)
}

/// 0 ≤ credits ≤ b, and what is not in a buffer or on its way is a credit.
fn credits_are_right(network: &FlitNetwork) {
    for channel in &network.channels {
        for (vc, buffer) in channel.vcs.iter().enumerate() {
            let free = channel.credits[vc];
            assert!(free as usize + buffer.flits.len() <= channel.depth as usize);
        }
    }
}

/// PHYSICS §5: h routers and L flits, nothing else: 4h + 2 + (L − 1) cycles. A route of h + 1 links from
/// device to device (a fat tree's) passes h routers.
#[test]
fn an_empty_network_takes_four_cycles_a_router() {
    for h in 1..7_u64 {
        for flits in [1, 2, 5, 16, 40] {
            let route: Vec<u32> = (0..=h as u32).collect();
            let (cycles, _) = run(&Flit::default(), &links(7), &[flow(&route, flits)]);
            assert_eq!(cycles, (4 * h + 2 + flits - 1) as f64, "{h} routers, {flits} flits");
        }
    }
}

/// PHYSICS §5, credits: with one virtual channel, packets of L flits and buffers of b, a saturated link
/// carries min(L / (L + 1), b / (5 + credit delay)): a packet waits a cycle for its virtual channel, and a
/// place comes back after 5 + d cycles.
#[test]
fn a_single_virtual_channel_is_bound_by_its_packets_and_its_credits() {
    for (packet, buffer, credit_delay) in
        [(1, 8, 2), (4, 16, 2), (16, 32, 0), (16, 4, 2), (16, 2, 0), (8, 3, 5)]
    {
        let spec = Flit { packet, vcs: 1, buffer, credit_delay, ..Flit::default() };
        let flits = 4000;
        let (cycles, _) = run(&spec, &links(4), &[flow(&[0, 1, 2, 3], flits)]);
        let accepted = flits as f64 / cycles;
        let (l, b, d) = (f64::from(packet), f64::from(buffer), f64::from(credit_delay));
        let expected = (l / (l + 1.0)).min(b / (5.0 + d));
        // Where both bind, a packet's cycle and its credits' add up now and then.
        let apart = accepted / expected - 1.0;
        assert!(
            (-0.08..0.03).contains(&apart),
            "L {packet}, b {buffer}, d {credit_delay}: {accepted} of {expected}"
        );
    }
}

/// Sixteen virtual channels hide both.
#[test]
fn virtual_channels_fill_a_link() {
    let (cycles, network) = run(&Flit::default(), &links(4), &[flow(&[0, 1, 2, 3], 4000)]);
    assert_eq!(cycles, (4 * 3 + 2 + 3999) as f64);
    assert_eq!(network.carried().as_slice(), [4000.0 * 32.0; 4]);
}

/// Two inputs for one output have half each, and neither waits for the other's whole message.
#[test]
fn an_output_is_shared_flit_by_flit() {
    let flows = [flow(&[0, 2, 3], 1000), flow(&[1, 2, 3], 1000)];
    let (cycles, _) = run(&Flit::default(), &links(4), &flows);
    assert!((cycles / 2010.0 - 1.0).abs() < 0.005, "{cycles}");
}

/// A circle of three links, each flow crossing two: without virtual channels of their own the packets that
/// have come around would wait for each other for ever.
#[test]
fn a_circle_does_not_deadlock() {
    let spec = Flit { vcs: 4, buffer: 2, ..Flit::default() };
    let circle = [[0, 1, 2], [1, 2, 3], [2, 3, 0], [3, 0, 1]];
    let flows: Vec<Flow> = circle.iter().map(|route| flow(route, 500)).collect();
    let (cycles, _) = run(&spec, &links(4), &flows);
    assert!(cycles > 1500.0);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let read = |text: &str| serde_json::from_str::<Flit>(text).map_err(|why| why.to_string());
    assert_eq!(read(r#"{"vcs": 4}"#).unwrap().buffer, 8);
    assert!(read(r#"{"vcs": 65}"#).unwrap_err().contains("`vcs` is a number from 1 to 64, not 65"));
    assert!(read(r#"{"flit": "0 B"}"#).unwrap_err().contains("1 to 4096 bytes"));
    assert!(read(r#"{"vsc": 4}"#).unwrap_err().contains("unknown field `vsc`"));
}
