//! y = x·W + b, the weight stored (inputs, outputs).
//!
//! Column-parallel: a rank holds some of the outputs (columns of W, their biases); its y is whole for them,
//! its dx is partial. Row-parallel: it holds some of the inputs (rows of W); its y is partial, its dx
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
    /// y = x·W (+ b)     x: (N, I)   w: (I, O)   b: (O)   y: (N, O)
    pub fn forward<T: Real>(self, x: &[T], w: &[T], b: Option<&[T]>, y: &mut [T]) {
        let rows = self.rows(x.len());
        if let Some(b) = b {
            y.chunks_exact_mut(self.outputs).for_each(|row| row.copy_from_slice(b));
        }
        let keep = if b.is_some() { T::ONE } else { T::ZERO };
        let (x, w) = (Matrix::new(x, rows, self.inputs), Matrix::new(w, self.inputs, self.outputs));
        matmul(MatrixMut::new(y, rows, self.outputs), keep, x, w, T::ONE);
    }

    /// B: dx = dy·Wᵀ
    pub fn backward_input<T: Real>(self, dy: &[T], w: &[T], dx: &mut [T]) {
        let rows = self.rows(dx.len());
        let (dy, w) = (Matrix::new(dy, rows, self.outputs), Matrix::new(w, self.inputs, self.outputs));
        matmul(MatrixMut::new(dx, rows, self.inputs), T::ZERO, dy, w.transposed(), T::ONE);
    }

    /// W: dW += xᵀ·dy
    pub fn backward_weight<T: Real>(self, x: &[T], dy: &[T], dw: &mut [T]) {
        let rows = self.rows(x.len());
        let (x, dy) = (Matrix::new(x, rows, self.inputs), Matrix::new(dy, rows, self.outputs));
        matmul(MatrixMut::new(dw, self.inputs, self.outputs), T::ONE, x.transposed(), dy, T::ONE);
    }

    fn rows(self, elements: usize) -> usize {
        assert_eq!(elements % self.inputs, 0, "{elements} elements are not rows of {}", self.inputs);
        elements / self.inputs
    }
}

/// W of a bias: db += Σ_N dy     dy: (N, O)   db: (O)
#[multiversion(targets = "simd")]
pub fn backward_bias<T: Real>(dy: &[T], db: &mut [T]) {
    for row in dy.chunks_exact(db.len()) {
        for (db, dy) in db.iter_mut().zip(row) {
            *db += *dy;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::numeric::support::{Probe, draw};

    const LAYER: Linear = Linear { inputs: 5, outputs: 3 };

    #[test]
    fn backward_is_the_slope_of_forward() {
        let (x, w, b) = (draw("x", 4 * 5), draw("w", 5 * 3), draw("b", 3));
        let dy = draw("dy", 4 * 3);
        let forward = |x: &[f64], w: &[f64], b: &[f64]| {
            let mut y = vec![0.0; 4 * 3];
            LAYER.forward(x, w, Some(b), &mut y);
            y
        };
        let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; b.len()]);
        LAYER.backward_input(&dy, &w, &mut dx);
        LAYER.backward_weight(&x, &dy, &mut dw);
        backward_bias(&dy, &mut db);
        let probe = Probe::new(&dy);
        probe.check(&x, &dx, |x| forward(x, &w, &b));
        probe.check(&w, &dw, |w| forward(&x, w, &b));
        probe.check(&b, &db, |b| forward(&x, &w, b));
    }

    /// x = (1, 2, 3, 4, 5), every row of W is (1, 2, 3): x·W = 15·(1, 2, 3).
    #[test]
    fn the_weight_stands_inputs_by_outputs() {
        let w = [1.0, 2.0, 3.0].repeat(5);
        let mut y = [0.0; 3];
        LAYER.forward(&[1.0, 2.0, 3.0, 4.0, 5.0], &w, Some(&[0.5, 0.0, -0.5]), &mut y);
        assert_eq!(y, [15.5, 30.0, 44.5]);
        LAYER.forward(&[1.0, 2.0, 3.0, 4.0, 5.0], &w, None, &mut y);
        assert_eq!(y, [15.0, 30.0, 45.0]);
    }

    #[test]
    fn gradients_of_micro_batches_add_up() {
        let (x, dy) = (draw::<f64>("x", 4 * 5), draw::<f64>("dy", 4 * 3));
        let (mut together, mut apart) = (vec![1.0; 15], vec![1.0; 15]);
        LAYER.backward_weight(&x, &dy, &mut together);
        LAYER.backward_weight(&x[..10], &dy[..6], &mut apart);
        LAYER.backward_weight(&x[10..], &dy[6..], &mut apart);
        for (together, apart) in together.iter().zip(&apart) {
            assert!((together - apart).abs() < 1e-14);
        }
    }
}
