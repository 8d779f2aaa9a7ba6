//! What ranks, stages and replicas tell each other costs what its bytes cost: closed forms.

use std::sync::Arc;

use trainyard::collective::AlgorithmSpec;
use trainyard::compute::ComputeSpec;
use trainyard::hardware::{DeviceSpec, Precision, Topology, TopologySpec};
use trainyard::ids::{DeviceId, IdVec, ReplicaId};
use trainyard::model::decoder::{Family, Sizes};
use trainyard::network::{NetworkSpec, links_of};
use trainyard::rng::Seed;
use trainyard::serving::batching::BatchingSpec;
use trainyard::serving::cost::{Affine, Chunk, StageTime, StepCost, StepShape};
use trainyard::serving::kv::BlockPool;
use trainyard::serving::memory::Layout;
use trainyard::serving::priced::{Priced, Pricing};
use trainyard::serving::routing::RoutingSpec;
use trainyard::serving::{Handover, Replica, Request, Role, ServingPlan, run};
use trainyard::units::{Bytes, SimDuration, SimTime};

pub(super) fn us(micros: u64) -> SimDuration {
    SimDuration::from_micros(micros)
}

pub(super) fn batching(written: &str) -> BatchingSpec {
    serde_json::from_str(written).unwrap_or_else(|why| panic!("{written}: {why}"))
}

/// One replica with so many blocks of 16 tokens.
pub(super) fn plan(requests: Vec<Request>, written: &str, blocks: u64) -> ServingPlan {
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

/// Requests as [arrival in ms, prompt, output].
fn requests(rows: &[[u32; 3]]) -> Vec<Request> {
    let request = |&[arrival, prompt, output]: &[u32; 3]| Request {
        arrival: SimTime::ZERO + us(1000) * u64::from(arrival),
        prompt,
        output,
    };
    rows.iter().map(request).collect()
}

/// Four devices in a ring of links of so many GB/s and a microsecond.
pub(super) fn ring(gigabytes: u32) -> Arc<Topology> {
    let link = format!(r#"{{"class": "nvlink", "bandwidth": "{gigabytes} GB/s", "latency": "1 us"}}"#);
    let spec = format!(
        r#"{{"name": "four", "description": "a ring", "source": "made up", "device": "test",
            "shape": {{"ring": {{"devices": 4, "link": {link}}}}}}}"#
    );
    let spec: TopologySpec = serde_json::from_str(&spec).unwrap_or_else(|why| panic!("{why}"));
    let device: DeviceSpec = serde_json::from_str(
        r#"{"name": "test", "kind": "gpu", "source": "made up", "clock": "1 GHz",
            "matrix": {"bf16": "1 TFLOP/s"}, "memory": {"capacity": "1 GiB", "bandwidth": "1 TB/s"}}"#,
    )
    .unwrap_or_else(|why| panic!("{why}"));
    let device = Arc::new(device);
    Arc::new(spec.resolve(&|_| Ok(Arc::clone(&device))).unwrap_or_else(|why| panic!("{why:?}")))
}

const LAYERS: u64 = 6;
const HIDDEN: u64 = 256;

/// What a stage of a replica on the first devices of a ring does with a prompt of 64 tokens, of which none is sampled.
fn stage(gigabytes: u32, [tensor, stages]: [u64; 2], stage: usize) -> StageTime {
    let sizes = Sizes {
        layers: LAYERS,
        hidden: HIDDEN,
        heads: 8,
        kv_heads: None,
        head_dim: None,
        ffn: None,
        vocabulary: 1000,
        context: 1024,
        tied: None,
        experts: None,
    };
    let decoder = Family::Llama.decoder(&sizes);
    let (precision, kv_precision) = (Precision::Bf16, Precision::Bf16);
    let devices: Vec<DeviceId> = (0..tensor * stages).map(|at| DeviceId(at as u32)).collect();
    let mut priced = Priced::new(Pricing {
        layout: Layout { decoder, tensor, stages, precision, kv_precision },
        topology: ring(gigabytes),
        devices: &IdVec::filled(devices, 1),
        compute: ComputeSpec::from_name("roofline").unwrap(),
        network: NetworkSpec::from_name("fluid").unwrap(),
        collective: AlgorithmSpec::from_name("ring").unwrap(),
        overhead: SimDuration::ZERO,
    });
    let step =
        StepShape { chunks: vec![Chunk { queries: 64, keys: 64 }], tokens: 64, ..StepShape::default() };
    priced.time(ReplicaId(0), stage, &step)
}

