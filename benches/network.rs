//! What max-min fair sharing costs: all rates at once, after one change, and in a whole run; and what a
//! packet and a flit cost a link.
//!
//! The fabric is a two-level Clos: 64 leaf switches with 16 hosts each under 32 spines, flows between
//! random hosts over random spines. For comparison, filling everything anew took other
//! implementations 0.2–0.6 ms with 1,024 flows and 1.3–5.8 ms with 8,192.

use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;

use trainyard::engine::{EventClass, EventQueue};
use trainyard::ids::{FlowId, LinkId};
use trainyard::network::clockwork::Sharing;
use trainyard::network::maxmin::MaxMin;
use trainyard::network::paths::{PathId, Paths};
use trainyard::network::rates::{Rate, Weight};
use trainyard::network::{Flow, LinkState, LinkTable, NetworkSpec};
use trainyard::rng::{RngExt, Seed, Stream};
use trainyard::units::{Bandwidth, Bytes, SimDuration, SimTime};

fn main() {
    divan::main();
}

const FLOWS: [usize; 2] = [1_024, 8_192];
const LEAVES: u32 = 64;
const HOSTS: u32 = 16 * LEAVES;
const SPINES: u32 = 32;

/// Host to leaf and back, then leaf to spine and back.
fn fabric() -> LinkTable {
    let links = |count: u32, rate: f64| {
        (0..count).map(move |_| LinkState {
            bandwidth: Some(Bandwidth::per_second(rate)),
            latency: SimDuration::from_nanos(500),
        })
    };
    links(2 * HOSTS, 50e9).chain(links(2 * LEAVES * SPINES, 50e9)).collect()
}

fn random_route(stream: &mut Stream) -> Arc<[LinkId]> {
    let (from, to) = (stream.random_range(0..HOSTS), stream.random_range(0..HOSTS));
    let spine = stream.random_range(0..SPINES);
    let up = |host: u32| 2 * HOSTS + 2 * (host % LEAVES * SPINES + spine);
    [LinkId(2 * from), LinkId(up(from)), LinkId(up(to) + 1), LinkId(2 * to + 1)].into()
}

/// Paths of that many flows, their rates not found yet.
fn paths(flows: usize, stream: &mut Stream) -> (Paths, Vec<PathId>) {
    let mut paths = Paths::new(fabric().iter().map(|link| Rate::of(link.bandwidth)));
    let ids = (0..flows).map(|_| paths.join(&random_route(stream), Weight::ONE)).collect();
    (paths, ids)
}

/// Every rate, from nothing.
#[divan::bench(args = FLOWS)]
fn fill_all(bencher: Bencher, flows: usize) {
    let mut stream = Seed(1).stream("routes");
    let (mut maxmin, mut changed) = (MaxMin::default(), Vec::new());
    bencher.with_inputs(|| paths(flows, &mut stream).0).bench_local_refs(|paths| {
        changed.clear();
        maxmin.share(paths, &mut changed);
    });
}

/// One flow ends and another starts elsewhere.
#[divan::bench(args = FLOWS)]
fn fill_after_a_change(bencher: Bencher, flows: usize) {
    let mut stream = Seed(1).stream("routes");
    let (mut paths, mut ids) = paths(flows, &mut stream);
    let (mut maxmin, mut changed) = (MaxMin::default(), Vec::new());
    maxmin.share(&mut paths, &mut changed);
    paths.settle();
    bencher.bench_local(|| {
        let ends = stream.random_range(0..ids.len());
        paths.leave(ids[ends], Weight::ONE);
        ids[ends] = paths.join(&random_route(&mut stream), Weight::ONE);
        changed.clear();
        maxmin.share(&mut paths, &mut changed);
        paths.settle();
    });
}

/// All flows start at once, with bytes of their own, and run to their ends.
#[divan::bench(args = ["analytic", "fluid"], consts = [1_024, 8_192], sample_count = 10)]
fn run<const FLOWS: usize>(bencher: Bencher, fidelity: &str) {
    let spec = NetworkSpec::from_name(fidelity).expect("a fidelity");
    let mut stream = Seed(1).stream("routes");
    bencher.bench_local(|| {
        let mut network = spec.model(&fabric());
        for _ in 0..FLOWS {
            let bytes = Bytes(stream.random_range(1_000_000..10_000_000));
            network.start(SimTime::ZERO, Flow { route: random_route(&mut stream), bytes, weight: 1.0 });
        }
        let mut finished: Vec<FlowId> = Vec::new();
        while let Some(now) = network.next_change() {
            network.advance(now, &mut finished);
        }
        assert_eq!(finished.len(), FLOWS);
    });
}

/// Packets that cross a link, by the second: 1,024 flows of 1 MB over four links each, 9000 B a packet. The limit is
/// the event queue alone ([`events_alone`]): a packet is an event at each link, and another where it waits.
#[divan::bench(sample_count = 10)]
fn packet_hops(bencher: Bencher) {
    hops(bencher, "packet", 1_000_000, 112);
}

/// Flits that cross a link, by the second: 1,024 flows of 64 flits over four links each.
#[divan::bench(sample_count = 10)]
fn flit_hops(bencher: Bencher) {
    hops(bencher, "flit", 64 * 32, 64);
}

fn hops(bencher: Bencher, fidelity: &str, bytes: u64, pieces: u64) {
    let spec = NetworkSpec::from_name(fidelity).expect("a fidelity");
    let mut stream = Seed(1).stream("routes");
    bencher.counter(ItemsCount::new(1_024 * pieces * 4)).bench_local(|| {
        let mut network = spec.model(&fabric());
        for _ in 0..1_024 {
            let route = random_route(&mut stream);
            network.start(SimTime::ZERO, Flow { route, bytes: Bytes(bytes), weight: 1.0 });
        }
        let mut finished: Vec<FlowId> = Vec::new();
        while let Some(now) = network.next_change() {
            network.advance(now, &mut finished);
        }
        assert_eq!(finished.len(), 1_024);
    });
}

/// What the event queue does with nothing behind its events: as many pending as packets are on links.
#[divan::bench(sample_count = 10)]
fn events_alone(bencher: Bencher) {
    const EVENTS: u64 = 1 << 20;
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
        let mut queue = EventQueue::new();
        for at in 0..2_048_u32 {
            queue.schedule(SimTime::from_picos(u64::from(at) * 90), EventClass::Arrival, LinkId(at));
        }
        for _ in 0..EVENTS {
            let (at, link) = queue.pop().expect("an event");
            queue.schedule(at + SimDuration::from_picos(680_000), EventClass::Arrival, link);
        }
        queue.len()
    });
}
