//! The laws of the room (PHYSICS §8), on traffic of any shape.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::ids::{Id, LinkId};
use crate::network::tests::{Step, flow, run};
use crate::network::{Flow, LinkState, LinkTable, NetworkSpec};
use crate::units::{Bandwidth, Bytes, SimDuration, SimTime};

/// Links and what happens to them.
#[derive(Debug, Clone)]
pub struct Traffic {
    pub links: LinkTable,
    pub steps: Vec<(SimTime, Step)>,
}

const LINKS: usize = 5;

/// Flows that start in the first second, many at one moment, over links that change and fail; after
/// two seconds all links are up.
pub fn traffic() -> impl Strategy<Value = Traffic> {
    traffic_of(1)
}

/// The same with all times and bytes divided by 100 000, for those who go packet by packet.
fn small_traffic() -> impl Strategy<Value = Traffic> {
    traffic_of(100_000)
}

/// Traffic that a fidelity can carry in no time.
fn suited<'a>(name: &str, large: &'a Traffic, small: &'a Traffic) -> &'a Traffic {
    if ["packet", "flit"].contains(&name) { small } else { large }
}

fn traffic_of(scale: u64) -> impl Strategy<Value = Traffic> {
    let links = prop::collection::vec((1..50_u32, 0..3_u64), LINKS);
    let moment = prop_oneof![(0..4_u64).prop_map(|n| n * 250_000_000_000), 0..1_000_000_000_000_u64];
    let route = prop::sample::subsequence((0..LINKS as u32).collect::<Vec<_>>(), 0..4).prop_shuffle();
    let weight = prop::sample::select(vec![1.0, 1.0, 1.0, 2.0, 0.5, 3.0]);
    let start = (moment.clone(), route, 1..2_000_000_000 / scale, weight)
        .prop_map(|(at, route, bytes, weight)| (at, Step::Start(flow(&route, bytes, weight))));
    let change = (moment, 0..LINKS as u32, 0..20_u32).prop_map(|(at, link, rate)| {
        // A third of the changes are failures.
        let bandwidth = (rate >= 7).then(|| Bandwidth::per_second(f64::from(rate) * 1e8));
        (at, Step::Set(LinkId(link), bandwidth))
    });
    let starts = prop::collection::vec(start, 1..25);
    (links, starts, prop::collection::vec(change, 0..6)).prop_map(move |(links, starts, changes)| {
        let up = links.iter().enumerate().map(|(link, &(rate, _))| {
            let bandwidth = Bandwidth::per_second(f64::from(rate) * 1e8);
            (2_000_000_000_000, Step::Set(LinkId(link as u32), Some(bandwidth)))
        });
        let mut steps: Vec<_> = changes.into_iter().chain(starts).chain(up).collect();
        steps.sort_by_key(|(at, _)| *at);
        let links = links.iter().map(|&(rate, micros)| LinkState {
            bandwidth: Some(Bandwidth::per_second(f64::from(rate) * 1e8)),
            latency: SimDuration::from_picos(micros * 1_000_000 / scale),
        });
        Traffic {
            links: links.collect(),
            steps: steps.into_iter().map(|(at, step)| (SimTime::from_picos(at / scale), step)).collect(),
        }
    })
}

fn starts(steps: &[(SimTime, Step)]) -> impl Iterator<Item = (usize, &Flow)> {
    steps.iter().enumerate().filter_map(|(position, (_, step))| match step {
        Step::Start(flow) => Some((position, flow)),
        Step::Set(..) => None,
    })
}

fn ends(name: &str, Traffic { links, steps }: &Traffic) -> BTreeMap<usize, SimTime> {
    run(&mut *NetworkSpec::from_name(name).unwrap().model(links), steps, |_, _| ())
}

/// The same with the flows of each moment in an order by a hash, and where each step was before. Two
/// changes of one link keep their order.
fn shuffled(traffic: &Traffic, seed: u64) -> (Vec<usize>, Traffic) {
    let Traffic { links, steps } = traffic;
    let mut order: Vec<usize> = (0..steps.len()).collect();
    order.sort_by_key(|&position| {
        let (at, step) = &steps[position];
        let start = matches!(step, Step::Start(_));
        (*at, if start { (position as u64 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) } else { 1 << 63 })
    });
    let steps = order.iter().map(|&position| steps[position].clone()).collect();
    (order, Traffic { links: links.clone(), steps })
}

