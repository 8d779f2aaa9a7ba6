//! A serving run as aligned text, for a terminal.

use crate::report::serving::{Answered, ServingSummary, Spread};
use crate::report::table::{facts, grouped};
use crate::serving::{Request, ServingPlan};
use crate::units::{Bytes, SimDuration};

/// The summary as aligned rows.
pub fn table(summary: &ServingSummary) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row("batching, routing", format!("{}, {}", summary.batching, summary.routing));
    row(
        "requests",
        format!("{} done in {}", grouped(summary.requests as u64), time(summary.simulated_time_s)),
    );
    row("replicas", format!("{}, busy {} of the time", summary.replicas, percent(summary.utilization)));
    row("", format!("{:>12}{:>12}{:>12}{:>12}{:>12}", "mean", "p50", "p90", "p99", "max"));
    row("time to first token (TTFT)", times(&summary.ttft_s));
    row("time per output token (TPOT)", times(&summary.tpot_s));
    row("between tokens (ITL)", times(&summary.itl_s));
    row("end to end", times(&summary.e2e_s));
    row("until first step", times(&summary.queueing_s));
    if summary.kv.sent_bytes > 0 {
        row("handing over", times(&summary.handover_s));
        row("keys and values sent", Bytes(summary.kv.sent_bytes).to_string());
    }
    let through = &summary.throughput;
    row("requests per second", format!("{:.3}", through.requests_per_second));
    row(
        "tokens per second",
        format!(
            "{:.1} of answers, {:.1} in all",
            through.output_tokens_per_second, through.total_tokens_per_second
        ),
    );
    let goodput = &summary.goodput;
    row(
        "goodput",
        format!(
            "{:.3} requests/s, {} served well",
            goodput.requests_per_second,
            percent(goodput.slo_attainment)
        ),
    );
    row(
        "KV cache in use",
        format!(
            "{} on average, {} at most, of {} blocks of {} tokens",
            percent(summary.kv.mean),
            percent(summary.kv.peak),
            grouped(summary.kv.blocks),
            summary.kv.block_tokens
        ),
    );
    row(
        "preemptions",
        format!("{}, {} tokens computed anew", summary.preemptions, grouped(summary.recomputed_tokens)),
    );
    if summary.skipped_rows > 0 {
        row("rows left out", summary.skipped_rows.to_string());
    }
    row("steps, events", format!("{}, {}", grouped(summary.steps), grouped(summary.events)));
    if let Some(answers) = &summary.answers {
        row("answers", format!("{}, each as its prompt alone is answered", answers.len()));
    }
    let text = facts(&summary.name, &rows, &summary.notes);
    match &summary.answers {
        Some(answers) => {
            text + "\n" + &conversation(&answers[..answers.len().min(SHOWN_ANSWERS)], answers.len())
        }
        None => text,
    }
}

/// A terminal shows as many answers; the report and the JSON have all.
pub(super) const SHOWN_ANSWERS: usize = 16;

/// Prompts and their answers, of so many in all.
pub(super) fn conversation(answers: &[Answered], all: usize) -> String {
    let mut text = String::new();
    for answer in answers {
        let again = if answer.preemptions > 0 {
            format!(", preempted {} times", answer.preemptions)
        } else {
            String::new()
        };
        text += &format!("  {} → {}\n", one_line(&answer.prompt), one_line(&answer.answer));
        let (first, last) = (time(answer.ttft_s), time(answer.e2e_s));
        text += &format!(
            "    {} tokens, the first after {first}, the last after {last}{again}\n",
            answer.tokens.len()
        );
    }
    if answers.len() < all {
        text += &format!("  and {} more\n", all - answers.len());
    }
    text
}

/// A text in quotes, ends of lines and the like as Rust writes them.
fn one_line(text: &str) -> String {
    format!("{text:?}")
}

/// What a plan means, before it is run.
pub fn describe(plan: &ServingPlan, notes: &[String]) -> String {
    let last = plan.requests.iter().map(|request| request.arrival).max().unwrap_or_default();
    let mean = |of: fn(&Request) -> u32| {
        plan.requests.iter().map(|request| f64::from(of(request))).sum::<f64>() / plan.requests.len() as f64
    };
    let rows = [
        ("requests", format!("{} over {}", grouped(plan.requests.len() as u64), time(last.seconds()))),
        ("mean prompt, answer", format!("{:.1}, {:.1} tokens", mean(|r| r.prompt), mean(|r| r.output))),
        ("batching, routing", format!("{}, {}", plan.batching.name(), plan.routing.name())),
        ("replicas", plan.replicas.len().to_string()),
        (
            "KV cache of each",
            format!("{} blocks of {} tokens", grouped(plan.pool.total()), plan.pool.block()),
        ),
    ];
    facts("the workload is right", &rows.map(|(name, value)| (name.to_owned(), value)), notes)
}

fn times(spread: &Spread) -> String {
    let Spread { mean, p50, p90, p99, max } = *spread;
    [mean, p50, p90, p99, max].map(|seconds| format!("{:>12}", time(seconds))).concat()
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

pub(super) fn time(seconds: f64) -> String {
    SimDuration::from_seconds(seconds).to_string()
}
