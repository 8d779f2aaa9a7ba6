//! Preprocessing in parallel: a corpus in, packed sequences of tokens out.
//!
//! Shards go through [stages](stage) on a pool of workers. [`work`] is what the stages do to the real
//! documents; [`mechanism`] is when: workers take shards, each has threads for every stage and bounded
//! queues between them, disks and network cards are shared max-min fairly. The work is called in
//! simulated order, and what comes out does not depend on it.
//!
//! The room knows nothing of neural networks, training or serving, and reads no files.

pub mod clean;
pub mod corpus;
pub mod duplicates;
pub mod embedding;
pub mod mechanism;
pub mod outcome;
pub mod packing;
pub mod stage;
#[cfg(test)]
mod tests;
pub mod tokenizer;
pub mod work;

pub use corpus::Corpus;
pub use mechanism::{PreparationFailure, run};
pub use outcome::PreparationOutcome;
pub use stage::StageKind;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hardware::Topology;
use crate::ids::{DeviceId, IdVec, WorkerId};
use crate::network::NetworkSpec;
use crate::preparation::clean::Cleaning;
use crate::preparation::duplicates::Deduplication;
use crate::preparation::embedding::EmbeddingKeys;
use crate::preparation::packing::PackingSpec;
use crate::preparation::tokenizer::TokenizerChoice;
use crate::rng::Seed;
use crate::units::{Bandwidth, Bytes, SimDuration};

/// What is done to the documents.
#[derive(Debug, Clone)]
pub struct Treatment {
    /// How they are cleaned.
    pub cleaning: Cleaning,
    /// Which are left out.
    pub deduplication: Deduplication,
    /// How they become tokens.
    pub tokenizer: TokenizerChoice,
    /// How tokens become sequences.
    pub packing: PackingSpec,
    /// Tokens of a sequence.
    pub sequence: u32,
    /// How sequences become vectors, if they do.
    pub embedding: Option<EmbeddingKeys>,
}

impl Treatment {
    /// The stages that are needed, in order.
    pub fn stages(&self) -> Vec<StageKind> {
        let needed = |stage: &StageKind| match stage {
            StageKind::Sign | StageKind::Deduplicate => self.deduplication.exact || self.deduplication.near,
            StageKind::Count | StageKind::Learn => self.tokenizer.learns(),
            StageKind::Embed => self.embedding.is_some(),
            _ => true,
        };
        StageKind::ALL.into_iter().filter(needed).collect()
    }
}

/// How fast a stage is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StageSpeed {
    /// Shards that a worker has in this stage at a time.
    pub threads: u32,
    /// Bytes of input that a thread (or the accelerator) gets through in a second.
    pub rate: Bandwidth,
    /// What a shard costs whatever its size.
    pub startup: SimDuration,
    /// The way to an accelerator that does the stage instead of the worker's cores.
    pub offload: Option<Offload>,
}

/// An accelerator in each worker.
#[derive(Debug, Clone, PartialEq, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offload {
    /// What it is.
    pub device: Accelerator,
    /// How fast input and output travel between it and the worker's memory.
    pub link: Bandwidth,
    /// How long a transfer takes whatever its size; there are two for each shard.
    #[serde(default)]
    pub latency: SimDuration,
}

/// Kinds of accelerators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accelerator {
    /// A graphics processor.
    Gpu,
    /// A field-programmable gate array.
    Fpga,
}

impl StageSpeed {
    /// How long a shard keeps a thread, apart from disks.
    pub fn time(&self, bytes_in: Bytes, bytes_out: Bytes) -> SimDuration {
        let work = self.startup + bytes_in / self.rate;
        match &self.offload {
            Some(way) => work + bytes_in / way.link + bytes_out / way.link + way.latency * 2,
            None => work,
        }
    }
}

/// A worker: they are all alike.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerSpec {
    /// Cores.
    pub cores: u32,
    /// Main memory.
    pub memory: Bytes,
    /// Its disk, read and written.
    pub disk: Bandwidth,
    /// Its network card, each way.
    pub network: Bandwidth,
    /// How long a message between two workers takes whatever its size.
    pub latency: SimDuration,
}

/// Processors of a machine as workers: their cores, memory and routes are the machine's, their disks as
/// the [`WorkerSpec`] says.
#[derive(Debug, Clone)]
pub struct Pool {
    /// The machine.
    pub topology: Arc<Topology>,
    /// Which processor each worker is.
    pub devices: IdVec<WorkerId, DeviceId>,
}

impl PreparationPlan {
    /// Main memory of a worker.
    pub fn memory(&self, worker: WorkerId) -> Bytes {
        match &self.pool {
            Some(pool) => pool.topology.devices()[pool.devices[worker]].spec.memory.capacity,
            None => self.worker.memory,
        }
    }
}

/// Which worker takes which shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// Whoever is ready takes the next one.
    #[default]
    Pull,
    /// Shard i belongs to worker i mod n.
    RoundRobin,
}

/// Everything that a run needs.
#[derive(Debug, Clone)]
pub struct PreparationPlan {
    /// What is prepared.
    pub corpus: Corpus,
    /// What is done to it.
    pub treatment: Treatment,
    /// How many workers.
    pub workers: u32,
    /// What each is.
    pub worker: WorkerSpec,
    /// The machine that they are part of, if it is written down.
    pub pool: Option<Pool>,
    /// How they share the shards.
    pub sharing: Sharing,
    /// How many shards wait between two stages of a worker at most.
    pub queue: u32,
    /// How fast the stages are.
    pub speeds: BTreeMap<StageKind, StageSpeed>,
    /// How closely disks and network are modelled.
    pub network: NetworkSpec,
    /// Where random streams grow from.
    pub seed: Seed,
}