proptest! {
    /// Every flow finishes once, and what its links have carried by then is what was sent over them.
    #[test]
    fn bytes_sent_are_bytes_carried(large in traffic(), small in small_traffic()) {
        for name in NetworkSpec::NAMES {
            let traffic = suited(name, &large, &small);
            let mut network = NetworkSpec::from_name(name).unwrap().model(&traffic.links);
            let ends = run(&mut *network, &traffic.steps, |_, _| ());
            prop_assert_eq!(ends.len(), starts(&traffic.steps).count());
            let mut sent = vec![Bytes::ZERO; LINKS];
            for (position, flow) in starts(&traffic.steps) {
                prop_assert!(ends[&position] >= traffic.steps[position].0);
                flow.route.iter().for_each(|link| sent[link.index()] += flow.bytes);
            }
            let sent: Vec<f64> = sent.into_iter().map(Bytes::as_f64).collect();
            prop_assert_eq!(network.carried().into_iter().collect::<Vec<_>>(), sent);
        }
    }

    /// What had left before a flow is sent another way, and what was left, are all of its bytes, and it ends when
    /// the rest has gone the other way.
    #[test]
    fn a_flow_sent_another_way_loses_no_bytes(bytes in 1..1_000_000_000_u64, picos in 0..2_000_000_000_000_u64) {
        let up = |rate: f64| LinkState {
            bandwidth: Some(Bandwidth::per_second(rate)),
            latency: SimDuration::from_micros(1),
        };
        let links: LinkTable = [up(5e8), up(2e8)].into_iter().collect();
        for name in ["analytic", "fluid"] {
            let mut network = NetworkSpec::from_name(name).unwrap().model(&links);
            let id = network.start(SimTime::ZERO, flow(&[0], bytes, 1.0));
            let lost = SimTime::from_picos(picos);
            let mut finished = Vec::new();
            if network.next_change().unwrap() <= lost {
                continue;
            }
            network.set_bandwidth(lost, LinkId(0), None);
            let left = network.reroute(lost, id, &[LinkId(1)].into()).unwrap();
            while let Some(at) = network.next_change() {
                network.advance(at, &mut finished);
                if !finished.is_empty() {
                    let rest = left / Bandwidth::per_second(2e8) + SimDuration::from_micros(1);
                    prop_assert_eq!(at, lost + rest);
                }
            }
            prop_assert_eq!(finished, vec![id]);
            let carried: Vec<f64> = network.carried().into_iter().collect();
            prop_assert_eq!(carried, vec![(bytes - left.get()) as f64, left.as_f64()]);
            // As much had left as the first link carries by then, up to the byte that was on its way.
            let went = (picos as f64 * 5e8 / 1e12).min(bytes as f64);
            prop_assert!(((bytes - left.get()) as f64 - went).abs() <= 1.0);
        }
    }

    /// Between two changes a link carries no more than its bandwidth allows, and never takes back.
    #[test]
    fn no_link_carries_more_than_it_can(large in traffic(), small in small_traffic()) {
        // A flit is counted when it is sent.
        for (name, slack) in [("fluid", 1e-3), ("packet", 1e-2), ("flit", 32.0)] {
            let Traffic { links, steps } = suited(name, &large, &small);
            let mut bandwidth: Vec<_> = links.iter().map(|link| link.bandwidth).collect();
            let (mut before, mut carried_before, mut wrong) = (SimTime::ZERO, vec![0.0; LINKS], None);
            let mut network = NetworkSpec::from_name(name).unwrap().model(links);
            run(&mut *network, steps, |now, network| {
                let carried = network.carried();
                for link in 0..LINKS {
                    let can = bandwidth[link].map_or(0.0, Bandwidth::get) * now.since(before).seconds();
                    let did = carried.as_slice()[link] - carried_before[link];
                    if did < -1e-3 || did > can * (1.0 + 1e-9) + slack {
                        wrong = Some(format!("{name}: link {link} carried {did} of {can} bytes until {now}"));
                    }
                }
                (before, carried_before) = (now, carried.into_iter().collect());
                for (at, step) in steps {
                    if let (true, Step::Set(link, set)) = (*at == now, step) {
                        bandwidth[link.index()] = *set;
                    }
                }
            });
            prop_assert_eq!(wrong, None);
        }
    }

    /// The flows of one moment may be started in any order.
    #[test]
    fn the_order_of_starting_does_not_matter(
        large in traffic(), small in small_traffic(), seed in any::<u64>()
    ) {
        for name in NetworkSpec::NAMES {
            let traffic = suited(name, &large, &small);
            let (order, shuffled) = shuffled(traffic, seed);
            let (plain, shuffled) = (ends(name, traffic), ends(name, &shuffled));
            for (now, &position) in order.iter().enumerate() {
                prop_assert_eq!(plain.get(&position), shuffled.get(&now), "{}", name);
            }
        }
    }

    /// Twice the bytes over links twice as fast take as long.
    #[test]
    fn scaling_bytes_and_bandwidths_changes_nothing(traffic in traffic()) {
        // Packets and flits have sizes of their own, which would have to be scaled too.
        let doubled = Traffic {
            links: traffic.links.iter().map(|link| LinkState {
                bandwidth: link.bandwidth.map(|rate| rate.scaled(2.0)), ..*link
            }).collect(),
            steps: traffic.steps.iter().map(|(at, step)| (*at, match step {
                Step::Start(flow) => Step::Start(Flow { bytes: flow.bytes * 2, ..flow.clone() }),
                Step::Set(link, rate) => Step::Set(*link, rate.map(|rate| rate.scaled(2.0))),
            })).collect(),
        };
        for name in ["analytic", "fluid"] {
            // Rates are rounded down to 2^-20 B/s: a part in 10^12 of the slowest share in this traffic.
            for (plain, doubled) in ends(name, &traffic).values().zip(ends(name, &doubled).values()) {
                let apart = plain.picos().abs_diff(doubled.picos());
                prop_assert!(apart <= 2 + plain.picos() / 1_000_000_000_000, "{name}: {plain:?} {doubled:?}");
            }
        }
    }

    /// A flow that shares is never sooner than one that does not.
    #[test]
    fn sharing_never_makes_a_flow_faster(traffic in traffic()) {
        // Packets that wait before a slow link may gain from its rising later, so this is not for them.
        for (shared, alone) in ends("fluid", &traffic).values().zip(ends("analytic", &traffic).values()) {
            prop_assert!(shared >= alone);
        }
    }

    /// Two runs give the same.
    #[test]
    fn a_run_repeats_itself(large in traffic(), small in small_traffic()) {
        for name in NetworkSpec::NAMES {
            let traffic = suited(name, &large, &small);
            prop_assert_eq!(ends(name, traffic), ends(name, traffic));
        }
    }
}
