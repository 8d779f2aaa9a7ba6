//! Attention to a part of the keys, and what two such parts come to together: a step of ring attention.
//!
//! Liu et al., "Ring Attention with Blockwise Transformers for Near-Infinite Context", 2023, section 3. With
//! o and L = ln Σ e^S of some keys, o' and L' of others, those of all are (Rabe and Staats, "Self-attention
//! Does Not Need O(n²) Memory", 2021, section 2)
//!
//! L'' = ln(e^L + e^L'),   o'' = e^(L − L'')·o + e^(L' − L'')·o'.
//!
//! Backward needs no merging: with L over all keys, P = e^(S − L) is right for any of them, and dq, dk and dv
//! are sums over pairs (the formulas are [`attention`](super::attention)'s). As both sides are in order of the
//! sequence, what a query sees of the keys is always a run of the first ones, and later queries see more.

use std::ops::Range;

use crate::numeric::layers::attention::{dot, probabilities_and_gradients, softmax};
use crate::numeric::matmul::{Matrix, MatrixMut, matmul};
use crate::numeric::real::{LANES, Real};
use crate::parallel::Tokens;

/// Queries worked on together.
const BLOCK: usize = 64;

/// Whose queries look at whose keys.
#[derive(Debug, Clone, Copy)]
pub struct AttentionBlock {
    /// A, the heads on this rank.
    pub heads: usize,
    /// D
    pub head_dim: usize,
    /// Those that look.
    pub queries: Tokens,
    /// Those that are looked at.
    pub keys: Tokens,
}

/// What backward reads. N rows of queries, M of keys.
#[derive(Debug, Clone, Copy)]
pub struct KeptBlock<'a, T> {
    /// (N, 3, A, D)
    pub qkv: &'a [T],
    /// (M, 2, A, D)
    pub kv: &'a [T],
    /// (N, A, D), over all keys.
    pub o: &'a [T],
    /// (N, A), over all keys.
    pub log_sum_exp: &'a [T],
}

impl AttentionBlock {
    /// o and log-sum-exp over these keys, of the queries that see any (n of N).
    ///
    /// qkv: (N, 3, A, D)   kv: (M, 2, A, D)   o: (n, A, D)   log_sum_exp: (n, A)
    pub fn forward<T: Real>(
        self,
        qkv: &[T],
        kv: &[T],
        o: &mut [T],
        log_sum_exp: &mut [T],
        scratch: &mut Vec<T>,
    ) {
        let [p] = self.take(scratch);
        for at in self.each_head(qkv.len()) {
            for queries in self.blocks() {
                let (first, seen) = (queries.start - self.first(), self.seen(queries.end - 1));
                self.scores(&qkv[at.qkv..], &kv[at.kv..], &queries, p);
                for (query, scores) in queries.clone().zip(p.chunks_exact_mut(self.row())) {
                    let sum = softmax(scores, self.seen(query), seen);
                    log_sum_exp[at.merged_statistics + (query - self.first()) * self.heads] = sum;
                }
                let o = &mut o[at.merged + first * self.width()..];
                matmul(
                    MatrixMut::strided(o, queries.len(), self.head_dim, self.width()),
                    T::ZERO,
                    Matrix::strided(p, queries.len(), seen, self.row()),
                    Matrix::strided(&kv[at.kv + self.width()..], seen, self.head_dim, 2 * self.width()),
                    T::ONE,
                );
            }
        }
    }

