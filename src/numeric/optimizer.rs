//! How weights are stepped by their gradients.
//!
//! Each rule is PyTorch's (`torch.optim`), so that a run can be compared with one there, element by
//! element on flat slices. The learning rate warms up linearly and then stays or falls as a cosine.

use std::f64::consts::PI;

use multiversion::multiversion;
use serde::{Deserialize, Serialize};

use crate::ids::StepIndex;
use crate::program::{OptimizerRule, OuterRule};
use crate::registry;

registry! {
    /// `optimizer:` of a training workload.
    pub enum OptimizerSpec: Optimizer {
        /// stochastic gradient descent
        "sgd" => Sgd(Sgd),
        /// SGD with a velocity (Polyak; Nesterov as an option)
        "momentum" => Momentum(Momentum),
        /// Adam (Kingma and Ba)
        "adam" => Adam(Adam),
        /// Adam with decoupled weight decay (Loshchilov and Hutter)
        "adamw" => AdamW(AdamW),
    }
}

/// Steps weights.
pub trait Optimizer {
    /// How many moments it keeps for each weight.
    fn moments(&self) -> usize;

    /// How the learning rate goes.
    fn rate(&self) -> LearningRate;

    /// Makes every learning rate so many times what it is.
    fn scale_rate(&mut self, factor: f64);

    /// Steps `weights` by `gradient`; `moments` holds as many lists as [`moments`](Self::moments).
    fn step(&self, now: Now, gradient: &[f32], weights: &mut [f32], moments: &mut [Vec<f32>]);
}

/// What a rule needs to know of the moment.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Steps taken, this one included.
    pub count: u32,
    /// The learning rate of this step.
    pub rate: f64,
    /// Whether weight decay applies to these weights.
    pub rule: OptimizerRule,
}

/// How the learning rate goes over a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// It stays.
    Constant,
    /// It falls as half a cosine to its least at the last step (Loshchilov and Hutter, "SGDR", ICLR
    /// 2017, equation 5, without restarts).
    Cosine,
}

/// The learning rate, step by step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LearningRate {
    peak: f64,
    warmup_steps: u32,
    decay: Decay,
    least: f64,
}

impl LearningRate {
    /// The learning rate of a step of a run of `steps`: (step + 1)/warm-up of the peak while it warms
    /// up, the peak or its cosine afterwards.
    pub fn at(&self, step: StepIndex, steps: u32) -> f64 {
        let (step, warm) = (f64::from(step.0), f64::from(self.warmup_steps));
        if step < warm {
            return self.peak * (step + 1.0) / warm;
        }
        match self.decay {
            Decay::Constant => self.peak,
            Decay::Cosine => {
                let done = (step - warm) / (f64::from(steps) - warm).max(1.0);
                self.least + (self.peak - self.least) * 0.5 * (1.0 + (PI * done).cos())
            }
        }
    }
}

