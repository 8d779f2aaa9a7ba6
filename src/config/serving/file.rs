//! The mirror of a serving workload's YAML: what may be written, and what it is when it is not.
//!
//! Whatever needs two facts to be checked is checked in [`resolve`](super::resolve).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::collective::AlgorithmSpec;
use crate::config::file::{Fidelity, TopologyChoice, first_seed};
use crate::hardware::Precision;
use crate::model::decoder::Sizes;
use crate::rng::Seed;
use crate::serving::arrivals::{Arrivals, Lengths};
use crate::serving::batching::BatchingSpec;
use crate::serving::cost::Affine;
use crate::serving::generation::Sampling;
use crate::serving::routing::RoutingSpec;
use crate::serving::slo::Slo;
use crate::units::SimDuration;

/// A file that says which requests are served, by what.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServingFile {
    /// What reports are called.
    pub name: String,
    /// A sentence for the reader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The machine; not needed where `serving.step` says how long steps take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<TopologyChoice>,
    /// Requests, replicas, and who decides.
    pub serving: Serving,
    /// How closely steps are modelled.
    #[serde(default)]
    pub fidelity: Fidelity,
    /// Whether rows of a trace that cannot be used are counted and left out.
    #[serde(default)]
    pub skip_bad_rows: bool,
    /// Where every random stream grows from.
    #[serde(default = "first_seed")]
    pub seed: Seed,
}

/// `serving:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serving {
    /// What is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<DecoderChoice>,
    /// A line in the tokens of a step, instead of a model on a topology.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Affine>,
    /// Format of weights and activations.
    #[serde(default = "half")]
    pub precision: Precision,
    /// Format of keys and values; that of the weights unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_precision: Option<Precision>,
    /// Tensor ranks of a replica.
    #[serde(default = "one")]
    pub tensor: u32,
    /// Pipeline stages of a replica.
    #[serde(default = "one")]
    pub pipeline: u32,
    /// Replicas that do everything.
    #[serde(default = "one")]
    pub replicas: u32,
    /// Replicas for prompts and replicas for answers, instead of `replicas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disaggregation: Option<Disaggregation>,
    /// What each step computes.
    #[serde(default = "vllm_v1")]
    pub batching: BatchingSpec,
    /// Where requests go.
    #[serde(default = "round_robin")]
    pub routing: RoutingSpec,
    /// How collectives are carried out.
    #[serde(default = "ring")]
    pub collective: AlgorithmSpec,
    /// What a step costs besides kernels: scheduling, sampling, building its inputs.
    #[serde(default)]
    pub overhead: SimDuration,
    /// Which token follows, where answers are computed.
    #[serde(default)]
    pub sampling: Sampling,
    /// The paged KV cache.
    #[serde(default)]
    pub kv: KvKeys,
    /// Tokens of prompt and answer, at most; the model's unless given. Without either there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<u32>,
    /// What good service is.
    #[serde(default)]
    pub slo: Slo,
    /// Where requests come from.
    pub requests: Requests,
    /// At most so many requests, the first to arrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

fn half() -> Precision {
    Precision::Bf16
}

fn one() -> u32 {
    1
}

fn vllm_v1() -> BatchingSpec {
    BatchingSpec::from_name("vllm_v1").expect("a listed policy")
}

fn round_robin() -> RoutingSpec {
    RoutingSpec::from_name("round_robin").expect("a listed router")
}

fn ring() -> AlgorithmSpec {
    AlgorithmSpec::from_name("ring").expect("a listed algorithm")
}

/// `model:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecoderChoice {
    /// A Llama or a Mistral.
    Llama(Sizes),
    /// A Qwen2.
    Qwen2(Sizes),
    /// A Qwen3.
    Qwen3(Sizes),
    /// A Mixtral.
    Mixtral(Sizes),
    /// A GPT-2.
    Gpt2(Sizes),
    /// A GPT-NeoX or a Pythia.
    GptNeox(Sizes),
    /// The `config.json` of a model on Hugging Face.
    Huggingface(PathBuf),
    /// A trained GPT: a `safetensors` file, or a folder with a `model.safetensors`.
    Checkpoint(PathBuf),
    /// What the workload's own `training:` trains.
    Trained,
}

/// `disaggregation:`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disaggregation {
    /// Replicas that compute prompts and first tokens.
    pub prefill: u32,
    /// Replicas that compute the rest.
    pub decode: u32,
}

/// `kv:`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KvKeys {
    /// Tokens of a block; vLLM's `--block-size`.
    pub block: u32,
    /// Share of a device's memory for weights and blocks; vLLM's `--gpu-memory-utilization`.
    pub memory: f64,
    /// So many blocks a replica, instead of as many as there is room for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<u64>,
}

impl Default for KvKeys {
    fn default() -> Self {
        KvKeys { block: 16, memory: 0.9, blocks: None }
    }
}

/// `requests:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Requests {
    /// Written out.
    List(Vec<ListedRequest>),
    /// Real prompts, which a trained model answers.
    Prompts(Vec<PromptKeys>),
    /// Drawn from distributions.
    Generate(Generated),
    /// A table of Azure's inference traces.
    Azure(PathBuf),
    /// A trace of Mooncake, a JSON object a line.
    Mooncake(PathBuf),
}

/// A request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedRequest {
    /// When it arrives.
    #[serde(default)]
    pub arrival: SimDuration,
    /// Tokens of its prompt.
    pub prompt: u32,
    /// Tokens of its answer.
    pub output: u32,
}

/// A prompt.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptKeys {
    /// When it arrives.
    #[serde(default)]
    pub arrival: SimDuration,
    /// What it says.
    pub prompt: String,
    /// Tokens of its answer.
    pub output: u32,
}

/// `generate:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    /// How many.
    pub requests: u32,
    /// When they arrive.
    pub arrivals: Arrivals,
    /// Tokens of their prompts.
    pub prompt: Lengths,
    /// Tokens of their answers.
    pub output: Lengths,
}
