//! A task run as aligned text, for a terminal.

use crate::report::table::{facts, grid};
use crate::report::tasks::TasksSummary;
use crate::tasks::TaskPlan;
use crate::units::{Bytes, SimDuration};

/// The summary as aligned rows.
pub fn table(summary: &TasksSummary) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row("machine", format!("{}, {} devices", summary.machine, summary.devices.len()));
    row("scheduler", summary.scheduler.to_owned());
    row("graph", format!("{} tasks, {} edges", summary.tasks, summary.edges));
    row("makespan", time(summary.makespan_s));
    if let Some(planned) = summary.planned_makespan_s {
        row("  as planned", time(planned));
    }
    let bounds = &summary.lower_bounds_s;
    row("lower bound", format!("{}, {} above it", time(bounds.best), percent(summary.gap_to_lower_bound)));
    row("  critical path", time(bounds.critical_path));
    row("  with communication", time(bounds.path));
    row("  area", time(bounds.area));
    if let Some(proven) = bounds.proven {
        row("  proved by search", time(proven));
    }
    if let Some(ratio) = summary.schedule_length_ratio {
        row("schedule length ratio", format!("{ratio:.3}"));
    }
    if let (Some(speedup), Some(efficiency)) = (summary.speedup, summary.efficiency) {
        row("speedup", format!("{speedup:.2} (efficiency {})", percent(efficiency)));
    }
    row("utilisation", percent(summary.utilization));
    row("transfers", format!("{}, {}", summary.transfers, Bytes(summary.bytes_moved)));
    if summary.plans > 1 || summary.thinking_s > 0.0 {
        let thinking = time(summary.thinking_s);
        row("plans made", format!("{}, nothing started for {thinking} meanwhile", summary.plans));
    }
    if summary.failures > 0 {
        row("devices that failed", format!("{}, {} runs lost", summary.failures, summary.lost_runs));
    }
    if let Some(numeric) = summary.numeric {
        row("matrix factored", format!("{0} × {0}, residual {1:.1e}", numeric.size, numeric.residual));
    }
    row("decisions, events", format!("{}, {}", summary.decisions, summary.events));
    let text = facts(&summary.name, &rows, &summary.notes);
    text + "\n" + &devices(summary)
}

/// More devices are not listed.
const MOST_DEVICES: usize = 64;

fn devices(summary: &TasksSummary) -> String {
    let row = |device: &crate::report::tasks::summary::DeviceSummary| {
        let failed = device.failed_at_s.map_or(String::new(), |at| format!("failed at {}", time(at)));
        let (tasks, busy) = (device.tasks.to_string(), time(device.busy_s));
        vec![device.device.clone(), device.kind.clone(), tasks, busy, percent(device.utilization), failed]
    };
    let rows: Vec<Vec<String>> = summary.devices.iter().take(MOST_DEVICES).map(row).collect();
    grid(&["device", "kind", "tasks", "busy", "utilisation", ""], &rows)
}

/// What a plan means, before it is run.
pub fn describe(plan: &TaskPlan, notes: &[String]) -> String {
    let bounds = crate::tasks::Bounds::of(&plan.graph, &plan.truth, &plan.machine.communication);
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row("machine", format!("{}, {} devices", plan.machine.name, plan.machine.devices.len()));
    row("scheduler", plan.scheduler.name().to_owned());
    row("graph", format!("{} tasks, {} edges", plan.graph.len(), plan.graph.data_len()));
    row("lower bound", time(bounds.best().seconds()));
    if let Some(alone) = bounds.sequential {
        row("one device alone", time(alone.seconds()));
    }
    facts("the workload is right", &rows, notes)
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

pub(super) fn time(seconds: f64) -> String {
    SimDuration::from_seconds(seconds).to_string()
}
