//! Where tokens go when nothing is computed that could decide it.
//!
//! As the plan assumes, drawn for each step, layer, micro-batch and rank from the run's seed; or as they went once,
//! where a step is run again to explain it.

use std::sync::Arc;

use crate::ids::{BufferId, Id, OpId, RoutingId, StepIndex};
use crate::model::Assumed;
use crate::program::{Program, Routing};
use crate::rng::{RngExt, Seed, Stream};
use crate::runtime::Interpreter;
use crate::trace::Routed;
use crate::training::TrainingPlan;

/// Computes nothing, and sends tokens somewhere.
#[derive(Debug, Clone, Copy)]
pub struct Supposed<'a> {
    assumed: Assumed,
    seed: Seed,
    step: StepIndex,
    went: &'a [Arc<Routed>],
}

impl<'a> Supposed<'a> {
    /// As the plan assumes them to go in a step.
    pub fn of(plan: &TrainingPlan, step: StepIndex) -> Self {
        let assumed = plan.model.experts().map_or(Assumed::Even, |experts| experts.routing);
        Supposed { assumed, seed: plan.seed, step, went: &[] }
    }

    /// As they went, in the order of the program's routings; where nothing is known, as assumed.
    pub fn as_they_went(self, went: &'a [Arc<Routed>]) -> Self {
        Supposed { went, ..self }
    }

    fn draw(&self, routing: &Routing, id: RoutingId) -> Routed {
        let experts = routing.experts as usize;
        let chances: Vec<f64> = match self.assumed {
            Assumed::Even => return routing.even(),
            Assumed::Uniform => vec![1.0; experts],
            Assumed::Zipf(exponent) => self.zipf(routing, exponent),
        };
        let tokens = routing.rows / routing.top_k;
        let chosen = (0..routing.members).flat_map(|member| {
            let mut stream = self.seed.stream(&format!("{} {id} member {member}", self.step));
            choices(&chances, tokens, routing.top_k as usize, &mut stream)
        });
        let chosen: Vec<u32> = chosen.collect();
        Routed::of(routing.members as usize, experts, &chosen, routing.room)
    }

    /// Which expert is the favourite differs from layer to layer and stays in the course of a run.
    fn zipf(&self, routing: &Routing, exponent: f64) -> Vec<f64> {
        let layer = routing.label.layer.map_or(0, |layer| layer.0);
        let mut stream = self.seed.stream(&format!("favourite experts of layer {layer}"));
        let mut chances: Vec<f64> =
            (1..=routing.experts).map(|rank| f64::from(rank).powf(-exponent)).collect();
        // Fisher and Yates.
        for at in (1..chances.len()).rev() {
            chances.swap(at, stream.random_range(0..=at));
        }
        chances
    }
}

/// How often each expert is chosen by so many tokens, each of which meets `top_k` different ones.
fn choices(chances: &[f64], tokens: u32, top_k: usize, stream: &mut Stream) -> Vec<u32> {
    let sums: Vec<f64> = chances
        .iter()
        .scan(0.0, |sum, chance| {
            *sum += chance;
            Some(*sum)
        })
        .collect();
    let all = sums[sums.len() - 1];
    let mut counts = vec![0; chances.len()];
    let mut taken: Vec<usize> = Vec::with_capacity(top_k);
    for _ in 0..tokens {
        taken.clear();
        while taken.len() < top_k {
            // An expert drawn a second time is drawn anew: the same as drawing among those that are left.
            let drawn = stream.random::<f64>() * all;
            let expert = sums.partition_point(|&sum| sum <= drawn).min(chances.len() - 1);
            if !taken.contains(&expert) {
                taken.push(expert);
                counts[expert] += 1;
            }
        }
    }
    counts
}

impl Interpreter for Supposed<'_> {
    fn begin(&mut self, _program: &Program, _op: OpId) {}
    fn finish(&mut self, _program: &Program, _op: OpId) {}
    fn free(&mut self, _buffer: BufferId) {}

    fn routed(&mut self, program: &Program, routing: RoutingId) -> Arc<Routed> {
        match self.went.get(routing.index()) {
            Some(went) => went.clone(),
            None => Arc::new(self.draw(&program.routings()[routing], routing)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::OpLabel;

    fn drawn(assumed: Assumed) -> Vec<u64> {
        let label = OpLabel::default();
        let routing = Routing { label, members: 4, experts: 8, rows: 20_000, top_k: 2, room: None };
        let supposed = Supposed { assumed, seed: Seed(1), step: StepIndex(0), went: &[] };
        supposed.draw(&routing, RoutingId(0)).by_expert().collect()
    }

    /// 80,000 rows over 8 experts: 10,000 each, give or take four standard deviations of about 94.
    #[test]
    fn equal_chances_give_nearly_equal_counts() {
        let counts = drawn(Assumed::Uniform);
        assert_eq!(counts.iter().sum::<u64>(), 80_000);
        assert!(counts.iter().all(|&count| count.abs_diff(10_000) < 380), "{counts:?}");
        assert_eq!(drawn(Assumed::Even), [10_000; 8]);
    }

    /// The first of two different experts is the favourite with 1/H₈ = 0.368; the second is it with
    /// Σ_{i>1} pᵢ·p₁/(1 − pᵢ) = 0.270: 40,000 tokens bring it 25,524 rows, with a deviation of about 96.
    #[test]
    fn the_favourite_has_as_many_as_its_chance_says() {
        let mut counts = drawn(Assumed::Zipf(1.0));
        counts.sort_unstable();
        let p = |rank: f64| 1.0 / rank / (1..=8).map(|rank| 1.0 / f64::from(rank)).sum::<f64>();
        let second: f64 = (2..=8).map(|rank| p(f64::from(rank)) * p(1.0) / (1.0 - p(f64::from(rank)))).sum();
        let expected = 40_000.0 * (p(1.0) + second);
        assert!((counts[7] as f64 - expected).abs() < 400.0, "{counts:?}, not {expected}");
    }
}
