//! A plan as aligned text, for a terminal.

use std::fmt::Write as _;

use crate::planning::Candidate;
use crate::planning::goal::LONGEST_DAYS;
use crate::planning::report::PlanSummary;
use crate::planning::report::summary::PlanRow;
use crate::report::figure::Quantity;
use crate::report::table::{facts, grid, grouped};
use crate::units::{Bytes, SimDuration};

/// The summary as aligned rows.
pub fn table(summary: &PlanSummary) -> String {
    let counts = summary.combinations;
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row(
        "combinations",
        format!(
            "{}: {} no plans, {} too large, {} bounded, {} simulated",
            grouped(counts.all as u64),
            grouped(counts.refused as u64),
            grouped(counts.too_large as u64),
            grouped(counts.bounded as u64),
            grouped(counts.simulated as u64)
        ),
    );
    match &summary.best {
        Some(best) => {
            row("best plan", best.plan.clone());
            row("  on", best.hardware.clone());
            row("  step time", SimDuration::from_seconds(best.step_time_s).to_string());
            if let Some(mfu) = best.mfu {
                row("  MFU", format!("{:.2} %", mfu * 100.0));
            }
            row("  memory of the fullest rank", Bytes(best.memory_peak_bytes).to_string());
            row("  steps", grouped(best.steps as u64));
            row("  days to train", days(best.days));
            if let Some(dollars) = best.dollars {
                row("  dollars", money(dollars));
            }
            if let (Some(stretch), Some(interval)) = (best.failure_stretch, best.checkpoint_interval_s) {
                let interval = Quantity::Time.write(interval);
                let more = (stretch - 1.0) * 100.0;
                row("  failures", format!("{more:.2} % more time, with a checkpoint every {interval}"));
            }
        }
        None => row("best plan", "none is within the limits".to_owned()),
    }
    let mut text = facts(&summary.name, &rows, &summary.notes);
    if summary.by_devices.len() > 1 {
        write!(text, "\nthe quickest on each choice of devices (* on the front)\n").expect("a string");
        text.push_str(&plans(&summary.by_devices, "hardware", |plan| {
            let mark = if plan.on_front { " *" } else { "" };
            format!("{}{mark}", plan.hardware)
        }));
    }
    if !summary.runners_up.is_empty() {
        write!(text, "\nthe best plan and its runners-up\n").expect("a string");
        let best = summary.by_devices.first().cloned();
        let all: Vec<PlanRow> = best.into_iter().chain(summary.runners_up.iter().cloned()).collect();
        text.push_str(&plans(&all, "plan", |plan| plan.plan.clone()));
    }
    if !summary.do_not_fit.is_empty() {
        write!(text, "\nwhat does not fit, those that lack least first\n").expect("a string");
        text.push_str(&too_large(summary));
    }
    text
}

/// Days, where the run ends.
fn days(days: f64) -> String {
    if days > LONGEST_DAYS { "never".into() } else { format!("{days:.2}") }
}

/// Whole dollars, as many as can be said so.
fn money(dollars: f64) -> String {
    if dollars < 1e15 { grouped(dollars.round() as u64) } else { "-".into() }
}

fn plans(rows: &[PlanRow], name: &str, first: impl Fn(&PlanRow) -> String) -> String {
    let heading = [name, "step time", "MFU", "memory", "days", "dollars", "remark"];
    let cells = |plan: &PlanRow| {
        vec![
            first(plan),
            SimDuration::from_seconds(plan.step_time_s).to_string(),
            plan.mfu.map_or("-".into(), |mfu| format!("{:.2} %", mfu * 100.0)),
            Bytes(plan.memory_peak_bytes).to_string(),
            days(plan.days),
            plan.dollars.map_or("-".into(), money),
            plan.remark.clone(),
        ]
    };
    grid(&heading, &rows.iter().map(cells).collect::<Vec<_>>())
}

fn too_large(summary: &PlanSummary) -> String {
    let heading = [
        "plan",
        "on",
        "lacks",
        "needs",
        "has",
        "weights",
        "gradients",
        "optimizer",
        "activations",
        "fits with",
    ];
    let cells = |plan: &crate::planning::report::summary::TooLarge| {
        let of = |at: usize| plan.of_bytes.map_or("-".into(), |of| Bytes(of[at]).to_string());
        let at_least = if plan.of_bytes.is_some() { ">= " } else { "" };
        vec![
            plan.plan.clone(),
            plan.hardware.clone(),
            format!("{at_least}{}", Bytes(plan.lacks_bytes)),
            format!("{at_least}{}", Bytes(plan.needs_bytes)),
            Bytes(plan.has_bytes).to_string(),
            of(0),
            of(1),
            of(2),
            of(3),
            plan.fits_with.clone().unwrap_or_else(|| "-".into()),
        ]
    };
    grid(&heading, &summary.do_not_fit.iter().map(cells).collect::<Vec<_>>())
}

/// What a plan's file asks for, before it is searched.
pub fn describe(candidates: &[Candidate], groups: &[String], refused: usize, notes: &[String]) -> String {
    let mut rows = vec![
        ("plans to choose from".to_owned(), grouped(candidates.len() as u64)),
        ("combinations that are none".to_owned(), grouped(refused as u64)),
    ];
    for (at, group) in groups.iter().enumerate() {
        let count = candidates.iter().filter(|candidate| candidate.group == at).count();
        rows.push((format!("on {group}"), grouped(count as u64)));
    }
    facts("the plan's file is right", &rows, notes)
}
