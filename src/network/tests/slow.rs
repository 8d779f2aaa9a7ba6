//! The slow, obvious twin: every flow by itself, all rates found anew at every change, in floats.

use proptest::prelude::*;

use crate::ids::{Id, LinkId};
use crate::network::clockwork::{Clockwork, Sharing};
use crate::network::maxmin::MaxMin;
use crate::network::paths::{PathId, Paths};
use crate::network::rates::{Rate, Weight};
use crate::network::tests::conservation::{Traffic, traffic};
use crate::network::tests::{Step, flow, links, run};
use crate::network::{Flow, LinkTable, NetworkModel};
use crate::rng::{RngExt, Seed};
use crate::units::{Bandwidth, SimDuration, SimTime};

/// Progressive filling as the textbook has it: raise everyone, freeze whoever meets a full link.
fn slow_rates(capacity: &[f64], flows: &[&Flow]) -> Vec<f64> {
    let mut rates = vec![None; flows.len()];
    while rates.contains(&None) {
        let share = |link: usize| {
            let crossing = |flow: &Flow| flow.route.iter().filter(|l| l.index() == link).count() as f64;
            let (mut rest, mut weight) = (capacity[link], 0.0);
            for (flow, rate) in flows.iter().zip(&rates) {
                match rate {
                    Some(rate) => rest -= rate * crossing(flow),
                    None => weight += flow.weight * crossing(flow),
                }
            }
            if weight > 0.0 { rest.max(0.0) / weight } else { f64::INFINITY }
        };
        let shares: Vec<f64> = (0..capacity.len()).map(share).collect();
        let level = shares.iter().copied().fold(f64::INFINITY, f64::min);
        for (flow, rate) in flows.iter().zip(&mut rates) {
            let full = |link: &LinkId| shares[link.index()] <= level * (1.0 + 1e-12);
            if rate.is_none() && flow.route.iter().any(full) {
                *rate = Some(level * flow.weight);
            }
        }
    }
    rates.into_iter().flatten().collect()
}

/// When each flow's last byte arrives, in seconds.
fn slow_run(links: &LinkTable, steps: &[(SimTime, Step)]) -> Vec<Option<f64>> {
    let mut capacity: Vec<f64> =
        links.iter().map(|link| link.bandwidth.map_or(0.0, Bandwidth::get)).collect();
    let mut ends = vec![None; steps.len()];
    let mut moving: Vec<(usize, &Flow, f64)> = Vec::new();
    let (mut now, mut next) = (0.0, 0);
    loop {
        let flows: Vec<&Flow> = moving.iter().map(|(_, flow, _)| *flow).collect();
        let rates = slow_rates(&capacity, &flows);
        let ends_in = moving.iter().zip(&rates).map(|((_, _, left), rate)| left / rate);
        let first_end = now + ends_in.fold(f64::INFINITY, f64::min);
        let next_step = steps.get(next).map_or(f64::INFINITY, |(at, _)| at.seconds());
        let until = first_end.min(next_step);
        if until == f64::INFINITY {
            return ends;
        }
        for ((_, _, left), rate) in moving.iter_mut().zip(&rates) {
            *left -= rate * (until - now);
            // What would take less than a picosecond is rounding.
            if *left <= rate * 1e-12 {
                *left = 0.0;
            }
        }
        now = until;
        moving.retain(|&(position, flow, left)| {
            let done = left == 0.0;
            if done {
                let latency: SimDuration = flow.route.iter().map(|&link| links[link].latency).sum();
                ends[position] = Some(now + latency.seconds());
            }
            !done
        });
        while let Some((at, step)) = steps.get(next).filter(|(at, _)| at.seconds() <= now) {
            match step {
                Step::Start(flow) if flow.route.is_empty() => ends[next] = Some(at.seconds()),
                Step::Start(flow) => moving.push((next, flow, flow.bytes.as_f64())),
                Step::Set(link, bandwidth) => capacity[link.index()] = bandwidth.map_or(0.0, Bandwidth::get),
            }
            next += 1;
        }
    }
}

