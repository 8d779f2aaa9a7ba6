//! What a device is asked to compute, by shape alone.
//!
//! A kernel says how many flops it needs ([`Kernel::flops`]) and how many bytes it cannot avoid to
//! move between the chip and its memory ([`Kernel::bytes`], each operand once). How long that takes
//! is a [`ComputeModel`](crate::compute::ComputeModel)'s answer.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hardware::Precision;
use crate::units::{Bytes, Flops};

/// Which of a layer's three products a kernel belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// y = x·W, or any kernel outside of training.
    #[default]
    Forward,
    /// dx = dy·Wᵀ. For kernels without weights: the whole backward.
    InputGradient,
    /// dW = xᵀ·dy.
    WeightGradient,
}

/// One kernel. Equal kernels cost the same on equal devices, so costs are remembered by kernel.
///
/// Matrix products are always written with the shape of their *forward*, y(m×n) = x(m×k)·W(k×n);
/// [`Pass`] says which of the three products of a training step it is (see [`MatrixShape::of_pass`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernel {
    /// `batch` independent products y(m×n) = x(m×k)·W(k×n).
    Gemm {
        /// Independent products of this shape.
        batch: u64,
        /// Rows of x and y: tokens.
        m: u64,
        /// Columns of W and y: outputs.
        n: u64,
        /// Columns of x, rows of W: inputs.
        k: u64,
        /// Format of the operands (accumulation is in single precision or wider).
        precision: Precision,
        /// Which product of the training step.
        pass: Pass,
    },
    /// One product per group, each group (expert) with its own W(k×n) and its share of the tokens.
    GroupedGemm {
        /// Groups with weights on this device.
        groups: u64,
        /// Rows of all groups together.
        tokens: u64,
        /// Rows of the fullest group; the other `tokens − busiest` are spread evenly over the rest.
        busiest: u64,
        /// Columns of W and y.
        n: u64,
        /// Columns of x, rows of W.
        k: u64,
        /// Format of the operands.
        precision: Precision,
        /// Which product of the training step.
        pass: Pass,
    },
    /// y(m×n) = x(m×k)·W(k×n) with a W that is smaller in memory than its numbers are: integers with
    /// scales, multiplied as `precision`, or `n` of every `m` numbers along k.
    PackedGemm {
        /// Rows of x and y.
        m: u64,
        /// Columns of W and y.
        n: u64,
        /// Columns of x, rows of W.
        k: u64,
        /// Format of x, and of the multiplication.
        precision: Precision,
        /// W as memory holds it, with scales and places.
        weights: Bytes,
        /// Flops by which the vector units make one number of W out of what memory holds.
        unpack: u32,
        /// Numbers kept of every so many along k, where the matrix engine leaves the others out.
        pattern: Option<(u32, u32)>,
    },
    /// softmax(Q·Kᵀ)·V without the scores ever leaving the chip (FlashAttention-2, Dao 2023).
    Attention {
        /// Sequences.
        batch: u64,
        /// Query heads.
        heads: u64,
        /// Key and value heads (fewer than `heads` with grouped queries).
        kv_heads: u64,
        /// Width of a head.
        head_dim: u64,
        /// Query positions per sequence; 1 when decoding.
        queries: u64,
        /// Key positions per sequence; the queries are the last of them.
        keys: u64,
        /// Whether a query sees only keys up to its own position.
        causal: bool,
        /// Forward, or the whole backward (`InputGradient`).
        pass: Pass,
        /// Format of the operands.
        precision: Precision,
    },
    /// Layer norm or RMS norm over rows.
    Norm {
        /// Rows normalised independently.
        rows: u64,
        /// Elements of a row.
        width: u64,
        /// Format in memory.
        precision: Precision,
        /// Forward, or the backward.
        pass: Pass,
    },
    /// Softmax over rows that do reach memory (of logits; attention's own is in `Attention`).
    Softmax {
        /// Rows normalised independently.
        rows: u64,
        /// Elements of a row.
        width: u64,
        /// Format in memory.
        precision: Precision,
        /// Forward, or the backward.
        pass: Pass,
    },
    /// One (fused) function of each element.
    Elementwise {
        /// Elements of each input and output.
        elements: u64,
        /// Tensors read.
        inputs: u32,
        /// Tensors written.
        outputs: u32,
        /// Flops per element.
        flops_per_element: u32,
        /// Format in memory.
        precision: Precision,
    },
    /// A function of each element by a kernel that loads one element at a time, as the activation,
    /// norm, rotary and quantisation kernels of some serving engines do: bound by its accesses.
    Scalar {
        /// Elements of each input and output.
        elements: u64,
        /// Tensors read.
        inputs: u32,
        /// Tensors written.
        outputs: u32,
        /// Loads and stores per element, repeated passes included.
        accesses: u32,
        /// Format in memory.
        precision: Precision,
    },
    /// Rows of a table gathered by token (forward) or added into it (backward).
    Embedding {
        /// Tokens looked up.
        tokens: u64,
        /// Elements of a row of the table.
        width: u64,
        /// Format in memory.
        precision: Precision,
        /// Forward, or the backward.
        pass: Pass,
    },
    /// One optimiser update, all states in one fused pass.
    Optimizer {
        /// Parameters updated.
        parameters: u64,
        /// Bytes read and written per parameter (AdamW in mixed precision: see [`Kernel::adam_w`]).
        bytes_per_parameter: u64,
        /// Flops per parameter.
        flops_per_parameter: u64,
    },
    /// Bytes copied within the device's memory.
    Copy {
        /// The payload: it is read once and written once.
        bytes: Bytes,
    },
    /// A tensor written again in another format, with a scale.
    Quantise {
        /// Elements.
        elements: u64,
        /// Format read.
        from: Precision,
        /// Format written.
        to: Precision,
    },
    /// A task known only by its flops and bytes.
    Work {
        /// Floating-point operations.
        flops: Flops,
        /// Bytes moved to and from memory.
        bytes: Bytes,
        /// Format computed in.
        precision: Precision,
    },
}

