//! What a serving run comes to, in numbers. Definitions are those of vLLM's `benchmark_serving.py`.

use serde::Serialize;

use crate::serving::slo::Slo;
use crate::serving::{Request, RequestRecord, ServingOutcome, ServingPlan};
use crate::units::{PICOS_PER_SECOND, SimDuration};

/// The outcome of a serving run, for people and machines.
#[derive(Debug, Clone, Serialize)]
pub struct ServingSummary {
    /// What the workload is called.
    pub name: String,
    /// Who decided what steps compute.
    pub batching: &'static str,
    /// Who decided where requests go.
    pub routing: &'static str,
    /// How many replicas there were.
    pub replicas: usize,
    /// How many requests there were; all are done.
    pub requests: usize,
    /// Until the last was done.
    pub simulated_time_s: f64,
    /// Time to first token: from arrival to the first token of the answer.
    pub ttft_s: Spread,
    /// Time per output token: (E2E − TTFT) / (tokens − 1), of answers of more than one token.
    pub tpot_s: Spread,
    /// Inter-token latency: every time between neighbouring tokens of an answer.
    pub itl_s: Spread,
    /// End to end: from arrival to the last token.
    pub e2e_s: Spread,
    /// From arrival to the first step.
    pub queueing_s: Spread,
    /// From the first token until keys and values had reached the decoding replica; zero when together.
    pub handover_s: Spread,
    /// What was done in a second, from the first arrival until the last request was done.
    pub throughput: Throughput,
    /// Of requests that kept to every limit; all of them when there is none.
    pub goodput: Goodput,
    /// Use of the KV cache.
    pub kv: KvUse,
    /// Times that a request was preempted.
    pub preemptions: u64,
    /// Tokens computed anew after a preemption.
    pub recomputed_tokens: u64,
    /// Steps of all replicas.
    pub steps: u64,
    /// Share of the time that first stages were busy, mean over replicas.
    pub utilization: f64,
    /// What prompts were answered with, where answers are computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<Vec<Answered>>,
    /// Rows of the trace that were left out.
    pub skipped_rows: usize,
    /// Events processed.
    pub events: u64,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// A prompt and its answer. Every answer is the one that the prompt gets when nothing else is computed: where one is
/// not, the run has failed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answered {
    /// What was asked.
    pub prompt: String,
    /// What was answered; bytes that are no UTF-8 are replaced.
    pub answer: String,
    /// The answer's tokens.
    pub tokens: Vec<u32>,
    /// Time to its first token.
    pub ttft_s: f64,
    /// Until its last.
    pub e2e_s: f64,
    /// Times that it was preempted.
    pub preemptions: u32,
}

/// How a time is spread. Percentiles are numpy's: between two ranks, a line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Its mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// Nine in ten have at most so much.
    pub p90: f64,
    /// Ninety-nine in a hundred.
    pub p99: f64,
    /// The most.
    pub max: f64,
}

/// What was done in a second.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Throughput {
    /// Requests.
    pub requests_per_second: f64,
    /// Tokens of answers.
    pub output_tokens_per_second: f64,
    /// Tokens of prompts and answers.
    pub total_tokens_per_second: f64,
}

/// Good service.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Goodput {
    /// Requests served well in a second.
    pub requests_per_second: f64,
    /// Their share.
    pub slo_attainment: f64,
}

/// Use of the KV cache.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct KvUse {
    /// Blocks of each replica.
    pub blocks: u64,
    /// Tokens of each block.
    pub block_tokens: u32,
    /// Share in use, mean over time and replicas.
    pub mean: f64,
    /// The most of a replica.
    pub peak: f64,
    /// Keys and values sent from replica to replica.
    pub sent_bytes: u64,
}