    /// B: dq of the queries that see any (n of N), dk and dv of the keys that are seen (m of M).
    ///
    /// d_o: (N, A, D)   dq: (n, A, D)   dkv: (m, 2, A, D)
    pub fn backward_input<T: Real>(
        self,
        d_o: &[T],
        kept: KeptBlock<'_, T>,
        dq: &mut [T],
        dkv: &mut [T],
        scratch: &mut Vec<T>,
    ) {
        dkv.fill(T::ZERO);
        let [p, ds] = self.take(scratch);
        let width = self.width();
        for at in self.each_head(kept.qkv.len()) {
            let (o, d_o) = (&kept.o[at.o..], &d_o[at.o..]);
            let (qkv, kv) = (&kept.qkv[at.qkv..], &kept.kv[at.kv..]);
            for queries in self.blocks() {
                let seen = self.seen(queries.end - 1);
                let keys = |part: usize| Matrix::strided(&kv[part * width..], seen, self.head_dim, 2 * width);
                let (d_o_rows, q) = (self.rows(&queries, d_o, width), self.rows(&queries, qkv, 3 * width));
                self.scores(qkv, kv, &queries, p);
                let square = MatrixMut::strided(ds, queries.len(), seen, self.row());
                matmul(square, T::ZERO, d_o_rows, keys(1).transposed(), T::ONE);
                let each = p.chunks_exact_mut(self.row()).zip(ds.chunks_exact_mut(self.row()));
                for (query, (p, ds)) in queries.clone().zip(each) {
                    let of_query = query * width..query * width + self.head_dim;
                    let delta = dot(&o[of_query.clone()], &d_o[of_query]);
                    let sum = kept.log_sum_exp[at.statistics + query * self.heads];
                    probabilities_and_gradients(p, ds, self.seen(query), seen, sum, delta);
                }
                let [p, ds] = [&*p, &*ds].map(|of| Matrix::strided(of, queries.len(), seen, self.row()));
                let dq = &mut dq[at.merged + (queries.start - self.first()) * width..];
                let dq = MatrixMut::strided(dq, queries.len(), self.head_dim, width);
                matmul(dq, T::ZERO, ds, keys(0), self.scale());
                let dk = MatrixMut::strided(&mut dkv[at.dkv..], seen, self.head_dim, 2 * width);
                matmul(dk, T::ONE, ds.transposed(), q, self.scale());
                let dv = MatrixMut::strided(&mut dkv[at.dkv + width..], seen, self.head_dim, 2 * width);
                matmul(dv, T::ONE, p.transposed(), d_o_rows, T::ONE);
            }
        }
    }

    /// Q·Kᵀ/√D of some queries and the keys that the last of them sees.
    fn scores<T: Real>(self, qkv: &[T], kv: &[T], queries: &Range<usize>, scores: &mut [T]) {
        let (seen, width) = (self.seen(queries.end - 1), self.width());
        matmul(
            MatrixMut::strided(scores, queries.len(), seen, self.row()),
            T::ZERO,
            Matrix::strided(&qkv[queries.start * 3 * width..], queries.len(), self.head_dim, 3 * width),
            Matrix::strided(kv, seen, self.head_dim, 2 * width).transposed(),
            self.scale(),
        );
    }

    /// The rows of some queries, so far apart.
    fn rows<'a, T>(self, queries: &Range<usize>, of: &'a [T], stride: usize) -> Matrix<'a, T> {
        Matrix::strided(&of[queries.start * stride..], queries.len(), self.head_dim, stride)
    }

    /// How many keys a query sees.
    fn seen(self, query: usize) -> usize {
        self.keys.seen_from(self.queries.position(query))
    }

    /// The first query that sees any.
    fn first(self) -> usize {
        self.queries.sight(self.keys).expect("a block that is seen").first as usize
    }

    fn blocks(self) -> impl Iterator<Item = Range<usize>> {
        let count = self.queries.count();
        (self.first()..count).step_by(BLOCK).map(move |start| start..(start + BLOCK).min(count))
    }

    /// Every head of every sequence.
    fn each_head(self, qkv: usize) -> impl Iterator<Item = Head> {
        let (rows, keys, width) = (self.queries.count(), self.keys.count(), self.width());
        let (merged, seen) = (rows - self.first(), self.seen(rows - 1));
        (0..qkv / (rows * 3 * width)).flat_map(move |sequence| {
            (0..self.heads).map(move |head| {
                let at = head * self.head_dim;
                Head {
                    qkv: sequence * rows * 3 * width + at,
                    kv: sequence * keys * 2 * width + at,
                    o: sequence * rows * width + at,
                    statistics: sequence * rows * self.heads + head,
                    merged: sequence * merged * width + at,
                    merged_statistics: sequence * merged * self.heads + head,
                    dkv: sequence * seen * 2 * width + at,
                }
            })
        })
    }

    fn scale<T: Real>(self) -> T {
        T::from_f64(1.0 / (self.head_dim as f64).sqrt())
    }

    fn width(self) -> usize {
        self.heads * self.head_dim
    }

    /// From one query's scores to the next one's: whole lanes.
    fn row(self) -> usize {
        self.keys.count().next_multiple_of(LANES)
    }

    /// Room for the scores of a block of queries, `N` times.
    fn take<T: Real, const N: usize>(self, scratch: &mut Vec<T>) -> [&mut [T]; N] {
        let len = BLOCK * self.row();
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
    kv: usize,
    o: usize,
    statistics: usize,
    merged: usize,
    merged_statistics: usize,
    dkv: usize,
}

