//! What every policy keeps to, on requests drawn at random.

use crate::ids::IdVec;
use crate::rng::{RngExt, Seed};
use crate::serving::batching::BatchingSpec;
use crate::serving::routing::RoutingSpec;
use crate::serving::tests::{plan, ran};
use crate::serving::{Replica, Request, Role, ServingPlan};
use crate::units::{SimDuration, SimTime};

/// Requests that crowd a cache of 40 blocks.
fn crowd(seed: u64, count: usize) -> Vec<Request> {
    let mut stream = Seed(seed).stream("crowd");
    let mut arrival = SimTime::ZERO;
    let draw = |_| {
        arrival += SimDuration::from_micros(stream.random_range(0..20_000));
        Request { arrival, prompt: stream.random_range(1..300), output: stream.random_range(1..120) }
    };
    (0..count).map(draw).collect()
}

fn every_plan(seed: u64) -> impl Iterator<Item = ServingPlan> {
    BatchingSpec::NAMES.iter().flat_map(move |batching| {
        RoutingSpec::NAMES.iter().flat_map(move |routing| {
            [1, 3].map(|replicas| ServingPlan {
                replicas: IdVec::filled(Replica { role: Role::Whole, devices: Vec::new() }, replicas),
                routing: RoutingSpec::from_name(routing).unwrap(),
                ..plan(crowd(seed, 60), &format!("{batching:?}"), 40)
            })
        })
    })
}

/// Requests get all their tokens, in time's order; gaps add up to the time between first and last
/// tokens; no replica is busy longer than the run, or uses more blocks than it has. (That all blocks
/// come back the run itself asserts, and that decisions are legal.)
#[test]
fn every_request_is_served_under_every_policy() {
    for seed in 1..=3 {
        for plan in every_plan(seed) {
            let outcome = ran(&plan);
            let mut between: u64 = 0;
            for (request, record) in plan.requests.iter().zip(outcome.requests.iter()) {
                assert!(request.arrival <= record.start && record.start < record.first_token);
                assert!(record.first_token <= record.finish);
                between += record.finish.since(record.first_token).picos();
            }
            let gaps: u64 = outcome.gaps.iter().map(|&(gap, count)| gap * u64::from(count)).sum();
            let decodes: u64 = outcome.gaps.iter().map(|&(_, count)| u64::from(count)).sum();
            assert_eq!(gaps, between);
            assert_eq!(
                decodes,
                plan.requests.iter().map(|request| u64::from(request.output) - 1).sum::<u64>()
            );
            let needed: u64 = plan.requests.iter().map(Request::cached_at_most).sum();
            let computed: u64 = outcome.replicas.iter().map(|replica| replica.tokens).sum();
            assert_eq!(computed, needed + outcome.recomputed);
            for replica in outcome.replicas.iter() {
                assert!(replica.busy <= outcome.end.since(SimTime::ZERO));
                assert!(replica.blocks_peak <= replica.blocks);
            }
        }
    }
}

#[test]
fn two_runs_are_the_same() {
    for plan in every_plan(5) {
        assert!(ran(&plan) == ran(&plan), "{}, {}", plan.batching.name(), plan.routing.name());
    }
}

/// A cache of 20 blocks makes vLLM preempt; more blocks, fewer preemptions.
#[test]
fn a_crowded_cache_preempts() {
    let preemptions = |blocks: u64| -> u32 {
        let outcome = ran(&plan(crowd(2, 60), r#""vllm_v1""#, blocks));
        outcome.requests.iter().map(|record| record.preemptions).sum()
    };
    assert!(preemptions(30) > preemptions(60) && preemptions(10_000) == 0);
}