/// The part of a device that does a kernel's arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// Tensor cores, matrix cores, systolic array.
    Matrix,
    /// Vector units.
    Vector,
}

/// A product C(m×n) = A(m×k)·B(k×n) as the hardware sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MatrixShape {
    /// Independent products.
    pub batch: u64,
    /// Rows of the result.
    pub m: u64,
    /// Columns of the result.
    pub n: u64,
    /// Depth of the sum.
    pub k: u64,
}

impl MatrixShape {
    /// The product that a layer of forward shape (m, n, k) computes in `pass`:
    /// dx(m×k) = dy(m×n)·Wᵀ(n×k) sums over n, dW(k×n) = xᵀ(k×m)·dy(m×n) over m.
    pub fn of_pass(batch: u64, m: u64, n: u64, k: u64, pass: Pass) -> Self {
        match pass {
            Pass::Forward => MatrixShape { batch, m, n, k },
            Pass::InputGradient => MatrixShape { batch, m, n: k, k: n },
            Pass::WeightGradient => MatrixShape { batch, m: k, n, k: m },
        }
    }

    /// 2·batch·m·n·k: a multiply and an add for each term of each sum.
    pub fn flops(&self) -> Flops {
        Flops(2) * self.batch * self.m * self.n * self.k
    }

    /// Elements of A and B of all products together.
    pub fn operands(&self) -> u64 {
        self.batch * (self.m * self.k + self.k * self.n)
    }

    /// Elements of C of all products together.
    pub fn results(&self) -> u64 {
        self.batch * self.m * self.n
    }
}

/// The shape of an attention kernel, without its format and pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttentionShape {
    /// Sequences.
    pub batch: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Width of a head.
    pub head_dim: u64,
    /// Query positions.
    pub queries: u64,
    /// Key positions.
    pub keys: u64,
    /// Whether later keys are masked.
    pub causal: bool,
}

impl AttentionShape {
    /// (query, key) pairs of one head of one sequence that are not masked.
    ///
    /// The queries are the last positions, so query i of q sees k − q + i + 1 of the k keys:
    /// q·k − q(q−1)/2 in all (with q = k about half of q², with q = 1 all k). Queries before the
    /// first key see none.
    pub fn pairs(&self) -> u64 {
        if !self.causal {
            return self.queries * self.keys;
        }
        let seeing = self.queries.min(self.keys);
        seeing * self.keys - seeing * (seeing.max(1) - 1) / 2
    }

    /// Forward: 2 flops per pair and head element in each of Q·Kᵀ and P·V; backward: five such
    /// products instead of two (Dao, "FlashAttention-2", 2023, section 3).
    pub fn flops(&self, pass: Pass) -> Flops {
        let products = if pass == Pass::Forward { 2 } else { 5 };
        Flops(2 * products) * self.batch * self.heads * self.pairs() * self.head_dim
    }

