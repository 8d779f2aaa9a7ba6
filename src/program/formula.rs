//! The instruction set: what an instruction computes, on which operands, in the field's words.
//!
//! A formula names operands by position: `reads [x, w] writes [y] updates [dw]`. Row counts follow
//! from the buffers' lengths. B is backward-input (the gradient of a layer's input), W backward-weight
//! (the gradient of its weights, added to a gradient that several micro-batches share).
//! What a formula means is written in [`numeric`](crate::numeric); what it costs is the kernel that the
//! instruction names.

use serde::{Deserialize, Serialize};

/// How an optimiser steps one list of weights; the learning rate and other hyper-parameters are the
/// scenario's, held by the interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerRule {
    /// Weight decay applies (matrices).
    Decayed,
    /// Weight decay does not apply (biases and norms).
    Plain,
}

/// What an instruction computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Formula {
    /// Samples `first..first + count` of the step's global batch: columns
    /// `first_column..` of the inputs (as many as the buffer holds), and all targets.
    /// Writes \[inputs, targets\].
    Batch {
        /// The first sample within the step.
        first: u32,
        /// How many samples.
        count: u32,
        /// The first input feature that this rank holds.
        first_column: u32,
    },
    /// Nothing: a kernel that takes its time beside the formula that it belongs to (what an eager framework
    /// runs and a fused one does not).
    Beside,
    /// y = x. Reads \[x\] writes \[y\].
    Copy,
    /// y = 0. Writes \[y…\] or updates \[y…\].
    Zero,
    /// y += x for each pair. Reads \[x…\] updates \[y…\].
    Accumulate,
    /// z = x + y. Reads \[x, y\] writes \[z\].
    Add,
    /// z = x + y + b, b along the last axis. Reads \[x, y, b\] writes \[z\].
    AddBias,
    /// y *= factor. Updates \[y…\].
    Scale {
        /// The factor.
        factor: f32,
    },

    /// Rows of the embedding table that this rank holds, starting with id `first_row`; ids held
    /// elsewhere give zeros. Reads \[tokens, table\] writes \[x\].
    Embed {
        /// The first token id that this rank holds.
        first_row: u32,
        /// Hidden width.
        width: u32,
    },
    /// W of [`Formula::Embed`]. Reads \[tokens, dx\] updates \[dtable\].
    EmbedWeight {
        /// The first token id that this rank holds.
        first_row: u32,
        /// Hidden width.
        width: u32,
    },
    /// y = x + the learned position of each row. Row r of the buffer is row `first + r` of the
    /// micro-batch, whose position is its remainder by `sequence`. Reads \[x, positions\] writes \[y\].
    AddPositions {
        /// First row of the micro-batch in this buffer.
        first: u32,
        /// Sequence length.
        sequence: u32,
        /// Hidden width.
        width: u32,
    },
    /// W of [`Formula::AddPositions`]. Reads \[dy\] updates \[dpositions\].
    PositionsWeight {
        /// First row of the micro-batch in this buffer.
        first: u32,
        /// Sequence length.
        sequence: u32,
        /// Hidden width.
        width: u32,
    },

    /// Layer norm over the last axis. Reads \[x, gain, bias\] writes \[y, statistics\] (mean and
    /// reciprocal deviation, two numbers a row).
    Norm {
        /// Length of the last axis.
        width: u32,
    },
    /// B of [`Formula::Norm`]. Reads \[dy, x, gain, statistics\] writes \[dx\].
    NormInput {
        /// Length of the last axis.
        width: u32,
    },
    /// W of [`Formula::Norm`]. Reads \[dy, x, statistics\] updates \[dgain, dbias\].
    NormWeight {
        /// Length of the last axis.
        width: u32,
    },

    /// y = x·W (+ b). Reads \[x, w\] or \[x, w, b\] writes \[y\].
    Linear {
        /// Columns of x.
        inputs: u32,
        /// Columns of y.
        outputs: u32,
    },
    /// B of [`Formula::Linear`]: dx = dy·Wᵀ. Reads \[dy, w\] writes \[dx\].
    LinearInput {
        /// Columns of x.
        inputs: u32,
        /// Columns of y.
        outputs: u32,
    },
    /// W of [`Formula::Linear`]: dw += xᵀ·dy, db += Σ dy. Reads \[x, dy\] updates \[dw\] or
    /// \[dw, db\].
    LinearWeight {
        /// Columns of x.
        inputs: u32,
        /// Columns of y.
        outputs: u32,
    },
    /// W of a bias added after a reduction: db += Σ dy. Reads \[dy\] updates \[db\].
    BiasWeight,

    /// GELU, tanh form. Reads \[x\] writes \[y\].
    Gelu,
    /// B of [`Formula::Gelu`]. Reads \[dy, x\] writes \[dx\].
    GeluInput,
    /// max(x, 0). Reads \[x\] writes \[y\].
    Relu,
    /// B of [`Formula::Relu`]. Reads \[dy, x\] writes \[dx\].
    ReluInput,

    /// Causal multi-head attention on this rank's heads: softmax(QKᵀ/√d)·V. Reads \[qkv\] (a row
    /// holds q, k, v, each heads × head_dim) writes \[o, log-sum-exp\] (one a row and head).
    Attention {
        /// Heads on this rank.
        heads: u32,
        /// Width of a head.
        head_dim: u32,
        /// Sequence length.
        sequence: u32,
    },
    /// B of [`Formula::Attention`]. Reads \[do, qkv, o, log-sum-exp\] writes \[dqkv\].
    AttentionInput {
        /// Heads on this rank.
        heads: u32,
        /// Width of a head.
        head_dim: u32,
        /// Sequence length.
        sequence: u32,
    },

    /// Greatest logit of each row on this rank. Reads \[logits\] writes \[max\].
    LogitMax {
        /// Columns of the logits on this rank.
        classes: u32,
    },
    /// Σ exp(logit − max) and the target's logit − max (zero when held elsewhere), two numbers a row.
    /// Reads \[logits, targets, max\] writes \[sums\].
    LogitSums {
        /// The first class that this rank holds.
        first_class: u32,
        /// Columns of the logits on this rank.
        classes: u32,
    },
    /// Adds `scale` × the mean cross-entropy of the rows. Reads \[sums\] updates \[loss\] (one number).
    CrossEntropy {
        /// Weight of this micro-batch in the step's loss.
        scale: f32,
    },
    /// B of the cross-entropy, times `scale` / rows: (softmax − one-hot). Reads
    /// \[logits, targets, max, sums\] writes \[dlogits\].
    CrossEntropyInput {
        /// The first class that this rank holds.
        first_class: u32,
        /// Columns of the logits on this rank.
        classes: u32,
        /// Weight of this micro-batch in the step's loss.
        scale: f32,
    },
    /// Adds `scale` × the mean squared error of the rows. Reads \[prediction, targets\] updates
    /// \[loss\] (one number).
    SquaredError {
        /// Weight of this micro-batch in the step's loss.
        scale: f32,
    },
    /// B of the squared error, times `scale` / rows. Reads \[prediction, targets\] writes \[dprediction\].
    SquaredErrorInput {
        /// Weight of this micro-batch in the step's loss.
        scale: f32,
    },

    /// Σ g² over the buffers read. Reads \[g…\] writes \[sum\] (one number).
    SquaredNorm,
    /// Scales gradients so that their global norm is at most `limit`. Reads \[Σ g²\] updates \[g…\].
    Clip {
        /// The greatest norm that is left alone.
        limit: f32,
    },
    /// One optimiser step of weights \[w\] by gradients \[g\]. Reads \[g\] updates \[w, state…\].
    Optimizer {
        /// Whether weight decay applies.
        rule: OptimizerRule,
    },
}
