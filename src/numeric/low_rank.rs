//! A matrix as the product of two thin ones, by one step of subspace iteration.
//!
//! Vogels, Karimireddy and Jaggi, "PowerSGD", NeurIPS 2019, algorithm 1.

use crate::numeric::layers::pointwise::accumulate;
use crate::numeric::matmul::{Matrix, MatrixMut, matmul};

/// Columns of the gradient, and of its factors.
#[derive(Debug, Clone, Copy)]
pub struct LowRank {
    /// Columns of g.
    pub columns: usize,
    /// Columns of p and q.
    pub rank: usize,
}

impl LowRank {
    /// g += e; p = g·q     g, e: (N, M)   q: (M, R)   p: (N, R)
    pub fn left(self, q: &[f32], p: &mut [f32], g: &mut [f32], e: Option<&Vec<f32>>) {
        if let Some(e) = e {
            accumulate(e, g);
        }
        let rows = g.len() / self.columns;
        let product = MatrixMut::new(p, rows, self.rank);
        let q = Matrix::new(q, self.columns, self.rank);
        matmul(product, 0.0, Matrix::new(g, rows, self.columns), q, 1.0);
    }

    /// p ← orthonormal columns of p; q = gᵀ·p
    pub fn right(self, g: &[f32], p: &mut [f32], q: &mut [f32]) {
        orthonormalise(p, self.rank);
        let rows = g.len() / self.columns;
        let product = MatrixMut::new(q, self.columns, self.rank);
        let gradient = Matrix::new(g, rows, self.columns).transposed();
        matmul(product, 0.0, gradient, Matrix::new(p, rows, self.rank), 1.0);
    }

    /// e = g − p·qᵀ/members; g = p·qᵀ
    pub fn sum(self, p: &[f32], q: &[f32], members: u32, g: &mut [f32], e: Option<&mut Vec<f32>>) {
        let rows = g.len() / self.columns;
        let mut own = vec![0.0; g.len()];
        let q = Matrix::new(q, self.columns, self.rank).transposed();
        matmul(MatrixMut::new(&mut own, rows, self.columns), 0.0, Matrix::new(p, rows, self.rank), q, 1.0);
        if let Some(e) = e {
            let share = 1.0 / members as f32;
            e.iter_mut().zip(&*g).zip(&own).for_each(|((e, g), sum)| *e = g - sum * share);
        }
        g.copy_from_slice(&own);
    }
}

/// Modified Gram–Schmidt on the columns of a (N, R) matrix. A column that the others span becomes nought.
fn orthonormalise(p: &mut [f32], rank: usize) {
    let rows = p.len() / rank;
    for column in 0..rank {
        for before in 0..column {
            let along: f64 =
                (0..rows).map(|r| f64::from(p[r * rank + before]) * f64::from(p[r * rank + column])).sum();
            for r in 0..rows {
                p[r * rank + column] -= along as f32 * p[r * rank + before];
            }
        }
        let norm = (0..rows).map(|r| f64::from(p[r * rank + column]).powi(2)).sum::<f64>().sqrt();
        let scale = if norm > 1e-30 { (1.0 / norm) as f32 } else { 0.0 };
        (0..rows).for_each(|r| p[r * rank + column] *= scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::support::draw;

    /// A matrix of rank 2 comes through factors of rank 2 as it is, whatever q begins with.
    #[test]
    fn a_matrix_of_that_rank_comes_through_whole() {
        let shape = LowRank { columns: 5, rank: 2 };
        let (left, right): (Vec<f32>, Vec<f32>) = (draw("left", 14), draw("right", 10));
        let mut g = vec![0.0; 35];
        matmul(MatrixMut::new(&mut g, 7, 5), 0.0, Matrix::new(&left, 7, 2), Matrix::new(&right, 2, 5), 1.0);
        let whole = g.clone();
        let (mut p, mut q, mut e) = (vec![0.0; 14], draw("q", 10), vec![0.0; 35]);
        shape.left(&q.clone(), &mut p, &mut g, Some(&e));
        shape.right(&g.clone(), &mut p, &mut q);
        shape.sum(&p, &q, 1, &mut g, Some(&mut e));
        for ((g, whole), e) in g.iter().zip(&whole).zip(&e) {
            assert!((g - whole).abs() < 1e-5 && e.abs() < 1e-5, "{g}, not {whole}");
        }
    }

    /// What is kept is what was not sent, and what is sent is at right angles to it.
    #[test]
    fn the_error_is_what_the_factors_leave_out() {
        let shape = LowRank { columns: 6, rank: 1 };
        let whole: Vec<f32> = draw("g", 48);
        let (mut g, mut p, mut q, mut e) = (whole.clone(), vec![0.0; 8], draw("q", 6), vec![0.0; 48]);
        shape.left(&q.clone(), &mut p, &mut g, Some(&e));
        shape.right(&g.clone(), &mut p, &mut q);
        shape.sum(&p, &q, 1, &mut g, Some(&mut e));
        let dot: f32 = g.iter().zip(&e).map(|(g, e)| g * e).sum();
        assert!(dot.abs() < 1e-5, "{dot}");
        g.iter().zip(&e).zip(&whole).for_each(|((g, e), whole)| assert!((g + e - whole).abs() < 1e-5));
    }
}
