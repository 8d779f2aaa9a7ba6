//! The mirror of a plan's YAML: what may be written, and what it is when it is not.

use serde::{Deserialize, Serialize};

use crate::collective::AlgorithmSpec;
use crate::config::file::{Fidelity, TopologyChoice};
use crate::hardware::Precision;
use crate::model::Model;
use crate::numeric::optimizer::OptimizerSpec;
use crate::planning::{Limits, Objective};
use crate::training::partition::Partition;
use crate::training::recompute::Recompute;
use crate::training::schedule::ScheduleSpec;
use crate::training::software::SoftwareSpec;
use crate::training::zero::Zero;
use crate::units::{Bandwidth, SimDuration};

/// A file that asks how a network is best trained.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// What reports are called.
    pub name: String,
    /// A sentence for the reader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The network.
    pub model: Model,
    /// What is asked for, on what, and among which plans.
    pub plan: Plan,
    /// Which kernels are run, and how fast the host hands them over.
    #[serde(default = "fused")]
    pub software: SoftwareSpec,
    /// How closely time is modelled.
    #[serde(default)]
    pub fidelity: Fidelity,
}

fn fused() -> SoftwareSpec {
    SoftwareSpec::from_name("fused").expect("listed software")
}

/// `plan:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Tokens (of a model without sequences: samples) to train on.
    pub tokens: f64,
    /// Samples of a step, over all replicas.
    pub global_batch: u64,
    /// What is to be least.
    #[serde(default)]
    pub minimise: Objective,
    /// What no plan may exceed.
    #[serde(default)]
    pub limits: Limits,
    /// The machines to choose from.
    pub hardware: Vec<Hardware>,
    /// The plans to choose from.
    #[serde(default)]
    pub space: Space,
    /// What interrupts training; nothing unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<FailureKeys>,
    /// How weights are stepped.
    #[serde(default = "adam")]
    pub optimizer: OptimizerSpec,
    /// What numbers are kept and multiplied in.
    #[serde(default = "bf16")]
    pub precision: Precision,
    /// Greatest global gradient norm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_clipping: Option<f32>,
    /// How collectives are carried out.
    #[serde(default = "ring")]
    pub collective: AlgorithmSpec,
}

fn adam() -> OptimizerSpec {
    OptimizerSpec::from_name("adam").expect("a listed optimiser")
}

fn bf16() -> Precision {
    Precision::Bf16
}

fn ring() -> AlgorithmSpec {
    AlgorithmSpec::from_name("ring").expect("a listed algorithm")
}

/// A machine to choose, and how much of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hardware {
    /// The machine.
    pub topology: TopologyChoice,
    /// How many of its devices, one or several numbers to choose from; all of them unless given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<u32>,
}

/// `space:` what a plan may choose on each axis. Replicas are what is left of the devices.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Space {
    /// Tensor ranks.
    pub tensor: Vec<u32>,
    /// Pipeline stages.
    pub pipeline: Vec<u32>,
    /// Samples of a micro-batch.
    pub micro_batch: Vec<u64>,
    /// The order of passes.
    pub schedule: Vec<ScheduleSpec>,
    /// What replicas hold together.
    pub zero: Vec<Zero>,
    /// What is computed again.
    pub recompute: Vec<Recompute>,
    /// Whether tensor ranks also split rows.
    pub sequence_parallel: Vec<bool>,
    /// Which layers each stage holds.
    pub partition: Vec<Partition>,
}

impl Default for Space {
    /// What a Megatron-LM user would try: tensor ranks within a node of eight, pipelines up to 32 stages, small
    /// micro-batches, 1F1B plain and interleaved, the distributed optimiser or not, every way to recompute.
    fn default() -> Self {
        let schedule = |text: &str| serde_yaml::from_str(text).expect("a listed schedule");
        Space {
            tensor: vec![1, 2, 4, 8],
            pipeline: vec![1, 2, 4, 8, 16, 32],
            micro_batch: vec![1, 2, 4, 8],
            schedule: vec![schedule("one_f_one_b"), schedule("interleaved: {virtual_stages: 2}")],
            zero: vec![Zero::default(), Zero { stage: 1, ..Zero::default() }],
            recompute: vec![Recompute::None, Recompute::Selective, Recompute::Full],
            sequence_parallel: vec![true],
            partition: vec![Partition::Even],
        }
    }
}

/// `failures:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailureKeys {
    /// Mean time between failures of one device with its share of everything around it. Meta counted 419
    /// unexpected interruptions in 54 days of 16,384 H100 (Llama Team, "The Llama 3 Herd of Models", 2024,
    /// section 3.3.4): one in 50,700 device hours.
    #[serde(default = "as_meta_counted")]
    pub device_mtbf_hours: f64,
    /// Bytes a second that all devices together write to where checkpoints are kept.
    pub checkpoint_bandwidth: Bandwidth,
    /// From a failure until the run goes on, without the work that is done again.
    #[serde(default = "ten_minutes")]
    pub restart: SimDuration,
}

fn as_meta_counted() -> f64 {
    54.0 * 24.0 * 16_384.0 / 419.0
}

fn ten_minutes() -> SimDuration {
    SimDuration::from_seconds(600.0)
}
