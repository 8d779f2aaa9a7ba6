//! Real tokens: the same under every policy, chunk, block, preemption and split; and wrong ones where a block
//! table is wrong.

use std::sync::Arc;

use trainyard::ids::{BlockId, DeviceId, Id, IdVec, ReplicaId, RequestId};
use trainyard::model::{Gpt, Model};
use trainyard::network::{NetworkSpec, links_of};
use trainyard::numeric::initial;
use trainyard::numeric::layers::attention::Attention;
use trainyard::numeric::layers::linear::Linear;
use trainyard::numeric::layers::{gelu, layer_norm};
use trainyard::numeric::weights::{Weights, parameters_of};
use trainyard::rng::{RngExt, Seed};
use trainyard::serving::batching::BatchingSpec;
use trainyard::serving::cost::{StageTime, StepCost, StepShape};
use trainyard::serving::generation::{Answers, Generation, Held, Network, Part, Prompt, Random, Sampling};
use trainyard::serving::kv::BlockPool;
use trainyard::serving::{Handover, Replica, Request, Role, ServingOutcome, ServingPlan, answer};
use trainyard::units::{Bytes, SimDuration, SimTime};

use crate::serving_prices::{batching, plan, ring, us};

/// A GPT whose parameters all differ from nought, so that nothing is left out unseen.
fn weights() -> Weights {
    let gpt = Gpt { layers: 4, hidden: 16, heads: 4, sequence: 64, vocabulary: 32, ffn_hidden: Some(40) };
    let model = Model::Gpt(gpt);
    let drawn = parameters_of(&model).into_iter().map(|mut parameter| {
        let around = if parameter.name.ends_with("gain") { 1.0 } else { 0.0 };
        parameter.init = trainyard::model::Init::Normal(0.3);
        let numbers = initial::whole(&parameter, Seed(5)).into_iter().map(|number| number + around);
        let numbers = numbers.collect();
        (parameter, numbers)
    });
    Weights::new(model.clone(), drawn.collect())
}

/// Prompts that crowd a small cache.
fn crowd() -> (Vec<Request>, IdVec<RequestId, Prompt>) {
    let mut stream = Seed(2).stream("prompts");
    let mut requests = Vec::new();
    let mut prompts = IdVec::new();
    let mut arrival = SimTime::ZERO;
    for number in 0..12 {
        arrival += us(stream.random_range(0..9_000));
        let (prompt, output) = (stream.random_range(1..34), stream.random_range(1..30));
        requests.push(Request { arrival, prompt, output });
        let tokens = (0..prompt).map(|_| stream.random_range(0..32)).collect();
        prompts.push(Prompt { tokens, number });
    }
    (requests, prompts)
}

/// Steps of one or more stages, as long as their tokens.
struct Stages(usize);

impl StepCost for Stages {
    fn stages(&self) -> usize {
        self.0
    }
    fn time(&mut self, _replica: ReplicaId, _stage: usize, step: &StepShape) -> StageTime {
        StageTime { busy: us(5000) + us(100) * step.tokens, sending: SimDuration::from_micros(7) }
    }
}

/// Draws with a temperature, so that logits that are off by little show.
const DRAWN: Sampling = Sampling::Random(Random { temperature: 1.5, top_k: None });

/// A case: who decides, blocks and their size, ranks, stages, replicas.
struct Case {
    batching: BatchingSpec,
    blocks: u64,
    block: u32,
    tensor: u64,
    stages: u64,
    replicas: IdVec<ReplicaId, Replica>,
}

impl Case {
    fn of(written: &str) -> Case {
        let whole = Replica { role: Role::Whole, devices: Vec::new() };
        let replicas = IdVec::filled(whole, 1);
        Case { batching: batching(written), blocks: 20, block: 4, tensor: 1, stages: 1, replicas }
    }

