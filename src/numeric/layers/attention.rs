//! The core of causal multi-head attention, softmax(Q·Kᵀ/√D)·V, for the heads of one rank.
//!
//! Vaswani et al., "Attention Is All You Need", 2017, equation 1. A row of qkv holds q, k and v, each
//! heads × head dimension wide; every product is taken on strided views. Heads do not speak to each other,
//! so nothing here is partial under tensor parallelism.
//!
//! Backward makes the probabilities again from the kept log-sum-exp L, as Dao, "FlashAttention-2", 2023,
//! algorithm 2 does: P = exp(S − L), dV = Pᵀ·dO, dP = dO·Vᵀ, dS = P ⊙ (dP − Σ dO ⊙ O), dQ = dS·K/√D,
//! dK = dSᵀ·Q/√D.
//!
//! A query sees itself and what came before. Work goes by blocks of [`BLOCK`] queries: the products of a
//! block end with its last query, which spares nearly half of them when the sequence is long.

use std::ops::Range;

use multiversion::multiversion;

use crate::numeric::matmul::{Matrix, MatrixMut, matmul};
use crate::numeric::real::{LANES, Real, fold_max, fold_sum};

/// Queries (or keys) of a block. Smaller blocks waste less above the diagonal, larger ones multiply faster.
const BLOCK: usize = 64;

/// The size of an attention core, or of one rank's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attention {
    /// A, the heads on this rank.
    pub heads: usize,
    /// D
    pub head_dim: usize,
    /// S, the rows of a sequence.
    pub sequence: usize,
}

/// What backward reads.
#[derive(Debug, Clone, Copy)]
pub struct Kept<'a, T> {
    /// (N, 3, A, D)
    pub qkv: &'a [T],
    /// (N, A, D)
    pub o: &'a [T],
    /// (N, A)
    pub log_sum_exp: &'a [T],
}

impl Attention {
    /// o = softmax(Q·Kᵀ/√D)·V
    ///
    /// qkv: (N, 3, A, D)   o: (N, A, D)   log_sum_exp: (N, A)   scratch: grows to what is needed, once
    pub fn forward<T: Real>(self, qkv: &[T], o: &mut [T], log_sum_exp: &mut [T], scratch: &mut Vec<T>) {
        let [p] = self.take(scratch);
        for head in self.each_head(o.len()) {
            let [q, k, v] = self.of_head(qkv, head.qkv);
            for block in self.blocks() {
                let seen = block.end;
                let scores = &mut p[self.rows(&block)];
                self.scores(q, k, &block, scores);
                let log_sum_exp = log_sum_exp[head.statistics..].iter_mut().step_by(self.heads);
                let log_sum_exp = log_sum_exp.skip(block.start);
                for ((query, scores), log_sum_exp) in
                    block.clone().zip(scores.chunks_exact_mut(self.row())).zip(log_sum_exp)
                {
                    *log_sum_exp = softmax(scores, query + 1, seen);
                }
                let o = &mut o[head.o + block.start * self.width()..];
                matmul(
                    MatrixMut::strided(o, block.len(), self.head_dim, self.width()),
                    T::ZERO,
                    Matrix::strided(scores, block.len(), seen, self.row()),
                    Matrix::strided(v, seen, self.head_dim, self.token()),
                    T::ONE,
                );
            }
        }
    }

