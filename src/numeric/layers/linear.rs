//! y = x·Wᵀ + b, the weight stored (outputs, inputs) as PyTorch does.
//!
//! Column-parallel: a rank holds some of the outputs (rows of W, their biases); its y is whole for them,
//! its dx is partial. Row-parallel: it holds some of the inputs (columns of W); its y is partial, its dx
//! whole. Partial results are summed over the ranks outside. (Shoeybi et al., "Megatron-LM", 2019, section 3.)

use multiversion::multiversion;

use crate::numeric::matmul::{Matrix, MatrixMut, matmul};
use crate::numeric::real::Real;

/// The size of a linear layer, or of one rank's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linear {
    /// I
    pub inputs: usize,
    /// O
    pub outputs: usize,
}

impl Linear {
    /// y = x·Wᵀ     x: (N, I)   w: (O, I)   y: (N, O)
    pub fn forward<T: Real>(self, x: &[T], w: &[T], y: &mut [T]) {
        let tokens = self.tokens(x.len());
        matmul(
            MatrixMut::new(y, tokens, self.outputs),
            T::ZERO,
            Matrix::new(x, tokens, self.inputs),
            Matrix::new(w, self.outputs, self.inputs).transposed(),
            T::ONE,
        );
    }

    /// y = x·Wᵀ + b     b: (O)
    pub fn forward_with_bias<T: Real>(self, x: &[T], w: &[T], b: &[T], y: &mut [T]) {
        let tokens = self.tokens(x.len());
        set_rows(b, y);
        matmul(
            MatrixMut::new(y, tokens, self.outputs),
            T::ONE,
            Matrix::new(x, tokens, self.inputs),
            Matrix::new(w, self.outputs, self.inputs).transposed(),
            T::ONE,
        );
    }

    /// dx = dy·W
    pub fn backward_input<T: Real>(self, w: &[T], dy: &[T], dx: &mut [T]) {
        let tokens = self.tokens(dx.len());
        matmul(
            MatrixMut::new(dx, tokens, self.inputs),
            T::ZERO,
            Matrix::new(dy, tokens, self.outputs),
            Matrix::new(w, self.outputs, self.inputs),
            T::ONE,
        );
    }

    /// dW += dyᵀ·x
    pub fn backward_weight<T: Real>(self, x: &[T], dy: &[T], dw: &mut [T]) {
        let tokens = self.tokens(x.len());
        matmul(
            MatrixMut::new(dw, self.outputs, self.inputs),
            T::ONE,
            Matrix::new(dy, tokens, self.outputs).transposed(),
            Matrix::new(x, tokens, self.inputs),
            T::ONE,
        );
    }

    fn tokens(self, elements: usize) -> usize {
        assert_eq!(elements % self.inputs, 0, "{elements} elements are not rows of {}", self.inputs);
        elements / self.inputs
    }
}

/// db += Σ_N dy     dy: (N, O)   db: (O)
#[multiversion(targets = "simd")]
pub fn backward_bias<T: Real>(dy: &[T], db: &mut [T]) {
    for row in dy.chunks_exact(db.len()) {
        for (db, dy) in db.iter_mut().zip(row) {
            *db += *dy;
        }
    }
}

/// Every row of y is b.
fn set_rows<T: Real>(b: &[T], y: &mut [T]) {
    for row in y.chunks_exact_mut(b.len()) {
        row.copy_from_slice(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::numeric::support::{Probe, draw};

    const LAYER: Linear = Linear { inputs: 5, outputs: 3 };

    #[test]
    fn backward_is_the_slope_of_forward() {
        let (x, w, b) = (draw("x", 4 * 5), draw("w", 3 * 5), draw("b", 3));
        let dy = draw("dy", 4 * 3);
        let forward = |x: &[f64], w: &[f64], b: &[f64]| {
            let mut y = vec![0.0; 4 * 3];
            LAYER.forward_with_bias(x, w, b, &mut y);
            y
        };
        let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; b.len()]);
        LAYER.backward_input(&w, &dy, &mut dx);
        LAYER.backward_weight(&x, &dy, &mut dw);
        backward_bias(&dy, &mut db);
        let probe = Probe::new(&dy);
        probe.check(&x, &dx, |x| forward(x, &w, &b));
        probe.check(&w, &dw, |w| forward(&x, w, &b));
        probe.check(&b, &db, |b| forward(&x, &w, b));
    }

    /// x = (1, 2, 3, 4, 5), W = rows of ones, twos, threes: x·Wᵀ = 15·(1, 2, 3).
    #[test]
    fn the_weight_stands_outputs_by_inputs() {
        let w: Vec<f32> = [1.0, 2.0, 3.0].iter().flat_map(|row| [*row; 5]).collect();
        let mut y = [0.0; 3];
        LAYER.forward_with_bias(&[1.0, 2.0, 3.0, 4.0, 5.0], &w, &[0.5, 0.0, -0.5], &mut y);
        assert_eq!(y, [15.5, 30.0, 44.5]);
    }
}
