//! gelu(x) = x·Φ(x), by the tanh approximation: ½x(1 + tanh z) with z = √(2/π)(x + 0.044715x³).
//!
//! Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016, section 2; `approximate="tanh"` in PyTorch.
//! Since ½(1 + tanh z) = σ(2z), one exponential gives the value, and the slope with it.

use multiversion::multiversion;

use crate::numeric::real::Real;

/// y = gelu(x)
#[multiversion(targets = "simd")]
pub fn forward<T: Real>(x: &[T], y: &mut [T]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = value_and_slope(*x).0;
    }
}

/// B: dx = dy·gelu'(x)
#[multiversion(targets = "simd")]
pub fn backward_input<T: Real>(dy: &[T], x: &[T], dx: &mut [T]) {
    for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(x) {
        *dx = *dy * value_and_slope(*x).1;
    }
}

/// With s = σ(2z): gelu(x) = x·s, and gelu'(x) = s + x·s·(1 − s)·2z'.
#[inline(always)]
fn value_and_slope<T: Real>(x: T) -> (T, T) {
    // 2·√(2/π)
    let c = T::from_f64(1.595_769_121_605_730_7);
    let square = x * x;
    let doubled = c * x * (T::ONE + T::from_f64(0.044_715) * square);
    let steepness = c * (T::ONE + T::from_f64(3.0 * 0.044_715) * square);
    let s = T::ONE / (T::ONE + (-doubled).exp());
    let value = x * s;
    (value, s + value * (T::ONE - s) * steepness)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::numeric::support::{Probe, draw};

    fn apply(x: &[f64]) -> Vec<f64> {
        let mut y = vec![f64::NAN; x.len()];
        forward(x, &mut y);
        y
    }

    #[test]
    fn equals_the_formula_with_the_hyperbolic_tangent() {
        for step in -80..=80 {
            let x = f64::from(step) * 0.1;
            let z = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            let exact = 0.5 * x * (1.0 + z.tanh());
            assert!((value_and_slope(x).0 - exact).abs() < 1e-14);
            assert!((f64::from(value_and_slope(x as f32).0) - exact).abs() < 3e-7 * x.abs().max(1.0));
        }
    }

    #[test]
    fn backward_is_the_slope_of_forward() {
        let (x, dy) = (draw("x", 37), draw("dy", 37));
        let mut dx = vec![f64::NAN; x.len()];
        backward_input(&dy, &x, &mut dx);
        Probe::new(&dy).check(&x, &dx, apply);
    }

    #[test]
    fn far_from_nought_it_is_nothing_or_the_identity() {
        // e^88.3 is where the exponential is held: 40 / e^88.3 = 1.8e-37 is left.
        let (value, slope) = value_and_slope(-40.0_f32);
        assert!(value.abs() < 1e-36 && slope.abs() < 1e-34);
        assert_eq!(value_and_slope(40.0_f32), (40.0, 1.0));
        assert!(value_and_slope(f32::NAN).0.is_nan());
    }
}
