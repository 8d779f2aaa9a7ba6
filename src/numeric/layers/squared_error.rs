//! The mean squared error of predictions.

use crate::numeric::real::Real;

/// The mean of (prediction − target)².
pub fn mean_loss<T: Real>(predictions: &[T], targets: &[T]) -> f64 {
    let errors = predictions.iter().zip(targets).map(|(p, t)| (*p - *t).to_f64().powi(2));
    errors.sum::<f64>() / predictions.len() as f64
}

/// B: d = 2·(prediction − target)·scale, the gradient of N·scale times the mean loss.
pub fn backward_input<T: Real>(scale: T, predictions: &[T], targets: &[T], d: &mut [T]) {
    let factor = T::from_f64(2.0) * scale;
    for ((d, p), t) in d.iter_mut().zip(predictions).zip(targets) {
        *d = factor * (*p - *t);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::numeric::support::{Probe, draw};

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let (predictions, targets) = (draw::<f64>("predictions", 7), draw::<f64>("targets", 7));
        let mut gradient = [f64::NAN; 7];
        backward_input(1.0 / 7.0, &predictions, &targets, &mut gradient);
        Probe::new(&[1.0]).check(&predictions, &gradient, |p| vec![mean_loss(p, &targets)]);
    }

    /// ((1 − 3)² + (2 − 1)²) / 2
    #[test]
    fn errors_are_squared_and_averaged() {
        assert_eq!(mean_loss(&[1.0, 2.0], &[3.0, 1.0]), 2.5);
    }
}
