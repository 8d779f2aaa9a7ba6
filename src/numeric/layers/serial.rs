//! Products and attention whose every result is summed in one order, whatever it is computed together with.
//!
//! A GEMM library chooses its loops by the number of rows, so the same row can come out with other last bits in
//! another batch (He and Thinking Machines Lab, "Defeating Nondeterminism in LLM Inference", 2025, name the three
//! operations that have to be batch-invariant: norm, product, attention). A server's batches are whatever its
//! policy makes of its queue; here a row of any of them is the row alone, bit for bit.
//!
//! Sums run over the inputs one after the other, so that ranks which hold the inputs in order (row-parallel
//! weights) come to the same bits as one that holds them all when each goes on from what the one before it has.

use multiversion::multiversion;

use crate::numeric::real::{LANES, fold_sum};

/// Rows worked on at a time: each weight is read once for them.
const ROWS: usize = 4;
/// Outputs worked on at a time.
const COLUMNS: usize = 32;

/// y += x·W, the inputs added one after the other.     x: (N, I)   w: (I, O)   y: (N, O)
#[multiversion(targets = "simd")]
pub fn accumulate(x: &[f32], w: &[f32], outputs: usize, y: &mut [f32]) {
    let inputs = w.len() / outputs;
    let rows = y.len() / outputs;
    assert_eq!(x.len(), rows * inputs, "a row of x for each of y");
    let mut row = 0;
    while row < rows {
        let count = if rows - row >= ROWS { ROWS } else { 1 };
        let (x, y) = (&x[row * inputs..][..count * inputs], &mut y[row * outputs..][..count * outputs]);
        let mut column = 0;
        while column < outputs {
            let width = COLUMNS.min(outputs - column);
            match (count, width) {
                (ROWS, COLUMNS) => tile::<ROWS>(x, w, column, outputs, y),
                (_, COLUMNS) => tile::<1>(x, w, column, outputs, y),
                _ => edge(x, w, [column, width], outputs, y),
            }
            column += width;
        }
        row += count;
    }
}

/// So many rows of a full run of columns, held in registers.
#[inline(always)]
fn tile<const N: usize>(x: &[f32], w: &[f32], column: usize, outputs: usize, y: &mut [f32]) {
    let inputs = x.len() / N;
    let mut sums = [[0.0_f32; COLUMNS]; N];
    for (row, sums) in sums.iter_mut().enumerate() {
        sums.copy_from_slice(&y[row * outputs + column..][..COLUMNS]);
    }
    for input in 0..inputs {
        let w = &w[input * outputs + column..][..COLUMNS];
        for (row, sums) in sums.iter_mut().enumerate() {
            let x = x[row * inputs + input];
            for (sum, w) in sums.iter_mut().zip(w) {
                *sum += x * w;
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        y[row * outputs + column..][..COLUMNS].copy_from_slice(sums);
    }
}

/// The last columns, fewer than a run.
#[inline(always)]
fn edge(x: &[f32], w: &[f32], [column, width]: [usize; 2], outputs: usize, y: &mut [f32]) {
    let inputs = w.len() / outputs;
    for (x, y) in x.chunks_exact(inputs).zip(y.chunks_exact_mut(outputs)) {
        let y = &mut y[column..][..width];
        for (x, w) in x.iter().zip(w.chunks_exact(outputs)) {
            for (y, w) in y.iter_mut().zip(&w[column..][..width]) {
                *y += x * w;
            }
        }
    }
}

/// o = softmax(q·Kᵀ/√D)·V of one query of one head over keys that are found one by one; what it sees is summed in
/// the order of the keys.
///
/// q, o: (D)   key, value: the rows of position j   scores: grows to what is needed
pub fn attend<'a>(
    q: &[f32],
    seen: usize,
    key: impl Fn(usize) -> &'a [f32],
    value: impl Fn(usize) -> &'a [f32],
    scores: &mut Vec<f32>,
    o: &mut [f32],
) {
    let scale = 1.0 / (q.len() as f32).sqrt();
    scores.clear();
    scores.extend((0..seen).map(|at| dot(q, key(at)) * scale));
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = crate::numeric::real::Real::exp(*score - largest);
        sum += *score;
    }
    o.fill(0.0);
    for (at, weight) in scores.iter().enumerate() {
        for (o, v) in o.iter_mut().zip(value(at)) {
            *o += weight * v;
        }
    }
    let share = 1.0 / sum;
    o.iter_mut().for_each(|o| *o *= share);
}

/// In [`LANES`] partial sums: the order depends on the length alone.
#[inline]
fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    for (x, y) in x.chunks(LANES).zip(y.chunks(LANES)) {
        for (lane, (x, y)) in lanes.iter_mut().zip(x.iter().zip(y)) {
            *lane += x * y;
        }
    }
    fold_sum(lanes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::layers::attention::Attention;
    use crate::numeric::layers::linear::Linear;
    use crate::numeric::support::draw;

    const INPUTS: usize = 48;
    const OUTPUTS: usize = 70;

    /// Rows of a batch, rows alone, and ranks that go on where the one before them stopped: the same bits, and those
    /// of the GEMM library but for rounding.
    #[test]
    fn a_row_is_the_same_in_every_batch_and_split() {
        let (x, w) = (draw::<f32>("x", 11 * INPUTS), draw::<f32>("w", INPUTS * OUTPUTS));
        let mut together = vec![0.0; 11 * OUTPUTS];
        accumulate(&x, &w, OUTPUTS, &mut together);
        let mut library = vec![0.0; together.len()];
        Linear { inputs: INPUTS, outputs: OUTPUTS }.forward(&x, &w, None, &mut library);
        for (row, x) in x.chunks_exact(INPUTS).enumerate() {
            let mut alone = vec![0.0; OUTPUTS];
            accumulate(x, &w, OUTPUTS, &mut alone);
            assert_eq!(alone, together[row * OUTPUTS..][..OUTPUTS]);
            let mut ranks = vec![0.0; OUTPUTS];
            for rank in 0..3 {
                let mine = rank * INPUTS / 3..(rank + 1) * INPUTS / 3;
                let w = &w[mine.start * OUTPUTS..mine.end * OUTPUTS];
                accumulate(&x[mine], w, OUTPUTS, &mut ranks);
            }
            assert_eq!(ranks, alone);
        }
        let worst = together.iter().zip(&library).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5, "{worst:e}");
    }

    /// The last query of a sequence sees what training's attention lets it see.
    #[test]
    fn a_query_sees_what_it_sees_in_training() {
        let shape = Attention { heads: 1, head_dim: 24, sequence: 37 };
        let qkv: Vec<f32> = draw("qkv", shape.sequence * 3 * shape.head_dim);
        let mut expected = vec![0.0; shape.sequence * shape.head_dim];
        shape.forward(&qkv, &mut expected, &mut vec![0.0; shape.sequence], &mut Vec::new());
        let row = |at: usize, part: usize| &qkv[(at * 3 + part) * shape.head_dim..][..shape.head_dim];
        for query in [0, 15, 36] {
            let mut o = vec![f32::NAN; shape.head_dim];
            attend(row(query, 0), query + 1, |at| row(at, 1), |at| row(at, 2), &mut Vec::new(), &mut o);
            let expected = &expected[query * shape.head_dim..][..shape.head_dim];
            assert!(o.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{o:?}\n{expected:?}");
        }
    }
}
