//! How weights are stepped by their gradients.
//!
//! Each rule is PyTorch's (`torch.optim`), so that a run can be compared with one there, element by
//! element on flat slices. The learning rate warms up linearly and then stays or falls as a cosine.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::ids::StepIndex;
use crate::program::OptimizerRule;
use crate::registry;

registry! {
    /// `optimizer:` of a training workload.
    pub enum OptimizerSpec: Optimizer {
        "sgd" => Sgd(Sgd),
        "momentum" => Momentum(Momentum),
        "adam" => Adam(Adam),
        "adamw" => AdamW(AdamW),
    }
}

/// Steps weights.
pub trait Optimizer {
    /// How many moments it keeps for each weight.
    fn moments(&self) -> usize;

    /// How the learning rate goes.
    fn rate(&self) -> LearningRate;

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
    fn step(&self, now: Now, gradient: &[f32], weights: &mut [f32], _moments: &mut [Vec<f32>]) {
        let (rate, decay) = (now.rate as f32, decay_of(now.rule, self.weight_decay));
        for (w, g) in weights.iter_mut().zip(gradient) {
            *w -= rate * (g + decay * *w);
        }
    }
}

impl Optimizer for Momentum {
    fn moments(&self) -> usize {
        1
    }
    fn rate(&self) -> LearningRate {
        self.learning_rate()
    }
    fn step(&self, now: Now, gradient: &[f32], weights: &mut [f32], moments: &mut [Vec<f32>]) {
        let [v] = moments else { panic!("momentum keeps one moment") };
        let (rate, decay) = (now.rate as f32, decay_of(now.rule, self.weight_decay));
        let mu = self.momentum as f32;
        for ((w, g), v) in weights.iter_mut().zip(gradient).zip(v) {
            let g = g + decay * *w;
            *v = mu * *v + g;
            *w -= rate * if self.nesterov { g + mu * *v } else { *v };
        }
    }
}

impl Optimizer for Adam {
    fn moments(&self) -> usize {
        2
    }
    fn rate(&self) -> LearningRate {
        self.learning_rate()
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

/// m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; w ← w − η·(m/(1−β₁ᵗ)) / (√(v/(1−β₂ᵗ)) + ε).
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
    let corrections = (1.0 - betas.0.powi(count), 1.0 - betas.1.powi(count));
    let size = (now.rate / corrections.0) as f32;
    let root = (1.0 / corrections.1.sqrt()) as f32;
    let shrink = 1.0 - now.rate as f32 * decay.of_weight;
    let (b1, b2, epsilon) = (betas.0 as f32, betas.1 as f32, epsilon as f32);
    let state = m.iter_mut().zip(v.iter_mut());
    for ((w, g), (m, v)) in weights.iter_mut().zip(gradient).zip(state) {
        let g = g + decay.in_gradient * *w;
        *m = b1 * *m + (1.0 - b1) * g;
        *v = b2 * *v + (1.0 - b2) * g * g;
        *w = *w * shrink - size * *m / (v.sqrt() * root + epsilon);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