/// o and L become those over more keys, on the last `merged` of each `rows` rows.
///
/// more_o: (…, merged, D)   more: (…, merged)   o: (…, rows, D)   log_sum_exp: (…, rows)
pub fn merge<T: Real>(
    head_dim: usize,
    (rows, merged): (usize, usize),
    [more_o, more]: [&[T]; 2],
    o: &mut [T],
    log_sum_exp: &mut [T],
) {
    for (at, (more_o, &more)) in more_o.chunks_exact(head_dim).zip(more).enumerate() {
        let row = at / merged * rows + rows - merged + at % merged;
        let before = log_sum_exp[row];
        let larger = before.larger(more);
        let sum = larger + ((before - larger).exp() + (more - larger).exp()).ln();
        let (keep, add) = ((before - sum).exp(), (more - sum).exp());
        for (o, &more_o) in o[row * head_dim..][..head_dim].iter_mut().zip(more_o) {
            *o = keep * *o + add * more_o;
        }
        log_sum_exp[row] = sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::numeric::layers::attention::{Attention, Kept};
    use crate::numeric::layers::rearrange::keys_values;
    use crate::numeric::support::draw;
    use crate::parallel::TokenOrder;

    const HEADS: usize = 2;
    const HEAD_DIM: usize = 3;
    const WIDTH: usize = HEADS * HEAD_DIM;
    const SEQUENCES: usize = 2;

    /// The rows of each sequence that a rank holds, of `width` numbers.
    fn held(tokens: Tokens, width: usize, whole: &[f64]) -> Vec<f64> {
        let mut rows = Vec::new();
        for sequence in whole.chunks(tokens.sequence as usize * width) {
            for at in 0..tokens.count() {
                rows.extend(&sequence[tokens.position(at) * width..][..width]);
            }
        }
        rows
    }

    fn close(found: &[f64], expected: &[f64], what: &str) {
        assert_eq!(found.len(), expected.len(), "{what}");
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{what}: {found}, not {expected}");
        }
    }

    /// y += x on the rows from `first` on of each sequence.
    fn add(first: usize, count: usize, width: usize, rows: usize, x: &[f64], y: &mut [f64]) {
        for (x, y) in x.chunks(count * width).zip(y.chunks_mut(rows * width)) {
            y[first * width..][..count * width].iter_mut().zip(x).for_each(|(y, x)| *y += x);
        }
    }

    /// Every rank of a ring against attention on one, however the tokens are dealt, forward and backward.
    #[test]
    fn a_ring_attends_as_one_rank_does() {
        for (order, of, sequence) in [
            (TokenOrder::Contiguous, 3, 12),
            (TokenOrder::Zigzag, 3, 12),
            (TokenOrder::Striped, 3, 12),
            (TokenOrder::Zigzag, 2, 4 * 70),
            (TokenOrder::Striped, 2, 2 * 70),
        ] {
            let alone = Attention { heads: HEADS, head_dim: HEAD_DIM, sequence: sequence as usize };
            let rows = SEQUENCES * sequence as usize;
            let qkv: Vec<f64> = draw("qkv", rows * 3 * WIDTH);
            let d_o: Vec<f64> = draw("d_o", rows * WIDTH);
            let (mut o, mut sums) = (vec![0.0; rows * WIDTH], vec![0.0; rows * HEADS]);
            let mut scratch = vec![f64::NAN; 1 << 18];
            alone.forward(&qkv, &mut o, &mut sums, &mut scratch);
            let mut dqkv = vec![0.0; rows * 3 * WIDTH];
            let kept = Kept { qkv: &qkv, o: &o, log_sum_exp: &sums };
            alone.backward_input(&d_o, kept, &mut dqkv, &mut scratch);
            let ranks: Vec<Tokens> = (0..of).map(|rank| Tokens { sequence, of, rank, order }).collect();
            let each = ranks[0].count();
            let own: Vec<Vec<f64>> = ranks.iter().map(|&tokens| held(tokens, 3 * WIDTH, &qkv)).collect();
            let kv: Vec<Vec<f64>> = own
                .iter()
                .map(|qkv| {
                    let mut kv = vec![f64::NAN; SEQUENCES * each * 2 * WIDTH];
                    keys_values(WIDTH, qkv, &mut kv);
                    kv
                })
                .collect();
            let mut dkvs = vec![vec![0.0; SEQUENCES * each * 2 * WIDTH]; ranks.len()];
            let mut dqs = Vec::new();
            for (at, &queries) in ranks.iter().enumerate() {
                let local = (held(queries, WIDTH, &o), held(queries, HEADS, &sums));
                let local_d_o = held(queries, WIDTH, &d_o);
                let mut merged: Option<(Vec<f64>, Vec<f64>)> = None;
                let mut dq = vec![0.0; SEQUENCES * each * WIDTH];
                // Its own keys first, then those of the ranks before it, around the ring.
                for step in 0..ranks.len() {
                    let from = (at + ranks.len() - step) % ranks.len();
                    let keys = ranks[from];
                    let Some(sight) = queries.sight(keys) else { continue };
                    let (seeing, seen) = (each - sight.first as usize, sight.keys as usize);
                    let block = AttentionBlock { heads: HEADS, head_dim: HEAD_DIM, queries, keys };
                    let mut part = vec![f64::NAN; SEQUENCES * seeing * WIDTH];
                    let mut part_sums = vec![f64::NAN; SEQUENCES * seeing * HEADS];
                    block.forward(&own[at], &kv[from], &mut part, &mut part_sums, &mut scratch);
                    match &mut merged {
                        None => merged = Some((part, part_sums)),
                        Some((o, sums)) => {
                            let of = (each * HEADS, seeing * HEADS);
                            merge(HEAD_DIM, of, [&part, &part_sums], o, sums);
                        }
                    }
                    let kept = KeptBlock { qkv: &own[at], kv: &kv[from], o: &local.0, log_sum_exp: &local.1 };
                    let mut part_dq = vec![f64::NAN; SEQUENCES * seeing * WIDTH];
                    let mut part_dkv = vec![f64::NAN; SEQUENCES * seen * 2 * WIDTH];
                    block.backward_input(&local_d_o, kept, &mut part_dq, &mut part_dkv, &mut scratch);
                    add(sight.first as usize, seeing, WIDTH, each, &part_dq, &mut dq);
                    add(0, seen, 2 * WIDTH, each, &part_dkv, &mut dkvs[from]);
                }
                let (merged_o, merged_sums) = merged.unwrap();
                close(&merged_o, &local.0, &format!("{order:?} o"));
                close(&merged_sums, &local.1, &format!("{order:?} log-sum-exp"));
                dqs.push(dq);
            }
            for ((&tokens, dq), dkv) in ranks.iter().zip(&dqs).zip(&dkvs) {
                let expected = held(tokens, 3 * WIDTH, &dqkv);
                let mut found = vec![f64::NAN; expected.len()];
                super::super::rearrange::join(WIDTH, dq, dkv, &mut found);
                close(&found, &expected, &format!("{order:?} dqkv"));
            }
        }
    }
}
