//! What is done to each number, or to all of them alike.

/// √(2/π), of the tanh form of GELU.
const GELU_SLOPE: f32 = 0.797_884_56;
/// The cubic term of the tanh form of GELU (Hendrycks and Gimpel, "Gaussian Error Linear Units",
/// 2016, section 2).
const GELU_CUBIC: f32 = 0.044_715;

/// z = x + y
pub(super) fn add(x: &[f32], y: &[f32], z: &mut [f32]) {
    for ((z, x), y) in z.iter_mut().zip(x).zip(y) {
        *z = x + y;
    }
}

/// z = x + y + b     x, y, z: (rows, width)   b: (width)
pub(super) fn add_bias(x: &[f32], y: &[f32], b: &[f32], z: &mut [f32]) {
    let rows = x.chunks_exact(b.len()).zip(y.chunks_exact(b.len()));
    for (z, (x, y)) in z.chunks_exact_mut(b.len()).zip(rows) {
        for (((z, x), y), b) in z.iter_mut().zip(x).zip(y).zip(b) {
            *z = x + y + b;
        }
    }
}

/// y *= factor, of every list.
pub(super) fn scale(factor: f32, lists: &mut [Vec<f32>]) {
    lists.iter_mut().flatten().for_each(|number| *number *= factor);
}

/// Σ x² over all lists, summed in f64 so that the order hardly matters.
pub(super) fn squared_norm(lists: &[&[f32]]) -> f32 {
    let of_list = |list: &&[f32]| -> f64 {
        // Runs short enough that f32 sums of squares lose nothing that matters.
        list.chunks(64).map(|run| f64::from(run.iter().map(|x| x * x).sum::<f32>())).sum()
    };
    lists.iter().map(of_list).sum::<f64>() as f32
}

/// y = x·Φ(x), Φ by tanh: 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))
pub(super) fn gelu(x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = 0.5 * x * (1.0 + tanh(GELU_SLOPE * (x + GELU_CUBIC * x * x * x)));
    }
}

/// dx = dy·(0.5·(1 + t) + 0.5·x·(1 − t²)·√(2/π)·(1 + 3·0.044715·x²)), t the tanh of [`gelu`]
pub(super) fn gelu_input(dy: &[f32], x: &[f32], dx: &mut [f32]) {
    for ((dx, dy), &x) in dx.iter_mut().zip(dy).zip(x) {
        let t = tanh(GELU_SLOPE * (x + GELU_CUBIC * x * x * x));
        let inner = GELU_SLOPE * (1.0 + 3.0 * GELU_CUBIC * x * x);
        *dx = dy * (0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner);
    }
}

/// tanh x = 1 − 2 / (e^{2x} + 1), which keeps the loop free of calls.
fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

/// eˣ to about two units in the last place: 2ⁿ·p(r) with n = round(x/ln 2), |r| ≤ ln 2 / 2, and the
/// Taylor polynomial of degree 7 (its remainder is below 2⁻²⁸ there). Beyond ±87 it saturates.
pub(super) fn exp(x: f32) -> f32 {
    const HIGH: f32 = 0.693_359_4;
    const LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E).round_ties_even();
    let r = (x - n * HIGH) - n * LOW;
    let p = 1.0 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = (p * r + 1.0) * r + 1.0;
    p * f32::from_bits(((n as i32 + 127) as u32) << 23)
}

/// y = max(x, 0)
pub(super) fn relu(x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = x.max(0.0);
    }
}

/// dx = dy where x > 0
pub(super) fn relu_input(dy: &[f32], x: &[f32], dx: &mut [f32]) {
    for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(x) {
        *dx = if *x > 0.0 { *dy } else { 0.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the library's f64 exponential, relative.
    #[test]
    fn exp_is_right_to_two_units_in_the_last_place() {
        for i in -8600..=8700 {
            let x = i as f32 / 100.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2.5e-7, "exp({x}) is off by {error:e}");
        }
    }
}
