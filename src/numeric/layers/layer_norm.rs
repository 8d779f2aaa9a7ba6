//! y = n·g + b with n = (x − μ)·ρ and ρ = 1/√(σ² + ε), over the hidden dimension of each row.
//!
//! Ba, Kiros and Hinton, "Layer Normalization", 2016, equation 4. Statistics hold μ and ρ of each row,
//! from which backward makes n again. Backward is linear in dy, so the sum over tensor-parallel ranks may
//! be taken before it, as Megatron does, or after.

use multiversion::multiversion;

use crate::numeric::real::{LANES, Real, fold_sum};

/// ε, as in PyTorch and GPT-2.
pub const EPSILON: f64 = 1e-5;

/// x, y: (N, H)   gain, bias: (H)   statistics: (N, 2)
#[multiversion(targets = "simd")]
pub fn forward<T: Real>(x: &[T], gain: &[T], bias: &[T], y: &mut [T], statistics: &mut [T]) {
    let width = gain.len();
    let (share, epsilon) = (T::from_f64(1.0 / width as f64), T::from_f64(EPSILON));
    let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width));
    for ((x, y), statistics) in rows.zip(statistics.chunks_exact_mut(2)) {
        let mean = sum_of(x, |x| x) * share;
        let variance = sum_of(x, |x| (x - mean) * (x - mean)) * share;
        let reciprocal = T::ONE / (variance + epsilon).sqrt();
        statistics[0] = mean;
        statistics[1] = reciprocal;
        for ((y, x), (gain, bias)) in y.iter_mut().zip(x).zip(gain.iter().zip(bias)) {
            *y = (*x - mean) * reciprocal * *gain + *bias;
        }
    }
}

/// B: with e = dy·g, dx = ρ·(e − mean(e) − n·mean(e·n)).
#[multiversion(targets = "simd")]
pub fn backward_input<T: Real>(dy: &[T], x: &[T], gain: &[T], statistics: &[T], dx: &mut [T]) {
    let width = gain.len();
    let share = T::from_f64(1.0 / width as f64);
    let rows = dy.chunks_exact(width).zip(x.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
    for (((dy, x), dx), statistics) in rows.zip(statistics.chunks_exact(2)) {
        let (mean, reciprocal) = (statistics[0], statistics[1]);
        let (sum, along) = sums(dy, x, gain, mean);
        let (sum, along) = (sum * share, along * reciprocal * reciprocal * share);
        for ((dx, dy), (x, gain)) in dx.iter_mut().zip(dy).zip(x.iter().zip(gain)) {
            *dx = reciprocal * (*dy * *gain - sum - (*x - mean) * along);
        }
    }
}

/// W: dgain += Σ_N dy·n     dbias += Σ_N dy
#[multiversion(targets = "simd")]
pub fn backward_weight<T: Real>(dy: &[T], x: &[T], statistics: &[T], dgain: &mut [T], dbias: &mut [T]) {
    let width = dgain.len();
    let rows = dy.chunks_exact(width).zip(x.chunks_exact(width));
    for ((dy, x), statistics) in rows.zip(statistics.chunks_exact(2)) {
        let (mean, reciprocal) = (statistics[0], statistics[1]);
        let gradients = dgain.iter_mut().zip(dbias.iter_mut());
        for ((dgain, dbias), (dy, x)) in gradients.zip(dy.iter().zip(x)) {
            *dgain += *dy * ((*x - mean) * reciprocal);
            *dbias += *dy;
        }
    }
}

/// Σ f(x), in [`LANES`] partial sums.
#[inline(always)]
fn sum_of<T: Real>(x: &[T], f: impl Fn(T) -> T) -> T {
    let mut lanes = [T::ZERO; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += f(*x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += f(*x);
    }
    fold_sum(lanes)
}

/// Σ e and Σ e·(x − μ), with e = dy·g.
#[inline(always)]
fn sums<T: Real>(dy: &[T], x: &[T], gain: &[T], mean: T) -> (T, T) {
    let (mut sums, mut products) = ([T::ZERO; LANES], [T::ZERO; LANES]);
    let chunks = dy.chunks(LANES).zip(x.chunks(LANES)).zip(gain.chunks(LANES));
    for ((dy, x), gain) in chunks {
        let lanes = sums.iter_mut().zip(&mut products);
        for ((sum, product), ((dy, x), gain)) in lanes.zip(dy.iter().zip(x).zip(gain)) {
            let e = *dy * *gain;
            *sum += e;
            *product += e * (*x - mean);
        }
    }
    (fold_sum(sums), fold_sum(products))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::numeric::support::{Probe, draw};

    const ROWS: usize = 3;
    const WIDTH: usize = 21;

    fn apply(x: &[f64], gain: &[f64], bias: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (mut y, mut statistics) = (vec![f64::NAN; x.len()], vec![f64::NAN; 2 * ROWS]);
        forward(x, gain, bias, &mut y, &mut statistics);
        (y, statistics)
    }

    #[test]
    fn rows_leave_with_mean_nought_and_variance_one() {
        let (y, _) = apply(&draw("x", ROWS * WIDTH), &[1.0; WIDTH], &[0.0; WIDTH]);
        for row in y.chunks(WIDTH) {
            let mean = row.iter().sum::<f64>() / WIDTH as f64;
            let variance = row.iter().map(|y| y * y).sum::<f64>() / WIDTH as f64;
            assert!(mean.abs() < 1e-14, "mean {mean:e}");
            // ε takes about ε/variance(x), here variance(x) = 1/3, from a variance of one.
            assert!((variance - 1.0).abs() < 1e-4, "variance {variance}");
        }
    }

    #[test]
    fn backward_is_the_slope_of_forward() {
        let (x, gain, bias) = (draw("x", ROWS * WIDTH), draw("gain", WIDTH), draw("bias", WIDTH));
        let dy = draw("dy", ROWS * WIDTH);
        let (_, statistics) = apply(&x, &gain, &bias);
        let (mut dx, mut dgain, mut dbias) = (vec![f64::NAN; x.len()], vec![0.0; WIDTH], vec![0.0; WIDTH]);
        backward_input(&dy, &x, &gain, &statistics, &mut dx);
        backward_weight(&dy, &x, &statistics, &mut dgain, &mut dbias);
        let probe = Probe::new(&dy);
        probe.check(&x, &dx, |x| apply(x, &gain, &bias).0);
        probe.check(&gain, &dgain, |gain| apply(&x, gain, &bias).0);
        probe.check(&bias, &dbias, |bias| apply(&x, &gain, bias).0);
    }

    #[test]
    fn not_a_number_shows_in_the_statistics() {
        let mut x = draw::<f64>("x", ROWS * WIDTH);
        x[WIDTH + 4] = f64::NAN;
        let (_, statistics) = apply(&x, &[1.0; WIDTH], &[0.0; WIDTH]);
        assert!(statistics[2].is_nan() && statistics[0].is_finite());
    }
}