    /// B: dqkv from d_o.
    ///
    /// d_o: (N, A, D)   dqkv: (N, 3, A, D)   scratch: as in [`forward`](Self::forward)
    pub fn backward_input<T: Real>(self, d_o: &[T], kept: Kept<'_, T>, dqkv: &mut [T], scratch: &mut Vec<T>) {
        let [p, ds] = self.take(scratch);
        for head in self.each_head(d_o.len()) {
            let [q, k, v] = self.of_head(kept.qkv, head.qkv);
            let (o, d_o) = (&kept.o[head.o..], &d_o[head.o..]);
            let log_sum_exp = &kept.log_sum_exp[head.statistics..];
            for block in self.blocks() {
                let (p, ds) = (&mut p[self.rows(&block)], &mut ds[self.rows(&block)]);
                self.scores(q, k, &block, p);
                matmul(
                    MatrixMut::strided(ds, block.len(), block.end, self.row()),
                    T::ZERO,
                    Matrix::strided(
                        &d_o[block.start * self.width()..],
                        block.len(),
                        self.head_dim,
                        self.width(),
                    ),
                    Matrix::strided(v, block.end, self.head_dim, self.token()).transposed(),
                    T::ONE,
                );
                self.score_gradients(&block, [o, d_o, log_sum_exp], p, ds);
            }
            let width = self.width();
            self.by_query(ds, k, &mut dqkv[head.qkv..]);
            self.by_key(ds, q, self.token(), self.scale(), &mut dqkv[head.qkv + width..]);
            self.by_key(p, d_o, width, T::ONE, &mut dqkv[head.qkv + 2 * width..]);
        }
    }

    /// Q·Kᵀ/√D of a block of queries and the keys up to its end.
    fn scores<T: Real>(self, q: &[T], k: &[T], block: &Range<usize>, scores: &mut [T]) {
        matmul(
            MatrixMut::strided(scores, block.len(), block.end, self.row()),
            T::ZERO,
            Matrix::strided(&q[block.start * self.token()..], block.len(), self.head_dim, self.token()),
            Matrix::strided(k, block.end, self.head_dim, self.token()).transposed(),
            self.scale(),
        );
    }

    /// Scores become probabilities P, and dP becomes dS, of a block of queries.
    fn score_gradients<T: Real>(
        self,
        block: &Range<usize>,
        [o, d_o, log_sum_exp]: [&[T]; 3],
        p: &mut [T],
        ds: &mut [T],
    ) {
        let rows = p.chunks_exact_mut(self.row()).zip(ds.chunks_exact_mut(self.row()));
        for (query, (p, ds)) in block.clone().zip(rows) {
            let at = query * self.width()..query * self.width() + self.head_dim;
            let delta = dot(&o[at.clone()], &d_o[at]);
            let log_sum_exp = log_sum_exp[query * self.heads];
            probabilities_and_gradients(p, ds, query + 1, block.end, log_sum_exp, delta);
        }
    }

    /// dq = ds·k/√D: each block of queries sees the keys up to its end.
    fn by_query<T: Real>(self, ds: &[T], k: &[T], dq: &mut [T]) {
        for block in self.blocks() {
            matmul(
                MatrixMut::strided(
                    &mut dq[block.start * self.token()..],
                    block.len(),
                    self.head_dim,
                    self.token(),
                ),
                T::ZERO,
                Matrix::strided(&ds[block.start * self.row()..], block.len(), block.end, self.row()),
                Matrix::strided(k, block.end, self.head_dim, self.token()),
                self.scale(),
            );
        }
    }

    /// out = weightsᵀ·rows·scale: each block of keys is seen by the queries from its start.
    fn by_key<T: Real>(self, weights: &[T], rows: &[T], stride: usize, scale: T, out: &mut [T]) {
        for block in self.blocks() {
            let queries = self.sequence - block.start;
            let weights = &weights[block.start * self.row() + block.start..];
            matmul(
                MatrixMut::strided(
                    &mut out[block.start * self.token()..],
                    block.len(),
                    self.head_dim,
                    self.token(),
                ),
                T::ZERO,
                Matrix::strided(weights, queries, block.len(), self.row()).transposed(),
                Matrix::strided(&rows[block.start * stride..], queries, self.head_dim, stride),
                scale,
            );
        }
    }

