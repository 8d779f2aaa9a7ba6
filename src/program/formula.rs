//! The instruction set: what an instruction computes, on which operands, in the field's words.
//!
//! A formula names operands by position: `reads [x, w] writes [y] updates [dw]`. Row counts follow
//! from the buffers' lengths. B is backward-input (the gradient of a layer's input), W backward-weight
//! (the gradient of its weights, added to a gradient that several micro-batches share).
//! What a formula means is written in [`numeric`](crate::numeric); what it costs is the kernel that the
//! instruction names.

use serde::{Deserialize, Serialize};

use crate::ids::RoutingId;

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

/// How the average of several replicas is stepped on from the last one, a: what they did, Δ = a − mean,
/// is taken for a gradient. Afterwards all replicas, and a, are at the result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OuterRule {
    /// v ← μ·v + Δ; w = a − η·(Δ + μ·v).
    Nesterov {
        /// η.
        rate: f32,
        /// μ.
        momentum: f32,
    },
    /// v ← β·v + Δ/γ; w = a − α·γ·v, γ being the inner learning rate.
    Slow {
        /// α.
        rate: f32,
        /// β.
        momentum: f32,
    },
}

/// A narrow number format that numbers are rounded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Integers from −127 to 127.
    I8,
    /// Four exponent bits and three of mantissa, no infinities; the largest is 448.
    E4M3,
    /// Five exponent bits and two of mantissa; the largest is 57,344.
    E5M2,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of single precision.
    Bf16,
}

/// What a replica sends of a bucket of gradients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Packing {
    /// The `keep` largest numbers, then their places.
    Largest {
        /// How many.
        keep: u32,
    },
    /// `keep` numbers from places drawn from the step and the bucket.
    Random {
        /// How many.
        keep: u32,
        /// Which bucket of the step.
        bucket: u32,
    },
    /// For each buffer its signs times its mean magnitude.
    Sign,
    /// Every number, rounded.
    Narrow {
        /// To which format.
        format: Format,
        /// Numbers that share a scale.
        block: u32,
    },
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
        /// How many steps later than the program's, where a program is of several.
        ahead: u32,
    },
    /// Nothing: a kernel that takes its time beside the formula that it belongs to (what an eager framework
    /// runs and a fused one does not), or room that it keeps. Reads \[room\] or writes \[room\], of no numbers.
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

    /// Which experts take each row, and where the row stands among those that are sent, expert by expert.
    /// Reads \[logits\] (one an expert) writes \[gates, choices, places\] (`top_k` a row each; a place is
    /// −1 where the row found no room).
    Route {
        /// The decision that this is a member's part of.
        routing: RoutingId,
        /// Whose part.
        member: u32,
    },
    /// B of [`Formula::Route`], with the gradient of the load-balancing loss times `balance`.
    /// Reads \[dgates, logits, gates, choices\] writes \[dlogits\].
    RouteInput {
        /// Experts.
        experts: u32,
        /// Experts that each row meets.
        top_k: u32,
        /// The coefficient of the loss times the weight of this micro-batch.
        balance: f32,
    },
    /// Rows in the order in which they are sent to experts; places that nothing stands on hold zeros.
    /// Reads \[x, places\] writes \[rows\].
    Permute {
        /// Length of a row.
        width: u32,
    },
    /// B of [`Formula::Permute`]. Reads \[drows, places\] writes \[dx\].
    PermuteInput {
        /// Length of a row.
        width: u32,
    },
    /// y = Σ gate · what its expert made of it. Reads \[rows, gates, places\] writes \[y\].
    Combine {
        /// Length of a row.
        width: u32,
    },
    /// B of [`Formula::Combine`]. Reads \[dy, rows, gates, places\] writes \[drows, dgates\].
    CombineInput {
        /// Length of a row.
        width: u32,
    },
    /// y = x·W, each row with the W of its expert. Reads \[x, w\] writes \[y\]. Rows lie as they have
    /// arrived: member by member, of each expert by expert.
    Grouped {
        /// Columns of x.
        inputs: u32,
        /// Columns of y.
        outputs: u32,
    },
    /// B of [`Formula::Grouped`]. Reads \[dy, w\] writes \[dx\].
    GroupedInput {
        /// Columns of x.
        inputs: u32,
        /// Columns of y.
        outputs: u32,
    },
    /// W of [`Formula::Grouped`]. Reads \[x, dy\] updates \[dw\].
    GroupedWeight {
        /// Columns of x.
        inputs: u32,
        /// Columns of y.
        outputs: u32,
    },

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
    /// What is sent of gradients and what was kept of earlier ones: p = g + e; writes C(p), e = p − C(p).
    /// Reads \[g…\] writes \[packet\] updates \[e…\], or no e where nothing is kept.
    Pack {
        /// What is sent.
        packing: Packing,
    },
    /// g = the sum of the members' packets. Reads \[packets\] updates \[g…\].
    Unpack {
        /// What was sent.
        packing: Packing,
        /// How many packets there are.
        members: u32,
    },
    /// Sums the pieces that the members sent, and rounds the sum. Reads \[pieces\] writes \[piece\].
    SumPieces {
        /// To which format.
        format: Format,
        /// Numbers that share a scale.
        block: u32,
        /// How many pieces there are.
        members: u32,
    },
    /// g += e; p = g·q. Reads \[q\] writes \[p\] updates \[g\] or \[g, e\].
    LowRankLeft {
        /// Columns of the gradient.
        columns: u32,
        /// Columns of p and q.
        rank: u32,
    },
    /// p becomes orthonormal, column by column (Gram–Schmidt); q = gᵀ·p. Reads \[g\] updates \[p, q\].
    LowRankRight {
        /// Columns of the gradient.
        columns: u32,
        /// Columns of p and q.
        rank: u32,
    },
    /// e = g − p·qᵀ / members; g = p·qᵀ. Reads \[p, q\] updates \[g\] or \[g, e\].
    LowRankSum {
        /// Columns of the gradient.
        columns: u32,
        /// Columns of p and q.
        rank: u32,
        /// Replicas that summed q.
        members: u32,
    },

    /// The loss of a worker's step, for whoever asks after the run. Reads \[loss\].
    Tell {
        /// Which worker's, and which step.
        turn: u32,
    },
    /// One more step. Updates \[count\].
    Count,
    /// One optimiser step of a server, its `count`-th. Reads \[g, count\] updates \[w, state…\].
    ServerStep {
        /// Whether weight decay applies.
        rule: OptimizerRule,
        /// As many steps of the server are one of the run, which the learning rate goes by.
        workers: u32,
    },
    /// g += λ·g²·(w − w of when the worker got it). Reads \[w, backup\] updates \[g\].
    Compensate {
        /// λ.
        lambda: f32,
    },

    /// Steps the average of replicas on from the last one. Updates \[w, a, v\].
    Outer {
        /// How.
        rule: OuterRule,
    },
    /// One optimiser step of weights \[w\] by gradients \[g\]. Reads \[g\] updates \[w, state…\].
    Optimizer {
        /// Whether weight decay applies.
        rule: OptimizerRule,
    },
}

impl Formula {
    /// Whether it steps or copies weights themselves, rather than multiplying with them.
    pub fn steps_weights(&self) -> bool {
        matches!(
            self,
            Formula::Optimizer { .. }
                | Formula::ServerStep { .. }
                | Formula::Compensate { .. }
                | Formula::Outer { .. }
                | Formula::Copy
        )
    }
}
