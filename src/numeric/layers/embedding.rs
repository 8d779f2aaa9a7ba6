//! From token ids to vectors: a row of a table, and a learned vector for the position.
//!
//! Vocabulary-parallel: a rank holds the rows from `first` on; ids that it does not hold give nought, and
//! the sum over ranks is the whole (Shoeybi et al., "Megatron-LM", 2019, section 3). Positions are added
//! once, after that sum. Ids come as whole numbers below 2²⁴, which `f32` holds exactly.

use crate::numeric::layers::pointwise::{accumulate, add};
use crate::numeric::real::Real;
use crate::parallel::Tokens;

/// x[r] = table[id[r] − first], or nought.     ids: (N)   table: (rows here, H)   x: (N, H)
pub fn forward<T: Real>(first: usize, width: usize, ids: &[T], table: &[T], x: &mut [T]) {
    for (&id, x) in ids.iter().zip(x.chunks_exact_mut(width)) {
        match row_of(id, first, table.len() / width) {
            Some(row) => x.copy_from_slice(&table[row * width..][..width]),
            None => x.fill(T::ZERO),
        }
    }
}

/// W: dtable[id[r] − first] += dx[r], row after row.
pub fn backward_weight<T: Real>(first: usize, width: usize, ids: &[T], dx: &[T], dtable: &mut [T]) {
    for (&id, dx) in ids.iter().zip(dx.chunks_exact(width)) {
        if let Some(row) = row_of(id, first, dtable.len() / width) {
            accumulate(dx, &mut dtable[row * width..][..width]);
        }
    }
}

/// Learned positions: row r of a buffer is row `first + r` of the tokens that are held of its sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Positions {
    /// The first row.
    pub first: usize,
    /// Which tokens are held of a sequence.
    pub tokens: Tokens,
    /// H
    pub width: usize,
}

impl Positions {
    /// y = x + positions     x, y: (N, H)   positions: (S, H)
    pub fn forward<T: Real>(self, x: &[T], positions: &[T], y: &mut [T]) {
        let rows = x.chunks_exact(self.width).zip(y.chunks_exact_mut(self.width));
        for (row, (x, y)) in rows.enumerate() {
            add(x, &positions[self.of_row(row)..][..self.width], y);
        }
    }

    /// W: dpositions[position of r] += dy[r]
    pub fn backward_weight<T: Real>(self, dy: &[T], dpositions: &mut [T]) {
        for (row, dy) in dy.chunks_exact(self.width).enumerate() {
            accumulate(dy, &mut dpositions[self.of_row(row)..][..self.width]);
        }
    }

    fn of_row(self, row: usize) -> usize {
        self.tokens.position((self.first + row) % self.tokens.count()) * self.width
    }
}

fn row_of<T: Real>(id: T, first: usize, held: usize) -> Option<usize> {
    (id.to_f64() as usize).checked_sub(first).filter(|row| *row < held)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::numeric::support::{Probe, draw};

    const IDS: [f64; 5] = [5.0, 0.0, 3.0, 3.0, 2.0];

    /// Two ranks hold three rows each; every id is held by exactly one of them.
    #[test]
    fn the_parts_of_the_ranks_sum_to_the_whole() {
        let table = draw::<f64>("table", 6 * 2);
        let mut expected = [f64::NAN; 10];
        forward(0, 2, &IDS, &table, &mut expected);
        assert_eq!(expected[..2], table[10..]);
        let mut sum = [0.0; 10];
        for (first, table) in [(0, &table[..6]), (3, &table[6..])] {
            let mut part = [f64::NAN; 10];
            forward(first, 2, &IDS, table, &mut part);
            accumulate(&part, &mut sum);
        }
        assert_eq!(sum, expected);
    }

    #[test]
    fn a_row_gathers_the_gradients_of_its_tokens() {
        let mut dtable = [1.0; 6];
        // Ids 3 and 3 meet in the first row, 5 in the last; 0 and 2 are another rank's.
        let dx = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
        backward_weight(3, 2, &IDS, &dx, &mut dtable);
        assert_eq!(dtable, [81.0, 161.0, 1.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn backward_is_the_slope_of_forward() {
        let (width, dy) = (2, draw::<f64>("dy", IDS.len() * 2));
        let (table, positions) = (draw::<f64>("table", 6 * width), draw::<f64>("positions", 3 * width));
        let places = Positions { first: 1, tokens: Tokens::whole(3), width };
        let embed = |table: &[f64], positions: &[f64]| {
            let (mut x, mut y) = (vec![f64::NAN; dy.len()], vec![f64::NAN; dy.len()]);
            forward(0, width, &IDS, table, &mut x);
            places.forward(&x, positions, &mut y);
            y
        };
        let (mut dtable, mut dpositions) = (vec![0.0; table.len()], vec![0.0; positions.len()]);
        backward_weight(0, width, &IDS, &dy, &mut dtable);
        places.backward_weight(&dy, &mut dpositions);
        let probe = Probe::new(&dy);
        probe.check(&table, &dtable, |table| embed(table, &positions));
        probe.check(&positions, &dpositions, |positions| embed(&table, positions));
    }

    /// Rows 3 to 6 of sequences of two are positions 1, 0, 1, 0.
    #[test]
    fn positions_go_round_with_the_sequence() {
        let positions = Positions { first: 3, tokens: Tokens::whole(2), width: 1 };
        let mut y = [f64::NAN; 4];
        positions.forward(&[0.0, 1.0, 2.0, 3.0], &[10.0, 20.0], &mut y);
        assert_eq!(y, [20.0, 11.0, 22.0, 13.0]);
        let mut dpositions = [0.5, 0.0];
        positions.backward_weight(&[1.0, 2.0, 3.0, 4.0], &mut dpositions);
        assert_eq!(dpositions, [6.5, 4.0]);
    }
}