    fn blocks(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.sequence).step_by(BLOCK).map(move |start| start..(start + BLOCK).min(self.sequence))
    }

    /// Where the rows of a block lie among those of a head's scores.
    fn rows(self, block: &Range<usize>) -> Range<usize> {
        block.start * self.row()..block.end * self.row()
    }

    /// Every head of every sequence.
    fn each_head(self, outputs: usize) -> impl Iterator<Item = Head> {
        let sequences = outputs / (self.sequence * self.width());
        (0..sequences).flat_map(move |sequence| {
            let first = sequence * self.sequence;
            (0..self.heads).map(move |head| Head {
                qkv: first * self.token() + head * self.head_dim,
                o: first * self.width() + head * self.head_dim,
                statistics: first * self.heads + head,
            })
        })
    }

    fn of_head<T>(self, qkv: &[T], first: usize) -> [&[T]; 3] {
        [0, 1, 2].map(|part| &qkv[first + part * self.width()..])
    }

    fn scale<T: Real>(self) -> T {
        T::from_f64(1.0 / (self.head_dim as f64).sqrt())
    }

    /// A·D, from one token's o to the next one's.
    fn width(self) -> usize {
        self.heads * self.head_dim
    }

    /// From one token's q to the next one's.
    fn token(self) -> usize {
        3 * self.width()
    }

    /// From one query's scores to the next one's: whole lanes.
    fn row(self) -> usize {
        self.sequence.next_multiple_of(LANES)
    }

    /// Room for the scores of a head, `N` times.
    fn take<T: Real, const N: usize>(self, scratch: &mut Vec<T>) -> [&mut [T]; N] {
        let len = self.sequence * self.row();
        if scratch.len() < N * len {
            scratch.resize(N * len, T::ZERO);
        }
        let mut pieces = scratch.chunks_exact_mut(len);
        std::array::from_fn(|_| pieces.next().expect("as many pieces as asked for"))
    }
}

/// Where a head of a sequence begins in the packed buffers.
#[derive(Debug, Clone, Copy)]
struct Head {
    qkv: usize,
    o: usize,
    statistics: usize,
}

/// The softmax of the first `visible` scores, and nought in the others up to `seen`; returns ln Σ exp.
///
/// Whole lanes are worked on: the row has room for them, and what is beyond the query is set to −∞ first,
/// whose exponential is nought.
#[multiversion(targets = "simd")]
pub(super) fn softmax<T: Real>(scores: &mut [T], visible: usize, seen: usize) -> T {
    let whole = visible.next_multiple_of(LANES);
    if whole < seen {
        scores[whole..seen].fill(T::ZERO);
    }
    let scores = &mut scores[..whole];
    scores[visible..].fill(T::NEG_INFINITY);
    let mut largest = [T::NEG_INFINITY; LANES];
    for chunk in scores.chunks_exact(LANES) {
        for (largest, score) in largest.iter_mut().zip(chunk) {
            *largest = largest.larger(*score);
        }
    }
    let largest = fold_max(largest);
    for score in scores.iter_mut() {
        *score = (*score - largest).exp();
    }
    let mut sums = [T::ZERO; LANES];
    for chunk in scores.chunks_exact(LANES) {
        for (sum, exponential) in sums.iter_mut().zip(chunk) {
            *sum += *exponential;
        }
    }
    let sum = fold_sum(sums);
    let share = T::ONE / sum;
    for score in scores.iter_mut() {
        *score *= share;
    }
    largest + sum.ln()
}

/// p ← exp(p − L) and ds ← p·(ds − delta) of the first `visible`, nought in the others up to `seen`.
#[multiversion(targets = "simd")]
pub(super) fn probabilities_and_gradients<T: Real>(
    p: &mut [T],
    ds: &mut [T],
    visible: usize,
    seen: usize,
    log_sum_exp: T,
    delta: T,
) {
    let whole = visible.next_multiple_of(LANES);
    for (p, ds) in p[..whole].iter_mut().zip(&mut ds[..whole]) {
        *p = (*p - log_sum_exp).exp();
        *ds = *p * (*ds - delta);
    }
    // The lanes beyond the query held scores of what it does not see.
    let end = whole.max(seen);
    p[visible..end].fill(T::ZERO);
    ds[visible..end].fill(T::ZERO);
}

