//! The mirror of a cluster workload's YAML: what may be written, and what it is when it is not.
//!
//! Whatever needs two facts to be checked is checked in [`resolve`](super::resolve).

use std::collections::BTreeMap;
use std::path::PathBuf;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::cluster::generate::{Arrivals, Lengths};
use crate::cluster::placement::PlacementSpec;
use crate::cluster::scheduling::ClusterSchedulerSpec;
use crate::cluster::speed::Goodput;
use crate::collective::AlgorithmSpec;
use crate::config::file::{Fidelity, TopologyChoice, first_seed};
use crate::hardware::Precision;
use crate::model::Model;
use crate::numeric::optimizer::OptimizerSpec;
use crate::rng::Seed;
use crate::training::schedule::ScheduleSpec;
use crate::training::sync::SyncSpec;
use crate::units::{Bytes, SimDuration};

/// A file that says which jobs share a machine, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterFile {
    /// What reports are called.
    pub name: String,
    /// A sentence for the reader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The machine, unless `cluster.machine` describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<TopologyChoice>,
    /// Jobs and who decides.
    pub cluster: Cluster,
    /// How closely the training of jobs is modelled.
    #[serde(default)]
    pub fidelity: Fidelity,
    /// Whether rows of a trace that cannot be used are counted and left out.
    #[serde(default)]
    pub skip_bad_rows: bool,
    /// Where every random stream grows from.
    #[serde(default = "first_seed")]
    pub seed: Seed,
}

/// `cluster:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// A machine of nodes alone, where links do not matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineChoice>,
    /// Who runs when.
    #[serde(default = "fifo")]
    pub scheduler: ClusterSchedulerSpec,
    /// Who runs where.
    #[serde(default = "packed")]
    pub placement: PlacementSpec,
    /// Whether gangs that fit into one node wait for one.
    #[serde(default)]
    pub consolidate: bool,
    /// What stopping and going on costs.
    #[serde(default)]
    pub checkpoint: CheckpointKeys,
    /// How devices fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<FailureKeys>,
    /// Where jobs come from.
    pub jobs: Jobs,
    /// At most so many jobs, the first to arrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// What jobs with `speed: {trained: NAME}` train.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub models: IndexMap<String, TrainedKeys>,
}

fn fifo() -> ClusterSchedulerSpec {
    ClusterSchedulerSpec::from_name("fifo").expect("a listed scheduler")
}

fn packed() -> PlacementSpec {
    PlacementSpec::from_name("packed").expect("a listed placement")
}

/// `machine:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachineChoice {
    /// Nodes by kind.
    Nodes(Vec<NodeKeys>),
    /// The list of nodes of Alibaba's openb trace.
    Openb(PathBuf),
}

/// Nodes that are alike.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeKeys {
    /// How many.
    #[serde(default = "one")]
    pub count: u32,
    /// Which kind of device they have.
    pub kind: String,
    /// How many devices each has.
    pub devices: u32,
    /// CPU cores of each; not counted unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
    /// Memory of each; not counted unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
}

fn one() -> u32 {
    1
}

/// `checkpoint:`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointKeys {
    /// Writing one.
    pub save: SimDuration,
    /// Reading one.
    pub restore: SimDuration,
    /// Progress between two that are written in case of a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<SimDuration>,
}

/// `failures:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailureKeys {
    /// Mean time of a device's service until it fails.
    pub mtbf: SimDuration,
    /// How long it is then out of service.
    pub repair: SimDuration,
}

/// `jobs:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Jobs {
    /// Written out.
    List(Vec<ListedJob>),
    /// Drawn from distributions.
    Generate(Generated),
    /// A trace of Microsoft's Philly cluster.
    Philly(PhillyTrace),
    /// The pods of Alibaba's openb trace.
    Openb(PathBuf),
    /// A trace of Tiresias' simulator.
    Tiresias(PathBuf),
    /// A trace of Gavel's simulator.
    Gavel(GavelTrace),
    /// A table of your own.
    Csv(CsvTrace),
}

/// Jobs that are alike.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedJob {
    /// What it is called; `job 3` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whose it is.
    #[serde(default = "everybody")]
    pub user: String,
    /// When it arrives.
    #[serde(default)]
    pub arrival: SimDuration,
    /// How many devices it takes.
    pub devices: u32,
    /// How long it takes where its speed is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<SimDuration>,
    /// How many steps it trains, instead of a duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// What its user says of its duration, if not the truth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<SimDuration>,
    /// How fast it works where.
    #[serde(default)]
    pub speed: SpeedChoice,
    /// The kinds of device it can use, the best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
    /// Its share relative to others.
    #[serde(default = "unit")]
    pub weight: f64,
    /// How many such jobs there are.
    #[serde(default = "one")]
    pub count: u32,
}

