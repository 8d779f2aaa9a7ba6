//! Weights and what they are multiplied with in 8-bit integers.
//!
//! Dettmers et al., "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale", NeurIPS 2022, section
//! 3.1: vector-wise quantisation, a scale for each column of the weights and for each row of their inputs,
//! found when they come. Its mixed-precision decomposition of outliers is left out: models of this size have
//! none (section 4: they emerge from 6.7 billion parameters on).

use serde::{Deserialize, Serialize};

use crate::numeric::values::Form;
use crate::training::model_compression::{Kept, ModelCompression};

/// Rounded to the nearest of 255 steps, the largest of a column being 127 of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Int8 {}

impl ModelCompression for Int8 {
    fn label(&self) -> String {
        "int8".into()
    }
    fn kept(&self, _rows: u64, _columns: u64) -> Kept {
        Kept::Integers8
    }
    fn compress(&self, matrix: &mut [f32], columns: usize) -> Option<Form> {
        let rows = matrix.len() / columns;
        for column in 0..columns {
            round_column(matrix, columns, column, 0..rows, 127.0, |scale| scale);
        }
        None
    }
}

/// Rounds the numbers of a column in these rows to `steps` steps either way, the largest being the last of
/// them; `kept` is what the scale is kept as. Returns the scale.
pub(super) fn round_column(
    matrix: &mut [f32],
    columns: usize,
    column: usize,
    rows: std::ops::Range<usize>,
    steps: f32,
    kept: impl Fn(f32) -> f32,
) -> f32 {
    let places = rows.map(|row| row * columns + column);
    let largest = places.clone().map(|place| matrix[place].abs()).fold(0.0, f32::max);
    let scale = kept(largest / steps);
    for place in places {
        let x = &mut matrix[place];
        *x = if scale > 0.0 { (*x / scale).round_ties_even().clamp(-steps, steps) * scale } else { 0.0 };
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{RngExt, Seed};

    /// No number moves by more than half a step of its column, which is the column's largest over 127.
    #[test]
    fn the_error_is_at_most_half_a_step() {
        let mut stream = Seed(1).stream("matrix");
        let whole: Vec<f32> = (0..64 * 3).map(|_| stream.random::<f32>() - 0.5).collect();
        let mut matrix = whole.clone();
        Int8 {}.compress(&mut matrix, 3);
        for column in 0..3 {
            let of =
                |matrix: &[f32]| -> Vec<f32> { matrix.iter().skip(column).step_by(3).copied().collect() };
            let (whole, rounded) = (of(&whole), of(&matrix));
            let step = whole.iter().fold(0.0_f32, |most, x| most.max(x.abs())) / 127.0;
            let errors = whole.iter().zip(&rounded).map(|(a, b)| (a - b).abs());
            let worst = errors.fold(0.0, f32::max);
            assert!(worst <= step * 0.5001 && worst > step * 0.4, "{worst} of a step of {step}");
        }
        let once = matrix.clone();
        Int8 {}.compress(&mut matrix, 3);
        assert!(once.iter().zip(&matrix).all(|(a, b)| (a - b).abs() <= a.abs() * 1e-6));
    }
}
