//! A matrix as the sum of outer products, largest first.
//!
//! The only place that names the library of dense decompositions. In f64, so that what is cut off is
//! known to more digits than the matrix has.

use nalgebra::DMatrix;

/// W = U·diag(σ)·Vᵀ with σ falling, U and V of orthonormal columns.
#[derive(Debug, Clone)]
pub struct Svd {
    left: DMatrix<f64>,
    values: Vec<f64>,
    /// Vᵀ.
    right: DMatrix<f64>,
}

impl Svd {
    /// The decomposition of a matrix given row by row.
    ///
    /// # Panics
    /// When a number is not finite.
    pub fn of(numbers: &[f32], columns: usize) -> Self {
        assert!(numbers.iter().all(|x| x.is_finite()), "only finite matrices are decomposed");
        let rows = numbers.len() / columns;
        let matrix = DMatrix::from_row_iterator(rows, columns, numbers.iter().map(|x| f64::from(*x)));
        let svd = matrix.svd(true, true);
        let values = svd.singular_values.iter().copied().collect();
        let (left, right) = (svd.u.expect("asked for"), svd.v_t.expect("asked for"));
        Svd { left, values, right }
    }

    /// The singular values, falling.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The nearest matrix of this rank, row by row (Eckart and Young, "The approximation of one matrix by
    /// another of lower rank", Psychometrika 1, 1936).
    pub fn truncated(&self, rank: usize) -> Vec<f32> {
        let rank = rank.min(self.values.len());
        let mut left = self.left.columns(0, rank).into_owned();
        for (mut column, value) in left.column_iter_mut().zip(&self.values) {
            column *= *value;
        }
        let product = left * self.right.rows(0, rank);
        (0..product.nrows())
            .flat_map(|row| product.row(row).iter().map(|x| *x as f32).collect::<Vec<_>>())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::support::draw;

    /// The squared error of the nearest matrix of a rank is the sum of the squares of the singular values that it
    /// leaves out; of full rank it is the matrix itself, to rounding.
    #[test]
    fn what_is_left_out_is_the_error() {
        let matrix: Vec<f32> = draw("matrix", 24 * 9);
        let svd = Svd::of(&matrix, 9);
        assert!(svd.values().windows(2).all(|pair| pair[0] >= pair[1]), "{:?}", svd.values());
        for rank in 0..=9 {
            let near = svd.truncated(rank);
            let error: f64 = near.iter().zip(&matrix).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            let left_out: f64 = svd.values()[rank..].iter().map(|value| value * value).sum();
            assert!((error - left_out).abs() < 1e-5, "rank {rank}: {error}, not {left_out}");
        }
    }
}
