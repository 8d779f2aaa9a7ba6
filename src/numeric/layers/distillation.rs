//! Learning from another model's logits: α·T²·KL(p ‖ q) + (1 − α)·the cross-entropy, where p and q are the
//! softmax of the teacher's and the student's logits over T.
//!
//! Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2: the factor T²
//! keeps the two gradients of one size when T changes.

use crate::numeric::real::Real;

/// How much, and how softly, a student learns from its teacher.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distils {
    /// T, by which logits are divided.
    pub temperature: f32,
    /// α, the teacher's share of the loss; the targets have the rest.
    pub alpha: f32,
}

impl Distils {
    /// B: dlogits = (1 − α)·dlogits + α·T·(q − p)·scale, where dlogits holds the cross-entropy's gradient.
    ///
    /// logits, teacher, dlogits: (N, V)
    pub fn backward_input<T: Real>(
        self,
        classes: usize,
        scale: T,
        logits: &[T],
        teacher: &[T],
        dlogits: &mut [T],
    ) {
        assert_eq!(logits.len(), teacher.len(), "the teacher speaks of the student's batch");
        let [temperature, alpha] = [self.temperature, self.alpha].map(|x| T::from_f64(f64::from(x)));
        let (hard, soft) = (T::from_f64(1.0) - alpha, alpha * temperature * scale);
        let (mut p, mut q) = (vec![T::ZERO; classes], vec![T::ZERO; classes]);
        let rows = logits.chunks_exact(classes).zip(teacher.chunks_exact(classes));
        for ((logits, teacher), dlogits) in rows.zip(dlogits.chunks_exact_mut(classes)) {
            softmax(temperature, teacher, &mut p);
            softmax(temperature, logits, &mut q);
            for (d, (p, q)) in dlogits.iter_mut().zip(p.iter().zip(&q)) {
                *d = hard * *d + soft * (*q - *p);
            }
        }
    }
}

fn softmax<T: Real>(temperature: T, logits: &[T], out: &mut [T]) {
    let largest = logits.iter().fold(T::NEG_INFINITY, |largest, logit| largest.larger(*logit));
    let mut sum = T::ZERO;
    for (out, logit) in out.iter_mut().zip(logits) {
        *out = ((*logit - largest) / temperature).exp();
        sum += *out;
    }
    out.iter_mut().for_each(|out| *out = *out / sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::layers::cross_entropy::{self, Classes, Softmax};
    use crate::numeric::support::{Probe, draw};

    const ROWS: usize = 3;
    const CLASSES: usize = 7;
    const TARGETS: [f64; 3] = [0.0, 6.0, 2.0];
    const DISTILS: Distils = Distils { temperature: 2.0, alpha: 0.5 };

    /// Mean over rows of α·T²·Σ p·ln(p/q) − (1 − α)·ln softmax(logits)[target], written out.
    fn loss(logits: &[f64], teacher: &[f64]) -> f64 {
        let soft = |row: &[f64], t: f64| -> Vec<f64> {
            let sum: f64 = row.iter().map(|x| (x / t).exp()).sum();
            row.iter().map(|x| (x / t).exp() / sum).collect()
        };
        let rows = logits.chunks(CLASSES).zip(teacher.chunks(CLASSES)).zip(TARGETS);
        let of_row = |((z, v), target): ((&[f64], &[f64]), f64)| {
            let (p, q) = (soft(v, 2.0), soft(z, 2.0));
            let divergence: f64 = p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum();
            0.5 * 4.0 * divergence - 0.5 * soft(z, 1.0)[target as usize].ln()
        };
        rows.map(of_row).sum::<f64>() / ROWS as f64
    }

    #[test]
    fn the_gradient_is_the_slope_of_both_losses() {
        let (logits, teacher): (Vec<f64>, Vec<f64>) = (draw("logits", 21), draw("teacher", 21));
        let (mut max, mut sums, mut gradient) = ([0.0; 3], [0.0; 6], vec![0.0; 21]);
        let classes = Classes { first: 0, count: CLASSES };
        cross_entropy::maxima(&logits, &mut max);
        cross_entropy::sums(classes, &logits, &TARGETS, &max, &mut sums);
        let softmax = Softmax { logits: &logits, targets: &TARGETS, max: &max, sums: &sums };
        let scale = 1.0 / ROWS as f64;
        cross_entropy::backward_input(classes, scale, softmax, &mut gradient);
        DISTILS.backward_input(CLASSES, scale, &logits, &teacher, &mut gradient);
        Probe::new(&[1.0]).check(&logits, &gradient, |logits| vec![loss(logits, &teacher)]);
    }

    /// A student that thinks as its teacher has nothing to learn from it.
    #[test]
    fn equal_logits_teach_nothing() {
        let logits: Vec<f64> = draw("logits", 21);
        let mut gradient = vec![0.0; 21];
        DISTILS.backward_input(CLASSES, 1.0, &logits, &logits, &mut gradient);
        assert_eq!(gradient, [0.0; 21]);
    }
}
