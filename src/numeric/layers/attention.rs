//! The core of causal multi-head attention, softmax(Q·Kᵀ/√D)·V, for the heads of one rank.
//!
//! Vaswani et al., "Attention Is All You Need", 2017, equation 1. Q, K and V stand packed as the layer
//! before leaves them, (tokens, 3, heads, head dimension); every product is taken on strided views of
//! that buffer. Heads do not speak to each other, so nothing here is partial under tensor parallelism.
//!
//! A query sees itself and what came before. Work goes by blocks of [`BLOCK`] queries: the products of a
//! block end with its last query, which spares nearly half of them when the sequence is long.

use multiversion::multiversion;

use crate::numeric::matmul::{Matrix, MatrixMut, matmul};
use crate::numeric::real::{LANES, Real, fold_max, fold_sum};

/// Queries (or keys) of a block. Smaller blocks waste less above the diagonal, larger ones multiply faster.
const BLOCK: usize = 64;

/// The size of an attention core, or of one rank's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attention {
    /// B, the sequences.
    pub batch: usize,
    /// S, the tokens of each.
    pub sequence: usize,
    /// A, the heads on this rank.
    pub heads: usize,
    /// D
    pub head_dim: usize,
}

impl Attention {
    /// How many numbers the probabilities take: (B, A, S, S), each row rounded up for the vector loops.
    pub fn probabilities_len(self) -> usize {
        self.batch * self.heads * self.head_probabilities()
    }

    /// How many numbers `backward` needs to work in.
    pub fn scratch_len(self) -> usize {
        self.head_probabilities() + 2 * self.sequence * self.head_dim
    }

    /// context = softmax(Q·Kᵀ/√D)·V
    ///
    /// qkv: (B, S, 3, A, D)   probabilities: kept for backward   context: (B, S, A, D)
    pub fn forward<T: Real>(self, qkv: &[T], probabilities: &mut [T], context: &mut [T]) {
        let (row, token, width) = (self.row(), self.token(), self.heads * self.head_dim);
        for (head, p) in probabilities.chunks_exact_mut(self.head_probabilities()).enumerate() {
            let (first, context_first) = self.first_of(head);
            let (q, k, v) = (&qkv[first..], &qkv[first + width..], &qkv[first + 2 * width..]);
            for block in self.blocks() {
                let seen = block.end;
                let scores = &mut p[block.start * row..block.end * row];
                matmul(
                    MatrixMut::strided(scores, block.len(), seen, row),
                    T::ZERO,
                    Matrix::strided(&q[block.start * token..], block.len(), self.head_dim, token),
                    Matrix::strided(k, seen, self.head_dim, token).transposed(),
                    T::ONE / T::from_f64(self.head_dim as f64).sqrt(),
                );
                causal_softmax(scores, row, block.start, seen);
                let context = &mut context[context_first + block.start * width..];
                matmul(
                    MatrixMut::strided(context, block.len(), self.head_dim, width),
                    T::ZERO,
                    Matrix::strided(scores, block.len(), seen, row),
                    Matrix::strided(v, seen, self.head_dim, token),
                    T::ONE,
                );
            }
        }
    }

    /// The gradient of qkv, written over qkv.
    ///
    /// With O = P·V: dV = Pᵀ·dO, dP = dO·Vᵀ, dS = P ⊙ (dP − Σ dP ⊙ P)/√D, dQ = dS·K, dK = dSᵀ·Q.
    ///
    /// qkv: (B, S, 3, A, D)   dcontext: (B, S, A, D)   scratch: [`scratch_len`](Self::scratch_len)
    pub fn backward<T: Real>(self, qkv: &mut [T], probabilities: &[T], dcontext: &[T], scratch: &mut [T]) {
        let (token, width, head_dim) = (self.token(), self.heads * self.head_dim, self.head_dim);
        let (ds, rest) = scratch.split_at_mut(self.head_probabilities());
        let (dq, dk) = rest.split_at_mut(self.sequence * head_dim);
        for (head, p) in probabilities.chunks_exact(self.head_probabilities()).enumerate() {
            let (first, context_first) = self.first_of(head);
            let dcontext = &dcontext[context_first..];
            self.score_gradients(&qkv[first + 2 * width..], p, dcontext, ds);
            self.per_query_block(ds, &qkv[first + width..], dq);
            self.per_key_block(ds, &qkv[first..], token, MatrixPlace { data: dk, stride: head_dim });
            let dv = &mut qkv[first + 2 * width..];
            self.per_key_block(p, dcontext, width, MatrixPlace { data: dv, stride: token });
            let rows = dq.chunks_exact(head_dim).zip(dk.chunks_exact(head_dim));
            for ((dq, dk), qkv) in rows.zip(qkv[first..].chunks_mut(token)) {
                qkv[..head_dim].copy_from_slice(dq);
                qkv[width..width + head_dim].copy_from_slice(dk);
            }
        }
    }

