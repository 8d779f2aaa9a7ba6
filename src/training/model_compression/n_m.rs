//! N of every M numbers along a sum are kept, the largest.
//!
//! Mishra et al., "Accelerating Sparse Deep Neural Networks", 2021: section 2 (2:4 sparse tensor cores, two bits
//! for the place of each number), section 3.1 (pruning by magnitude, then training again with the pattern kept).

use serde::{Deserialize, Serialize};

use crate::numeric::values::Form;
use crate::training::model_compression::magnitude::noughts;
use crate::training::model_compression::{Kept, ModelCompression, out_of};

/// A pattern that a matrix engine can skip the noughts of; devices whose file has this `sparsity` do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NM {
    /// How many are kept; the paper's 2 …
    pub n: u32,
    /// … of so many; the paper's 4.
    pub m: u32,
}

impl Default for NM {
    fn default() -> Self {
        NM { n: 2, m: 4 }
    }
}

impl ModelCompression for NM {
    fn label(&self) -> String {
        format!("{}:{}", self.n, self.m)
    }
    fn kept(&self, _rows: u64, _columns: u64) -> Kept {
        Kept::Pattern { n: self.n, m: self.m }
    }
    fn compress(&self, matrix: &mut [f32], columns: usize) -> Option<Form> {
        let rows = matrix.len() / columns;
        let mut cut = Vec::new();
        for column in 0..columns {
            for first in (0..rows).step_by(self.m as usize) {
                let group = first..(first + self.m as usize).min(rows);
                let mut places: Vec<usize> = group.map(|row| row * columns + column).collect();
                // The largest first, of equals the first.
                places.sort_by(|&a, &b| matrix[b].abs().total_cmp(&matrix[a].abs()));
                cut.extend(places.into_iter().skip(self.n as usize));
            }
        }
        Some(noughts(matrix, cut))
    }
    fn mistake(&self) -> Option<(&'static str, String)> {
        out_of("m", self.m <= 256, "the place of a number among more than 256 is not worth its bits")
            .or_else(|| out_of("n", (1..=self.m).contains(&self.n), "of every m numbers 1 to m are kept"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{RngExt, Seed};

    /// Whatever the numbers, n of every m of a column are left, and they are the largest.
    #[test]
    fn exactly_n_of_every_m_are_left() {
        let mut stream = Seed(1).stream("matrix");
        let whole: Vec<f32> = (0..48 * 5).map(|_| stream.random::<f32>() - 0.5).collect();
        for (n, m) in [(2, 4), (1, 4), (4, 8), (1, 2), (3, 3)] {
            let mut matrix = whole.clone();
            let form = NM { n, m }.compress(&mut matrix, 5).unwrap();
            let groups = (0..5).flat_map(|column| (0..48 / m as usize).map(move |group| (column, group)));
            for (column, group) in groups {
                let places = (0..m as usize).map(|at| (group * m as usize + at) * 5 + column);
                let (kept, cut): (Vec<usize>, Vec<usize>) = places.partition(|&place| matrix[place] != 0.0);
                assert_eq!(kept.len(), n as usize, "{n}:{m}");
                let least = kept.iter().map(|&place| whole[place].abs()).fold(f32::INFINITY, f32::min);
                assert!(cut.iter().all(|&place| whole[place].abs() <= least));
            }
            let left = matrix.iter().filter(|x| **x != 0.0).count() as u64;
            assert_eq!(left, Kept::Pattern { n, m }.numbers(48, 5));
            let mut again = vec![1.0; 240];
            form(&mut again);
            assert!(again.iter().zip(&matrix).all(|(again, left)| (*again == 0.0) == (*left == 0.0)));
        }
    }
}
