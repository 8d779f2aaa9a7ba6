//! The kernels of a step on one rank of a stage, as vLLM launches them.

use crate::compute::{Kernel, Pass};
use crate::hardware::Precision;
use crate::serving::memory::Layout;

/// Flops of one exponential with what surrounds it, as vector units evaluate them (Cephes `expf`).
const ACTIVATION_FLOPS: u32 = 24;

fn gemm(m: u64, n: u64, k: u64, precision: Precision) -> Kernel {
    Kernel::Gemm { batch: 1, m, n, k, precision, pass: Pass::Forward }
}

fn elementwise(elements: u64, inputs: u32, outputs: u32, flops: u32, precision: Precision) -> Kernel {
    Kernel::Elementwise { elements, inputs, outputs, flops_per_element: flops, precision }
}

/// The format of what is not a matrix operand: never narrower than 16 bits.
fn state(layout: &Layout) -> Precision {
    crate::compute::kernel::result_of(layout.precision)
}

/// Two norms, each with the residual added before it; queries, keys and values; positions, and keys and
/// values written to their blocks; the projection after attention.
pub(super) fn around_attention(layout: &Layout, tokens: u64) -> Vec<Kernel> {
    let decoder = &layout.decoder;
    let (hidden, precision) = (decoder.hidden, layout.precision);
    let queries = decoder.heads.div_ceil(layout.tensor) * decoder.head_dim;
    let all = queries + 2 * decoder.kv_heads_per_rank(layout.tensor) * decoder.head_dim;
    // Read and write both the sum and what is normalised: 8 flops of the norm and the addition.
    let norm = elementwise(tokens * hidden, 2, 2, 9, state(layout));
    vec![
        norm,
        gemm(tokens, all, hidden, precision),
        elementwise(tokens * all, 1, 1, 3, state(layout)),
        gemm(tokens, hidden, queries, precision),
        norm,
    ]
}

/// Attention of `batch` requests alike. A query sees the keys up to its own.
pub(super) fn attention(layout: &Layout, batch: u64, queries: u64, keys: u64) -> Kernel {
    Kernel::Attention {
        batch,
        heads: layout.decoder.heads.div_ceil(layout.tensor),
        kv_heads: layout.decoder.kv_heads_per_rank(layout.tensor),
        head_dim: layout.decoder.head_dim,
        queries,
        keys,
        causal: true,
        pass: Pass::Forward,
        precision: layout.kv_precision,
    }
}

/// A plain MLP.
pub(super) fn mlp(layout: &Layout, tokens: u64) -> Vec<Kernel> {
    dense(layout, tokens, layout.decoder.ffn)
}

fn dense(layout: &Layout, tokens: u64, width: u64) -> Vec<Kernel> {
    let (hidden, precision) = (layout.decoder.hidden, layout.precision);
    let width = width.div_ceil(layout.tensor);
    let ups = if layout.decoder.gated { 2 } else { 1 };
    vec![
        gemm(tokens, ups as u64 * width, hidden, precision),
        elementwise(tokens * width, ups, 1, ACTIVATION_FLOPS, state(layout)),
        gemm(tokens, hidden, width, precision),
    ]
}

/// Experts, each cut over the ranks as an MLP is, the tokens spread evenly over them; nothing where
/// there are none.
pub(super) fn experts(layout: &Layout, tokens: u64) -> Vec<Kernel> {
    let Some(experts) = layout.decoder.experts else { return Vec::new() };
    let (hidden, precision) = (layout.decoder.hidden, layout.precision);
    let width = layout.decoder.expert_ffn.div_ceil(layout.tensor);
    let ups = if layout.decoder.gated { 2 } else { 1 };
    let routed = tokens * experts.active;
    let grouped = |n: u64, k: u64| Kernel::GroupedGemm {
        groups: experts.count,
        tokens: routed,
        busiest: routed.div_ceil(experts.count),
        n,
        k,
        precision,
        pass: Pass::Forward,
    };
    let mut kernels = vec![
        gemm(tokens, experts.count, hidden, precision),
        grouped(ups as u64 * width, hidden),
        elementwise(routed * width, ups, 1, ACTIVATION_FLOPS, state(layout)),
        grouped(hidden, width),
        // What the experts of a token say is weighed and added.
        elementwise(tokens * hidden, experts.active as u32, 1, 2 * experts.active as u32, state(layout)),
    ];
    if let Some(width) = experts.shared {
        kernels.extend(dense(layout, tokens, width));
    }
    kernels
}

/// Looking up the tokens of a step.
pub(super) fn embedding(layout: &Layout, tokens: u64) -> Vec<Kernel> {
    let width = layout.decoder.hidden;
    vec![Kernel::Embedding { tokens, width, precision: state(layout), pass: Pass::Forward }]
}

/// The last norm and the head for the tokens from which one is drawn, and drawing it.
pub(super) fn head(layout: &Layout, sampled: u64) -> Vec<Kernel> {
    let (hidden, precision) = (layout.decoder.hidden, layout.precision);
    let vocabulary = layout.decoder.vocabulary.div_ceil(layout.tensor);
    vec![
        elementwise(sampled * hidden, 2, 1, 9, state(layout)),
        gemm(sampled, vocabulary, hidden, precision),
        elementwise(sampled * layout.decoder.vocabulary, 1, 0, 1, state(layout)),
    ]
}
