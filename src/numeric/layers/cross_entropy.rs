//! The loss −ln softmax(logits)[target], the vocabulary divided over ranks.
//!
//! In stages, with a collective between them (Shoeybi et al., "Megatron-LM", 2019, section 3):
//! 1. [`maxima`]; the ranks take the largest;
//! 2. [`exponentials`]; the ranks add sums and target logits;
//! 3. [`mean_loss`] and [`gradient`], each rank for itself.
//!
//! With one rank the collectives are nothing and the stages follow each other.

use multiversion::multiversion;

use crate::numeric::real::{LANES, Real, fold_max, fold_sum};

/// max = max_V logits     logits: (N, V)   max: (N)
#[multiversion(targets = "simd")]
pub fn maxima<T: Real>(logits: &[T], max: &mut [T]) {
    let vocabulary = logits.len() / max.len().max(1);
    for (logits, max) in logits.chunks_exact(vocabulary).zip(max) {
        let mut lanes = [T::NEG_INFINITY; LANES];
        let chunks = logits.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            for lane in 0..LANES {
                lanes[lane] = lanes[lane].larger(chunk[lane]);
            }
        }
        for (lane, logit) in lanes.iter_mut().zip(rest) {
            *lane = lane.larger(*logit);
        }
        *max = fold_max(lanes);
    }
}

/// logits ← e = exp(logits − max); sum = Σ_V e; target = logits[target] − max, or nought where another rank
/// holds it.     logits: (N, V), of which this rank holds the ids from `first` on   max, sum, target: (N)
#[multiversion(targets = "simd")]
pub fn exponentials<T: Real>(
    logits: &mut [T],
    max: &[T],
    targets: &[u32],
    first: usize,
    sum: &mut [T],
    target: &mut [T],
) {
    let vocabulary = logits.len() / max.len().max(1);
    let rows = logits.chunks_exact_mut(vocabulary).zip(max).zip(targets);
    for (((logits, max), id), (sum, target)) in rows.zip(sum.iter_mut().zip(target)) {
        *target = match held(*id, first, vocabulary) {
            Some(at) => logits[at] - *max,
            None => T::ZERO,
        };
        for logit in logits.iter_mut() {
            *logit = (*logit - *max).exp();
        }
        let mut lanes = [T::ZERO; LANES];
        let chunks = logits.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            for lane in 0..LANES {
                lanes[lane] += chunk[lane];
            }
        }
        for (lane, e) in lanes.iter_mut().zip(rest) {
            *lane += *e;
        }
        *sum = fold_sum(lanes);
    }
}

/// The mean over tokens of ln(sum) − target.
pub fn mean_loss<T: Real>(sum: &[T], target: &[T]) -> f64 {
    let losses = sum.iter().zip(target).map(|(sum, target)| sum.to_f64().ln() - target.to_f64());
    losses.sum::<f64>() / sum.len() as f64
}

/// e ← (e/sum − [this is the target])·scale, which is dlogits when the loss is multiplied by N·scale.
#[multiversion(targets = "simd")]
pub fn gradient<T: Real>(e: &mut [T], sum: &[T], targets: &[u32], first: usize, scale: T) {
    let vocabulary = e.len() / sum.len().max(1);
    for ((e, sum), id) in e.chunks_exact_mut(vocabulary).zip(sum).zip(targets) {
        let share = scale / *sum;
        for e in e.iter_mut() {
            *e = *e * share;
        }
        if let Some(at) = held(*id, first, vocabulary) {
            e[at] -= scale;
        }
    }
}

#[inline(always)]
fn held(id: u32, first: usize, vocabulary: usize) -> Option<usize> {
    (id as usize).checked_sub(first).filter(|at| *at < vocabulary)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::numeric::support::{Probe, draw};

    const TOKENS: usize = 3;
    const VOCABULARY: usize = 38;
    const TARGETS: [u32; TOKENS] = [0, 37, 19];

    fn run(logits: &[f64]) -> (f64, Vec<f64>) {
        let mut logits = logits.to_vec();
        let [mut max, mut sum, mut target] = [[0.0; TOKENS]; 3];
        maxima(&logits, &mut max);
        exponentials(&mut logits, &max, &TARGETS, 0, &mut sum, &mut target);
        let loss = mean_loss(&sum, &target);
        gradient(&mut logits, &sum, &TARGETS, 0, 1.0 / TOKENS as f64);
        (loss, logits)
    }

    #[test]
    fn equal_logits_cost_the_logarithm_of_the_vocabulary() {
        let (loss, _) = run(&[700.0; TOKENS * VOCABULARY]);
        assert!((loss - (VOCABULARY as f64).ln()).abs() < 1e-12);
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let logits = draw("logits", TOKENS * VOCABULARY);
        let (_, dlogits) = run(&logits);
        Probe::new(&[1.0]).check(&logits, &dlogits, |logits| vec![run(logits).0]);
    }

    /// Two ranks with half of the vocabulary each, the collectives done by hand.
    #[test]
    fn a_divided_vocabulary_gives_the_same_loss_and_gradient() {
        let logits = draw::<f64>("logits", TOKENS * VOCABULARY);
        let (loss, dlogits) = run(&logits);
        let half = VOCABULARY / 2;
        let part = |rank: usize| -> Vec<f64> {
            logits.chunks(VOCABULARY).flat_map(|row| row[rank * half..][..half].to_vec()).collect()
        };
        let mut parts = [part(0), part(1)];
        let mut max = [[0.0; TOKENS]; 2];
        parts.iter().zip(&mut max).for_each(|(part, max)| maxima(part, max));
        let max: [f64; TOKENS] = std::array::from_fn(|token| max[0][token].larger(max[1][token]));
        let (mut sum, mut target) = ([0.0; TOKENS], [0.0; TOKENS]);
        for (rank, part) in parts.iter_mut().enumerate() {
            let (mut own_sum, mut own_target) = ([0.0; TOKENS], [0.0; TOKENS]);
            exponentials(part, &max, &TARGETS, rank * half, &mut own_sum, &mut own_target);
            for token in 0..TOKENS {
                sum[token] += own_sum[token];
                target[token] += own_target[token];
            }
        }
        assert!((mean_loss(&sum, &target) - loss).abs() < 1e-14);
        for (rank, part) in parts.iter_mut().enumerate() {
            gradient(part, &sum, &TARGETS, rank * half, 1.0 / TOKENS as f64);
            for (token, row) in part.chunks(half).enumerate() {
                for (at, value) in row.iter().enumerate() {
                    assert!((value - dlogits[token * VOCABULARY + rank * half + at]).abs() < 1e-15);
                }
            }
        }
    }
}
