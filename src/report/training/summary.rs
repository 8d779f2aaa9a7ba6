//! The machine interface of a training run: one JSON object, keys stable, SI units in the keys.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::Serialize;

use crate::ids::Rank;
use crate::metrics::{ExpertUse, Part, TrainingRecord};
use crate::report::training::recovered::FailureRow;
use crate::report::training::{ExpertRows, Recovered, Why};
use crate::trace::MemoryUse;
use crate::training::TrainingPlan;
use crate::training::why::Explanation;
use crate::units::{FlopRate, SimDuration, SimTime};

/// What a training run came to.
#[derive(Debug, Clone, Serialize)]
pub struct TrainingSummary {
    /// The workload's name.
    pub name: String,
    /// Always `training`.
    pub kind: &'static str,
    /// Parameters of the model.
    pub parameters: u64,
    /// Ranks that took part.
    pub ranks: u32,
    /// Optimiser steps.
    pub steps: u32,
    /// The whole run.
    pub simulated_time_s: f64,
    /// The median step; the mean where replicas meet only now and then.
    pub step_time_s: f64,
    /// Which of the two: `median` or `mean`.
    pub step_time_is: &'static str,
    /// The same step in cycles of device 0.
    pub step_cycles: u64,
    /// Tokens (or samples) of a step over its time.
    pub tokens_per_second: f64,
    /// The same for one device.
    pub tokens_per_second_per_device: f64,
    /// Model flops of a step, over its time and devices, in 10¹² a second.
    pub tflops_per_device: f64,
    /// Model flops over the devices' peak in the run's precision; absent where a device has none.
    pub mfu: Option<f64>,
    /// Hardware flops (with recomputation) over peak.
    pub hfu: Option<f64>,
    /// Per-rank mean of where the step's time went; the parts sum to the step.
    pub breakdown_s: IndexMap<&'static str, f64>,
    /// Idle share of the step: bubble over step time.
    pub bubble_fraction: f64,
    /// The fullest rank's fullest moment.
    pub memory_peak_bytes: IndexMap<&'static str, u64>,
    /// Which rank that was.
    pub memory_peak_rank: u32,
    /// Training loss of every step, or null when nothing is computed.
    pub losses: Option<Vec<f64>>,
    /// Loss on held-out data: step and loss.
    pub held_out_losses: Option<Vec<(u32, f64)>>,
    /// When each step ended.
    pub step_ends_s: Vec<f64>,
    /// How many gradients were how stale when parameter servers applied them: entry n counts those that n
    /// others had come before since their weights were pulled. Null where replicas step together.
    pub staleness: Option<Vec<u64>>,
    /// How experts were used; absent in a model without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts: Option<ExpertRows>,
    /// Payload bytes of the whole run: `collectives` by kind, `links` by class (each hop counts).
    pub bytes_moved: BytesMoved,
    /// What checkpoints and failures cost; absent in a run without either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovered>,
    /// Why the step of median duration took as long as it did; absent in comparisons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// Events processed.
    pub events: u64,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Payload bytes of the whole run.
#[derive(Debug, Clone, Serialize)]
pub struct BytesMoved {
    /// By collective.
    pub collectives: BTreeMap<&'static str, u64>,
    /// By link class.
    pub links: BTreeMap<String, u64>,
}

impl TrainingSummary {
    /// Sums a run up.
    pub fn new(name: &str, plan: &TrainingPlan, record: &TrainingRecord, notes: &[String]) -> Self {
        let breakdown = record.typical_step(plan.steps_differ());
        let step = breakdown.step();
        let ranks = plan.mesh.ranks();
        let per_step = plan.tokens_per_step() as f64;
        let rate = |amount: f64| amount / step.seconds();
        let flops = plan.model.step_flops(plan.global_batch());
        let peak = plan.peak().map(FlopRate::get);
        let mfu = peak.map(|peak| rate(flops) / peak);
        let (fullest, memory) = record.memory.as_ref().expect("a finished record").fullest();
        let mut memory_peak_bytes: IndexMap<&'static str, u64> =
            MemoryUse::ALL.iter().map(|&usage| (usage.name(), memory.of(usage).get())).collect();
        memory_peak_bytes.insert("total", memory.total.get());
        let end = record.steps.last().map_or(SimTime::ZERO, |step| step.end);
        TrainingSummary {
            name: name.to_owned(),
            kind: "training",
            parameters: plan.model.parameter_count(),
            ranks,
            steps: plan.steps,
            simulated_time_s: end.seconds(),
            step_time_s: step.seconds(),
            step_time_is: if plan.steps_differ() { "mean" } else { "median" },
            step_cycles: cycles_of_device_zero(plan, step),
            tokens_per_second: rate(per_step),
            tokens_per_second_per_device: rate(per_step) / f64::from(ranks),
            tflops_per_device: rate(flops) / f64::from(ranks) / 1e12,
            mfu,
            hfu: peak.map(|peak| rate(plan.hardware_flops()) / peak),
            breakdown_s: Part::ALL.iter().map(|&part| (part.key(), breakdown.mean_seconds(part))).collect(),
            bubble_fraction: breakdown.mean_seconds(Part::Bubble) / step.seconds(),
            memory_peak_bytes,
            memory_peak_rank: fullest.0,
            losses: record.steps.iter().map(|step| step.loss).collect(),
            held_out_losses: held_out(record),
            step_ends_s: record.steps.iter().map(|step| step.end.seconds()).collect(),
            staleness: record.applied.as_ref().map(|applied| histogram(&applied.staleness)),
            experts: ExpertUse::of(record, plan).as_ref().map(ExpertRows::of),
            bytes_moved: bytes_moved(plan, record),
            recovery: None,
            why: None,
            events: record.steps.iter().map(|step| step.events).sum(),
            notes: notes.to_vec(),
        }
    }

