//! relu(x) = max(x, 0)

use multiversion::multiversion;

use crate::numeric::real::Real;

/// y = relu(x); what is not a number stays so.
#[multiversion(targets = "simd")]
pub fn forward<T: Real>(x: &[T], y: &mut [T]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = if *x < T::ZERO { T::ZERO } else { *x };
    }
}

/// B: dx = dy where x is positive, else 0; at nought too, as in PyTorch.
#[multiversion(targets = "simd")]
pub fn backward_input<T: Real>(dy: &[T], x: &[T], dx: &mut [T]) {
    for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(x) {
        *dx = if *x > T::ZERO { *dy } else { T::ZERO };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::numeric::support::{Probe, draw};

    #[test]
    fn backward_is_the_slope_of_forward() {
        // No number drawn lies within a difference's step of the corner at nought.
        let (x, dy) = (draw::<f64>("x", 29), draw("dy", 29));
        assert!(x.iter().all(|x| x.abs() > 1e-4));
        let mut dx = vec![f64::NAN; x.len()];
        backward_input(&dy, &x, &mut dx);
        Probe::new(&dy).check(&x, &dx, |x| {
            let mut y = vec![f64::NAN; x.len()];
            forward(x, &mut y);
            y
        });
    }

    #[test]
    fn what_is_negative_passes_neither_forward_nor_back() {
        let x = [-1.0, 0.0, 2.0];
        let (mut y, mut dx) = ([f32::NAN; 3], [f32::NAN; 3]);
        forward(&x, &mut y);
        backward_input(&[5.0, 6.0, 7.0], &x, &mut dx);
        assert_eq!((y, dx), ([0.0, 0.0, 2.0], [0.0, 0.0, 7.0]));
    }

    #[test]
    fn not_a_number_is_not_lost() {
        let mut y = [0.0];
        forward(&[f32::NAN], &mut y);
        assert!(y[0].is_nan());
    }
}
