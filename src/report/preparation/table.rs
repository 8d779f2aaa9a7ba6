//! A preparation as aligned text, for a terminal.

use crate::preparation::PreparationPlan;
use crate::report::preparation::PreparationSummary;
use crate::report::table::{facts, grid};
use crate::units::{Bytes, SimDuration};

/// The summary as aligned rows.
pub fn table(summary: &PreparationSummary) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row("workers", summary.workers.to_string());
    row("time", time(summary.simulated_time_s));
    row("corpus", format!("{} shards, {}", summary.shards, Bytes(summary.bytes_in)));
    row("documents", format!("{} found, {} kept", summary.documents_in, summary.documents_out));
    row(
        "  left out",
        format!(
            "{} copies, {} near copies, {} empty",
            summary.exact_duplicates, summary.near_duplicates, summary.empty_documents
        ),
    );
    row(
        "tokens",
        format!("{} ({} of them padding), {} different", summary.tokens, summary.padding, summary.vocabulary),
    );
    row("sequences", summary.sequences.to_string());
    row("digest", summary.digest.clone());
    row(
        "throughput",
        format!("{}/s, {:.0} tokens/s", Bytes::from_f64(summary.bytes_per_second), summary.tokens_per_second),
    );
    row("bottleneck", summary.bottleneck.to_owned());
    row("fullest memory", Bytes(summary.memory_peak_bytes).to_string());
    row("network", Bytes(summary.network_bytes).to_string());
    facts(&summary.name, &rows, &summary.notes) + "\n" + &stages(summary)
}

fn stages(summary: &PreparationSummary) -> String {
    let row = |stage: &crate::report::preparation::StageSummary| {
        vec![
            stage.stage.to_owned(),
            format!("{} → {}", stage.documents_in, stage.documents_out),
            Bytes(stage.bytes_in).to_string(),
            Bytes(stage.bytes_out).to_string(),
            time(stage.busy_s),
            percent(stage.utilization),
            time(stage.blocked_s),
            time(stage.queue_wait_s),
            stage.queue_peak.to_string(),
        ]
    };
    let heading =
        ["stage", "documents", "in", "out", "busy", "utilisation", "blocked", "queue wait", "queue peak"];
    grid(&heading, &summary.stages.iter().map(row).collect::<Vec<_>>())
}

/// What a plan means, before it is run.
pub fn describe(plan: &PreparationPlan, notes: &[String]) -> String {
    let stages: Vec<&str> = plan.treatment.stages().into_iter().map(|stage| stage.name()).collect();
    let rows = [
        (
            "corpus",
            format!(
                "{} documents in {} shards, {}",
                plan.corpus.documents(),
                plan.corpus.shards.len(),
                plan.corpus.bytes()
            ),
        ),
        ("stages", stages.join(", ")),
        ("workers", plan.workers.to_string()),
    ];
    facts("the workload is right", &rows.map(|(name, value)| (name.to_owned(), value)), notes)
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

pub(super) fn time(seconds: f64) -> String {
    SimDuration::from_seconds(seconds).to_string()
}
