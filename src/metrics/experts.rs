//! How experts were used: who had how much to do, and what was dropped.

use std::collections::BTreeMap;

use crate::ids::LayerId;
use crate::metrics::{StepRouting, TrainingRecord};
use crate::training::TrainingPlan;

/// How the experts of a run were used. A token counts once for each expert that it meets.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpertUse {
    /// Layers that have experts.
    pub layers: Vec<LayerId>,
    /// Tokens that each expert of each of them took in the last step.
    pub last_step: Vec<Vec<u64>>,
    /// Tokens that each expert took in the whole run, over all layers.
    pub taken: Vec<u64>,
    /// Tokens that each had no room for.
    pub dropped: Vec<u64>,
    /// In each step the busiest expert of a layer over the mean of its experts, before any is dropped: the mean
    /// over layers.
    pub busiest: Vec<f64>,
    /// In each step the load-balancing loss before its coefficient, mean over layers, micro-batches and groups;
    /// nothing where it was not computed.
    pub balance: Option<Vec<f64>>,
}

impl ExpertUse {
    /// How the experts of a run were used; nothing where there were none.
    pub fn of(record: &TrainingRecord, plan: &TrainingPlan) -> Option<Self> {
        let experts = record.routed.iter().flat_map(|step| &step.went).next()?.experts();
        // One group stands for all where ranks that do the same are simulated once.
        let each = if plan.folded { u64::from(plan.mesh.data / plan.expert) } else { 1 };
        let (mut taken, mut dropped) = (vec![0; experts], vec![0; experts]);
        let mut busiest = Vec::new();
        for step in &record.routed {
            let layers = Counts::by_layer(step, experts);
            for counts in layers.values() {
                add(&mut taken, counts.taken.iter().map(|count| count * each));
                add(&mut dropped, counts.dropped.iter().map(|count| count * each));
            }
            busiest.push(mean(layers.values().map(Counts::busiest)));
        }
        let last = Counts::by_layer(record.routed.last()?, experts);
        let of_step = |step: &StepRouting| {
            let known = step.went.iter().map(|routed| routed.imbalance).collect::<Option<Vec<f64>>>()?;
            Some(mean(known.into_iter()))
        };
        let scaled = |counts: &Counts| counts.taken.iter().map(|count| count * each).collect();
        Some(ExpertUse {
            layers: last.keys().copied().collect(),
            last_step: last.values().map(scaled).collect(),
            taken,
            dropped,
            busiest,
            balance: record.routed.iter().map(of_step).collect(),
        })
    }

    /// The share of tokens that were dropped.
    pub fn dropped_share(&self) -> f64 {
        let [taken, dropped] = [&self.taken, &self.dropped].map(|counts| counts.iter().sum::<u64>() as f64);
        dropped / (taken + dropped).max(1.0)
    }
}

/// What the experts of a layer had to do in a step.
struct Counts {
    taken: Vec<u64>,
    dropped: Vec<u64>,
}

impl Counts {
    fn by_layer(step: &StepRouting, experts: usize) -> BTreeMap<LayerId, Counts> {
        let mut layers = BTreeMap::new();
        for (layer, routed) in step.layers.iter().zip(&step.went) {
            let nothing = || Counts { taken: vec![0; experts], dropped: vec![0; experts] };
            let counts = layers.entry(layer.unwrap_or_default()).or_insert_with(nothing);
            add(&mut counts.taken, routed.by_expert());
            add(&mut counts.dropped, routed.dropped_by_expert());
        }
        layers
    }

    fn busiest(&self) -> f64 {
        let wanted: Vec<u64> =
            self.taken.iter().zip(&self.dropped).map(|(taken, dropped)| taken + dropped).collect();
        let all: u64 = wanted.iter().sum();
        let most = wanted.iter().max().copied().unwrap_or(0);
        most as f64 * wanted.len() as f64 / (all as f64).max(1.0)
    }
}

fn add(sums: &mut [u64], counts: impl Iterator<Item = u64>) {
    sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
}

fn mean(numbers: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = numbers.fold((0.0, 0), |(sum, count), number| (sum + number, count + 1));
    sum / f64::from(count.max(1))
}
