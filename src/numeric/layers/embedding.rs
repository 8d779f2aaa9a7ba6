//! From token ids to vectors: a row of a table, and a learned vector for the position.
//!
//! Vocabulary-parallel: a rank holds the rows from `first` on; ids that it does not hold give nought, and
//! the sum over ranks is the whole (Shoeybi et al., "Megatron-LM", 2019, section 3). Positions are added
//! once, after that sum.

use multiversion::multiversion;

use crate::numeric::real::Real;

/// The rows of an embedding table that one rank holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embedding {
    /// The id of the first row.
    pub first: usize,
    /// How many rows.
    pub rows: usize,
    /// H
    pub hidden: usize,
}

impl Embedding {
    /// y = table[id − first], or nought.     ids: (N)   table: (rows, H)   y: (N, H)
    pub fn forward<T: Real>(self, ids: &[u32], table: &[T], y: &mut [T]) {
        for (id, y) in ids.iter().zip(y.chunks_exact_mut(self.hidden)) {
            match self.row_of(*id) {
                Some(row) => y.copy_from_slice(&table[row * self.hidden..][..self.hidden]),
                None => y.fill(T::ZERO),
            }
        }
    }

    /// dtable[id − first] += dy, token after token.
    pub fn backward_weight<T: Real>(self, ids: &[u32], dy: &[T], dtable: &mut [T]) {
        for (id, dy) in ids.iter().zip(dy.chunks_exact(self.hidden)) {
            if let Some(row) = self.row_of(*id) {
                add(&mut dtable[row * self.hidden..][..self.hidden], dy);
            }
        }
    }

    fn row_of(self, id: u32) -> Option<usize> {
        (id as usize).checked_sub(self.first).filter(|row| *row < self.rows)
    }
}

/// x += positions, in every sequence.     x: (B, S, H)   positions: (S, H)
pub fn add_positions<T: Real>(positions: &[T], x: &mut [T]) {
    for x in x.chunks_exact_mut(positions.len()) {
        add(x, positions);
    }
}

/// dpositions += Σ_B dx
pub fn backward_positions<T: Real>(dx: &[T], dpositions: &mut [T]) {
    for dx in dx.chunks_exact(dpositions.len()) {
        add(dpositions, dx);
    }
}

/// x += y
#[multiversion(targets = "simd")]
fn add<T: Real>(x: &mut [T], y: &[T]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += *y;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::numeric::support::draw;

    /// Two ranks hold three rows each; every id is held by exactly one of them.
    #[test]
    fn the_parts_of_the_ranks_sum_to_the_whole() {
        let table = draw::<f64>("table", 6 * 2);
        let ids = [5, 0, 3, 3, 2];
        let whole = Embedding { first: 0, rows: 6, hidden: 2 };
        let mut expected = [0.0; 10];
        whole.forward(&ids, &table, &mut expected);
        assert_eq!(expected[..2], table[10..]);
        let mut sum = [0.0; 10];
        for (first, table) in [(0, &table[..6]), (3, &table[6..])] {
            let mut part = [f64::NAN; 10];
            Embedding { first, rows: 3, hidden: 2 }.forward(&ids, table, &mut part);
            add(&mut sum, &part);
        }
        assert_eq!(sum, expected);
    }

    #[test]
    fn a_row_gathers_the_gradients_of_its_tokens() {
        let part = Embedding { first: 3, rows: 3, hidden: 2 };
        let mut dtable = [1.0; 6];
        // Ids 3 and 3 meet in the first row, 5 in the last; 0 and 2 are another rank's.
        let dy = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
        part.backward_weight(&[5, 0, 3, 3, 2], &dy, &mut dtable);
        assert_eq!(dtable, [81.0, 161.0, 1.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn positions_are_added_to_every_sequence() {
        let mut x = [0.0, 1.0, 2.0, 3.0];
        add_positions(&[10.0, 20.0], &mut x);
        assert_eq!(x, [10.0, 21.0, 12.0, 23.0]);
        let mut dpositions = [0.0; 2];
        backward_positions(&[1.0, 2.0, 3.0, 4.0], &mut dpositions);
        assert_eq!(dpositions, [4.0, 6.0]);
    }
}