    /// Elements of a tensor with one row per query (Q, O, dO, dQ).
    pub fn query_elements(&self) -> u64 {
        self.batch * self.heads * self.queries * self.head_dim
    }

    /// Elements of a tensor with one row per key (K, V, dK, dV).
    pub fn key_elements(&self) -> u64 {
        self.batch * self.kv_heads * self.keys * self.head_dim
    }
}

impl Kernel {
    /// AdamW in mixed precision over `parameters`: reads the 4-byte gradient, master weight and two
    /// moments, writes the last three and a 2-byte weight (4·4 + 3·4 + 2 = 30 B); 12 flops for the
    /// moments, 6 for the update (Loshchilov and Hutter 2019, algorithm 2, counted line by line;
    /// square root and division count one each).
    pub fn adam_w(parameters: u64) -> Self {
        Kernel::Optimizer { parameters, bytes_per_parameter: 30, flops_per_parameter: 18 }
    }

    /// The useful floating-point operations.
    pub fn flops(&self) -> Flops {
        match *self {
            Kernel::Gemm { .. } => self.matrix_shape().expect("a GEMM has a shape").flops(),
            // Each token meets one group's weights, whatever the distribution and the pass.
            Kernel::GroupedGemm { tokens, n, k, .. } => Flops(2) * tokens * n * k,
            // As if every number were there: what is useful does not depend on how W is kept.
            Kernel::PackedGemm { m, n, k, .. } => Flops(2) * m * n * k,
            Kernel::Attention { pass, .. } => self.attention_shape().expect("attention").flops(pass),
            // Forward: mean 1, variance 3, normalise 2, scale and shift 2. Backward: two row sums of
            // two flops, five to combine them, five for the gradients of scale and shift.
            Kernel::Norm { rows, width, pass, .. } => {
                Flops(if pass == Pass::Forward { 8 } else { 14 }) * rows * width
            }
            // Forward: maximum, subtract, exponential, sum, divide. Backward: y·(dy − Σ y·dy).
            Kernel::Softmax { rows, width, pass, .. } => {
                Flops(if pass == Pass::Forward { 5 } else { 4 }) * rows * width
            }
            Kernel::Elementwise { elements, flops_per_element, .. } => {
                Flops(u64::from(flops_per_element)) * elements
            }
            Kernel::Scalar { .. } => Flops::ZERO,
            Kernel::Embedding { tokens, width, pass, .. } => {
                Flops(if pass == Pass::Forward { 0 } else { 1 }) * tokens * width
            }
            Kernel::Optimizer { parameters, flops_per_parameter, .. } => {
                Flops(flops_per_parameter) * parameters
            }
            Kernel::Copy { .. } => Flops::ZERO,
            // Largest magnitude, scale, round.
            Kernel::Quantise { elements, .. } => Flops(3) * elements,
            Kernel::Work { flops, .. } => flops,
        }
    }

    /// The compulsory traffic: every input read once from memory, every output written once.
    pub fn bytes(&self) -> Bytes {
        match *self {
            Kernel::Gemm { precision, .. } => {
                let shape = self.matrix_shape().expect("a GEMM has a shape");
                precision.bytes_of(shape.operands()) + result_of(precision).bytes_of(shape.results())
            }
            // Groups without tokens do not touch their weights.
            Kernel::GroupedGemm { groups, tokens, busiest, n, k, precision, pass } => {
                let weights = occupied_groups(groups, tokens, busiest) * n * k;
                let (operands, results) = match pass {
                    Pass::Forward => (weights + tokens * k, tokens * n),
                    Pass::InputGradient => (weights + tokens * n, tokens * k),
                    Pass::WeightGradient => (tokens * (n + k), weights),
                };
                precision.bytes_of(operands) + result_of(precision).bytes_of(results)
            }
            Kernel::PackedGemm { m, n, k, precision, weights, .. } => {
                precision.bytes_of(m * k) + weights + result_of(precision).bytes_of(m * n)
            }
            Kernel::Attention { pass, precision, .. } => {
                let shape = self.attention_shape().expect("attention");
                attention_bytes(&shape, pass, precision)
            }
            Kernel::Norm { rows, width, precision, pass }
            | Kernel::Softmax { rows, width, precision, pass } => {
                precision.bytes_of(rows * width) * if pass == Pass::Forward { 2 } else { 3 }
            }
            Kernel::Elementwise { elements, inputs, outputs, precision, .. }
            | Kernel::Scalar { elements, inputs, outputs, precision, .. } => {
                precision.bytes_of(elements) * u64::from(inputs + outputs)
            }
            // The token identities are 8-byte integers; the backward reads and writes the rows it adds to.
            Kernel::Embedding { tokens, width, precision, pass } => {
                let rows = precision.bytes_of(tokens * width) * if pass == Pass::Forward { 2 } else { 3 };
                rows + Bytes(8) * tokens
            }
            Kernel::Optimizer { parameters, bytes_per_parameter, .. } => {
                Bytes(bytes_per_parameter) * parameters
            }
            Kernel::Copy { bytes } => bytes * 2,
            Kernel::Quantise { elements, from, to } => from.bytes_of(elements) + to.bytes_of(elements),
            Kernel::Work { bytes, .. } => bytes,
        }
    }