    /// ds ← P ⊙ (dO·Vᵀ − Σ …)/√D, for one head.
    fn score_gradients<T: Real>(self, v: &[T], p: &[T], dcontext: &[T], ds: &mut [T]) {
        let (row, token, width) = (self.row(), self.token(), self.heads * self.head_dim);
        let scale = T::ONE / T::from_f64(self.head_dim as f64).sqrt();
        for block in self.blocks() {
            let seen = block.end;
            let gradients = &mut ds[block.start * row..block.end * row];
            matmul(
                MatrixMut::strided(gradients, block.len(), seen, row),
                T::ZERO,
                Matrix::strided(&dcontext[block.start * width..], block.len(), self.head_dim, width),
                Matrix::strided(v, seen, self.head_dim, token).transposed(),
                T::ONE,
            );
            softmax_backward(
                &p[block.start * row..block.end * row],
                gradients,
                row,
                block.start,
                seen,
                scale,
            );
        }
    }

    /// dq = ds·k, for one head: each block of queries sees the keys up to its end.
    fn per_query_block<T: Real>(self, ds: &[T], k: &[T], dq: &mut [T]) {
        for block in self.blocks() {
            matmul(
                MatrixMut::new(&mut dq[block.start * self.head_dim..], block.len(), self.head_dim),
                T::ZERO,
                Matrix::strided(&ds[block.start * self.row()..], block.len(), block.end, self.row()),
                Matrix::strided(k, block.end, self.head_dim, self.token()),
                T::ONE,
            );
        }
    }

    /// out = weightsᵀ·rows, for one head: each block of keys is seen by the queries from its start.
    fn per_key_block<T: Real>(self, weights: &[T], rows: &[T], stride: usize, out: MatrixPlace<'_, T>) {
        for block in self.blocks() {
            let queries = self.sequence - block.start;
            let weights = &weights[block.start * self.row() + block.start..];
            matmul(
                MatrixMut::strided(
                    &mut out.data[block.start * out.stride..],
                    block.len(),
                    self.head_dim,
                    out.stride,
                ),
                T::ZERO,
                Matrix::strided(weights, queries, block.len(), self.row()).transposed(),
                Matrix::strided(&rows[block.start * stride..], queries, self.head_dim, stride),
                T::ONE,
            );
        }
    }

    fn blocks(self) -> impl Iterator<Item = std::ops::Range<usize>> {
        (0..self.sequence).step_by(BLOCK).map(move |start| start..(start + BLOCK).min(self.sequence))
    }

    /// Where the q of `head` (counted through all sequences) begins in qkv, and its context in context.
    fn first_of(self, head: usize) -> (usize, usize) {
        let (sequence, head) = (head / self.heads, head % self.heads);
        let context = sequence * self.sequence * self.heads * self.head_dim + head * self.head_dim;
        (sequence * self.sequence * self.token() + head * self.head_dim, context)
    }

    /// From one token's q to the next one's.
    fn token(self) -> usize {
        3 * self.heads * self.head_dim
    }

    /// From one query's probabilities to the next one's.
    fn row(self) -> usize {
        self.sequence.next_multiple_of(LANES)
    }

    fn head_probabilities(self) -> usize {
        self.sequence * self.row()
    }
}

/// Rows of the head dimension, `stride` apart.
struct MatrixPlace<'a, T> {
    data: &'a mut [T],
    stride: usize,
}

/// The softmax of each row over what its query sees; nought in the rest of the first `seen` columns.
///
/// Row i belongs to query `first + i`, which sees `first + i + 1` keys. Whole lanes are worked on: the row
/// has room for them, and what is beyond the query is set to −∞ first, whose exponential is nought.
#[multiversion(targets = "simd")]
fn causal_softmax<T: Real>(scores: &mut [T], row: usize, first: usize, seen: usize) {
    for (query, scores) in scores.chunks_exact_mut(row).enumerate() {
        let visible = first + query + 1;
        let whole = visible.next_multiple_of(LANES);
        if whole < seen {
            scores[whole..seen].fill(T::ZERO);
        }
        let scores = &mut scores[..whole];
        scores[visible..].fill(T::NEG_INFINITY);
        let mut largest = [T::NEG_INFINITY; LANES];
        for chunk in scores.chunks_exact(LANES) {
            for lane in 0..LANES {
                largest[lane] = largest[lane].larger(chunk[lane]);
            }
        }
        let largest = fold_max(largest);
        for score in scores.iter_mut() {
            *score = (*score - largest).exp();
        }
        let mut sums = [T::ZERO; LANES];
        for chunk in scores.chunks_exact(LANES) {
            for lane in 0..LANES {
                sums[lane] += chunk[lane];
            }
        }
        let share = T::ONE / fold_sum(sums);
        for score in scores.iter_mut() {
            *score = *score * share;
        }
    }
}

