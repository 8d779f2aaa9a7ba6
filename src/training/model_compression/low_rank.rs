//! Each matrix as the product of two thin ones: its largest singular values and what belongs to them.
//!
//! Eckart and Young, "The approximation of one matrix by another of lower rank", Psychometrika 1, 1936: no
//! matrix of that rank is nearer. For networks: Denton et al., "Exploiting Linear Structure Within Convolutional
//! Networks for Efficient Evaluation", NeurIPS 2014, section 3.

use serde::{Deserialize, Serialize};

use crate::numeric::svd::Svd;
use crate::numeric::values::Form;
use crate::training::model_compression::{Kept, ModelCompression, ModelCompressionSpec, out_of};

/// Factors of this rank, where they are smaller than the matrix; else it stays whole. While it is trained on, the
/// matrix is brought back to its rank after every step (Jain, Meka and Dhillon, "Guaranteed Rank Minimization via
/// Singular Value Projection", NeurIPS 2010, algorithm 1).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LowRank {
    /// How many singular values are kept.
    pub rank: u64,
}

impl Default for LowRank {
    fn default() -> Self {
        LowRank { rank: 16 }
    }
}

impl LowRank {
    /// Whether factors take less than the matrix.
    fn pays(&self, rows: u64, columns: u64) -> bool {
        self.rank * (rows + columns) < rows * columns
    }
}

impl ModelCompression for LowRank {
    fn label(&self) -> String {
        format!("rank {}", self.rank)
    }
    fn kept(&self, rows: u64, columns: u64) -> Kept {
        if self.pays(rows, columns) { Kept::Factors { rank: self.rank } } else { Kept::Whole }
    }
    fn compress(&self, matrix: &mut [f32], columns: usize) -> Option<Form> {
        if !self.pays((matrix.len() / columns) as u64, columns as u64) {
            return None;
        }
        let rank = self.rank as usize;
        let cut = move |matrix: &mut [f32]| matrix.copy_from_slice(&Svd::of(matrix, columns).truncated(rank));
        cut(matrix);
        Some(Box::new(cut))
    }
    fn mistake(&self) -> Option<(&'static str, String)> {
        out_of("rank", self.rank >= 1, "a rank is at least 1")
    }
    fn widened(&self, share: f64) -> Option<ModelCompressionSpec> {
        let rank = ((self.rank as f64 * share).round() as u64).max(1);
        Some(ModelCompressionSpec::LowRank(LowRank { rank }))
    }
}
