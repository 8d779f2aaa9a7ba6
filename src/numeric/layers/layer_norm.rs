//! y = γ·x̂ + β with x̂ = (x − mean) / √(variance + ε), over the hidden dimension of each token.
//!
//! Ba, Kiros and Hinton, "Layer Normalization", 2016. The forward pass keeps x̂ and 1/√(variance + ε);
//! that is all backward needs. Backward is linear in dy, so the sum over tensor-parallel ranks may be
//! taken before it, as Megatron does, or after.

use multiversion::multiversion;

use crate::numeric::real::{LANES, Real, fold_sum};

/// ε, as in PyTorch and GPT-2.
pub const EPSILON: f64 = 1e-5;

/// x: (N, H)   γ, β: (H)   x̂: (N, H)   r = 1/√(variance + ε): (N)   y: (N, H)
#[multiversion(targets = "simd")]
pub fn forward<T: Real>(x: &[T], gamma: &[T], beta: &[T], normalised: &mut [T], r: &mut [T], y: &mut [T]) {
    let hidden = gamma.len();
    let per_element = T::from_f64(1.0 / hidden as f64);
    let epsilon = T::from_f64(EPSILON);
    let rows =
        x.chunks_exact(hidden).zip(normalised.chunks_exact_mut(hidden)).zip(y.chunks_exact_mut(hidden));
    for (((x, normalised), y), r) in rows.zip(r) {
        let mean = sum(x) * per_element;
        for (normalised, x) in normalised.iter_mut().zip(x) {
            *normalised = *x - mean;
        }
        let variance = dot(normalised, normalised) * per_element;
        *r = T::ONE / (variance + epsilon).sqrt();
        let scaled = normalised.iter_mut().zip(y).zip(gamma.iter().zip(beta));
        for ((normalised, y), (gamma, beta)) in scaled {
            *normalised = *normalised * *r;
            *y = *normalised * *gamma + *beta;
        }
    }
}

/// dx = residual + r·(g − mean(g) − x̂·mean(g·x̂)) with g = γ·dy, written over dy.
///
/// `residual` is the gradient that reaches x past the norm: that of the block's residual connection.
#[multiversion(targets = "simd")]
pub fn backward_input<T: Real>(gamma: &[T], normalised: &[T], r: &[T], residual: Option<&[T]>, dy: &mut [T]) {
    let hidden = gamma.len();
    let per_element = T::from_f64(1.0 / hidden as f64);
    let rows = dy.chunks_exact_mut(hidden).zip(normalised.chunks_exact(hidden)).zip(r);
    for (token, ((dy, normalised), r)) in rows.enumerate() {
        let mut sums = [T::ZERO; LANES];
        let mut products = [T::ZERO; LANES];
        let whole = hidden - hidden % LANES;
        for at in (0..whole).step_by(LANES) {
            let (dy, gamma) = (&mut dy[at..at + LANES], &gamma[at..at + LANES]);
            let normalised = &normalised[at..at + LANES];
            for lane in 0..LANES {
                let g = dy[lane] * gamma[lane];
                dy[lane] = g;
                sums[lane] += g;
                products[lane] += g * normalised[lane];
            }
        }
        for at in whole..hidden {
            let g = dy[at] * gamma[at];
            dy[at] = g;
            sums[at - whole] += g;
            products[at - whole] += g * normalised[at];
        }
        let mean = fold_sum(sums) * per_element;
        let along = fold_sum(products) * per_element;
        match residual {
            Some(residual) => {
                let residual = &residual[token * hidden..][..hidden];
                for ((dy, normalised), residual) in dy.iter_mut().zip(normalised).zip(residual) {
                    *dy = *residual + *r * (*dy - mean - *normalised * along);
                }
            }
            None => {
                for (dy, normalised) in dy.iter_mut().zip(normalised) {
                    *dy = *r * (*dy - mean - *normalised * along);
                }
            }
        }
    }
}

