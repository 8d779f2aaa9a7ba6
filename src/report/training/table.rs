//! A training run as aligned text, for a terminal.

use crate::ids::Id;
use crate::metrics::Part;
use crate::report::table::{facts, grouped};
use crate::report::training::why::told;
use crate::report::training::{Recovered, TrainingSummary};
use crate::training::TrainingPlan;
use crate::training::why::Explanation;
use crate::units::{Bytes, SimDuration};

/// The summary as aligned rows, and why a step took as long as it did.
pub fn table(summary: &TrainingSummary, explanation: Option<&Explanation>) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row("model", format!("{} parameters on {} ranks", grouped(summary.parameters), summary.ranks));
    row("simulated time", format!("{} for {} steps", seconds(summary.simulated_time_s), summary.steps));
    row(
        "step time",
        format!(
            "{} ({}; {} cycles of device 0)",
            seconds(summary.step_time_s),
            summary.step_time_is,
            grouped(summary.step_cycles)
        ),
    );
    row(
        "tokens/s",
        format!(
            "{} ({} a device)",
            grouped(summary.tokens_per_second.round() as u64),
            grouped(summary.tokens_per_second_per_device.round() as u64)
        ),
    );
    row("TFLOP/s a device", format!("{:.4}", summary.tflops_per_device));
    row("MFU", summary.mfu.map_or("no peak in this precision".into(), |mfu| format!("{:.3} %", mfu * 100.0)));
    row("where the time went", String::new());
    for part in Part::ALL {
        let spent = summary.breakdown_s[part.key()];
        if spent > 0.0 {
            let share = spent / summary.step_time_s * 100.0;
            row(&format!("  {}", part.name()), format!("{:>10}  {share:5.1} %", seconds(spent)));
        }
    }
    let memory = &summary.memory_peak_bytes;
    row(
        "memory of the fullest rank",
        format!("{} (rank {})", Bytes(memory["total"]), summary.memory_peak_rank),
    );
    for (usage, bytes) in memory.iter().filter(|(usage, bytes)| **usage != "total" && **bytes > 0) {
        row(&format!("  {usage}"), Bytes(*bytes).to_string());
    }
    for (name, value) in summary.recovery.iter().flat_map(Recovered::rows) {
        row(&name, value);
    }
    if let Some([first, .., last]) = summary.losses.as_deref() {
        row("loss, first to last", format!("{first:.4} -> {last:.4}"));
    }
    if let Some((step, loss)) = summary.held_out_losses.iter().flatten().last() {
        row("held-out loss", format!("{loss:.4} after step {}", step + 1));
    }
    for (name, value) in summary.experts.iter().flat_map(crate::report::training::ExpertRows::rows) {
        row(&name, value);
    }
    if let Some(counts) = &summary.staleness {
        let all: u64 = counts.iter().sum();
        let sum: u64 = counts.iter().zip(0..).map(|(count, stale)| count * stale).sum();
        let mean = sum as f64 / all.max(1) as f64;
        let most = counts.len().saturating_sub(1);
        row("staleness of gradients", format!("{mean:.2} steps of others on average, {most} at most"));
    }
    row("events", grouped(summary.events));
    facts(&summary.name, &rows, &summary.notes) + &explanation.map_or(String::new(), told)
}

/// What a plan means, before it is run.
pub fn describe(plan: &TrainingPlan, notes: &[String]) -> String {
    let mesh = plan.mesh;
    let mut rows = vec![
        ("model".to_owned(), format!("{} parameters", grouped(plan.model.parameter_count()))),
        (
            "mesh".to_owned(),
            format!(
                "data {} x pipeline {} x tensor {} = {} ranks",
                mesh.data,
                mesh.pipeline,
                mesh.tensor,
                mesh.ranks()
            ),
        ),
        (
            "batch".to_owned(),
            format!(
                "{} samples = {} replicas x {} micro-batches x {}",
                plan.global_batch(),
                mesh.data,
                plan.micro_batches,
                plan.micro_batch
            ),
        ),
        ("schedule".to_owned(), plan.schedule.name().to_owned()),
        ("sync".to_owned(), plan.sync.name().to_owned()),
        ("compression".to_owned(), plan.compression.name().to_owned()),
        ("topology".to_owned(), plan.topology.name().to_owned()),
    ];
    if let Some(experts) = plan.model.experts() {
        let each = experts.count / u64::from(plan.expert);
        let held =
            format!("{} a layer, {each} on each of {} neighbours along data", experts.count, plan.expert);
        rows.insert(2, ("experts".to_owned(), held));
    }
    for (stage, pieces) in plan.stages.enumerate() {
        let held = &plan.model.pieces()[pieces.clone()];
        let (first, last) = (held.first().expect("a piece"), held.last().expect("a piece"));
        rows.push((format!("stage {}", stage.index()), format!("{first} to {last}")));
    }
    facts("the workload is right", &rows, notes)
}

fn seconds(seconds: f64) -> String {
    SimDuration::from_seconds(seconds).to_string()
}