/// `gradients` ← p ⊙ (gradients − Σ p ⊙ gradients)·scale, row by row; nought beyond what a query sees.
#[multiversion(targets = "simd")]
fn softmax_backward<T: Real>(p: &[T], gradients: &mut [T], row: usize, first: usize, seen: usize, scale: T) {
    for (query, (gradients, p)) in gradients.chunks_exact_mut(row).zip(p.chunks_exact(row)).enumerate() {
        let visible = first + query + 1;
        let whole = visible.next_multiple_of(LANES);
        if whole < seen {
            gradients[whole..seen].fill(T::ZERO);
        }
        let (gradients, p) = (&mut gradients[..whole], &p[..whole]);
        gradients[visible..].fill(T::ZERO);
        let mut sums = [T::ZERO; LANES];
        for (gradient, p) in gradients.chunks_exact(LANES).zip(p.chunks_exact(LANES)) {
            for lane in 0..LANES {
                sums[lane] += gradient[lane] * p[lane];
            }
        }
        let along = fold_sum(sums);
        for (gradient, p) in gradients.iter_mut().zip(p) {
            *gradient = *p * (*gradient - along) * scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::numeric::support::{Probe, draw};

    fn apply(shape: Attention, qkv: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let mut probabilities = vec![f64::NAN; shape.probabilities_len()];
        let mut context = vec![f64::NAN; qkv.len() / 3];
        shape.forward(qkv, &mut probabilities, &mut context);
        (probabilities, context)
    }

    /// Equation 1, query by query.
    fn plain(shape: Attention, qkv: &[f64]) -> Vec<f64> {
        let Attention { batch, sequence, heads, head_dim } = shape;
        let at = |b: usize, s: usize, part: usize, h: usize| {
            let start = (((b * sequence + s) * 3 + part) * heads + h) * head_dim;
            &qkv[start..start + head_dim]
        };
        let mut context = Vec::new();
        for b in 0..batch {
            for query in 0..sequence {
                for h in 0..heads {
                    let score = |key| -> f64 {
                        let products = at(b, query, 0, h).iter().zip(at(b, key, 1, h));
                        products.map(|(q, k)| q * k).sum::<f64>() / (head_dim as f64).sqrt()
                    };
                    let weights: Vec<f64> = (0..=query).map(|key| score(key).exp()).collect();
                    let total: f64 = weights.iter().sum();
                    for dim in 0..head_dim {
                        let values = weights.iter().enumerate().map(|(key, w)| w * at(b, key, 2, h)[dim]);
                        context.push(values.sum::<f64>() / total);
                    }
                }
            }
        }
        context
    }

    fn qkv(shape: Attention) -> Vec<f64> {
        let mut qkv = draw("qkv", shape.batch * shape.sequence * shape.token());
        qkv.iter_mut().for_each(|value| *value *= 2.0);
        qkv
    }

    #[test]
    fn equals_the_formula_at_any_length() {
        for sequence in [1, 2, 15, 16, 17, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 7] {
            let shape = Attention { batch: 2, sequence, heads: 3, head_dim: 5 };
            let qkv = qkv(shape);
            for (fast, slow) in apply(shape, &qkv).1.iter().zip(plain(shape, &qkv)) {
                assert!((fast - slow).abs() < 1e-12, "sequence {sequence}: {fast}, not {slow}");
            }
        }
    }

    #[test]
    fn backward_is_the_slope_of_forward() {
        for sequence in [5, BLOCK + 3] {
            let shape = Attention { batch: 2, sequence, heads: 2, head_dim: 2 };
            let qkv = qkv(shape);
            let dcontext = draw("dcontext", qkv.len() / 3);
            let (probabilities, _) = apply(shape, &qkv);
            let mut dqkv = qkv.clone();
            let mut scratch = vec![f64::NAN; shape.scratch_len()];
            shape.backward(&mut dqkv, &probabilities, &dcontext, &mut scratch);
            Probe::new(&dcontext).check(&qkv, &dqkv, |qkv| apply(shape, qkv).1);
        }
    }

    #[test]
    fn not_a_number_is_not_lost() {
        let shape = Attention { batch: 1, sequence: 3, heads: 1, head_dim: 1 };
        let (_, context) = apply(shape, &[1.0, 1.0, 1.0, 1.0, f64::NAN, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(context[0], 1.0);
        assert!(context[1].is_nan() && context[2].is_nan());
    }
}