/// dγ += Σ_N dy·x̂     dβ += Σ_N dy
#[multiversion(targets = "simd")]
pub fn backward_weight<T: Real>(normalised: &[T], dy: &[T], dgamma: &mut [T], dbeta: &mut [T]) {
    let hidden = dgamma.len();
    for (dy, normalised) in dy.chunks_exact(hidden).zip(normalised.chunks_exact(hidden)) {
        let columns = dgamma.iter_mut().zip(dbeta.iter_mut()).zip(dy.iter().zip(normalised));
        for ((dgamma, dbeta), (dy, normalised)) in columns {
            *dgamma += *dy * *normalised;
            *dbeta += *dy;
        }
    }
}

#[inline(always)]
fn sum<T: Real>(x: &[T]) -> T {
    let mut lanes = [T::ZERO; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += chunk[lane];
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += *x;
    }
    fold_sum(lanes)
}

#[inline(always)]
fn dot<T: Real>(x: &[T], y: &[T]) -> T {
    let mut lanes = [T::ZERO; LANES];
    let chunks = x.chunks_exact(LANES).zip(y.chunks_exact(LANES));
    for (x, y) in chunks {
        for lane in 0..LANES {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    let whole = x.len() - x.len() % LANES;
    for (lane, (x, y)) in lanes.iter_mut().zip(x[whole..].iter().zip(&y[whole..])) {
        *lane += *x * *y;
    }
    fold_sum(lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::numeric::support::{Probe, draw};

    const TOKENS: usize = 3;
    const HIDDEN: usize = 21;

    fn apply(x: &[f64], gamma: &[f64], beta: &[f64]) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let (mut normalised, mut r, mut y) = (vec![0.0; x.len()], vec![0.0; TOKENS], vec![0.0; x.len()]);
        forward(x, gamma, beta, &mut normalised, &mut r, &mut y);
        (normalised, r, y)
    }

    #[test]
    fn rows_leave_with_mean_nought_and_variance_one() {
        let (normalised, _, y) = apply(&draw("x", TOKENS * HIDDEN), &[1.0; HIDDEN], &[0.0; HIDDEN]);
        assert_eq!(normalised, y);
        for row in y.chunks(HIDDEN) {
            let mean = row.iter().sum::<f64>() / HIDDEN as f64;
            let variance = row.iter().map(|y| y * y).sum::<f64>() / HIDDEN as f64;
            assert!(mean.abs() < 1e-14, "mean {mean:e}");
            // ε takes about ε/variance(x), here variance(x) = 1/3, from a variance of one.
            assert!((variance - 1.0).abs() < 1e-4, "variance {variance}");
        }
    }

    #[test]
    fn backward_is_the_slope_of_forward() {
        let (x, gamma, beta) = (draw("x", TOKENS * HIDDEN), draw("gamma", HIDDEN), draw("beta", HIDDEN));
        let dy = draw("dy", TOKENS * HIDDEN);
        let (normalised, r, _) = apply(&x, &gamma, &beta);
        let (mut dgamma, mut dbeta) = (vec![0.0; HIDDEN], vec![0.0; HIDDEN]);
        backward_weight(&normalised, &dy, &mut dgamma, &mut dbeta);
        let mut dx = dy.clone();
        backward_input(&gamma, &normalised, &r, None, &mut dx);
        let probe = Probe::new(&dy);
        probe.check(&x, &dx, |x| apply(x, &gamma, &beta).2);
        probe.check(&gamma, &dgamma, |gamma| apply(&x, gamma, &beta).2);
        probe.check(&beta, &dbeta, |beta| apply(&x, &gamma, beta).2);
    }

    #[test]
    fn the_residual_gradient_is_added() {
        let gamma = draw::<f64>("gamma", HIDDEN);
        let (normalised, r, _) = apply(&draw("x", TOKENS * HIDDEN), &gamma, &[0.0; HIDDEN]);
        let residual = draw::<f64>("residual", TOKENS * HIDDEN);
        let mut alone = draw::<f64>("dy", TOKENS * HIDDEN);
        let mut both = alone.clone();
        backward_input(&gamma, &normalised, &r, None, &mut alone);
        backward_input(&gamma, &normalised, &r, Some(&residual), &mut both);
        for ((both, alone), residual) in both.iter().zip(&alone).zip(&residual) {
            assert_eq!(*both, residual + alone);
        }
    }
}
