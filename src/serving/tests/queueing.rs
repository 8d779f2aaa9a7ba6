//! Closed forms: a lone request, and queues.

use crate::rng::{RngExt, Seed};
use crate::serving::cost::Affine;
use crate::serving::tests::{STEP, plan, ran, us};
use crate::serving::{Request, run};
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

/// Erlang's C: the chance that a customer of an M/M/c queue with offered load a waits.
fn erlang_c(servers: u32, offered: f64) -> f64 {
    let mut terms = vec![1.0];
    for n in 1..=servers {
        terms.push(terms[n as usize - 1] * offered / f64::from(n));
    }
    let last = terms.pop().expect("a term for each server") / (1.0 - offered / f64::from(servers));
    last / (terms.iter().sum::<f64>() + last)
}

/// Answers of exponential length in a batch of at most c, whose steps take as long whatever is in them, are
/// customers of an M/M/c queue: Wq = C(c, a) / (c·μ − λ). Lengths are whole steps, of which an answer has 100 in
/// the mean, so that half a step of waiting for the next one is within the 5 % that are allowed.
#[test]
fn batches_of_exponential_answers_are_an_m_m_c_queue() {
    let (servers, load, mean) = (4_u32, 0.8, 100.0);
    let step = us(1000);
    let cost = Affine { fixed: step, per_token: SimDuration::ZERO };
    let service = mean * step.seconds();
    let (mut waited, mut count) = (0.0, 0.0);
    for seed in 1..=4 {
        let mut stream = Seed(seed).stream("arrivals");
        let mut exponential = |mean: f64| -(1.0 - stream.random::<f64>()).ln() * mean;
        let mut arrival = SimTime::ZERO;
        let mut draw = || {
            arrival += SimDuration::from_seconds(exponential(service / (f64::from(servers) * load)));
            let output = (exponential(mean).round() as u32).max(1);
            Request { arrival, prompt: 1, output }
        };
        let requests: Vec<Request> = (0..20_000).map(|_| draw()).collect();
        let plan = plan(requests.clone(), r#"{"orca": {"max_requests": 4}}"#, 100_000);
        let outcome = run(&plan, &mut cost.clone(), None).unwrap_or_else(|why| panic!("{why}"));
        for (request, record) in requests.iter().zip(outcome.requests.iter()) {
            waited += record.start.since(request.arrival).seconds();
            count += 1.0;
        }
    }
    let offered = f64::from(servers) * load;
    let expected = erlang_c(servers, offered) * service / (f64::from(servers) - offered);
    let mean = waited / count;
    assert!((mean / expected - 1.0).abs() < 0.05, "{mean} s, not {expected} s");
}

/// One server: the chance to wait is the load.
#[test]
fn erlangs_c_of_one_server_is_its_load() {
    assert!((erlang_c(1, 0.7) - 0.7).abs() < 1e-12);
}
