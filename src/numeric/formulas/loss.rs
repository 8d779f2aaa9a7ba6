//! Losses: cross-entropy over classes that may be split over ranks, and squared error.
//!
//! The softmax of a split row needs its greatest logit and Σ exp over all ranks; an all-reduce of
//! each lies between these functions (Shoeybi et al., "Megatron-LM", 2019, section 3).

use crate::numeric::formulas::pointwise::exp;

/// The greatest logit of each row on this rank.
pub(super) fn max(classes: u32, logits: &[f32], max: &mut [f32]) {
    for (max, row) in max.iter_mut().zip(logits.chunks_exact(classes as usize)) {
        *max = row.iter().copied().fold(f32::NEG_INFINITY, greater);
    }
}

/// The greater, or NaN when either is none: a bad logit must not hide.
fn greater(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) }
}

/// Σ exp(logit − max), and the target's logit − max where this rank holds it. sums: (rows, 2)
pub(super) fn sums(
    (first, classes): (u32, u32),
    logits: &[f32],
    targets: &[f32],
    max: &[f32],
    sums: &mut [f32],
) {
    let rows = logits.chunks_exact(classes as usize).zip(targets).zip(max);
    for (((row, &target), max), sums) in rows.zip(sums.chunks_exact_mut(2)) {
        sums[0] = row.iter().map(|logit| exp(logit - max)).sum();
        sums[1] = held(target, first, classes).map_or(0.0, |class| row[class] - max);
    }
}

/// loss += scale·mean(log Σ exp − target's logit)
pub(super) fn cross_entropy(scale: f32, sums: &[f32], loss: &mut [f32]) {
    let rows = sums.len() / 2;
    let total: f64 = sums.chunks_exact(2).map(|row| f64::from(row[0].ln() - row[1])).sum();
    loss[0] += (total / rows as f64) as f32 * scale;
}

/// What the softmax of a row is made of.
#[derive(Clone, Copy)]
pub(super) struct Softmax<'a> {
    pub(super) logits: &'a [f32],
    pub(super) targets: &'a [f32],
    pub(super) max: &'a [f32],
    pub(super) sums: &'a [f32],
}

/// dlogits = (softmax − one-hot(target))·scale/rows
pub(super) fn cross_entropy_input(
    (first, classes): (u32, u32),
    scale: f32,
    softmax: Softmax<'_>,
    dlogits: &mut [f32],
) {
    let Softmax { logits, targets, max, sums } = softmax;
    let scale = scale / max.len() as f32;
    let width = classes as usize;
    let rows = logits.chunks_exact(width).zip(dlogits.chunks_exact_mut(width));
    for (row, (logits, dlogits)) in rows.enumerate() {
        let factor = scale / sums[2 * row];
        for (dlogit, logit) in dlogits.iter_mut().zip(logits) {
            *dlogit = exp(logit - max[row]) * factor;
        }
        if let Some(class) = held(targets[row], first, classes) {
            dlogits[class] -= scale;
        }
    }
}

/// loss += scale·mean((prediction − target)²)
pub(super) fn squared_error(scale: f32, prediction: &[f32], targets: &[f32], loss: &mut [f32]) {
    let errors = prediction.iter().zip(targets).map(|(p, t)| f64::from(p - t).powi(2));
    loss[0] += (errors.sum::<f64>() / prediction.len() as f64) as f32 * scale;
}

/// dprediction = 2·(prediction − target)·scale/rows
pub(super) fn squared_error_input(scale: f32, prediction: &[f32], targets: &[f32], dprediction: &mut [f32]) {
    let factor = 2.0 * scale / prediction.len() as f32;
    for ((d, p), t) in dprediction.iter_mut().zip(prediction).zip(targets) {
        *d = factor * (p - t);
    }
}

/// Where a class lies among those from `first` on that this rank holds.
fn held(target: f32, first: u32, classes: u32) -> Option<usize> {
    let class = (target as u32).checked_sub(first)?;
    (class < classes).then_some(class as usize)
}