    /// The format it computes in. Copies have none of their own and count as bytes; optimisers
    /// compute in single precision.
    pub fn precision(&self) -> Precision {
        match *self {
            Kernel::Gemm { precision, .. }
            | Kernel::GroupedGemm { precision, .. }
            | Kernel::PackedGemm { precision, .. }
            | Kernel::Attention { precision, .. }
            | Kernel::Norm { precision, .. }
            | Kernel::Softmax { precision, .. }
            | Kernel::Elementwise { precision, .. }
            | Kernel::Scalar { precision, .. }
            | Kernel::Embedding { precision, .. }
            | Kernel::Work { precision, .. } => precision,
            Kernel::Optimizer { .. } => Precision::F32,
            Kernel::Copy { .. } => Precision::I8,
            Kernel::Quantise { from, .. } => from,
        }
    }

    /// The part of the device that does its arithmetic. `Work` counts as matrix work: a task that
    /// gives its flops means the device's peak.
    pub fn unit(&self) -> Unit {
        match self {
            Kernel::Gemm { .. }
            | Kernel::GroupedGemm { .. }
            | Kernel::PackedGemm { .. }
            | Kernel::Attention { .. }
            | Kernel::Work { .. } => Unit::Matrix,
            _ => Unit::Vector,
        }
    }

    /// The matrix product of a `Gemm`, as its pass makes it.
    pub fn matrix_shape(&self) -> Option<MatrixShape> {
        match *self {
            Kernel::Gemm { batch, m, n, k, pass, .. } => Some(MatrixShape::of_pass(batch, m, n, k, pass)),
            _ => None,
        }
    }

    /// The shape of an `Attention`.
    pub fn attention_shape(&self) -> Option<AttentionShape> {
        match *self {
            Kernel::Attention { batch, heads, kv_heads, head_dim, queries, keys, causal, .. } => {
                Some(AttentionShape { batch, heads, kv_heads, head_dim, queries, keys, causal })
            }
            _ => None,
        }
    }

    /// The family's name, as tables of measurements call it.
    pub fn name(&self) -> &'static str {
        match self {
            Kernel::Gemm { .. } => "gemm",
            Kernel::GroupedGemm { .. } => "grouped_gemm",
            Kernel::PackedGemm { .. } => "packed_gemm",
            Kernel::Attention { .. } => "attention",
            Kernel::Norm { .. } => "norm",
            Kernel::Softmax { .. } => "softmax",
            Kernel::Elementwise { .. } => "elementwise",
            Kernel::Scalar { .. } => "scalar",
            Kernel::Embedding { .. } => "embedding",
            Kernel::Optimizer { .. } => "optimizer",
            Kernel::Copy { .. } => "copy",
            Kernel::Quantise { .. } => "quantise",
            Kernel::Work { .. } => "work",
        }
    }
}

/// Rows of each group: the fullest first, the rest spread evenly (the first ones take the remainder).
pub fn rows_of_groups(groups: u64, tokens: u64, busiest: u64) -> impl Iterator<Item = u64> {
    assert!(busiest <= tokens, "the fullest group has {busiest} rows of {tokens}");
    let others = groups.saturating_sub(1);
    let rest = if others == 0 { 0 } else { tokens - busiest };
    let first = if others == 0 { tokens } else { busiest };
    let rows = move |other: u64| rest / others + u64::from(other < rest % others);
    std::iter::once(first).take(groups.min(1) as usize).chain((0..others).map(rows))
}

/// The format of a product's result: that of its operands, but never narrower than 16 bits.
pub fn result_of(precision: Precision) -> Precision {
    if precision.bits() < 16 { Precision::Bf16 } else { precision }
}

/// Groups that have at least one row.
fn occupied_groups(groups: u64, tokens: u64, busiest: u64) -> u64 {
    if groups <= 1 {
        return groups.min(tokens);
    }
    busiest.min(1) + (tokens - busiest).min(groups - 1)
}

