//! Cluster runs side by side: what is compared, and its pictures.

use crate::cluster::{ClusterOutcome, ClusterPlan, Reason};
use crate::report::cluster::ClusterSummary;
use crate::report::cluster::table::{percent, time};
use crate::report::comparison::over_seeds::Measure;
use crate::report::figure::{Axis, Bar, Cdf, Quantity, Sample, StackedBars};

/// What is compared of cluster runs.
pub const MEASURES: [Measure; 7] = [
    Measure { key: "jct_mean_s", name: "mean JCT", write: time, less_is_better: true },
    Measure { key: "jct_p99_s", name: "p99 JCT", write: time, less_is_better: true },
    Measure { key: "waiting_mean_s", name: "mean waiting", write: time, less_is_better: true },
    Measure { key: "slowdown_mean", name: "slowdown", write: number, less_is_better: true },
    Measure { key: "makespan_s", name: "makespan", write: time, less_is_better: true },
    Measure { key: "utilization", name: "utilisation", write: percent, less_is_better: false },
    Measure { key: "unfair", name: "worse off than on a share", write: percent, less_is_better: true },
];

fn number(value: f64) -> String {
    format!("{value:.2}")
}

/// The numbers of a run, in the order of [`MEASURES`].
pub fn measured(summary: &ClusterSummary) -> [f64; MEASURES.len()] {
    [
        summary.jct_s.mean,
        summary.jct_s.p99,
        summary.waiting_s.mean,
        summary.bounded_slowdown.mean,
        summary.makespan_s,
        summary.utilization,
        summary.fairness.unfair,
    ]
}

/// What is drawn of a variant: the jobs of all its seeds together.
#[derive(Debug, Clone, Default)]
pub struct Drawn {
    /// Completion times in seconds.
    pub jct: Vec<f64>,
    /// Waiting time of all jobs by reason, in seconds, in the order of [`Reason::ALL`].
    pub waited: [f64; Reason::ALL.len()],
}

impl Drawn {
    /// Adds a run.
    pub fn add(&mut self, plan: &ClusterPlan, outcome: &ClusterOutcome, summary: &ClusterSummary) {
        let jobs = plan.jobs.iter().zip(outcome.jobs.iter());
        self.jct.extend(jobs.map(|(job, record)| record.finish.since(job.arrival).seconds()));
        for (waited, reason) in self.waited.iter_mut().zip(Reason::ALL) {
            *waited += summary.pending_s[reason.name()];
        }
    }
}

/// The pictures: (file name, title, caption, SVG).
pub fn figures(variants: &[(String, Drawn)]) -> Vec<(&'static str, &'static str, String, String)> {
    let completion = Cdf {
        title: "Completion times".into(),
        x: Axis::new("JCT", Quantity::Time).logarithmic(),
        samples: variants.iter().map(|(name, drawn)| Sample::new(name.clone(), drawn.jct.clone())).collect(),
        references: Vec::new(),
    };
    let bar = |(name, drawn): &(String, Drawn)| Bar {
        name: name.clone(),
        values: drawn.waited.iter().map(|waited| waited / drawn.jct.len().max(1) as f64).collect(),
    };
    let waiting = StackedBars {
        title: "Waiting time of a job".into(),
        value: Axis::new("mean waiting time", Quantity::Time),
        parts: super::figures::reason_hues().collect(),
        bars: variants.iter().map(bar).collect(),
        best: None,
    };
    vec![
        (
            "jct",
            "Completion times",
            "Share of the jobs of all seeds that were done within a time of their arrival.".into(),
            completion.draw().to_string(),
        ),
        ("pending", "Why jobs waited", "Mean over the jobs of all seeds.".into(), waiting.draw().to_string()),
    ]
}
