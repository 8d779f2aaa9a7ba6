//! gelu(u) = u·Φ(u), by the tanh approximation: ½u(1 + tanh z) with z = √(2/π)(u + 0.044715u³).
//!
//! Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016, section 2; `approximate="tanh"` in PyTorch.
//! Since ½(1 + tanh z) = σ(2z), one exponential gives the value and the slope together; forward keeps
//! the slope in the place of u, and backward is one product.

use multiversion::multiversion;

use crate::numeric::real::Real;

/// y = gelu(u + b); u becomes gelu'(u + b).     u: (N, O)   b: (O)   y: (N, O)
#[multiversion(targets = "simd")]
pub fn forward_with_bias<T: Real>(u: &mut [T], b: &[T], y: &mut [T]) {
    for (u, y) in u.chunks_exact_mut(b.len()).zip(y.chunks_exact_mut(b.len())) {
        for ((u, y), b) in u.iter_mut().zip(y).zip(b) {
            (*y, *u) = value_and_slope(*u + *b);
        }
    }
}

/// du = dy·gelu'(u), written over the slope.
#[multiversion(targets = "simd")]
pub fn backward<T: Real>(dy: &[T], slope: &mut [T]) {
    for (slope, dy) in slope.iter_mut().zip(dy) {
        *slope = *slope * *dy;
    }
}

/// With s = σ(2z): gelu(u) = u·s, and gelu'(u) = s + u·s·(1 − s)·2z'.
#[inline(always)]
fn value_and_slope<T: Real>(u: T) -> (T, T) {
    // 2·√(2/π)
    let c = T::from_f64(1.595_769_121_605_730_7);
    let square = u * u;
    let doubled = c * u * (T::ONE + T::from_f64(0.044_715) * square);
    let steepness = c * (T::ONE + T::from_f64(3.0 * 0.044_715) * square);
    let s = T::ONE / (T::ONE + (-doubled).exp());
    let value = u * s;
    (value, s + value * (T::ONE - s) * steepness)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::numeric::support::{Probe, draw};

    fn apply(u: &[f64], b: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (mut slope, mut y) = (u.to_vec(), vec![0.0; u.len()]);
        forward_with_bias(&mut slope, b, &mut y);
        (slope, y)
    }

    #[test]
    fn equals_the_formula_with_the_hyperbolic_tangent() {
        for step in -80..=80 {
            let u = f64::from(step) * 0.1;
            let z = (2.0 / std::f64::consts::PI).sqrt() * (u + 0.044_715 * u.powi(3));
            let exact = 0.5 * u * (1.0 + z.tanh());
            assert!((value_and_slope(u).0 - exact).abs() < 1e-14);
            assert!((f64::from(value_and_slope(u as f32).0) - exact).abs() < 3e-7 * u.abs().max(1.0));
        }
    }

    #[test]
    fn backward_is_the_slope_of_forward() {
        let (u, b, dy) = (draw("u", 12), draw("b", 4), draw("dy", 12));
        let (mut du, _) = apply(&u, &b);
        backward(&dy, &mut du);
        Probe::new(&dy).check(&u, &du, |u| apply(u, &b).1);
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
