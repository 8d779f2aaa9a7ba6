//! Queues that have a closed form: jobs of one device under FIFO are customers of an M/M/c or M/D/c queue.

use crate::cluster::Job;
use crate::cluster::generate::{Arrivals, Lengths};
use crate::cluster::support::{job, machine, plan, ran};
use crate::rng::Seed;
use crate::units::{PICOS_PER_SECOND, SimDuration};

const JOBS: u32 = 60_000;

/// Mean time in the queue, in units of the mean service time, averaged over three seeds.
fn mean_wait(servers: u32, load: f64, service: &Lengths) -> f64 {
    let of_seed = |seed: u64| {
        let seed = Seed(seed);
        let gap = SimDuration::from_seconds(1.0 / load);
        let arrivals = Arrivals::Poisson(gap).moments(JOBS, seed).unwrap();
        let mut stream = seed.stream("service");
        let draw = |arrival| {
            let work = service.draw(&mut stream);
            Job { arrival, work, estimate: work, ..job(0, 1, 1) }
        };
        let plan = plan(machine(&[servers]), arrivals.into_iter().map(draw).collect(), r#""fifo""#);
        let outcome = ran(&plan);
        let waited =
            plan.jobs.iter().zip(outcome.jobs.iter()).map(|(job, record)| record.start.since(job.arrival));
        waited.map(SimDuration::seconds).sum::<f64>() / f64::from(JOBS)
    };
    (1..=3).map(of_seed).sum::<f64>() / 3.0
}

fn second() -> SimDuration {
    SimDuration::from_picos(PICOS_PER_SECOND)
}

/// Pollaczek and Khinchine: Wq = ρ/(2(1 − ρ)) = 0.5 at ρ = 0.5.
#[test]
fn one_device_with_constant_lengths_is_an_m_d_1_queue() {
    let waited = mean_wait(1, 0.5, &Lengths::Constant(second()));
    assert!((waited / 0.5 - 1.0).abs() < 0.03, "{waited}");
}

/// Erlang C with two servers at λ = 1.6: C = 0.7111, Wq = C/(2 − 1.6) = 1.7778.
#[test]
fn two_devices_with_exponential_lengths_are_an_m_m_2_queue() {
    let waited = mean_wait(2, 1.6, &Lengths::Exponential(second()));
    assert!((waited / 1.777_778 - 1.0).abs() < 0.06, "{waited}");
}

/// Erlang C with four servers at λ = 3.2: C = 0.5964, Wq = C/(4 − 3.2) = 0.7455.
#[test]
fn four_devices_with_exponential_lengths_are_an_m_m_4_queue() {
    let waited = mean_wait(4, 3.2, &Lengths::Exponential(second()));
    assert!((waited / 0.745_541 - 1.0).abs() < 0.06, "{waited}");
}
