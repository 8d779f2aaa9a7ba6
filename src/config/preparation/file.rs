//! The mirror of a preparation's YAML: what may be written, and what it is when it is not.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::file::{TopologyChoice, first_seed};
use crate::network::NetworkSpec;
use crate::preparation::clean::Cleaning;
use crate::preparation::corpus::Latin;
use crate::preparation::duplicates::Deduplication;
use crate::preparation::embedding::EmbeddingKeys;
use crate::preparation::packing::PackingSpec;
use crate::preparation::tokenizer::TokenizerChoice;
use crate::preparation::{Offload, Sharing, StageKind};
use crate::rng::Seed;
use crate::units::{Bandwidth, Bytes, SimDuration};

/// A file that says what is prepared, how, and by whom.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreparationFile {
    /// What reports are called.
    pub name: String,
    /// A sentence for the reader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Corpus, stages and workers.
    pub preparation: Preparation,
    /// How closely disks and network are modelled.
    #[serde(default)]
    pub fidelity: NetworkFidelityKeys,
    /// Where every random stream grows from.
    #[serde(default = "first_seed")]
    pub seed: Seed,
}

/// `fidelity:` of a preparation, which runs no kernels.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkFidelityKeys {
    /// How flows share links.
    pub network: NetworkSpec,
}

impl Default for NetworkFidelityKeys {
    fn default() -> Self {
        NetworkFidelityKeys { network: NetworkSpec::from_name("fluid").expect("a listed network model") }
    }
}

/// `preparation:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preparation {
    /// What is prepared.
    #[serde(default)]
    pub corpus: CorpusChoice,
    /// Bytes of a shard at least, the last one aside.
    #[serde(default = "shard")]
    pub shard: Bytes,
    /// How many workers.
    #[serde(default = "one")]
    pub workers: u32,
    /// The machine whose processors they are, the first ones of it; without one, each is as `worker` says,
    /// around a switch that is never in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<TopologyChoice>,
    /// What each is; of a `pool`, only its disk.
    #[serde(default)]
    pub worker: WorkerKeys,
    /// How they share the shards.
    #[serde(default)]
    pub sharing: Sharing,
    /// How many shards wait between two stages of a worker at most.
    #[serde(default = "two")]
    pub queue: u32,
    /// How documents are cleaned.
    #[serde(default)]
    pub cleaning: Cleaning,
    /// Which documents are left out as copies.
    #[serde(default)]
    pub deduplication: Deduplication,
    /// How text becomes tokens.
    #[serde(default)]
    pub tokenizer: TokenizerChoice,
    /// How tokens become sequences.
    #[serde(default = "concatenate")]
    pub packing: PackingSpec,
    /// Tokens of a sequence.
    #[serde(default = "sequence")]
    pub sequence: u32,
    /// How sequences become vectors; they do not unless it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<EmbeddingKeys>,
    /// How fast stages are, where it is not as usual.
    #[serde(default)]
    pub stages: BTreeMap<StageKind, StageKeys>,
}

fn shard() -> Bytes {
    Bytes(16 << 10)
}

fn one() -> u32 {
    1
}

fn two() -> u32 {
    2
}

fn sequence() -> u32 {
    128
}

fn concatenate() -> PackingSpec {
    PackingSpec::from_name("concatenate").expect("a listed packing")
}

/// `corpus:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CorpusChoice {
    /// Cicero, *De finibus bonorum et malorum*, book one, as the `lipsum` crate carries it, a sentence
    /// a document.
    Cicero,
    /// Cicero and more in his manner, with copies and noise.
    Latin(Latin),
    /// Texts of your own.
    Files(FilesKeys),
}

impl Default for CorpusChoice {
    fn default() -> Self {
        CorpusChoice::Latin(Latin::default())
    }
}

/// `files:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesKeys {
    /// UTF-8 texts, seen from the workload file.
    pub paths: Vec<PathBuf>,
    /// What a document is.
    #[serde(default)]
    pub documents: DocumentsAre,
}

/// What a document of a file is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentsAre {
    /// Text between empty lines.
    #[default]
    Paragraphs,
    /// Each line.
    Lines,
    /// Each file.
    Files,
}

/// `worker:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerKeys {
    /// Cores; each thread of a stage has one.
    pub cores: u32,
    /// Main memory.
    pub memory: Bytes,
    /// Its disk, read and written.
    pub disk: Bandwidth,
    /// Its network card, each way.
    pub network: Bandwidth,
    /// How long a message takes whatever its size.
    pub latency: SimDuration,
}

impl Default for WorkerKeys {
    /// A small server: an NVMe disk, 25 Gbit/s Ethernet.
    fn default() -> Self {
        WorkerKeys {
            cores: 16,
            memory: Bytes(32 << 30),
            disk: Bandwidth::per_second(3e9),
            network: Bandwidth::per_second(25e9 / 8.0),
            latency: SimDuration::from_micros(20),
        }
    }
}

/// A stage under `stages:`; what is not said is as usual.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StageKeys {
    /// Shards that a worker has in this stage at a time; 1 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// Bytes of input that a thread, or the accelerator, gets through in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Bandwidth>,
    /// What a shard costs whatever its size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup: Option<SimDuration>,
    /// The accelerator that does it at `rate`, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offload: Option<Offload>,
}