proptest! {
    /// Both find the same times, to the floats' precision: whatever starts, ends, fails and comes back.
    #[test]
    fn fluid_flows_end_when_the_slow_twin_says(Traffic { links, steps } in traffic()) {
        let mut network = Clockwork::new(MaxMin::default(), &links);
        let ends = run(&mut network, &steps, |_, _| ());
        for (position, expected) in slow_run(&links, &steps).into_iter().enumerate() {
            let end = ends.get(&position).map(|end| end.seconds());
            match (end, expected) {
                (Some(end), Some(expected)) => {
                    let close = (end - expected).abs() <= 1e-9 * expected + 1e-10;
                    prop_assert!(close, "step {position} ends at {end} s, not at {expected} s");
                }
                (None, None) => {}
                other => prop_assert!(false, "step {position}: {other:?}"),
            }
        }
    }

    /// Joining and leaving path by path, the touched part filled anew each time, ends with the rates
    /// that filling everything at once gives, but for the last bits of what is rounded down.
    #[test]
    fn incremental_rates_are_those_of_filling_from_scratch(
        routes in prop::collection::vec((prop::sample::subsequence((0..8_u32).collect::<Vec<_>>(), 1..4), 1..5_u32), 1..40),
        capacities in prop::collection::vec(1..100_u32, 8),
        leaving in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        capacity_changes in prop::collection::vec((0..8_u32, 0..100_u32), 0..4),
    ) {
        let giga = |n: u32| Rate::of((n > 0).then(|| Bandwidth::per_second(f64::from(n) * 1e9)));
        let mut paths = Paths::new(capacities.iter().map(|&n| giga(n)));
        let mut maxmin = MaxMin::default();
        let mut share = |paths: &mut Paths| {
            maxmin.share(paths, &mut Vec::new());
            paths.settle();
        };
        let mut staying: Vec<(PathId, Flow)> = Vec::new();
        for (route, weight) in &routes {
            let flow = flow(route, 1, f64::from(*weight));
            staying.push((paths.join(&flow.route, Weight::of(flow.weight)), flow));
            share(&mut paths);
        }
        for index in leaving {
            if staying.len() > 1 {
                let (path, flow) = staying.swap_remove(index.index(staying.len()));
                paths.leave(path, Weight::of(flow.weight));
                share(&mut paths);
            }
        }
        let mut capacities: Vec<f64> = capacities.iter().map(|&n| f64::from(n) * 1e9).collect();
        for (link, n) in capacity_changes {
            capacities[link as usize] = f64::from(n) * 1e9;
            paths.set_capacity(LinkId(link), giga(n));
            share(&mut paths);
        }
        let flows: Vec<&Flow> = staying.iter().map(|(_, flow)| flow).collect();
        check_max_min(&paths, &staying)?;
        for ((path, flow), expected) in staying.iter().zip(slow_rates(&capacities, &flows)) {
            let rate = paths[*path].level.times(Weight::of(flow.weight)).bytes_per_second();
            prop_assert!((rate - expected).abs() <= 1e-9 * expected + 1e-3, "{:?}: {rate}, not {expected}", flow.route);
        }
    }
}