fn everybody() -> String {
    "everybody".into()
}

fn unit() -> f64 {
    1.0
}

/// `speed:`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpeedChoice {
    /// The same everywhere.
    #[default]
    Same,
    /// By kind of device; kinds that are left out cannot be used.
    ByKind(IndexMap<String, f64>),
    /// By goodput: the job is elastic.
    Goodput(Goodput),
    /// By training this one of `models` where the job is placed.
    Trained(String),
}

/// `generate:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    /// How many jobs.
    pub jobs: u32,
    /// When they arrive.
    pub arrivals: Arrivals,
    /// How many users they are drawn from, each as likely.
    #[serde(default = "one")]
    pub users: u32,
    /// Of which kinds they are.
    pub classes: Vec<Class>,
    /// f: estimates are drawn between the duration and 1 + f times it, each factor as likely (Mu'alem and
    /// Feitelson 2001, the f-model); 0 makes them exact.
    #[serde(default)]
    pub overestimate: f64,
}

/// Jobs that are drawn alike.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// What they are called.
    pub name: String,
    /// How likely they are, relative to others.
    #[serde(default = "unit")]
    pub weight: f64,
    /// How many devices they take, with how likely each is.
    pub devices: BTreeMap<u32, f64>,
    /// How long they take where their speed is 1.
    pub duration: Lengths,
    /// How fast they work where.
    #[serde(default)]
    pub speed: SpeedChoice,
    /// The kinds of device they can use, the best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
}

/// `philly:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhillyTrace {
    /// The table.
    pub path: PathBuf,
    /// Whether rows must be in order of arrival; the published ones are not.
    #[serde(default)]
    pub ordered: bool,
}

/// `gavel:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GavelTrace {
    /// The jobs.
    pub path: PathBuf,
    /// How fast they are: the table of throughputs.
    pub throughputs: PathBuf,
}

/// `csv:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CsvTrace {
    /// The table.
    pub path: PathBuf,
    /// What the table calls a column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// Whether rows are sorted by arrival; otherwise they must be in order.
    #[serde(default)]
    pub sort: bool,
}

/// What a job trains.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainedKeys {
    /// The network.
    pub model: Model,
    /// Samples of a micro-batch.
    #[serde(default = "one_sample")]
    pub micro_batch: u64,
    /// Micro-batches of each replica in a step.
    #[serde(default = "one")]
    pub micro_batches: u32,
    /// Tensor ranks; the rest of a gang is data parallel.
    #[serde(default = "one")]
    pub tensor: u32,
    /// Pipeline stages.
    #[serde(default = "one")]
    pub pipeline: u32,
    /// What numbers are kept and multiplied in.
    #[serde(default = "half")]
    pub precision: Precision,
    /// The order of passes.
    #[serde(default = "one_f_one_b")]
    pub schedule: ScheduleSpec,
    /// What replicas exchange.
    #[serde(default = "all_reduce")]
    pub sync: SyncSpec,
    /// How collectives are carried out.
    #[serde(default = "ring")]
    pub collective: AlgorithmSpec,
    /// How weights are stepped.
    #[serde(default = "adamw")]
    pub optimizer: OptimizerSpec,
    /// Least size of a gradient bucket.
    #[serde(default = "ddp_bucket")]
    pub bucket: Bytes,
}

fn one_sample() -> u64 {
    1
}

fn half() -> Precision {
    Precision::Bf16
}

fn one_f_one_b() -> ScheduleSpec {
    ScheduleSpec::from_name("one_f_one_b").expect("a listed schedule")
}

fn all_reduce() -> SyncSpec {
    SyncSpec::from_name("all_reduce").expect("a listed sync")
}

fn ring() -> AlgorithmSpec {
    AlgorithmSpec::from_name("ring").expect("a listed algorithm")
}

fn adamw() -> OptimizerSpec {
    OptimizerSpec::from_name("adamw").expect("a listed optimiser")
}

/// PyTorch's DistributedDataParallel takes 25 MiB.
fn ddp_bucket() -> Bytes {
    Bytes(25 << 20)
}
