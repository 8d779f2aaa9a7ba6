//! Causal multi-head attention: softmax(Q·Kᵀ/√d)·V for each sequence and head.
//!
//! Vaswani et al., "Attention Is All You Need", 2017, equation 1. The backward pass recomputes the
//! probabilities from the kept log-sum-exp, as Dao, "FlashAttention-2", 2023, algorithm 2 does:
//! P = exp(S − L), dV = Pᵀ·dO, dP = dO·Vᵀ, dS = P∘(dP − rowsum(dO∘O)), dQ = dS·K/√d, dK = dSᵀ·Q/√d.
//!
//! A row of qkv holds q, k and v, each heads × head_dim wide; all products work on strided views.

use crate::numeric::formulas::pointwise::exp;
use crate::numeric::matmul::{Matrix, MatrixMut, matmul};

/// Where one head of one sequence lies in the packed buffers.
struct Head {
    sequence: usize,
    dim: usize,
    qkv_stride: usize,
    o_stride: usize,
    /// Offsets of the first row of q, k, v and of o.
    q: usize,
    k: usize,
    v: usize,
    o: usize,
    /// First row of the sequence, and which head.
    first_row: usize,
    head: usize,
    heads: usize,
}

impl Head {
    fn all((heads, dim, sequence): (u32, u32, u32), rows: usize) -> impl Iterator<Item = Head> {
        let (heads, dim, sequence) = (heads as usize, dim as usize, sequence as usize);
        let width = heads * dim;
        (0..rows / sequence).flat_map(move |batch| {
            (0..heads).map(move |head| {
                let first_row = batch * sequence;
                let q = first_row * 3 * width + head * dim;
                Head {
                    sequence,
                    dim,
                    qkv_stride: 3 * width,
                    o_stride: width,
                    q,
                    k: q + width,
                    v: q + 2 * width,
                    o: first_row * width + head * dim,
                    first_row,
                    head,
                    heads,
                }
            })
        })
    }

    fn of_qkv<'a>(&self, qkv: &'a [f32], offset: usize) -> Matrix<'a, f32> {
        Matrix::strided(&qkv[offset..], self.sequence, self.dim, self.qkv_stride)
    }

    fn of_qkv_mut<'a>(&self, qkv: &'a mut [f32], offset: usize) -> MatrixMut<'a, f32> {
        MatrixMut::strided(&mut qkv[offset..], self.sequence, self.dim, self.qkv_stride)
    }

    fn of_o<'a>(&self, o: &'a [f32]) -> Matrix<'a, f32> {
        Matrix::strided(&o[self.o..], self.sequence, self.dim, self.o_stride)
    }

    fn scale(&self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }

    /// Where the log-sum-exp of a row lies.
    fn statistic(&self, row: usize) -> usize {
        (self.first_row + row) * self.heads + self.head
    }
}

/// qkv: (rows, 3, heads, dim)   o: (rows, heads, dim)   log_sum_exp: (rows, heads)
pub(super) fn forward(shape: (u32, u32, u32), qkv: &[f32], o: &mut [f32], log_sum_exp: &mut [f32]) {
    let s = shape.2 as usize;
    let rows = qkv.len() / (3 * shape.0 as usize * shape.1 as usize);
    let mut p = vec![0.0; s * s];
    for head in Head::all(shape, rows) {
        let (q, k) = (head.of_qkv(qkv, head.q), head.of_qkv(qkv, head.k));
        matmul(MatrixMut::new(&mut p, s, s), 0.0, q, k.transposed(), head.scale());
        for (row, p) in p.chunks_exact_mut(s).enumerate() {
            let (seen, hidden) = p.split_at_mut(row + 1);
            log_sum_exp[head.statistic(row)] = softmax(seen);
            hidden.fill(0.0);
        }
        let out = MatrixMut::strided(&mut o[head.o..], s, head.dim, head.o_stride);
        matmul(out, 0.0, Matrix::new(&p, s, s), head.of_qkv(qkv, head.v), 1.0);
    }
}

/// Turns scores into probabilities; returns log Σ exp.
fn softmax(scores: &mut [f32]) -> f32 {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = exp(*score - max);
        sum += *score;
    }
    let reciprocal = 1.0 / sum;
    scores.iter_mut().for_each(|score| *score *= reciprocal);
    max + sum.ln()
}

/// d_o: (rows, heads, dim)   dqkv: (rows, 3, heads, dim)
pub(super) fn input(
    shape: (u32, u32, u32),
    d_o: &[f32],
    qkv: &[f32],
    o: &[f32],
    log_sum_exp: &[f32],
    dqkv: &mut [f32],
) {
    let s = shape.2 as usize;
    let rows = qkv.len() / (3 * shape.0 as usize * shape.1 as usize);
    let (mut p, mut dp) = (vec![0.0; s * s], vec![0.0; s * s]);
    for head in Head::all(shape, rows) {
        let (q, k, v) = (head.of_qkv(qkv, head.q), head.of_qkv(qkv, head.k), head.of_qkv(qkv, head.v));
        matmul(MatrixMut::new(&mut p, s, s), 0.0, q, k.transposed(), head.scale());
        matmul(MatrixMut::new(&mut dp, s, s), 0.0, head.of_o(d_o), v.transposed(), 1.0);
        for (row, (p, dp)) in p.chunks_exact_mut(s).zip(dp.chunks_exact_mut(s)).enumerate() {
            let at = head.o + row * head.o_stride;
            let delta: f32 = d_o[at..][..head.dim].iter().zip(&o[at..][..head.dim]).map(|(a, b)| a * b).sum();
            let statistic = log_sum_exp[head.statistic(row)];
            for (p, dp) in p[..=row].iter_mut().zip(&mut dp[..=row]) {
                *p = exp(*p - statistic);
                *dp = *p * (*dp - delta);
            }
            p[row + 1..].fill(0.0);
            dp[row + 1..].fill(0.0);
        }
        let (p, ds) = (Matrix::new(&p, s, s), Matrix::new(&dp, s, s));
        matmul(head.of_qkv_mut(dqkv, head.v), 0.0, p.transposed(), head.of_o(d_o), 1.0);
        matmul(head.of_qkv_mut(dqkv, head.q), 0.0, ds, k, head.scale());
        matmul(head.of_qkv_mut(dqkv, head.k), 0.0, ds.transposed(), q, head.scale());
    }
}