/// Shoeybi et al.: two all-reduces a layer, each of tokens × width in bf16, which a ring over n ranks carries out in
/// 2(n − 1) rounds of S/n: on links half as fast a step takes exactly the bytes' time more.
#[test]
fn tensor_ranks_pay_for_two_all_reduces_a_layer() {
    for tensor in [2, 4] {
        let payload = 64 * HIDDEN * 2;
        let round = Bytes(payload / tensor);
        let [slow, fast] = [1, 2].map(|gigabytes| stage(gigabytes, [tensor, 1], 0).busy);
        let bandwidth = |gigabytes: u32| ring(gigabytes).links().iter().next().unwrap().bandwidth;
        let more = round / bandwidth(1) - round / bandwidth(2);
        assert_eq!(slow - fast, more * (2 * LAYERS * 2 * (tensor - 1)));
    }
}

/// Stages send tokens × width in bf16 over one link; layers are shared evenly, and nobody waits for what is sent.
#[test]
fn stages_send_the_state_of_their_tokens() {
    let first = stage(1, [1, 2], 0);
    let bandwidth = ring(1).links().iter().next().unwrap().bandwidth;
    assert_eq!(first.sending, Bytes(64 * HIDDEN * 2) / bandwidth + us(1));
    assert_eq!(stage(1, [1, 2], 1).sending, SimDuration::ZERO);
    // With nothing sampled a stage of half the layers is half of one of all, but for the embedding.
    let (whole, last) = (stage(1, [1, 1], 0), stage(1, [1, 2], 1));
    let embedding = whole.busy - last.busy * 2;
    assert_eq!(first.busy, last.busy + embedding);
}

/// Equal stages.
struct Stages(usize);

impl StepCost for Stages {
    fn stages(&self) -> usize {
        self.0
    }
    fn time(&mut self, _replica: ReplicaId, _stage: usize, _step: &StepShape) -> StageTime {
        StageTime { busy: us(1000), sending: SimDuration::ZERO }
    }
}

/// A step through p equal stages takes p times as long as one of them, and the steps of m prompts follow each other as
/// in a filled pipeline: the k-th ends after (p + k) of them. Each token after the first waits for the whole way again.
#[test]
fn steps_follow_each_other_through_the_stages() {
    for stages in [1_usize, 2, 4] {
        let rows = [[0, 64, 1]; 9];
        let plan = self::plan(requests(&rows), r#"{"vllm_v1": {"max_batched_tokens": 64}}"#, 1000);
        let outcome = run(&plan, &mut Stages(stages), None).unwrap();
        for (at, record) in outcome.requests.iter().enumerate() {
            assert_eq!(record.finish, SimTime::ZERO + us(1000) * (stages + at) as u64);
        }
        let lone = self::plan(requests(&[[0, 64, 5]]), r#""vllm_v1""#, 1000);
        let outcome = run(&lone, &mut Stages(stages), None).unwrap();
        let record = outcome.requests.iter().next().unwrap();
        assert_eq!(record.finish.since(record.first_token), us(1000) * 4 * stages as u64);
    }
}

/// What is handed over is what the prompt's tokens have left: alone, it takes its bytes' time and the latency; of those
/// that share a link none is faster.
#[test]
fn keys_and_values_take_their_bytes_time() {
    let per_token = 131_072_u64;
    let roles = [Role::Prefill, Role::Decode];
    let replica = |(at, &role)| Replica { role, devices: vec![DeviceId(at as u32)] };
    let topology = ring(10);
    let bandwidth = topology.links().iter().next().unwrap().bandwidth;
    for rows in [vec![[0, 100, 5]], vec![[0, 100, 5], [0, 300, 5], [0, 200, 5]]] {
        let mut plan = self::plan(requests(&rows), r#""vllm_v1""#, 1000);
        plan.replicas = roles.iter().enumerate().map(replica).collect();
        plan.handover = Some(Handover { topology: Arc::clone(&topology), bytes_per_token: Bytes(per_token) });
        let network = NetworkSpec::from_name("fluid").unwrap().model(&links_of(&topology));
        let mut step = Affine { fixed: us(5000), per_token: us(100) };
        let outcome = run(&plan, &mut step, Some(network)).unwrap();
        let prompts: u64 = rows.iter().map(|row| u64::from(row[1])).sum();
        assert_eq!(outcome.kv_sent, prompts * per_token);
        for (row, record) in rows.iter().zip(outcome.requests.iter()) {
            let least = Bytes(u64::from(row[1]) * per_token) / bandwidth + us(1);
            assert!(record.handed_over >= least, "{} before {least}", record.handed_over);
            if rows.len() == 1 {
                assert_eq!(record.handed_over, least);
            }
        }
    }
}
