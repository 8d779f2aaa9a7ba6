//! What a preparation comes to, in numbers.

use serde::Serialize;

use crate::preparation::outcome::Stay;
use crate::preparation::{PreparationOutcome, PreparationPlan, StageKind};

/// The outcome of a preparation, for people and machines.
#[derive(Debug, Clone, Serialize)]
pub struct PreparationSummary {
    /// What the workload is called.
    pub name: String,
    /// How many workers.
    pub workers: u32,
    /// Shards; all are prepared.
    pub shards: usize,
    /// Until the last shard was written.
    pub simulated_time_s: f64,
    /// Documents found.
    pub documents_in: usize,
    /// Documents kept.
    pub documents_out: usize,
    /// Documents left out as copies.
    pub exact_duplicates: usize,
    /// Documents left out as near copies.
    pub near_duplicates: usize,
    /// Documents of which nothing was left.
    pub empty_documents: usize,
    /// Bytes found.
    pub bytes_in: u64,
    /// Different tokens.
    pub vocabulary: u32,
    /// Sequences made.
    pub sequences: usize,
    /// Their tokens, padding among them.
    pub tokens: usize,
    /// Tokens put in only to fill sequences.
    pub padding: usize,
    /// FNV-1a of all that was made, in hexadecimal digits: the same for any number of workers.
    pub digest: String,
    /// Bytes read in a second, over all workers.
    pub bytes_per_second: f64,
    /// Tokens made in a second.
    pub tokens_per_second: f64,
    /// The stage whose threads are busiest.
    pub bottleneck: &'static str,
    /// The stages, in order.
    pub stages: Vec<StageSummary>,
    /// The fullest that a worker's memory was.
    pub memory_peak_bytes: u64,
    /// Bytes that travelled between workers.
    pub network_bytes: u64,
    /// Events processed.
    pub events: u64,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// What a stage did, over all workers.
#[derive(Debug, Clone, Serialize)]
pub struct StageSummary {
    /// Its name.
    pub stage: &'static str,
    /// Documents in.
    pub documents_in: u64,
    /// Documents out.
    pub documents_out: u64,
    /// Bytes in.
    pub bytes_in: u64,
    /// Bytes out.
    pub bytes_out: u64,
    /// How long threads worked, added up.
    pub busy_s: f64,
    /// How long threads waited for room in the next queue, added up.
    pub blocked_s: f64,
    /// How long a shard waited in the queue before, on average.
    pub queue_wait_s: f64,
    /// The longest that the queues before it were, over all workers together.
    pub queue_peak: usize,
    /// Busy time as a share of the threads' time until the end.
    pub utilization: f64,
    /// Bytes in over busy time: what its threads get through while they work.
    pub bytes_per_busy_second: f64,
}

impl PreparationSummary {
    /// The numbers of a run.
    pub fn new(name: &str, plan: &PreparationPlan, outcome: &PreparationOutcome, notes: &[String]) -> Self {
        let stages: Vec<StageSummary> =
            plan.treatment.stages().into_iter().map(|stage| of_stage(plan, outcome, stage)).collect();
        let busiest = stages.iter().max_by(|a, b| a.utilization.total_cmp(&b.utilization));
        let bottleneck = busiest.expect("there are stages").stage;
        let prepared = &outcome.prepared;
        let (verdict, documents) = (&prepared.verdict, plan.corpus.documents());
        let tokens = prepared.sequences.iter().map(Vec::len).sum();
        let seconds = outcome.makespan.seconds();
        PreparationSummary {
            name: name.to_owned(),
            workers: plan.workers,
            shards: plan.corpus.shards.len(),
            simulated_time_s: seconds,
            documents_in: documents,
            documents_out: documents - verdict.exact - verdict.near - verdict.empty,
            exact_duplicates: verdict.exact,
            near_duplicates: verdict.near,
            empty_documents: verdict.empty,
            bytes_in: plan.corpus.bytes().get(),
            vocabulary: prepared.vocabulary,
            sequences: prepared.sequences.len(),
            tokens,
            padding: prepared.padding,
            digest: format!("{:016x}", prepared.digest()),
            bytes_per_second: plan.corpus.bytes().as_f64() / seconds,
            tokens_per_second: tokens as f64 / seconds,
            bottleneck,
            stages,
            memory_peak_bytes: outcome.memory_peak.get(),
            network_bytes: outcome.network_bytes.get(),
            events: outcome.events,
            notes: notes.to_vec(),
        }
    }
}

fn of_stage(plan: &PreparationPlan, outcome: &PreparationOutcome, stage: StageKind) -> StageSummary {
    let stays: Vec<&Stay> = outcome.stays.iter().filter(|stay| stay.stage == stage).collect();
    let sum = |of: fn(&Stay) -> u64| stays.iter().map(|stay| of(stay)).sum::<u64>();
    let seconds = |of: fn(&Stay) -> f64| stays.iter().map(|stay| of(stay)).sum::<f64>();
    let busy_s = seconds(|stay| stay.end.since(stay.start).seconds());
    let bytes_in = sum(|stay| stay.amounts.bytes_in.get());
    let workers = if stage.gathers() { 1 } else { plan.workers };
    let threads = f64::from(workers * plan.speeds[&stage].threads);
    let lengths = outcome.queues.iter().filter(|queue| queue.stage == stage);
    StageSummary {
        stage: stage.name(),
        documents_in: sum(|stay| stay.amounts.documents_in),
        documents_out: sum(|stay| stay.amounts.documents_out),
        bytes_in,
        bytes_out: sum(|stay| stay.amounts.bytes_out.get()),
        busy_s,
        blocked_s: seconds(|stay| stay.left.since(stay.end).seconds()),
        queue_wait_s: seconds(|stay| stay.waited.seconds()) / stays.len().max(1) as f64,
        queue_peak: lengths.map(|queue| queue.length).max().unwrap_or(0),
        utilization: busy_s / (threads * outcome.makespan.seconds()),
        bytes_per_busy_second: if busy_s > 0.0 { bytes_in as f64 / busy_s } else { 0.0 },
    }
}