pub(super) fn dot<T: Real>(x: &[T], y: &[T]) -> T {
    let mut lanes = [T::ZERO; LANES];
    for (x, y) in x.chunks(LANES).zip(y.chunks(LANES)) {
        for (lane, (x, y)) in lanes.iter_mut().zip(x.iter().zip(y)) {
            *lane += *x * *y;
        }
    }
    fold_sum(lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::numeric::support::{Probe, draw};

    fn apply(shape: Attention, qkv: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let mut o = vec![f64::NAN; qkv.len() / 3];
        let mut log_sum_exp = vec![f64::NAN; o.len() / shape.head_dim];
        shape.forward(qkv, &mut o, &mut log_sum_exp, &mut Vec::new());
        (o, log_sum_exp)
    }

    /// Equation 1, query by query.
    fn plain(shape: Attention, qkv: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let Attention { heads, head_dim, sequence } = shape;
        let at = |row: usize, part: usize, head: usize| {
            &qkv[((row * 3 + part) * heads + head) * head_dim..][..head_dim]
        };
        let (mut o, mut log_sum_exp) = (Vec::new(), Vec::new());
        for row in 0..qkv.len() / shape.token() {
            let first = row / sequence * sequence;
            for head in 0..heads {
                let score = |key| -> f64 {
                    let products = at(row, 0, head).iter().zip(at(key, 1, head));
                    products.map(|(q, k)| q * k).sum::<f64>() / (head_dim as f64).sqrt()
                };
                let weights: Vec<f64> = (first..=row).map(|key| score(key).exp()).collect();
                let total: f64 = weights.iter().sum();
                log_sum_exp.push(total.ln());
                for dim in 0..head_dim {
                    let values = (first..=row).zip(&weights).map(|(key, w)| w * at(key, 2, head)[dim]);
                    o.push(values.sum::<f64>() / total);
                }
            }
        }
        (o, log_sum_exp)
    }

    fn qkv(shape: Attention, sequences: usize) -> Vec<f64> {
        let mut qkv = draw("qkv", sequences * shape.sequence * shape.token());
        qkv.iter_mut().for_each(|value| *value *= 2.0);
        qkv
    }

    #[test]
    fn equals_the_formula_at_any_length() {
        for sequence in [1, 2, 15, 16, 17, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 7] {
            let shape = Attention { heads: 3, head_dim: 5, sequence };
            let qkv = qkv(shape, 2);
            let ((o, log_sum_exp), (exact_o, exact_sums)) = (apply(shape, &qkv), plain(shape, &qkv));
            for (fast, slow) in o.iter().chain(&log_sum_exp).zip(exact_o.iter().chain(&exact_sums)) {
                assert!((fast - slow).abs() < 1e-12, "sequence {sequence}: {fast}, not {slow}");
            }
        }
    }

    #[test]
    fn backward_is_the_slope_of_forward() {
        for sequence in [5, BLOCK + 3] {
            let shape = Attention { heads: 2, head_dim: 2, sequence };
            let qkv = qkv(shape, 2);
            let d_o = draw("d_o", qkv.len() / 3);
            let (o, log_sum_exp) = apply(shape, &qkv);
            let mut dqkv = vec![f64::NAN; qkv.len()];
            let kept = Kept { qkv: &qkv, o: &o, log_sum_exp: &log_sum_exp };
            // What another shape left in the scratch must not matter.
            let mut scratch = vec![f64::NAN; 1 << 16];
            shape.backward_input(&d_o, kept, &mut dqkv, &mut scratch);
            Probe::new(&d_o).check(&qkv, &dqkv, |qkv| apply(shape, qkv).0);
        }
    }

    #[test]
    fn not_a_number_is_not_lost() {
        let shape = Attention { heads: 1, head_dim: 1, sequence: 3 };
        let (o, _) = apply(shape, &[1.0, 1.0, 1.0, 1.0, f64::NAN, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(o[0], 1.0);
        assert!(o[1].is_nan() && o[2].is_nan());
    }
}