    /// The same, with what checkpoints and failures cost.
    pub fn recovered(mut self, recovery: Option<Recovered>, plan: &TrainingPlan) -> Self {
        let shrank = |failure: &FailureRow| failure.replicas < plan.mesh.data;
        if recovery.iter().flat_map(|recovery| &recovery.failures).any(shrank) {
            let note =
                "rates of a device and MFU count the devices of the first plan, though fewer took part later";
            self.notes.push(note.to_owned());
        }
        TrainingSummary { recovery, ..self }
    }

    /// The same, with the reasons for a step's length.
    pub fn explained(self, explanation: Option<&Explanation>) -> Self {
        TrainingSummary { why: explanation.map(Why::of), ..self }
    }
}

fn held_out(record: &TrainingRecord) -> Option<Vec<(u32, f64)>> {
    let measured: Vec<(u32, f64)> =
        record.steps.iter().filter_map(|step| step.held_out.map(|loss| (step.step.0, loss))).collect();
    (!measured.is_empty()).then_some(measured)
}

fn histogram(staleness: &[u32]) -> Vec<u64> {
    let mut counts = vec![0; staleness.iter().max().map_or(0, |&most| most as usize + 1)];
    staleness.iter().for_each(|&stale| counts[stale as usize] += 1);
    counts
}

fn cycles_of_device_zero(plan: &TrainingPlan, step: SimDuration) -> u64 {
    plan.topology.devices()[plan.placement[Rank(0)]].spec.clock.cycles_in(step).0
}

fn bytes_moved(plan: &TrainingPlan, record: &TrainingRecord) -> BytesMoved {
    let collectives =
        record.traffic.by_collective().iter().map(|(&kind, bytes)| (kind, bytes.get())).collect();
    let mut links: BTreeMap<String, u64> = BTreeMap::new();
    for (&link, bytes) in record.traffic.by_link() {
        let class = plan.topology.links()[link].class;
        *links.entry(class.to_string()).or_default() += bytes.get();
    }
    BytesMoved { collectives, links }
}
