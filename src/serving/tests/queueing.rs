//! Closed forms: a lone request, and queues.

use crate::rng::{RngExt, Seed};
use crate::serving::Request;
use crate::serving::tests::{STEP, plan, ran, us};
use crate::units::{SimDuration, SimTime};

/// prompt 1000 in chunks of 256: 3·(5 + 25.6) + 5 + 23.2; then each of 9 tokens 5.1.
#[test]
fn a_lone_request_takes_the_sum_of_its_steps() {
    let lone = vec![Request { arrival: SimTime::ZERO, prompt: 1000, output: 10 }];
    let outcome = ran(&plan(lone, r#"{"vllm_v1": {"max_batched_tokens": 256}}"#, 1000));
    let record = outcome.requests.iter().next().unwrap();
    let first = STEP.fixed * 4 + STEP.per_token * 1000;
    assert_eq!(record.first_token, SimTime::ZERO + first);
    assert_eq!(record.finish, SimTime::ZERO + first + (STEP.fixed + STEP.per_token) * 9);
}

/// Requests of one step each, one at a time, are customers of an M/D/1 queue. Pollaczek and Khinchine:
/// Wq = ρ/(2(1 − ρ)) service times: 0.5 at ρ = 0.5, 2 at ρ = 0.8.
#[test]
fn requests_of_one_step_each_are_an_m_d_1_queue() {
    let service = us(15_000);
    for (load, expected) in [(0.5, 0.5), (0.8, 2.0)] {
        let mut waited = 0.0;
        for seed in 1..=3 {
            let mut stream = Seed(seed).stream("arrivals");
            let mut arrival = SimTime::ZERO;
            let mut draw = || {
                let gap = -(1.0 - stream.random::<f64>()).ln() * service.seconds() / load;
                arrival += SimDuration::from_seconds(gap);
                Request { arrival, prompt: 100, output: 1 }
            };
            let requests: Vec<Request> = (0..60_000).map(|_| draw()).collect();
            let outcome = ran(&plan(requests.clone(), r#"{"orca": {"max_requests": 1}}"#, 1000));
            let waits = requests.iter().zip(outcome.requests.iter());
            waited +=
                waits.map(|(request, record)| record.start.since(request.arrival).seconds()).sum::<f64>();
        }
        let mean = waited / 3.0 / 60_000.0 / service.seconds();
        assert!((mean / expected - 1.0).abs() < 0.05, "{mean} at {load}");
    }
}
