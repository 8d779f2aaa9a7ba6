//! What came of a run.

use std::collections::BTreeMap;

use crate::ids::{ShardId, WorkerId};
use crate::preparation::StageKind;
use crate::preparation::tokenizer::Tokenizer;
use crate::preparation::work::{Amounts, Prepared};
use crate::units::{Bytes, SimDuration, SimTime};

/// A shard in a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stay {
    /// Where.
    pub worker: WorkerId,
    /// Which stage.
    pub stage: StageKind,
    /// Which shard; nothing where the stage is done once for all.
    pub shard: Option<ShardId>,
    /// How long it had waited in the queue before.
    pub waited: SimDuration,
    /// When its work began.
    pub start: SimTime,
    /// When its work was done.
    pub end: SimTime,
    /// When it left its thread: later where the next queue was full.
    pub left: SimTime,
    /// What went in and came out.
    pub amounts: Amounts,
}

/// How many shards waited before a stage, over all workers, from a moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLength {
    /// Since when.
    pub at: SimTime,
    /// Before which stage.
    pub stage: StageKind,
    /// How many.
    pub length: usize,
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct PreparationOutcome {
    /// When the last shard was written.
    pub makespan: SimTime,
    /// Everything that was done, in order of its beginning.
    pub stays: Vec<Stay>,
    /// How queues grew and shrank.
    pub queues: Vec<QueueLength>,
    /// When each shard was written, in order of time.
    pub written: Vec<(SimTime, ShardId)>,
    /// The fullest that a worker's memory was.
    pub memory_peak: Bytes,
    /// Bytes that travelled between workers.
    pub network_bytes: Bytes,
    /// Events processed.
    pub events: u64,
    /// What turned text into tokens.
    pub tokenizer: Option<Tokenizer>,
    /// What was made.
    pub prepared: Prepared,
}

impl PreparationOutcome {
    /// When each sequence was there: with its shard, the rests of all shards with the last.
    pub fn ready(&self) -> Vec<SimTime> {
        let written: BTreeMap<ShardId, SimTime> =
            self.written.iter().map(|&(at, shard)| (shard, at)).collect();
        let of_shards = self.prepared.of_shards.enumerate();
        let mut ready: Vec<SimTime> =
            of_shards.flat_map(|(shard, &count)| std::iter::repeat_n(written[&shard], count)).collect();
        ready.resize(self.prepared.sequences.len(), self.makespan);
        ready
    }
}