/// Two thousand changes one by one, on a Clos of 64 hosts, leave the rates that filling from scratch
/// gives the flows that are there: nothing drifts.
#[test]
fn a_long_history_leaves_no_trace_in_the_rates() {
    let mut stream = Seed(3).stream("history");
    let mut random_flow = || {
        let (from, to, spine) =
            (stream.random_range(0..64), stream.random_range(0..64), stream.random_range(0..4));
        let up = |host: u32| 128 + 2 * (host % 8 * 4 + spine);
        flow(&[2 * from, up(from), up(to) + 1, 2 * to + 1], 1, [1.0, 1.0, 2.0][stream.random_range(0..3)])
    };
    let capacity =
        || (0..192).map(|link| Rate::of(Some(Bandwidth::per_second(if link < 128 { 50e9 } else { 90e9 }))));
    let mut paths = Paths::new(capacity());
    let mut maxmin = MaxMin::default();
    let mut flows: Vec<(PathId, Flow)> = Vec::new();
    for change in 0..2_000 {
        if change >= 400 {
            // Anywhere in the list, so that young and old flows leave.
            let (path, flow) = flows.swap_remove(change * 7 % flows.len());
            paths.leave(path, Weight::of(flow.weight));
        }
        let flow = random_flow();
        flows.push((paths.join(&flow.route, Weight::of(flow.weight)), flow));
        maxmin.share(&mut paths, &mut Vec::new());
        paths.settle();
    }
    check_max_min(&paths, &flows).unwrap();

    let mut fresh = Paths::new(capacity());
    let anew: Vec<_> =
        flows.iter().map(|(_, flow)| fresh.join(&flow.route, Weight::of(flow.weight))).collect();
    MaxMin::default().share(&mut fresh, &mut Vec::new());
    for ((path, flow), anew) in flows.iter().zip(anew) {
        let (old, new) = (paths[*path].level.bytes_per_second(), fresh[anew].level.bytes_per_second());
        assert!((old - new).abs() <= 1e-3, "{:?}: {old} B/s, but {new} B/s from scratch", flow.route);
    }
}

/// Every flow has a link that is full and on which no flow of its weight is faster.
fn check_max_min(paths: &Paths, flows: &[(PathId, Flow)]) -> Result<(), TestCaseError> {
    let near = |a: Rate, b: Rate| a.bytes_per_second() >= b.bytes_per_second() * (1.0 - 1e-9) - 1e-3;
    for (path, flow) in flows {
        let bottleneck = flow.route.iter().any(|&link| {
            let across = || paths.crossing(link).map(|path| &paths[path]);
            let used = Rate(across().map(|path| path.level.times(path.weight).0).sum());
            let fastest = across().map(|path| path.level).max().unwrap_or_default();
            near(used, paths.capacity(link)) && near(paths[*path].level, fastest)
        });
        prop_assert!(bottleneck, "{:?} has no bottleneck", flow.route);
    }
    for link in (0..paths.links()).map(LinkId::from_index) {
        let used: u128 = paths.crossing(link).map(|path| paths[path].level.times(paths[path].weight).0).sum();
        prop_assert!(used <= paths.capacity(link).0, "{link} carries more than it can");
    }
    Ok(())
}

/// Links .3, 1, 4; flows \[012\], \[01\], \[0\], \[12\], \[2\]: a third of the first link each, then 0.8 on
/// the second and 3.1 on the third. (SimGrid's CM02 gives the same.)
#[test]
fn both_fillings_find_the_published_rates() {
    let flows = [&[0, 1, 2][..], &[0, 1], &[0], &[1, 2], &[2]].map(|route| flow(route, 3_000_000_000, 1.0));
    let slow = slow_rates(&[0.3e9, 1e9, 4e9], &flows.iter().collect::<Vec<_>>());
    let mut network = Clockwork::new(MaxMin::default(), &links(&[0.3e9, 1e9, 4e9], SimDuration::ZERO));
    let ids = flows.map(|flow| network.start(SimTime::ZERO, flow));
    for ((id, slow), expected) in ids.into_iter().zip(slow).zip([0.1e9, 0.1e9, 0.1e9, 0.8e9, 3.1e9]) {
        // Rates are whole multiples of 2^-20 B/s, rounded down.
        assert!((network.rate(id) - expected).abs() < 1e-5, "{id}: {} B/s", network.rate(id));
        assert!((slow - expected).abs() < 1e-5, "{id}: {slow} B/s");
    }
}
