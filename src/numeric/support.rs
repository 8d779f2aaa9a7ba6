//! What the tests of this room share: numbers to try, and finite differences to hold gradients against.

use crate::numeric::real::Real;
use crate::rng::{RngExt, Seed};

/// `len` numbers between −1 and 1, from the stream called `name`.
pub fn draw<T: Real>(name: &str, len: usize) -> Vec<T> {
    let mut stream = Seed(3).stream(name);
    (0..len).map(|_| T::from_f64(stream.random::<f64>() * 2.0 - 1.0)).collect()
}

/// Looks at a function through one number, Σ dy·y, whose gradient backward must give.
pub struct Probe<'a> {
    dy: &'a [f64],
}

impl<'a> Probe<'a> {
    /// `dy` is the gradient that was handed to backward.
    pub fn new(dy: &'a [f64]) -> Self {
        Probe { dy }
    }

    /// Holds `gradient` against central differences of Σ dy·y at `at`, in every direction.
    ///
    /// With h = 1e-5 in f64 the difference is off by about f'''·h²/6 ≈ 1e-10·f''' and by rounding of about
    /// 1e-16·|Σ dy·y|/h ≈ 1e-10, so 1e-7 relative to the largest slope leaves room for steep functions.
    pub fn check(&self, at: &[f64], gradient: &[f64], function: impl Fn(&[f64]) -> Vec<f64>) {
        const STEP: f64 = 1e-5;
        assert_eq!(at.len(), gradient.len());
        let value =
            |point: &[f64]| -> f64 { function(point).iter().zip(self.dy).map(|(y, dy)| y * dy).sum() };
        let largest = gradient.iter().fold(1.0_f64, |largest, slope| largest.max(slope.abs()));
        let mut point = at.to_vec();
        for index in 0..at.len() {
            point[index] = at[index] + STEP;
            let above = value(&point);
            point[index] = at[index] - STEP;
            let below = value(&point);
            point[index] = at[index];
            let slope = (above - below) / (2.0 * STEP);
            assert!(
                (slope - gradient[index]).abs() < 1e-7 * largest,
                "gradient {index} is {}, but the function rises by {slope}",
                gradient[index]
            );
        }
    }
}
