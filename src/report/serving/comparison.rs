//! Serving runs side by side: what is compared, and its pictures.

use crate::report::comparison::over_seeds::Measure;
use crate::report::figure::{Axis, Cdf, Quantity, Sample};
use crate::report::serving::ServingSummary;
use crate::serving::{ServingOutcome, ServingPlan};
use crate::units::SimDuration;

/// What is compared of serving runs.
pub const MEASURES: [Measure; 9] = [
    Measure { key: "ttft_mean_s", name: "mean TTFT", write: time, less_is_better: true },
    Measure { key: "ttft_p99_s", name: "p99 TTFT", write: time, less_is_better: true },
    Measure { key: "tpot_mean_s", name: "mean TPOT", write: time, less_is_better: true },
    Measure { key: "itl_p99_s", name: "p99 ITL", write: time, less_is_better: true },
    Measure { key: "e2e_mean_s", name: "mean E2E", write: time, less_is_better: true },
    Measure { key: "output_tokens_per_second", name: "tokens/s", write: rate, less_is_better: false },
    Measure { key: "goodput_requests_per_second", name: "goodput", write: slow_rate, less_is_better: false },
    Measure { key: "kv_mean", name: "KV in use", write: percent, less_is_better: true },
    Measure { key: "preemptions", name: "preemptions", write: rate, less_is_better: true },
];

fn time(seconds: f64) -> String {
    SimDuration::from_seconds(seconds).to_string()
}

fn rate(value: f64) -> String {
    format!("{value:.0}")
}

fn slow_rate(value: f64) -> String {
    format!("{value:.3}/s")
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// The numbers of a run, in the order of [`MEASURES`].
pub fn measured(summary: &ServingSummary) -> [f64; MEASURES.len()] {
    [
        summary.ttft_s.mean,
        summary.ttft_s.p99,
        summary.tpot_s.mean,
        summary.itl_s.p99,
        summary.e2e_s.mean,
        summary.throughput.output_tokens_per_second,
        summary.goodput.requests_per_second,
        summary.kv.mean,
        summary.preemptions as f64,
    ]
}

/// What is drawn of a variant: the requests of all its seeds together.
#[derive(Debug, Clone, Default)]
pub struct Drawn {
    /// Times to first token, in seconds.
    pub ttft: Vec<f64>,
    /// From arrival to the last token, in seconds.
    pub e2e: Vec<f64>,
}

impl Drawn {
    /// Adds a run.
    pub fn add(&mut self, plan: &ServingPlan, outcome: &ServingOutcome) {
        for (request, record) in plan.requests.iter().zip(outcome.requests.iter()) {
            self.ttft.push(record.first_token.since(request.arrival).seconds());
            self.e2e.push(record.finish.since(request.arrival).seconds());
        }
    }
}

/// The pictures: (file name, title, caption, SVG).
pub fn figures(variants: &[(String, Drawn)]) -> Vec<(&'static str, &'static str, String, String)> {
    let cdf = |title: &str, axis: &str, of: fn(&Drawn) -> &Vec<f64>| {
        let samples = variants.iter().map(|(name, drawn)| Sample::new(name.clone(), of(drawn).clone()));
        let x = Axis::new(axis, Quantity::Time).logarithmic();
        Cdf { title: title.into(), x, samples: samples.collect(), references: Vec::new() }.draw().to_string()
    };
    let caption = "Share of the requests of all seeds, by time from their arrival.";
    vec![
        (
            "ttft",
            "Time to first token",
            caption.into(),
            cdf("Time to first token", "TTFT", |drawn| &drawn.ttft),
        ),
        (
            "e2e",
            "End to end",
            caption.into(),
            cdf("End to end", "from arrival to the last token", |drawn| &drawn.e2e),
        ),
    ]
}
