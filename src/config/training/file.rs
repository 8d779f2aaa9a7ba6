//! The mirror of a training workload's YAML: what may be written, and what it is when it is not.
//!
//! Whatever needs two facts to be checked is checked in [`resolve`](super::resolve).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::collective::AlgorithmSpec;
use crate::config::file::{Fidelity, TopologyChoice, first_seed};
use crate::config::preparation::file::Preparation;
use crate::config::training::disturbances::{CheckpointKeys, Disturbance};
use crate::hardware::Precision;
use crate::model::Model;
use crate::numeric::optimizer::OptimizerSpec;
use crate::rng::Seed;
use crate::training::compression::CompressionSpec;
use crate::training::partition::Partition;
use crate::training::recompute::Recompute;
use crate::training::schedule::ScheduleSpec;
use crate::training::software::SoftwareSpec;
use crate::training::sync::SyncSpec;
use crate::training::zero::Zero;
use crate::units::Bytes;

/// A file that says how a network is trained.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingFile {
    /// What reports are called.
    pub name: String,
    /// A sentence for the reader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The machine.
    pub topology: TopologyChoice,
    /// The network.
    pub model: Model,
    /// What it learns from.
    #[serde(default)]
    pub data: Data,
    /// What prepares the data while it is trained on, where `data: preparation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preparation: Option<Preparation>,
    /// How it is trained.
    pub training: Training,
    /// How it is split.
    #[serde(default)]
    pub parallel: Parallel,
    /// Which activations are computed again in the backward pass instead of kept.
    #[serde(default)]
    pub recompute: Recompute,
    /// Which kernels are run, and how fast the host hands them over.
    #[serde(default = "fused")]
    pub software: SoftwareSpec,
    /// How closely time is modelled.
    #[serde(default)]
    pub fidelity: Fidelity,
    /// Whether the numbers are computed too.
    #[serde(default = "yes")]
    pub numeric: bool,
    /// Whether ranks that do the same at the same time are simulated once.
    #[serde(default)]
    pub fold: Fold,
    /// What goes wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disturbances: Vec<Disturbance>,
    /// How the run recovers from failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointKeys>,
    /// Where every random stream grows from.
    #[serde(default = "first_seed")]
    pub seed: Seed,
}

fn fused() -> SoftwareSpec {
    SoftwareSpec::from_name("fused").expect("listed software")
}

fn yes() -> bool {
    true
}

/// `fold:`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fold {
    /// Where nothing is computed and the devices are of one kind.
    #[default]
    Auto,
    /// Every rank is simulated.
    Never,
}

/// `data:`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Data {
    /// Cicero, *De finibus bonorum et malorum*, book one, as the `lipsum` crate carries it.
    #[default]
    Cicero,
    /// A text of your own.
    Text(TextFile),
    /// The UCI wine quality data (red), as the `linfa-datasets` crate carries it.
    Wine,
    /// Points written out.
    Points(Points),
    /// What the workload's `preparation:` makes, as it makes it.
    Preparation,
    /// `{path: my.txt}`: a text of your own, in short.
    Path(PathBuf),
}

impl Data {
    /// The text file, where it is one.
    pub fn text_file(&self) -> Option<&Path> {
        match self {
            Data::Text(text) => Some(&text.path),
            Data::Path(path) => Some(path),
            Data::Cicero | Data::Wine | Data::Points(_) | Data::Preparation => None,
        }
    }
}

/// A UTF-8 text file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextFile {
    /// Where it is, seen from the workload file.
    pub path: PathBuf,
}

/// Points for regression.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Points {
    /// Features of each point.
    pub x: Vec<Vec<f32>>,
    /// Target of each point.
    pub y: Vec<f32>,
}

/// `training:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Samples of a step, over all replicas.
    pub global_batch: u64,
    /// Samples of a micro-batch; the replica's whole share of the batch unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<u64>,
    /// Optimiser steps.
    pub steps: u32,
    /// How weights are stepped.
    pub optimizer: OptimizerSpec,
    /// What numbers are kept and multiplied in.
    #[serde(default = "single")]
    pub precision: Precision,
    /// Greatest global gradient norm; larger gradients are scaled down to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_clipping: Option<f32>,
    /// Least size of a gradient bucket. PyTorch's DistributedDataParallel takes 25 MiB.
    #[serde(default = "ddp_bucket")]
    pub bucket: Bytes,
    /// Steps between two measurements of the held-out loss; the last step is always measured.
    #[serde(default = "fifty")]
    pub evaluate_every: u32,
}

fn single() -> Precision {
    Precision::F32
}

fn ddp_bucket() -> Bytes {
    Bytes(25 << 20)
}

fn fifty() -> u32 {
    50
}

/// `parallel:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parallel {
    /// Replicas.
    pub data: u32,
    /// Pipeline stages.
    pub pipeline: u32,
    /// Tensor ranks.
    pub tensor: u32,
    /// Replicas that divide the experts of each layer among them.
    pub expert: u32,
    /// Whether tensor ranks also split the rows between their regions.
    pub sequence_parallel: bool,
    /// What replicas hold together: ZeRO's stages, FSDP, HSDP.
    pub zero: Zero,
    /// Which layers each pipeline stage holds.
    pub partition: Partition,
    /// The order of passes.
    pub schedule: ScheduleSpec,
    /// What replicas exchange.
    pub sync: SyncSpec,
    /// What of a gradient is sent.
    pub compression: CompressionSpec,
    /// How collectives are carried out.
    pub collective: AlgorithmSpec,
}

impl Default for Parallel {
    fn default() -> Self {
        Parallel {
            data: 1,
            pipeline: 1,
            tensor: 1,
            expert: 1,
            sequence_parallel: false,
            zero: Zero::default(),
            partition: Partition::Even,
            schedule: ScheduleSpec::from_name("one_f_one_b").expect("a listed schedule"),
            sync: SyncSpec::from_name("all_reduce").expect("a listed sync"),
            compression: CompressionSpec::from_name("none").expect("a listed compression"),
            collective: AlgorithmSpec::from_name("ring").expect("a listed algorithm"),
        }
    }
}