    fn plan(&self, requests: Vec<Request>) -> ServingPlan {
        ServingPlan {
            replicas: self.replicas.clone(),
            pool: BlockPool::new(self.blocks, self.block),
            batching: self.batching.clone(),
            ..plan(requests, r#""vllm_v1""#, 1)
        }
    }

    fn generation(&self, prompts: &IdVec<RequestId, Prompt>, sampling: Sampling) -> Generation {
        let network = Arc::new(Network::new(&weights(), self.tensor, self.stages));
        Generation::new(network, self.replicas.len(), self.block, prompts, sampling, Seed(9))
    }

    /// Serves the crowd; what came of it, and the answers.
    fn answers(&self, sampling: Sampling) -> (ServingOutcome, Vec<Vec<u32>>) {
        let (requests, prompts) = crowd();
        let mut generation = self.generation(&prompts, sampling);
        let outcome = self.answered(requests, &mut generation);
        (outcome, prompts.ids().map(|request| generation.answer(request).to_vec()).collect())
    }

    fn answered(&self, requests: Vec<Request>, answers: &mut dyn Answers) -> ServingOutcome {
        let mut plan = self.plan(requests);
        let apart = self.replicas.iter().any(|replica| replica.role != Role::Whole);
        let topology = ring(1);
        let network = apart.then(|| NetworkSpec::from_name("fluid").unwrap().model(&links_of(&topology)));
        plan.handover = apart.then_some(Handover { topology, bytes_per_token: Bytes(1000) });
        answer(&plan, &mut Stages(self.stages as usize), network, answers)
            .unwrap_or_else(|why| panic!("{why}"))
    }
}

fn alone(sampling: Sampling) -> Vec<Vec<u32>> {
    let (requests, prompts) = crowd();
    let whole = Network::new(&weights(), 1, 1);
    let of = |(request, prompt): (&Request, &Prompt)| {
        Generation::alone(&whole, prompt, request.output, &sampling, Seed(9))
    };
    requests.iter().zip(prompts.iter()).map(of).collect()
}

/// Every policy, in caches that are ample and in such as preempt, in chunks of any size, in blocks of any size, over
/// ranks and stages and replicas: each answer is what the prompt alone is answered with.
#[test]
fn answers_are_the_same_whatever_the_schedule() {
    for sampling in [Sampling::Greedy, DRAWN] {
        let expected = alone(sampling);
        let mut preempted = 0;
        let written = [
            r#""static""#,
            r#""orca""#,
            r#"{"vllm_v0": {"watermark": 0}}"#,
            r#""vllm_v1""#,
            r#"{"vllm_v1": {"max_batched_tokens": 7}}"#,
            r#"{"vllm_v1": {"max_batched_tokens": 33, "long_prefill_tokens": 3}}"#,
            r#"{"sjf": {"max_batched_tokens": 16}}"#,
        ];
        for written in written {
            for (tensor, stages) in [(1, 1), (2, 1), (4, 2), (1, 4)] {
                for (blocks, block) in [(17, 4), (400, 4), (64, 1), (5, 16)] {
                    let case = Case { blocks, block, tensor, stages, ..Case::of(written) };
                    let (outcome, found) = case.answers(sampling);
                    assert!(
                        found == expected,
                        "{written}, {tensor} ranks, {stages} stages, {blocks} × {block}"
                    );
                    preempted += outcome.requests.iter().map(|record| record.preemptions).sum::<u32>();
                }
            }
        }
        assert!(preempted > 20, "{preempted} preemptions tell little");
    }
}

/// Every registered policy over several replicas, and over such that only prefill or only decode.
#[test]
fn answers_are_the_same_on_replicas_apart() {
    let expected = alone(DRAWN);
    for name in BatchingSpec::NAMES {
        for roles in [
            vec![Role::Whole; 3],
            vec![Role::Prefill, Role::Decode],
            vec![Role::Prefill, Role::Prefill, Role::Decode, Role::Decode],
        ] {
            let replica = |(at, &role)| Replica { role, devices: vec![DeviceId::from_index(at)] };
            let replicas = roles.iter().enumerate().map(replica).collect();
            let case = Case { replicas, blocks: 18, tensor: 2, stages: 2, ..Case::of(&format!("{name:?}")) };
            let (outcome, found) = case.answers(DRAWN);
            assert!(found == expected, "{name} on {roles:?}");
            assert_eq!(outcome.kv_sent > 0, roles[0] == Role::Prefill);
        }
    }
}

/// What a slip does to the tables or to what is sent.
#[derive(Debug, Clone, Copy)]
enum Slip {
    /// Two blocks of a table are in each other's place.
    Swapped,
    /// A request uses a block of another.
    Shared,
    /// One step writes elsewhere than the next reads.
    Moved,
    /// Keys and values do not arrive.
    Lost,
}

/// Computes with tables that are wrong.
struct Slipping {
    right: Generation,
    slip: Slip,
    steps: usize,
}

impl Answers for Slipping {
    fn begin(&mut self, replica: ReplicaId, parts: &[Part<'_>]) {
        self.steps += 1;
        let mut tables: Vec<Vec<BlockId>> = parts.iter().map(|part| part.table.to_vec()).collect();
        let odd = self.steps % 2 == 1;
        match self.slip {
            Slip::Swapped if odd => {
                tables.iter_mut().filter(|table| table.len() > 1).for_each(|table| table.swap(0, 1))
            }
            Slip::Shared if tables.len() > 1 => tables[1][0] = tables[0][0],
            Slip::Moved if odd => tables.iter_mut().for_each(|table| table[0] = BlockId(table[0].0 + 100)),
            _ => {}
        }
        let wrong = |at: usize| Part { table: &tables[at], ..parts[at] };
        let parts: Vec<Part> = (0..parts.len()).map(wrong).collect();
        self.right.begin(replica, &parts);
    }
    fn finish(&mut self, replica: ReplicaId) {
        self.right.finish(replica);
    }
    fn handed_over(&mut self, from: Held<'_>, to: Held<'_>, tokens: u32) {
        if !matches!(self.slip, Slip::Lost) {
            self.right.handed_over(from, to, tokens);
        }
    }
}

#[test]
fn a_wrong_block_table_gives_wrong_tokens() {
    let expected = alone(Sampling::Greedy);
    for slip in [Slip::Swapped, Slip::Shared, Slip::Moved, Slip::Lost] {
        let mut case = Case { blocks: 60, ..Case::of(r#""vllm_v1""#) };
        if let Slip::Lost = slip {
            let replica = |(at, role)| Replica { role, devices: vec![DeviceId::from_index(at)] };
            case.replicas = [Role::Prefill, Role::Decode].into_iter().enumerate().map(replica).collect();
        }
        let (requests, prompts) = crowd();
        let right = case.generation(&prompts, Sampling::Greedy);
        let mut slipping = Slipping { right, slip, steps: 0 };
        case.answered(requests, &mut slipping);
        let same = prompts.ids().filter(|&id| slipping.right.answer(id) == expected[id.index()]).count();
        assert!(same < prompts.len(), "{slip:?} is not noticed");
    }
}

/// The whole sequence at once by the layers that training uses, without a cache: the likeliest token after every
/// position of an answer is the one that was given.
#[test]
fn answers_are_those_of_trainings_forward_pass() {
    let weights = weights();
    let (requests, prompts) = crowd();
    let answers = alone(Sampling::Greedy);
    let mut checked = 0;
    for ((_, prompt), answer) in requests.iter().zip(prompts.iter()).zip(&answers) {
        let tokens: Vec<u32> = prompt.tokens.iter().chain(answer).copied().collect();
        let logits = forward(&weights, &tokens);
        for (at, &given) in answer.iter().enumerate() {
            let row = &logits[(prompt.tokens.len() + at - 1) * 32..][..32];
            let best = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            // What is given is likeliest but for rounding.
            assert!(row[given as usize] > best - 1e-4, "{given} at {at}: {row:?}");
            checked += 1;
        }
    }
    assert!(checked > 100);
}

fn forward(weights: &Weights, tokens: &[u32]) -> Vec<f32> {
    let (hidden, ffn, length) = (16, 40, tokens.len());
    let of = |name: &str| weights.of(name);
    let linear = |x: &[f32], name: &str, inputs: usize, outputs: usize, bias: bool| {
        let mut y = vec![0.0; x.len() / inputs * outputs];
        let b = bias.then(|| of(&format!("{name}.bias")));
        Linear { inputs, outputs }.forward(x, of(&format!("{name}.weight")), b, &mut y);
        y
    };
    let norm = |x: &[f32], name: &str| {
        let (mut y, mut statistics) = (vec![0.0; x.len()], vec![0.0; 2 * length]);
        let [gain, bias] = ["gain", "bias"].map(|part| of(&format!("{name}.{part}")));
        layer_norm::forward(x, gain, bias, &mut y, &mut statistics);
        y
    };
    let add = |x: &mut Vec<f32>, y: &[f32]| x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
    let table = |at: usize| &of("embedding.table")[tokens[at] as usize * hidden..][..hidden];
    let mut x: Vec<f32> = (0..length).flat_map(table).copied().collect();
    add(&mut x, &of("embedding.positions")[..length * hidden]);
    for layer in 0..4 {
        let name = |part: &str| format!("layer {layer} {part}");
        let qkv =
            linear(&norm(&x, &name("attention.norm")), &name("attention.qkv"), hidden, 3 * hidden, true);
        let mut o = vec![0.0; x.len()];
        let attention = Attention { heads: 4, head_dim: 4, sequence: length };
        attention.forward(&qkv, &mut o, &mut vec![0.0; length * 4], &mut Vec::new());
        add(&mut x, &linear(&o, &name("attention.output"), hidden, hidden, true));
        let up = linear(&norm(&x, &name("mlp.norm")), &name("mlp.up"), hidden, ffn, true);
        let mut active = vec![0.0; up.len()];
        gelu::forward(&up, &mut active);
        add(&mut x, &linear(&active, &name("mlp.down"), ffn, hidden, true));
    }
    linear(&norm(&x, "head.norm"), "head", hidden, 32, false)
}
