//! The mirror of a task workload's YAML: what may be written, and what it is when it is not.
//!
//! Whatever needs two facts to be checked is checked in [`resolve`](super::resolve).

use std::fmt;
use std::path::PathBuf;

use indexmap::IndexMap;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::file::{Fidelity, TopologyChoice, first_seed};
use crate::hardware::Precision;
use crate::rng::Seed;
use crate::tasks::estimates::Noisy;
use crate::tasks::generate::TaskGeneratorSpec;
use crate::tasks::scheduling::TaskSchedulerSpec;
use crate::units::{Bytes, Flops, SimDuration};

/// A file that says which tasks run on a machine, and who decides.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TasksFile {
    /// What reports are called.
    pub name: String,
    /// A sentence for the reader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The machine, unless `tasks.devices` names devices without a network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<TopologyChoice>,
    /// Tasks and who decides.
    pub tasks: Tasks,
    /// How closely kernels and flows are modelled.
    #[serde(default)]
    pub fidelity: Fidelity,
    /// Where every random stream grows from.
    #[serde(default = "first_seed")]
    pub seed: Seed,
}

/// `tasks:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tasks {
    /// Devices known by nothing but their number or names, as in much of the literature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<DevicesChoice>,
    /// What is to be done.
    pub graph: Graph,
    /// Who decides.
    #[serde(default = "heft")]
    pub scheduler: TaskSchedulerSpec,
    /// What the scheduler knows of the costs.
    #[serde(default)]
    pub estimates: EstimatesChoice,
    /// How fast devices are at reference times, by name or kind; 1 where nothing is said.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub speeds: IndexMap<String, f64>,
    /// Which devices fail when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<FailureKeys>,
    /// What the tasks compute, with how large tiles; nothing unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numeric: Option<NumericKeys>,
}

fn heft() -> TaskSchedulerSpec {
    TaskSchedulerSpec::from_name("heft").expect("a listed scheduler")
}

/// `devices:`, so many or by name.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected how many devices there are, or a list of their names")]
pub enum DevicesChoice {
    /// So many; they are called `P1`, `P2` …
    Count(u32),
    /// By name.
    Named(Vec<String>),
}

/// `graph:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Graph {
    /// Written out.
    List(ListKeys),
    /// Made up.
    Generate(TaskGeneratorSpec),
    /// An instance of WfFormat 1.5.
    Wfformat(PathBuf),
    /// A graph in Graphviz' language.
    Dot(PathBuf),
}

/// `list:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListKeys {
    /// What a cost of 1 is, where costs are plain numbers.
    #[serde(default = "second")]
    pub unit: SimDuration,
    /// The tasks.
    pub tasks: Vec<TaskKeys>,
    /// What hands data to what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<EdgeKeys>,
}

fn second() -> SimDuration {
    SimDuration::from_nanos(1_000_000_000)
}

/// A task; its work is given in one of four ways.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskKeys {
    /// Unique within the graph.
    pub name: Label,
    /// The cost on each device, in order; null where the device cannot do it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub costs: Option<Vec<Option<Amount>>>,
    /// The time by kind of device or by what the device is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<IndexMap<String, Amount>>,
    /// The time at speed 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Amount>,
    /// Floating-point operations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flops: Option<Flops>,
    /// Bytes moved to and from the device's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Bytes>,
    /// The format computed in.
    #[serde(default = "single", skip_serializing_if = "is_single")]
    pub precision: Precision,
    /// What it needs of the device's memory while it runs.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub memory: Bytes,
}

fn single() -> Precision {
    Precision::F32
}

fn is_single(precision: &Precision) -> bool {
    *precision == Precision::F32
}

fn is_nothing(bytes: &Bytes) -> bool {
    *bytes == Bytes::ZERO
}

/// `[from, to]` or `[from, to, what it carries]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(expecting = "[from, to] or [from, to, what it carries]")]
pub struct EdgeKeys(pub Label, pub Label, #[serde(default)] pub Load);

/// A name; a whole number is one too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(pub String);

impl Serialize for Label {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Written::deserialize(from, "a name")? {
            Written::Text(text) => Ok(Label(text)),
            Written::Number(number) => Ok(Label(number.to_string())),
        }
    }
}

/// How long something takes: `14` in the graph's unit, or `14 ms`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// A cost as the literature gives it.
    Cost(f64),
    /// A time.
    Time(SimDuration),
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Amount::Cost(cost) => cost.serialize(to),
            Amount::Time(time) => time.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Written::deserialize(from, "a cost such as `14`, or a time such as `3 ms`")? {
            Written::Number(cost) => plain_cost(cost).map(Amount::Cost),
            Written::Text(text) => text.parse().map(Amount::Time).map_err(de::Error::custom),
        }
    }
}

/// What an edge carries: `18` in the graph's unit of time, `18 ms`, or `4 MiB`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// A plain communication cost.
    Cost(f64),
    /// The same, with its unit.
    Time(SimDuration),
    /// Bytes that travel over the network.
    Bytes(Bytes),
}

impl Default for Load {
    fn default() -> Self {
        Load::Bytes(Bytes::ZERO)
    }
}

impl Serialize for Load {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Load::Cost(cost) => cost.serialize(to),
            Load::Time(time) => time.serialize(to),
            Load::Bytes(bytes) => bytes.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Load {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let wanted = "a cost such as `18`, a time such as `3 ms`, or a size such as `4 MiB`";
        match Written::deserialize(from, wanted)? {
            Written::Number(cost) => plain_cost(cost).map(Load::Cost),
            Written::Text(text) => {
                let time = text.parse().map(Load::Time);
                let load = time.or_else(|_| text.parse().map(Load::Bytes));
                load.map_err(|_| de::Error::custom(format!("expected {wanted}, found `{text}`")))
            }
        }
    }
}

fn plain_cost<E: de::Error>(cost: f64) -> Result<f64, E> {
    if cost >= 0.0 && cost.is_finite() {
        Ok(cost)
    } else {
        Err(E::custom(format!("expected a cost from 0 on, found {cost}")))
    }
}

/// A number or a text.
enum Written {
    Number(f64),
    Text(String),
}

impl Written {
    fn deserialize<'de, D: Deserializer<'de>>(from: D, wanted: &'static str) -> Result<Self, D::Error> {
        struct Either(&'static str);
        impl Visitor<'_> for Either {
            type Value = Written;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0)
            }
            fn visit_u64<E>(self, number: u64) -> Result<Written, E> {
                Ok(Written::Number(number as f64))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Written, E> {
                Ok(Written::Number(number as f64))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Written, E> {
                Ok(Written::Number(number))
            }
            fn visit_str<E>(self, text: &str) -> Result<Written, E> {
                Ok(Written::Text(text.to_owned()))
            }
        }
        from.deserialize_any(Either(wanted))
    }
}

/// `estimates:`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EstimatesChoice {
    /// The truth.
    #[default]
    Exact,
    /// The truth, off by chance.
    Noisy(Noisy),
    /// As written here.
    Given(GivenKeys),
}

/// `given:`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GivenKeys {
    /// By device: what its times are thought to be, as multiples of the truth.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub devices: IndexMap<String, f64>,
    /// By task: what it is thought to cost on each device, in order, in `unit`s or with a unit.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub tasks: IndexMap<String, Vec<Option<Amount>>>,
}

/// A device that fails.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailureKeys {
    /// Which.
    pub device: String,
    /// When.
    pub at: SimDuration,
}

/// `numeric:`; for `generate: cholesky`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumericKeys {
    /// Numbers a side of the tiles that are computed; what is timed may be larger.
    pub tile: u32,
}
