//! The loss −ln softmax(logits)[target], the classes divided over ranks.
//!
//! In stages, with a collective between them (Shoeybi et al., "Megatron-LM", 2019, section 3):
//! 1. [`maxima`]; the ranks take the largest;
//! 2. [`sums`]; the ranks add them;
//! 3. [`mean_loss`] and [`backward_input`], each rank for itself.
//!
//! With one rank the collectives are nothing and the stages follow each other.

use multiversion::multiversion;

use crate::numeric::real::{LANES, Real, fold_max, fold_sum};

/// max = max_V logits, or not a number where a logit is no finite number: a bad one must not hide.
///
/// logits: (N, V)   max: (N)
#[multiversion(targets = "simd")]
pub fn maxima<T: Real>(logits: &[T], max: &mut [T]) {
    let classes = logits.len() / max.len();
    for (logits, max) in logits.chunks_exact(classes).zip(max) {
        let (mut largest, mut nought) = ([T::NEG_INFINITY; LANES], [T::ZERO; LANES]);
        for chunk in logits.chunks(LANES) {
            for ((largest, nought), logit) in largest.iter_mut().zip(&mut nought).zip(chunk) {
                *largest = largest.larger(*logit);
                // Nought for every finite number, and not a number for any other.
                *nought += *logit * T::ZERO;
            }
        }
        *max = fold_max(largest) + fold_sum(nought);
    }
}

/// The classes that this rank holds: those from `first` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classes {
    /// The first class.
    pub first: usize,
    /// How many: V.
    pub count: usize,
}

impl Classes {
    /// Where a class stands among them; none when another rank holds it. Targets come as whole numbers
    /// below 2²⁴, which `f32` holds exactly.
    #[inline(always)]
    fn place<T: Real>(self, target: T) -> Option<usize> {
        (target.to_f64() as usize).checked_sub(self.first).filter(|place| *place < self.count)
    }
}

/// Σ_V exp(logit − max), and the target's logit − max, or nought where another rank holds it.
///
/// logits: (N, V)   targets, max: (N)   sums: (N, 2)
#[multiversion(targets = "simd")]
pub fn sums<T: Real>(classes: Classes, logits: &[T], targets: &[T], max: &[T], sums: &mut [T]) {
    let rows = logits.chunks_exact(classes.count).zip(targets).zip(max);
    for (((logits, target), max), sums) in rows.zip(sums.chunks_exact_mut(2)) {
        let mut lanes = [T::ZERO; LANES];
        for chunk in logits.chunks(LANES) {
            let mut exponentials = [T::ZERO; LANES];
            for (exponential, logit) in exponentials.iter_mut().zip(chunk) {
                *exponential = (*logit - *max).exp();
            }
            for (lane, exponential) in lanes.iter_mut().zip(&exponentials) {
                *lane += *exponential;
            }
        }
        sums[0] = fold_sum(lanes);
        sums[1] = match classes.place(*target) {
            Some(place) => logits[place] - *max,
            None => T::ZERO,
        };
    }
}

/// The mean over rows of ln Σ exp − the target's logit.     sums: (N, 2)
pub fn mean_loss<T: Real>(sums: &[T]) -> f64 {
    let losses = sums.chunks_exact(2).map(|row| row[0].to_f64().ln() - row[1].to_f64());
    losses.sum::<f64>() / (sums.len() / 2) as f64
}

/// A row of logits, and what the ranks found about it.
#[derive(Debug, Clone, Copy)]
pub struct Softmax<'a, T> {
    /// (N, V)
    pub logits: &'a [T],
    /// (N)
    pub targets: &'a [T],
    /// (N), over all ranks.
    pub max: &'a [T],
    /// (N, 2), over all ranks.
    pub sums: &'a [T],
}

/// B: dlogits = (softmax − \[this is the target\])·scale, the gradient of N·scale times the mean loss.
#[multiversion(targets = "simd")]
pub fn backward_input<T: Real>(classes: Classes, scale: T, of: Softmax<'_, T>, dlogits: &mut [T]) {
    let rows = of.logits.chunks_exact(classes.count).zip(dlogits.chunks_exact_mut(classes.count));
    let found = of.max.iter().zip(of.sums.chunks_exact(2)).zip(of.targets);
    for ((logits, dlogits), ((max, sums), target)) in rows.zip(found) {
        let share = scale / sums[0];
        for (dlogit, logit) in dlogits.iter_mut().zip(logits) {
            *dlogit = (*logit - *max).exp() * share;
        }
        if let Some(place) = classes.place(*target) {
            dlogits[place] -= scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::numeric::support::{Probe, draw};

    const ROWS: usize = 3;
    const CLASSES: usize = 38;
    const TARGETS: [f64; ROWS] = [0.0, 37.0, 19.0];

    /// The loss and its gradient, the classes divided over `of` ranks, the collectives done by hand.
    fn run(of: usize, logits: &[f64]) -> (f64, Vec<f64>) {
        let count = CLASSES / of;
        let part = |rank: usize| -> Vec<f64> {
            logits.chunks(CLASSES).flat_map(|row| row[rank * count..][..count].to_vec()).collect()
        };
        let (mut max, mut total) = ([f64::NEG_INFINITY; ROWS], [0.0; 2 * ROWS]);
        for rank in 0..of {
            let mut own = [f64::NAN; ROWS];
            maxima(&part(rank), &mut own);
            max.iter_mut().zip(own).for_each(|(max, own)| *max = max.max(own));
        }
        for rank in 0..of {
            let mut own = [f64::NAN; 2 * ROWS];
            sums(Classes { first: rank * count, count }, &part(rank), &TARGETS, &max, &mut own);
            total.iter_mut().zip(own).for_each(|(total, own)| *total += own);
        }
        let mut gradient = vec![f64::NAN; ROWS * CLASSES];
        for rank in 0..of {
            let (logits, mut dlogits) = (part(rank), vec![f64::NAN; ROWS * count]);
            let softmax = Softmax { logits: &logits, targets: &TARGETS, max: &max, sums: &total };
            let classes = Classes { first: rank * count, count };
            backward_input(classes, 1.0 / ROWS as f64, softmax, &mut dlogits);
            for (whole, own) in gradient.chunks_mut(CLASSES).zip(dlogits.chunks(count)) {
                whole[rank * count..][..count].copy_from_slice(own);
            }
        }
        (mean_loss(&total), gradient)
    }

    #[test]
    fn equal_logits_cost_the_logarithm_of_the_classes() {
        let (loss, _) = run(1, &[700.0; ROWS * CLASSES]);
        assert!((loss - (CLASSES as f64).ln()).abs() < 1e-12);
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let logits = draw("logits", ROWS * CLASSES);
        let (_, gradient) = run(1, &logits);
        Probe::new(&[1.0]).check(&logits, &gradient, |logits| vec![run(1, logits).0]);
    }

    #[test]
    fn divided_classes_give_the_same_loss_and_gradient() {
        let logits = draw("logits", ROWS * CLASSES);
        let (loss, gradient) = run(1, &logits);
        let (divided_loss, divided_gradient) = run(2, &logits);
        assert!((loss - divided_loss).abs() < 1e-14);
        for (one, two) in gradient.iter().zip(divided_gradient) {
            assert!((one - two).abs() < 1e-15);
        }
    }

    #[test]
    fn a_bad_logit_shows_in_the_maximum() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut logits = [0.0; 40];
            logits[27] = bad;
            let mut max = [0.0; 2];
            maxima(&logits, &mut max);
            assert!(max[0] == 0.0 && max[1].is_nan());
        }
    }
}