/// Declares a rule's parameters: those of every rule, then its own.
macro_rules! rule {
    ($(#[$doc:meta])* $name:ident { rate: $rate:literal, $($(#[$field_doc:meta])* $field:ident: $type:ty = $value:expr),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            /// The learning rate at its peak.
            pub learning_rate: f64,
            /// Steps over which it grows from nothing.
            pub warmup_steps: u32,
            /// What becomes of it then.
            pub schedule: Decay,
            /// Where a cosine ends.
            pub min_learning_rate: f64,
            $($(#[$field_doc])* pub $field: $type),*
        }

        impl Default for $name {
            fn default() -> Self {
                $name {
                    learning_rate: $rate,
                    warmup_steps: 0,
                    schedule: Decay::Constant,
                    min_learning_rate: 0.0,
                    $($field: $value),*
                }
            }
        }

        impl $name {
            fn learning_rate(&self) -> LearningRate {
                LearningRate {
                    peak: self.learning_rate,
                    warmup_steps: self.warmup_steps,
                    decay: self.schedule,
                    least: self.min_learning_rate,
                }
            }
        }
    };
}

rule!(
    /// w ← w − η·(g + λ·w).
    Sgd {
        rate: 1e-3,
        /// λ; PyTorch's default.
        weight_decay: f64 = 0.0,
    }
);

rule!(
    /// v ← μ·v + g + λ·w; w ← w − η·v, or with Nesterov w ← w − η·(g + λ·w + μ·v).
    ///
    /// Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013,
    /// in PyTorch's form.
    Momentum {
        rate: 1e-3,
        /// μ.
        momentum: f64 = 0.9,
        /// Whether the step looks ahead.
        nesterov: bool = false,
        /// λ; PyTorch's default.
        weight_decay: f64 = 0.0,
    }
);

rule!(
    /// Adam with L2 regularisation added to the gradient.
    ///
    /// Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1.
    Adam {
        rate: 1e-3,
        /// β₁ and β₂.
        betas: (f64, f64) = (0.9, 0.999),
        /// ε.
        epsilon: f64 = 1e-8,
        /// λ; PyTorch's default.
        weight_decay: f64 = 0.0,
    }
);

rule!(
    /// Adam with weight decay apart from the gradient.
    ///
    /// Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, algorithm 2.
    AdamW {
        rate: 1e-3,
        /// β₁ and β₂.
        betas: (f64, f64) = (0.9, 0.999),
        /// ε.
        epsilon: f64 = 1e-8,
        /// λ; PyTorch's default.
        weight_decay: f64 = 0.01,
    }
);

impl Optimizer for Sgd {
    fn moments(&self) -> usize {
        0
    }
    fn rate(&self) -> LearningRate {
        self.learning_rate()
    }
    fn scale_rate(&mut self, factor: f64) {
        self.learning_rate *= factor;
        self.min_learning_rate *= factor;
    }
    fn step(&self, now: Now, gradient: &[f32], weights: &mut [f32], _moments: &mut [Vec<f32>]) {
        descend(now.rate as f32, decay_of(now.rule, self.weight_decay), gradient, weights);
    }
}

impl Optimizer for Momentum {
    fn moments(&self) -> usize {
        1
    }
    fn rate(&self) -> LearningRate {
        self.learning_rate()
    }
    fn scale_rate(&mut self, factor: f64) {
        self.learning_rate *= factor;
        self.min_learning_rate *= factor;
    }
    fn step(&self, now: Now, gradient: &[f32], weights: &mut [f32], moments: &mut [Vec<f32>]) {
        let [v] = moments else { panic!("momentum keeps one moment") };
        // The step is along·v + direct·g.
        let (along, direct) = if self.nesterov { (self.momentum as f32, 1.0) } else { (1.0, 0.0) };
        let by = Gather {
            rate: now.rate as f32,
            decay: decay_of(now.rule, self.weight_decay),
            momentum: self.momentum as f32,
            along,
            direct,
        };
        gather_speed(by, gradient, weights, v);
    }
}

impl Optimizer for Adam {
    fn moments(&self) -> usize {
        2
    }
    fn rate(&self) -> LearningRate {
        self.learning_rate()
    }
    fn scale_rate(&mut self, factor: f64) {
        self.learning_rate *= factor;
        self.min_learning_rate *= factor;
    }
    fn step(&self, now: Now, gradient: &[f32], weights: &mut [f32], moments: &mut [Vec<f32>]) {
        let decay = Decays { in_gradient: decay_of(now.rule, self.weight_decay), of_weight: 0.0 };
        adam(now, self.betas, self.epsilon, decay, gradient, weights, moments);
    }
}

impl Optimizer for AdamW {
    fn moments(&self) -> usize {
        2
    }
    fn rate(&self) -> LearningRate {
        self.learning_rate()
    }
    fn scale_rate(&mut self, factor: f64) {
        self.learning_rate *= factor;
        self.min_learning_rate *= factor;
    }
    fn step(&self, now: Now, gradient: &[f32], weights: &mut [f32], moments: &mut [Vec<f32>]) {
        let decay = Decays { in_gradient: 0.0, of_weight: decay_of(now.rule, self.weight_decay) };
        adam(now, self.betas, self.epsilon, decay, gradient, weights, moments);
    }
}

fn decay_of(rule: OptimizerRule, decay: f64) -> f32 {
    match rule {
        OptimizerRule::Decayed => decay as f32,
        OptimizerRule::Plain => 0.0,
    }
}

/// Where weight decay acts.
#[derive(Debug, Clone, Copy)]
struct Decays {
    in_gradient: f32,
    of_weight: f32,
}

/// w ← w − η·(g + λ·w)
#[multiversion(targets = "simd")]
fn descend(rate: f32, decay: f32, gradient: &[f32], weights: &mut [f32]) {
    for (w, g) in weights.iter_mut().zip(gradient) {
        *w -= rate * (g + decay * *w);
    }
}

/// The factors of a step with momentum.
#[derive(Debug, Clone, Copy)]
struct Gather {
    rate: f32,
    decay: f32,
    momentum: f32,
    along: f32,
    direct: f32,
}

/// v ← μ·v + g + λ·w; w ← w − η·(along·v + direct·(g + λ·w))
#[multiversion(targets = "simd")]
fn gather_speed(by: Gather, gradient: &[f32], weights: &mut [f32], v: &mut [f32]) {
    for ((w, g), v) in weights.iter_mut().zip(gradient).zip(v) {
        let g = g + by.decay * *w;
        *v = by.momentum * *v + g;
        *w -= by.rate * (by.along * *v + by.direct * g);
    }
}

fn adam(
    now: Now,
    betas: (f64, f64),
    epsilon: f64,
    decay: Decays,
    gradient: &[f32],
    weights: &mut [f32],
    moments: &mut [Vec<f32>],
) {
    let [m, v] = moments else { panic!("Adam keeps two moments") };
    let count = i32::try_from(now.count).expect("fewer than 2^31 steps");
    let by = Adapt {
        decay: decay.in_gradient,
        shrink: (1.0 - now.rate * f64::from(decay.of_weight)) as f32,
        to_mean: (1.0 - betas.0) as f32,
        keep_square: betas.1 as f32,
        to_square: (1.0 - betas.1) as f32,
        size: (now.rate / (1.0 - betas.0.powi(count))) as f32,
        root: (1.0 / (1.0 - betas.1.powi(count)).sqrt()) as f32,
        epsilon: epsilon as f32,
    };
    adapt(by, gradient, weights, m, v);
}

/// The factors of a step of Adam; the differences from one are taken in f64, as PyTorch does.
#[derive(Debug, Clone, Copy)]
struct Adapt {
    decay: f32,
    shrink: f32,
    to_mean: f32,
    keep_square: f32,
    to_square: f32,
    /// η/(1−β₁ᵗ)
    size: f32,
    /// 1/√(1−β₂ᵗ)
    root: f32,
    epsilon: f32,
}

/// m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; w ← w − η·(m/(1−β₁ᵗ)) / (√(v/(1−β₂ᵗ)) + ε).
#[multiversion(targets = "simd")]
fn adapt(by: Adapt, gradient: &[f32], weights: &mut [f32], m: &mut [f32], v: &mut [f32]) {
    for ((w, g), (m, v)) in weights.iter_mut().zip(gradient).zip(m.iter_mut().zip(v)) {
        let g = g + by.decay * *w;
        *m += by.to_mean * (g - *m);
        *v = by.keep_square * *v + by.to_square * g * g;
        *w = *w * by.shrink - by.size * *m / (v.sqrt() * by.root + by.epsilon);
    }
}

/// Steps the average of replicas on from the last one; `inner` is the inner learning rate.
pub(super) fn outer(
    rule: OuterRule,
    inner: f32,
    weights: &mut [f32],
    last: &mut [f32],
    velocity: &mut [f32],
) {
    for ((w, a), v) in weights.iter_mut().zip(last).zip(velocity) {
        let by = *a - *w;
        *w = match rule {
            OuterRule::Nesterov { rate, momentum } => {
                *v = momentum * *v + by;
                *a - rate * (by + momentum * *v)
            }
            OuterRule::Slow { rate, momentum } => {
                *v = momentum * *v + by / inner;
                *a - rate * inner * *v
            }
        };
        *a = *w;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::numeric::support::draw;

    /// η = 1, warm-up 4, 12 steps: 1/4, 2/4, 3/4, 1, then 1 at step 4 and half way down at step 8.
    #[test]
    fn the_learning_rate_warms_up_and_falls_as_a_cosine() {
        let rate = LearningRate { peak: 1.0, warmup_steps: 4, decay: Decay::Cosine, least: 0.0 };
        let at = |step| rate.at(StepIndex(step), 12);
        assert_eq!((at(0), at(3), at(4)), (0.25, 1.0, 1.0));
        assert!((at(8) - 0.5).abs() < 1e-12);
    }

    /// The first step of Adam moves each weight by the learning rate, against its gradient's sign,
    /// whatever the gradient's size; decay is beside it.
    #[test]
    fn the_first_step_of_adamw_is_the_learning_rate() {
        let mut weights = vec![1.0, 1.0];
        let mut moments = vec![vec![0.0; 2], vec![0.0; 2]];
        let now = Now { count: 1, rate: 0.1, rule: OptimizerRule::Decayed };
        AdamW::default().step(now, &[3.0, -0.002], &mut weights, &mut moments);
        assert!((weights[0] - (0.999 - 0.1)).abs() < 1e-5, "{weights:?}");
        assert!((weights[1] - (0.999 + 0.1)).abs() < 1e-5, "{weights:?}");
    }

    /// μ = 0.9, η = 1, g = 1 twice from 0: v = 1, 1.9; w = −1, −2.9; Nesterov −1.9, −4.61.
    #[test]
    fn momentum_gathers_speed() {
        for (nesterov, after) in [(false, -2.9), (true, -4.61)] {
            let rule = Momentum { nesterov, ..Momentum::default() };
            let (mut weights, mut moments) = (vec![0.0], vec![vec![0.0]]);
            for count in 1..=2 {
                let now = Now { count, rate: 1.0, rule: OptimizerRule::Plain };
                rule.step(now, &[1.0], &mut weights, &mut moments);
            }
            assert!((weights[0] - after).abs() < 1e-6, "{weights:?}");
        }
    }

    fn now(count: u32, rule: OptimizerRule) -> Now {
        Now { count, rate: 0.1, rule }
    }

    /// What a step does to a weight depends on that weight alone: in pieces as whole, bit for bit.
    #[test]
    fn every_optimiser_may_work_in_pieces() {
        const LEN: usize = 45;
        for name in OptimizerSpec::NAMES {
            let optimizer = OptimizerSpec::from_name(name).unwrap();
            let start: Vec<f32> = draw("weights", LEN);
            let gradient: Vec<f32> = draw("gradient", LEN);
            let run = |cuts: &[usize]| {
                let mut weights = start.clone();
                for piece in cuts.windows(2).map(|pair| pair[0]..pair[1]) {
                    let mut moments = vec![vec![0.0; piece.len()]; optimizer.moments()];
                    for count in 1..4 {
                        let now = now(count, OptimizerRule::Decayed);
                        optimizer.step(
                            now,
                            &gradient[piece.clone()],
                            &mut weights[piece.clone()],
                            &mut moments,
                        );
                    }
                }
                weights
            };
            assert_eq!(run(&[0, LEN]), run(&[0, 7, 27, LEN]), "{name}");
            assert_ne!(run(&[0, LEN]), start, "{name} moved nothing");
        }
    }

    /// L = w²/2, whose gradient is w. With a constant rate η Adam ends by wandering within about η.
    #[test]
    fn every_optimiser_comes_down_a_parabola() {
        for name in OptimizerSpec::NAMES {
            let optimizer = OptimizerSpec::from_name(name).unwrap();
            let (mut weights, mut moments) = (vec![1.0], vec![vec![0.0]; optimizer.moments()]);
            for count in 1..=300 {
                let gradient = weights.clone();
                optimizer.step(now(count, OptimizerRule::Plain), &gradient, &mut weights, &mut moments);
            }
            assert!(weights[0].abs() < 0.11, "{name} ends at {}", weights[0]);
        }
    }

    /// From w = 1 with g = 2, λ = 0.5, η = 0.1: SGD's step is 0.1·(2 + 0.5); momentum's first is the same;
    /// Adam's has length η whatever the gradient; AdamW's too, after shrinking w by 1 − 0.05.
    #[test]
    fn decay_joins_the_gradient_or_shrinks_the_weight() {
        let step = |optimizer: &dyn Optimizer, rule| {
            let (mut weights, mut moments) = (vec![1.0], vec![vec![0.0]; optimizer.moments()]);
            optimizer.step(now(1, rule), &[2.0], &mut weights, &mut moments);
            weights[0]
        };
        let weight_decay = 0.5;
        let cases: [(&dyn Optimizer, f32, f32); 4] = [
            (&Sgd { weight_decay, ..Sgd::default() }, 0.75, 0.8),
            (&Momentum { weight_decay, ..Momentum::default() }, 0.75, 0.8),
            (&Adam { weight_decay, ..Adam::default() }, 0.9, 0.9),
            (&AdamW { weight_decay, ..AdamW::default() }, 0.85, 0.9),
        ];
        for (optimizer, decayed, plain) in cases {
            assert!((step(optimizer, OptimizerRule::Decayed) - decayed).abs() < 1e-6);
            assert!((step(optimizer, OptimizerRule::Plain) - plain).abs() < 1e-6);
        }
    }
}
