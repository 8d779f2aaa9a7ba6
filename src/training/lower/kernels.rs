//! The kernels that layers cost, by shape.

use crate::compute::{Kernel, Pass};
use crate::hardware::Precision;

/// Flops of one exponential or tanh with what surrounds it, as vector units evaluate them: a
/// polynomial of degree five or six with range reduction (Cephes `expf`; about ten multiply-adds).
pub(super) const EXP_FLOPS: u32 = 20;
/// Flops of one tanh-form GELU: one exponential and eight more.
pub(super) const GELU_FLOPS: u32 = EXP_FLOPS + 8;

/// The attention of one rank.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttentionShape {
    pub(super) batch: u64,
    pub(super) heads: u64,
    pub(super) head_dim: u64,
    pub(super) sequence: u64,
    pub(super) precision: Precision,
}

/// A product of a linear map of `rows` rows.
pub(super) fn gemm(rows: u64, inputs: u64, outputs: u64, pass: Pass, precision: Precision) -> Option<Kernel> {
    Some(Kernel::Gemm { batch: 1, m: rows, n: outputs, k: inputs, precision, pass })
}

/// Causal attention, forward or backward.
pub(super) fn attention(shape: AttentionShape, backward: bool) -> Option<Kernel> {
    let AttentionShape { batch, heads, head_dim, sequence, precision } = shape;
    Some(Kernel::Attention {
        batch,
        heads,
        kv_heads: heads,
        head_dim,
        queries: sequence,
        keys: sequence,
        causal: true,
        pass: pass(backward),
        precision,
    })
}

/// Attention whose scores go through memory, as Megatron-LM's modules make it: two batched products, a
/// fused scale, mask and softmax between them, dropout with its mask, and the result laid out by rows; each
/// backward. The products do not leave out what is masked.
pub(super) fn unfused_attention(shape: AttentionShape, backward: bool) -> Vec<Kernel> {
    let AttentionShape { batch, heads, head_dim, sequence, precision } = shape;
    let product =
        |n, k| Kernel::Gemm { batch: batch * heads, m: sequence, n, k, precision, pass: Pass::Forward };
    let rows = batch * heads * sequence;
    let softmax = Kernel::Softmax { rows, width: sequence, precision, pass: pass(backward) };
    let pointwise = |elements, inputs, outputs| Kernel::Elementwise {
        elements,
        inputs,
        outputs,
        flops_per_element: 1,
        precision,
    };
    let dropout = pointwise(rows * sequence, 1, 2);
    let layout = pointwise(rows * head_dim, 1, 1);
    // Its fused kernel does four batches at a time (`fused_softmax.py`); where they do not come out even it
    // is replaced by a cast, a scale, a mask, a softmax and a cast.
    let uneven = !(batch * heads).is_multiple_of(4);
    let loose = vec![pointwise(rows * sequence, 1, 1); if uneven { 4 } else { 0 }];
    let (scores, mixed) = (product(sequence, head_dim), product(head_dim, sequence));
    if backward {
        // dP and dV; dropout and softmax; dQ and dK; queries, keys and values side by side again.
        let dropout = pointwise(rows * sequence, 2, 1);
        let ends = vec![mixed, mixed, layout, layout, layout];
        [vec![layout, scores, mixed, dropout, softmax], loose, ends].concat()
    } else {
        [vec![scores], loose, vec![softmax, dropout, mixed, layout]].concat()
    }
}

/// A norm, forward or backward.
pub(super) fn norm(rows: u64, width: u64, backward: bool, precision: Precision) -> Option<Kernel> {
    Some(Kernel::Norm { rows, width, precision, pass: pass(backward) })
}

/// A router's softmax and its choice of the likeliest, in f32, forward or backward.
pub(super) fn router(rows: u64, experts: u64, backward: bool) -> Option<Kernel> {
    Some(Kernel::Softmax { rows, width: experts, precision: Precision::F32, pass: pass(backward) })
}

/// Something done to each element.
pub(super) fn elementwise(
    elements: u64,
    inputs: u32,
    outputs: u32,
    flops_per_element: u32,
    precision: Precision,
) -> Option<Kernel> {
    (elements > 0).then_some(Kernel::Elementwise { elements, inputs, outputs, flops_per_element, precision })
}

/// Zeroing gradients, kept in four bytes each.
pub(super) fn fill(elements: u64) -> Option<Kernel> {
    elementwise(elements, 0, 1, 0, Precision::F32)
}

/// Looking rows of a table up, or adding to them.
pub(super) fn embedding(tokens: u64, width: u64, backward: bool, precision: Precision) -> Option<Kernel> {
    Some(Kernel::Embedding { tokens, width, precision, pass: pass(backward) })
}

/// A fused optimiser step: reads gradient, weight and moments, writes weight and moments.
pub(super) fn optimizer(parameters: u64, moments: usize, precision: Precision) -> Option<Kernel> {
    let moments = moments as u64;
    // In 16 bits the master copy is read and written too, and the weight written once more.
    let widths = match precision {
        Precision::F32 | Precision::Tf32 => 4 + 2 * 4 + moments * 2 * 4,
        Precision::F64 => 8 + 2 * 8 + moments * 2 * 8,
        _ => 4 + 2 * 4 + 2 + moments * 2 * 4,
    };
    // Adam: five multiply-adds, a square root and a division a parameter; SGD: one multiply-add.
    let flops_per_parameter = 2 + 6 * moments;
    (parameters > 0).then_some(Kernel::Optimizer {
        parameters,
        bytes_per_parameter: widths,
        flops_per_parameter,
    })
}

fn pass(backward: bool) -> Pass {
    if backward { Pass::InputGradient } else { Pass::Forward }
}
