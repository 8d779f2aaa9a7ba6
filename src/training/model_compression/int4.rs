//! Weights alone in 4-bit integers, a scale for each group of a column.
//!
//! Rounding to nearest by groups, the baseline (RTN) of Frantar et al., "GPTQ: Accurate Post-Training
//! Quantization for Generative Pre-trained Transformers", ICLR 2023, section 5, whose groups are of 128 numbers.
//! Symmetric: no zero points are kept. GPTQ itself, which corrects later columns for the error of earlier ones,
//! would lose less.

use serde::{Deserialize, Serialize};

use crate::numeric::values::Form;
use crate::program::Format;
use crate::training::model_compression::int8::round_column;
use crate::training::model_compression::{Kept, ModelCompression, out_of};

/// Rounded to the nearest of 15 steps; scales are half-precision numbers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Int4 {
    /// Numbers of a column that share a scale; the paper's 128.
    pub group: u64,
}

impl Default for Int4 {
    fn default() -> Self {
        Int4 { group: 128 }
    }
}

impl ModelCompression for Int4 {
    fn label(&self) -> String {
        format!("int4 by {}", self.group)
    }
    fn kept(&self, _rows: u64, _columns: u64) -> Kept {
        Kept::Integers4 { group: self.group }
    }
    fn compress(&self, matrix: &mut [f32], columns: usize) -> Option<Form> {
        let rows = matrix.len() / columns;
        for column in 0..columns {
            for first in (0..rows).step_by(self.group as usize) {
                let group = first..(first + self.group as usize).min(rows);
                round_column(matrix, columns, column, group, 7.0, |scale| Format::F16.round(scale));
            }
        }
        None
    }
    fn mistake(&self) -> Option<(&'static str, String)> {
        out_of("group", self.group >= 1, "at least one number has a scale")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{RngExt, Seed};

    /// No number moves by more than half a step of its group; the scale, rounded to half precision, is off by up
    /// to a part in 2,048, and the largest number then by as much of itself.
    #[test]
    fn the_error_is_at_most_half_a_step() {
        let mut stream = Seed(1).stream("matrix");
        let whole: Vec<f32> = (0..64 * 3).map(|_| stream.random::<f32>() - 0.5).collect();
        for group in [16, 64, 100] {
            let mut matrix = whole.clone();
            Int4 { group }.compress(&mut matrix, 3);
            for column in 0..3 {
                for first in (0..64).step_by(group as usize) {
                    let places = (first..(first + group as usize).min(64)).map(|row| row * 3 + column);
                    let step = places.clone().map(|at| whole[at].abs()).fold(0.0, f32::max) / 7.0;
                    for at in places {
                        let error = (whole[at] - matrix[at]).abs();
                        assert!(error <= step * 0.5 + whole[at].abs() / 1024.0, "{error} of {step}");
                        let steps = matrix[at] / step;
                        assert!((steps - steps.round()).abs() < 0.01, "{steps} is no whole number of steps");
                    }
                }
            }
        }
    }
}
