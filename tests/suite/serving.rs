//! Serving against shared vectors and real traces.

use trainyard::ids::IdVec;
use trainyard::rng::Seed;
use trainyard::serving::batching::BatchingSpec;
use trainyard::serving::cost::Affine;
use trainyard::serving::kv::BlockPool;
use trainyard::serving::routing::RoutingSpec;
use trainyard::serving::{self, Replica, Request, Role, ServingPlan};
use trainyard::units::{PICOS_PER_SECOND, SimDuration, SimTime};

/// The shared vectors; nothing, with a message, where they are absent.
fn vectors() -> Option<serde_json::Value> {
    let text = std::fs::read_to_string("../shared/vectors/serving.json");
    match text {
        Ok(text) => Some(serde_json::from_str(&text).expect("vectors are JSON")),
        Err(_) => {
            eprintln!("skipped: ../shared/vectors/serving.json is absent");
            None
        }
    }
}

/// A, B and C with a step of 5 + 0.1·tokens ms, under chunked prefill and in static batches.
#[test]
fn requests_are_batched_as_in_the_shared_vectors() {
    let Some(vectors) = vectors() else { return };
    let case = &vectors["continuous_batching_micro"];
    let ms = |count: u64| SimDuration::from_picos(count * PICOS_PER_SECOND / 1000);
    let rows = case["requests_arr_prompt_out"].as_object().unwrap();
    let request = |row: &serde_json::Value| {
        let number = |at: usize| row[at].as_u64().unwrap();
        let arrival = SimTime::ZERO + ms(number(0));
        Request { arrival, prompt: number(1) as u32, output: number(2) as u32 }
    };
    let requests: IdVec<_, Request> = rows.values().map(request).collect();
    let policies = [
        ("vllm_v1_chunk256", r#"{"vllm_v1": {"max_batched_tokens": 256}}"#),
        ("static_batch_AB_then_C", r#""static""#),
    ];
    for (key, written) in policies {
        let plan = ServingPlan {
            requests: requests.clone(),
            replicas: IdVec::filled(Replica { role: Role::Whole, devices: Vec::new() }, 1),
            pool: BlockPool::new(1000, 16),
            batching: serde_json::from_str::<BatchingSpec>(written).unwrap(),
            routing: RoutingSpec::from_name("round_robin").unwrap(),
            handover: None,
            seed: Seed(1),
        };
        let mut step = Affine { fixed: ms(5), per_token: SimDuration::from_micros(100) };
        let outcome = serving::run(&plan, &mut step, None).unwrap();
        for (id, name) in requests.ids().zip(rows.keys()) {
            let (request, record) = (&requests[id], &outcome.requests[id]);
            let is = |what: &str, found: SimDuration, times: u64| {
                if let Some(expected) = case[key][name][what].as_f64() {
                    let found = found.seconds() * 1e3 / times as f64;
                    assert!((found - expected).abs() < 1e-4, "{key}: {what} of {name} is {found} ms");
                }
            };
            is("TTFT", record.first_token.since(request.arrival), 1);
            is("E2E", record.finish.since(request.arrival), 1);
            is("TPOT", record.finish.since(record.first_token), u64::from(request.output) - 1);
        }
    }
}
