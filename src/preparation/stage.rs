//! The stages that a shard goes through, in order.

use serde::{Deserialize, Serialize};

/// A stage of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    /// Takes a shard from the disk.
    Read,
    /// Takes out what is no text.
    Clean,
    /// Makes the signatures by which documents are compared.
    Sign,
    /// Compares the signatures of all shards.
    Deduplicate,
    /// Counts the words that are left.
    Count,
    /// Learns a tokenizer from the counts of all shards.
    Learn,
    /// Turns text into tokens.
    Tokenize,
    /// Puts tokens into sequences.
    Pack,
    /// Turns sequences into vectors.
    Embed,
    /// Puts the result on the disk.
    Write,
}

impl StageKind {
    /// Every stage, in the order in which a shard goes through them.
    pub const ALL: [StageKind; 10] = [
        StageKind::Read,
        StageKind::Clean,
        StageKind::Sign,
        StageKind::Deduplicate,
        StageKind::Count,
        StageKind::Learn,
        StageKind::Tokenize,
        StageKind::Pack,
        StageKind::Embed,
        StageKind::Write,
    ];

    /// As in a workload.
    pub const fn name(self) -> &'static str {
        match self {
            StageKind::Read => "read",
            StageKind::Clean => "clean",
            StageKind::Sign => "sign",
            StageKind::Deduplicate => "deduplicate",
            StageKind::Count => "count",
            StageKind::Learn => "learn",
            StageKind::Tokenize => "tokenize",
            StageKind::Pack => "pack",
            StageKind::Embed => "embed",
            StageKind::Write => "write",
        }
    }

    /// Whether the stage needs something of every shard before it can begin; the first worker does it
    /// once for all.
    pub const fn gathers(self) -> bool {
        matches!(self, StageKind::Deduplicate | StageKind::Learn)
    }

    /// Whether the stage waits for the disk.
    pub const fn uses_disk(self) -> bool {
        matches!(self, StageKind::Read | StageKind::Write)
    }
}