impl ServingSummary {
    /// The numbers of a run.
    pub fn new(
        name: &str,
        plan: &ServingPlan,
        outcome: &ServingOutcome,
        slo: &Slo,
        skipped_rows: usize,
        notes: &[String],
    ) -> Self {
        let served = || plan.requests.iter().zip(outcome.requests.iter());
        let times = |of: &dyn Fn(&Request, &RequestRecord) -> SimDuration| {
            Spread::of(served().map(|(request, record)| (of(request, record).picos(), 1)).collect())
        };
        let first = plan.requests.iter().next().map(|request| request.arrival).unwrap_or_default();
        let last = outcome.requests.iter().map(|record| record.finish).max().unwrap_or_default();
        let length = last.since(first).seconds();
        let good = served().filter(|(request, record)| slo.is_met(request, record)).count();
        let tokens = |of: fn(&Request) -> u64| plan.requests.iter().map(of).sum::<u64>() as f64 / length;
        let replicas = || outcome.replicas.iter();
        let span = outcome.end.seconds() * outcome.replicas.len() as f64;
        let block_time: u128 = replicas().map(|replica| replica.blocks_time).sum();
        let blocks = plan.pool.total();
        let peak = replicas().map(|replica| replica.blocks_peak).max().unwrap_or(0);
        ServingSummary {
            name: name.to_owned(),
            batching: plan.batching.name(),
            routing: plan.routing.name(),
            replicas: plan.replicas.len(),
            requests: plan.requests.len(),
            simulated_time_s: last.seconds(),
            ttft_s: times(&|request, record| record.first_token.since(request.arrival)),
            tpot_s: Spread::of(served().filter_map(|(request, record)| tpot(request, record)).collect()),
            itl_s: Spread::of(outcome.gaps.iter().map(|&(gap, count)| (gap, u64::from(count))).collect()),
            e2e_s: times(&|request, record| record.finish.since(request.arrival)),
            queueing_s: times(&|request, record| record.start.since(request.arrival)),
            handover_s: times(&|_, record| record.handed_over),
            throughput: Throughput {
                requests_per_second: plan.requests.len() as f64 / length,
                output_tokens_per_second: tokens(|request| u64::from(request.output)),
                total_tokens_per_second: tokens(Request::tokens),
            },
            goodput: Goodput {
                requests_per_second: good as f64 / length,
                slo_attainment: good as f64 / plan.requests.len() as f64,
            },
            kv: KvUse {
                blocks,
                block_tokens: plan.pool.block(),
                mean: block_time as f64 / PICOS_PER_SECOND as f64 / (span * blocks as f64),
                peak: peak as f64 / blocks as f64,
                sent_bytes: outcome.kv_sent,
            },
            preemptions: outcome.requests.iter().map(|record| u64::from(record.preemptions)).sum(),
            recomputed_tokens: outcome.recomputed,
            steps: replicas().map(|replica| replica.steps).sum(),
            answers: None,
            utilization: replicas().map(|replica| replica.busy.seconds()).sum::<f64>() / span,
            skipped_rows,
            events: outcome.events,
            notes: notes.to_vec(),
        }
    }
}

impl ServingSummary {
    /// With what prompts were answered, in order of their requests: texts and tokens.
    pub fn answered(
        mut self,
        plan: &ServingPlan,
        outcome: &ServingOutcome,
        answers: Vec<(String, String, Vec<u32>)>,
    ) -> Self {
        let served = plan.requests.iter().zip(outcome.requests.iter());
        let answer =
            |((request, record), (prompt, answer, tokens)): ((&Request, &RequestRecord), _)| Answered {
                prompt,
                answer,
                tokens,
                ttft_s: record.first_token.since(request.arrival).seconds(),
                e2e_s: record.finish.since(request.arrival).seconds(),
                preemptions: record.preemptions,
            };
        self.answers = Some(served.zip(answers).map(answer).collect());
        self
    }
}

/// (E2E − TTFT) / (tokens − 1) in picoseconds, rounded down; nothing for a single token.
pub(super) fn tpot(request: &Request, record: &RequestRecord) -> Option<(u64, u64)> {
    let decoding = record.finish.since(record.first_token).picos();
    Some((decoding.checked_div(u64::from(request.output) - 1)?, 1))
}

impl Spread {
    /// How picoseconds are spread, each with how often it came; all zero when there are none.
    pub fn of(mut values: Vec<(u64, u64)>) -> Self {
        let count: u64 = values.iter().map(|(_, count)| count).sum();
        if count == 0 {
            return Spread { mean: 0.0, p50: 0.0, p90: 0.0, p99: 0.0, max: 0.0 };
        }
        values.sort_unstable();
        let sum: u128 = values.iter().map(|&(value, count)| u128::from(value) * u128::from(count)).sum();
        // How many there are up to each.
        let mut below = 0;
        for (_, count) in &mut values {
            below += *count;
            *count = below;
        }
        let nth = |rank: u64| values[values.partition_point(|&(_, upto)| upto <= rank)].0 as f64;
        let second = PICOS_PER_SECOND as f64;
        let at = |share: f64| {
            let place = share * (count - 1) as f64;
            let low = nth(place as u64);
            let high = nth((place as u64 + 1).min(count - 1));
            (low + (high - low) * place.fract()) / second
        };
        let mean = sum as f64 / count as f64 / second;
        Spread { mean, p50: at(0.5), p90: at(0.9), p99: at(0.99), max: nth(count - 1) / second }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// numpy.percentile([1, 2, 2, 5], [50, 90, 99]) is 2, 4.1 and 4.91.
    #[test]
    fn percentiles_are_those_of_numpy() {
        let second = PICOS_PER_SECOND;
        let spread = Spread::of(vec![(5 * second, 1), (second, 1), (2 * second, 2)]);
        let expected = [(spread.mean, 2.5), (spread.p50, 2.0), (spread.p90, 4.1), (spread.p99, 4.91)];
        assert!(expected.iter().all(|(found, expected)| (found - expected).abs() < 1e-9), "{spread:?}");
    }
}
