//! A cluster run as aligned text, for a terminal.

use crate::cluster::ClusterPlan;
use crate::report::cluster::summary::UserSummary;
use crate::report::cluster::{ClusterSummary, Spread};
use crate::report::table::{facts, grid};

/// The summary as aligned rows.
pub fn table(summary: &ClusterSummary) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row("machine", summary.machine.clone());
    row("scheduler, placement", format!("{}, {}", summary.scheduler, summary.placement));
    row("jobs", format!("{} done, {} waited at once at most", summary.jobs, summary.pending_peak));
    row("makespan", time(summary.makespan_s));
    row("utilisation", percent(summary.utilization));
    for (part, share) in summary.device_time.iter().filter(|(_, share)| **share > 0.0) {
        row(&format!("  {part}"), percent(*share));
    }
    row("", format!("{:>12}{:>12}{:>12}{:>12}{:>12}", "mean", "p50", "p90", "p99", "max"));
    row("completion time (JCT)", times(&summary.jct_s));
    row("until first start", times(&summary.queueing_s));
    row("waiting in all", times(&summary.waiting_s));
    row("bounded slowdown", numbers(&summary.bounded_slowdown));
    row("finish-time fairness", numbers(&summary.fairness.finish_time_fairness));
    row("worse off than on a share", percent(summary.fairness.unfair));
    row(
        "Jain's index",
        format!(
            "{:.3} over jobs, {:.3} over users",
            summary.fairness.jain_slowdown, summary.fairness.jain_users
        ),
    );
    let waited: f64 = summary.pending_s.values().sum();
    row("why jobs waited", format!("{} of jobs' time in all", time(waited)));
    for (reason, seconds) in summary.pending_s.iter().filter(|(_, seconds)| **seconds > 0.0) {
        row(&format!("  {}", reason.replace('_', " ")), percent(seconds / waited));
    }
    row("idle devices scattered", percent(summary.fragmentation.scattered_idle));
    row("gangs spread needlessly", percent(summary.fragmentation.spread_gangs));
    if summary.preemptions + summary.failures > 0 {
        row("interrupted", format!("{} preemptions, {} failures", summary.preemptions, summary.failures));
    }
    if summary.trained_shapes > 0 {
        row("gangs timed by training", format!("{} shapes", summary.trained_shapes));
    }
    if summary.skipped_rows > 0 {
        row("rows left out", summary.skipped_rows.to_string());
    }
    row("decisions, events", format!("{}, {}", summary.decisions, summary.events));
    let mut text = facts(&summary.name, &rows, &summary.notes);
    if summary.users.len() > 1 {
        let row = |user: &UserSummary| {
            let jct = time(user.mean_jct_s);
            let [hours, slowdown] =
                [format!("{:.1}", user.device_hours), format!("{:.2}", user.mean_slowdown)];
            vec![user.user.clone(), user.jobs.to_string(), hours, jct, slowdown]
        };
        let rows: Vec<Vec<String>> = summary.users.iter().map(row).collect();
        text += "\n";
        text += &grid(&["user", "jobs", "device-hours", "mean JCT", "slowdown"], &rows);
    }
    text
}

/// What a plan means, before it is run.
pub fn describe(plan: &ClusterPlan, notes: &[String]) -> String {
    let last = plan.jobs.iter().map(|job| job.arrival).max().unwrap_or_default();
    let device_seconds: f64 =
        plan.jobs.iter().map(|job| job.work.seconds() * job.demand.milli() as f64 / 1000.0).sum();
    let capacity = plan.machine.devices() as f64;
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row("machine", plan.machine.to_string());
    row("scheduler", plan.scheduler.name().to_owned());
    row("placement", plan.placement.name().to_owned());
    row("jobs", format!("{} over {}", plan.jobs.len(), time(last.seconds())));
    row("work", format!("{:.1} device-hours at speed 1", device_seconds / 3600.0));
    if last.seconds() > 0.0 && capacity > 0.0 {
        row("load", percent(device_seconds / (last.seconds() * capacity)));
    }
    facts("the workload is right", &rows, notes)
}

fn times(spread: &Spread) -> String {
    let Spread { mean, p50, p90, p99, max } = *spread;
    [mean, p50, p90, p99, max].map(|seconds| format!("{:>12}", time(seconds))).concat()
}

fn numbers(spread: &Spread) -> String {
    let Spread { mean, p50, p90, p99, max } = *spread;
    [mean, p50, p90, p99, max].map(|number| format!("{number:>12.2}")).concat()
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Seconds as people say them.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        seconds if seconds >= 4.0 * 86_400.0 => format!("{:.2} days", seconds / 86_400.0),
        seconds if seconds >= 3.0 * 3_600.0 => format!("{:.2} h", seconds / 3_600.0),
        seconds if seconds >= 300.0 => format!("{:.2} min", seconds / 60.0),
        seconds if seconds >= 1.0 || seconds == 0.0 => format!("{seconds:.2} s"),
        seconds => format!("{:.3} ms", seconds * 1e3),
    }
}