/// Forward reads Q, K, V and writes O and a 4-byte log-sum per query; backward reads those and dO,
/// writes dQ, dK, dV, and writes and reads a 4-byte row sum per query (FlashAttention-2, algorithm 2).
fn attention_bytes(shape: &AttentionShape, pass: Pass, precision: Precision) -> Bytes {
    let (queries, keys) = (shape.query_elements(), shape.key_elements());
    let statistics = Bytes(4) * shape.batch * shape.heads * shape.queries;
    match pass {
        Pass::Forward => precision.bytes_of(2 * queries + 2 * keys) + statistics,
        _ => precision.bytes_of(4 * queries + 4 * keys) + statistics * 3,
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Pass::Forward => "forward",
            Pass::InputGradient => "input gradient",
            Pass::WeightGradient => "weight gradient",
        })
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Kernel::Gemm { batch, m, n, k, precision, pass } => {
                write!(f, "gemm {batch} x {m} x {n} x {k} {precision} {pass}")
            }
            Kernel::GroupedGemm { groups, tokens, n, k, precision, pass, .. } => {
                write!(f, "grouped gemm {groups} groups, {tokens} x {n} x {k} {precision} {pass}")
            }
            Kernel::PackedGemm { m, n, k, precision, weights, .. } => {
                write!(f, "packed gemm {m} x {n} x {k} {precision}, weights of {weights}")
            }
            Kernel::Attention {
                batch,
                heads,
                kv_heads,
                head_dim,
                queries,
                keys,
                causal,
                pass,
                precision,
            } => {
                let mask = if causal { " causal" } else { "" };
                write!(
                    f,
                    "attention {batch} x {heads}/{kv_heads} heads of {head_dim}, \
                     {queries} queries, {keys} keys{mask} {precision} {pass}"
                )
            }
            Kernel::Copy { bytes } => write!(f, "copy {bytes}"),
            Kernel::Work { flops, bytes, .. } => write!(f, "work {flops}, {bytes}"),
            _ => write!(f, "{} of {} and {}", self.name(), self.flops(), self.bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attention(queries: u64, keys: u64, causal: bool) -> AttentionShape {
        AttentionShape { batch: 1, heads: 1, kv_heads: 1, head_dim: 1, queries, keys, causal }
    }

    /// The three products of a layer do the same flops and touch the same three matrices.
    #[test]
    fn passes_of_a_gemm_move_the_same_matrices() {
        for pass in [Pass::Forward, Pass::InputGradient, Pass::WeightGradient] {
            let kernel = Kernel::Gemm { batch: 1, m: 3, n: 5, k: 7, precision: Precision::Bf16, pass };
            // 2·3·5·7 flops; (3·7 + 7·5 + 3·5)·2 bytes.
            assert_eq!(kernel.flops(), Flops(210));
            assert_eq!(kernel.bytes(), Bytes(142));
        }
    }

    /// Counted by hand: position i of the last q of k sees all keys up to itself.
    #[test]
    fn causal_pairs_are_those_below_the_diagonal() {
        for keys in 0..9u64 {
            for queries in 0..9u64 {
                let counted = (0..queries).map(|i| (i + 1 + keys).saturating_sub(queries)).sum::<u64>();
                assert_eq!(attention(queries, keys, true).pairs(), counted, "{queries} of {keys}");
            }
        }
        assert_eq!(attention(1, 4096, true).pairs(), attention(1, 4096, false).pairs());
    }

    /// 10 tokens, 4 in the fullest of 4 groups: 4, 2, 2, 2.
    #[test]
    fn groups_share_the_tokens_that_the_fullest_leaves() {
        assert_eq!(rows_of_groups(4, 10, 4).collect::<Vec<_>>(), [4, 2, 2, 2]);
        assert_eq!(rows_of_groups(1, 10, 4).collect::<Vec<_>>(), [10]);
        assert_eq!(rows_of_groups(3, 1, 1).collect::<Vec<_>>(), [1, 0, 0]);
        for (groups, tokens, busiest) in [(4, 10, 4), (1, 10, 10), (3, 1, 1), (8, 100, 13)] {
            let occupied = rows_of_groups(groups, tokens, busiest).filter(|rows| *rows > 0).count() as u64;
            assert_eq!(occupied_groups(groups, tokens, busiest), occupied);
            assert_eq!(rows_of_groups(groups, tokens, busiest).sum::<u64>(), tokens);
        }
    }
}
