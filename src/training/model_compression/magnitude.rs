//! The smallest numbers of each matrix become nought.
//!
//! Han et al., "Learning both Weights and Connections for Efficient Neural Networks", NeurIPS 2015, section 3
//! (prune, then train what is left); the same share of every layer, as Zhu and Gupta, "To prune, or not to
//! prune: exploring the efficacy of pruning for model compression", 2017, take it.

use serde::{Deserialize, Serialize};

use crate::numeric::values::Form;
use crate::training::model_compression::{Kept, ModelCompression, out_of};

/// Unstructured: wherever the smallest are. On disk a bit for each place tells where numbers are left; kernels
/// on dense hardware multiply with the noughts, so that nothing is gained in time or in memory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Magnitude {
    /// What share of the numbers becomes nought; Zhu and Gupta begin with a half.
    pub sparsity: f64,
}

impl Default for Magnitude {
    fn default() -> Self {
        Magnitude { sparsity: 0.5 }
    }
}

impl Magnitude {
    /// How many of `numbers` become nought.
    fn cut(&self, numbers: u64) -> u64 {
        (numbers as f64 * self.sparsity).round() as u64
    }
}

impl ModelCompression for Magnitude {
    fn label(&self) -> String {
        format!("magnitude {} %", self.sparsity * 100.0)
    }
    fn kept(&self, rows: u64, columns: u64) -> Kept {
        let numbers = rows * columns;
        Kept::Places { numbers: numbers - self.cut(numbers) }
    }
    fn compress(&self, matrix: &mut [f32], _columns: usize) -> Option<Form> {
        let mut order: Vec<usize> = (0..matrix.len()).collect();
        // Of equals the first goes first.
        order.sort_by(|&a, &b| matrix[a].abs().total_cmp(&matrix[b].abs()));
        order.truncate(self.cut(matrix.len() as u64) as usize);
        Some(noughts(matrix, order))
    }
    fn mistake(&self) -> Option<(&'static str, String)> {
        let fits = (0.0..1.0).contains(&self.sparsity);
        out_of("sparsity", fits, "a share from 0 to less than 1 of the numbers becomes nought")
    }
}

/// Makes these places nought, and keeps them so.
pub(super) fn noughts(matrix: &mut [f32], places: Vec<usize>) -> Form {
    let clear = move |matrix: &mut [f32]| places.iter().for_each(|&place| matrix[place] = 0.0);
    clear(matrix);
    Box::new(clear)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_go_and_stay_away() {
        let mut matrix = [0.3, -0.1, 0.2, -0.4];
        let form = Magnitude { sparsity: 0.5 }.compress(&mut matrix, 2).unwrap();
        assert_eq!(matrix, [0.3, 0.0, 0.0, -0.4]);
        matrix = [1.0; 4];
        form(&mut matrix);
        assert_eq!(matrix, [1.0, 0.0, 0.0, 1.0]);
        let whole = Magnitude { sparsity: 0.0 };
        whole.compress(&mut matrix, 2);
        assert_eq!(matrix, [1.0, 0.0, 0.0, 1.0]);
    }
}
