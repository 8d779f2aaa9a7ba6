//! What the policies do on cases small enough to follow by hand, what every one of them keeps to, and
//! what runs conserve.

mod batching;
mod conservation;
mod queueing;

use crate::ids::IdVec;
use crate::rng::Seed;
use crate::serving::batching::BatchingSpec;
use crate::serving::cost::Affine;
use crate::serving::kv::BlockPool;
use crate::serving::routing::RoutingSpec;
use crate::serving::{Replica, Request, Role, ServingOutcome, ServingPlan, run};
use crate::units::{SimDuration, SimTime};

fn us(micros: u64) -> SimDuration {
    SimDuration::from_micros(micros)
}

/// Requests as [arrival in ms, prompt, output].
fn requests(rows: &[[u32; 3]]) -> Vec<Request> {
    let request = |&[arrival, prompt, output]: &[u32; 3]| Request {
        arrival: SimTime::ZERO + us(1000) * u64::from(arrival),
        prompt,
        output,
    };
    rows.iter().map(request).collect()
}

fn batching(written: &str) -> BatchingSpec {
    serde_json::from_str(written).unwrap_or_else(|why| panic!("{written}: {why}"))
}

/// One replica with so many blocks of 16 tokens.
fn plan(requests: Vec<Request>, written: &str, blocks: u64) -> ServingPlan {
    ServingPlan {
        requests: requests.into_iter().collect(),
        replicas: IdVec::filled(Replica { role: Role::Whole, devices: Vec::new() }, 1),
        pool: BlockPool::new(blocks, 16),
        batching: batching(written),
        routing: RoutingSpec::from_name("round_robin").expect("a listed router"),
        handover: None,
        seed: Seed(1),
    }
}

/// Steps of 5 ms and 0.1 ms a token, as in the shared vectors.
const STEP: Affine =
    Affine { fixed: SimDuration::from_micros(5000), per_token: SimDuration::from_micros(100) };

fn ran(plan: &ServingPlan) -> ServingOutcome {
    run(plan, &mut STEP.clone(), None).unwrap_or_else(|why| panic!("{why}"))
}

/// First tokens and ends in tenths of a millisecond.
fn times(outcome: &ServingOutcome) -> Vec<[u64; 2]> {
    let tenths = |at: SimTime| at.picos() / us(100).picos();
    outcome.requests.iter().map(|record| [tenths(record.first_token), tenths(record.finish)]).collect()
}
