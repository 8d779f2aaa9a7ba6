//! Forward and backward of a GPT's pieces, split over tensor ranks as in Megatron-LM.
//!
//! Shoeybi et al., "Megatron-LM: Training Multi-Billion Parameter Language Models Using Model
//! Parallelism", 2019, section 3: the first linear map of attention and of the MLP is split by
//! columns, the second by rows, so that each needs one all-reduce forward (of what it adds to the
//! residual stream) and one backward (of the gradient of its input). The vocabulary of the embedding
//! and of the logits is split too.
//!
//! With sequence parallelism (Korthikanti et al., "Reducing Activation Recomputation in Large
//! Transformer Models", MLSys 2023, section 4.2.2) the rows of the residual stream are split between
//! those regions: an all-gather leads into a region and a reduce-scatter out of it. What is gathered
//! for a map is gathered again for its weight gradient instead of being kept.
//!
//! Letters: x the residual stream (rows, hidden), n a norm's output, o an attention's, p a partial
//! sum, a and h before and after the MLP's nonlinearity; d… a gradient.

use crate::compute::{Kernel, Pass};
use crate::hardware::Precision;
use crate::ids::{BufferId, Rank};
use crate::model::{Gpt, Piece};
use crate::program::{Formula, Reduction};
use crate::trace::{Activity, MemoryUse};
use crate::training::lower::emit::ParameterBuffers;
use crate::training::lower::experts::ExpertsSaved;
use crate::training::lower::{Cell, Lowering, PerRank, Saved, kernels};
use crate::training::recompute::Recompute;
use crate::units::Bytes;

/// What a block keeps for its backward pass, on each rank.
#[derive(Debug, Clone)]
pub(super) struct BlockSaved {
    attention: Vec<AttentionSaved>,
    mlp: AfterAttention,
}

/// What the second half of a block keeps.
#[derive(Debug, Clone)]
enum AfterAttention {
    Mlp(Vec<MlpSaved>),
    Experts(Vec<ExpertsSaved>),
}

#[derive(Debug, Clone, Copy)]
struct AttentionSaved {
    norm: NormSaved,
    qkv: BufferId,
    o: BufferId,
    log_sum_exp: BufferId,
    /// What only an eager framework keeps.
    eager: Option<BufferId>,
}

#[derive(Debug, Clone, Copy)]
struct MlpSaved {
    norm: NormSaved,
    a: BufferId,
    h: BufferId,
    /// What only an eager framework keeps.
    eager: Option<BufferId>,
}

/// What a norm keeps: its input, its output (the next map's input) and two numbers a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct NormSaved {
    x: BufferId,
    pub(super) n: BufferId,
    statistics: BufferId,
}

/// What the head keeps for its backward pass, on each rank.
#[derive(Debug, Clone)]
pub(super) struct HeadSaved {
    norm: Vec<NormSaved>,
    logits: PerRank,
    max: PerRank,
    sums: PerRank,
    targets: PerRank,
}

/// Positions of a block's parameters in [`Model::parameters`].
mod block {
    pub const ATTENTION_NORM: usize = 0;
    pub const QKV: usize = 2;
    pub const OUTPUT: usize = 4;
    pub const MLP_NORM: usize = 6;
    pub const UP: usize = 8;
    pub const DOWN: usize = 10;
}

impl Lowering<'_> {
    fn gpt(&self) -> &Gpt {
        self.plan.model.gpt().expect("only a GPT has blocks")
    }

    fn hidden(&self) -> u64 {
        self.gpt().hidden
    }

    /// Rows of the residual stream that one rank holds.
    fn own_rows(&self) -> u64 {
        if self.plan.splits_rows() { self.rows() / self.tensor() } else { self.rows() }
    }

    /// Into a tensor-parallel region: every rank needs every row.
    pub(super) fn enter(&mut self, cell: &Cell, n: PerRank) -> PerRank {
        if !self.plan.splits_rows() {
            return n;
        }
        let whole = self.rows() * self.hidden();
        self.emitter.gather_rows(cell, &n, whole)
    }

    /// Out of a tensor-parallel region: partial sums meet, whole or each rank its own rows.
    pub(super) fn leave(&mut self, cell: &Cell, partial: PerRank) -> PerRank {
        if !self.plan.splits_rows() {
            self.emitter.reduce_tensor(cell, &partial, self.plan.precision, Reduction::Sum);
            return partial;
        }
        let whole = self.rows() * self.hidden();
        self.emitter.scatter_rows(cell, &partial, whole)
    }

    fn tensor(&self) -> u64 {
        u64::from(self.plan.mesh.tensor)
    }

    /// Each rank looks up the ids that it holds; the sum over ranks is the embedding.
    pub(super) fn embedding_forward(&mut self, cell: &Cell, tokens: PerRank) -> (PerRank, Saved) {
        let (rows, hidden) = (self.rows(), self.hidden());
        let share = self.gpt().vocabulary / self.tensor();
        let sequence = self.gpt().sequence as u32;
        let precision = self.plan.precision;
        let mut partial = PerRank::new();
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let [table, _] = self.two(rank, Piece::Embedding);
            let x = self.emitter.activation(rank, rows * hidden);
            let formula = Formula::Embed { first_row: index as u32 * share as u32, width: hidden as u32 };
            let kernel = kernels::embedding(rows, hidden, false, precision);
            self.emitter.run(rank, formula, kernel, &[tokens[index], table.weight], &[x], &[]);
            partial.push(x);
        }
        let partial = self.leave(cell, partial);
        let own = self.own_rows();
        let mut out = PerRank::new();
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let [_, positions] = self.two(rank, Piece::Embedding);
            let y = self.emitter.activation(rank, own * hidden);
            let first = self.first_row(index);
            let formula = Formula::AddPositions { first, sequence, width: hidden as u32 };
            let kernel = kernels::elementwise(own * hidden, 2, 1, 1, precision);
            self.emitter.run(rank, formula, kernel, &[partial[index], positions.weight], &[y], &[]);
            out.push(y);
        }
        (out, Saved::Embedding { tokens })
    }

    pub(super) fn embedding_backward(&mut self, cell: &Cell, dx: PerRank, tokens: &PerRank) -> PerRank {
        let (rows, hidden) = (self.rows(), self.hidden());
        let share = self.gpt().vocabulary / self.tensor();
        let sequence = self.gpt().sequence as u32;
        let precision = self.plan.precision;
        let own = self.own_rows();
        let all = self.enter(cell, dx.clone());
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let [table, positions] = self.two(rank, Piece::Embedding);
            let width = hidden as u32;
            let formula = Formula::PositionsWeight { first: self.first_row(index), sequence, width };
            let kernel = kernels::elementwise(own * hidden, 1, 0, 1, precision);
            self.emitter.run_weight(rank, formula, kernel, &[dx[index]], &[positions.gradient()]);
            let formula = Formula::EmbedWeight { first_row: index as u32 * share as u32, width };
            let kernel = kernels::embedding(rows, hidden, true, precision);
            // The gradient of a table is as large as the table, zeroed, and then added to what was there.
            self.eager_pass(rank, share * hidden, 2, 2, precision);
            self.emitter.run_weight(rank, formula, kernel, &[tokens[index], all[index]], &[table.gradient()]);
        }
        PerRank::new()
    }

    pub(super) fn block_forward(&mut self, cell: &Cell, piece: Piece, x: PerRank) -> (PerRank, Saved) {
        let (p, attention) = self.attention_forward(cell, piece, &x);
        let x = self.add_to_stream(cell, piece, block::OUTPUT + 1, &x, &p);
        let (p, mlp) = self.mlp_forward(cell, piece, &x);
        let x = self.add_to_stream(cell, piece, block::DOWN + 1, &x, &p);
        let mlp = AfterAttention::Mlp(mlp);
        (x, Saved::Block(Box::new(BlockSaved { attention, mlp })))
    }

    /// The same of a block with experts, which replicas go through together.
    pub(super) fn expert_block_forward(
        &mut self,
        cells: &[Cell],
        piece: Piece,
        streams: &[PerRank],
    ) -> (Vec<PerRank>, Vec<Saved>) {
        let (mut between, mut attention) = (Vec::new(), Vec::new());
        for (cell, x) in cells.iter().zip(streams) {
            let (p, saved) = self.attention_forward(cell, piece, x);
            between.push(self.add_to_stream(cell, piece, block::OUTPUT + 1, x, &p));
            attention.push(saved);
        }
        let (made, experts) = self.experts_forward(cells, piece, &between);
        let mut out = Vec::new();
        for ((cell, x), p) in cells.iter().zip(&between).zip(&made) {
            out.push(self.add_unbiased(cell, x, p));
        }
        let saved = attention.into_iter().zip(experts).map(|(attention, experts)| {
            let mlp = AfterAttention::Experts(experts);
            Saved::Block(Box::new(BlockSaved { attention, mlp }))
        });
        (out, saved.collect())
    }

    pub(super) fn expert_block_backward(
        &mut self,
        cells: &[Cell],
        piece: Piece,
        streams: Vec<PerRank>,
        saved: Vec<Saved>,
    ) -> Vec<PerRank> {
        let saved = if matches!(saved[0], Saved::Input(_)) {
            let inputs: Vec<PerRank> = saved
                .into_iter()
                .map(|saved| match saved {
                    Saved::Input(x) => x,
                    _ => unreachable!("replicas keep the same"),
                })
                .collect();
            let ranks: Vec<Rank> = cells.iter().flat_map(|cell| cell.ranks.clone()).collect();
            let activity = self.emitter.activity(&ranks, Activity::Recompute);
            let (_, saved) = self.expert_block_forward(cells, piece, &inputs);
            self.emitter.activity(&ranks, activity);
            saved
        } else {
            saved
        };
        let (mut attention, mut experts) = (Vec::new(), Vec::new());
        for saved in saved {
            let Saved::Block(saved) = saved else { unreachable!("a block keeps what a block keeps") };
            let BlockSaved { attention: of_attention, mlp: AfterAttention::Experts(of_experts) } = *saved
            else {
                unreachable!("a block with experts")
            };
            attention.push(of_attention);
            experts.push(of_experts);
        }
        let streams = self.experts_backward(cells, piece, streams, &experts);
        let mut out = Vec::new();
        for ((cell, dx), saved) in cells.iter().zip(streams).zip(&attention) {
            out.push(self.attention_backward(cell, piece, dx, saved));
        }
        out
    }

    /// Goes through a block a second time for what the first time did not keep.
    pub(super) fn block_again(&mut self, cell: &Cell, piece: Piece, x: PerRank) -> Box<BlockSaved> {
        let activity = self.emitter.activity(&cell.ranks, Activity::Recompute);
        let (_, keep) = self.block_forward(cell, piece, x);
        self.emitter.activity(&cell.ranks, activity);
        let Saved::Block(keep) = keep else { unreachable!("a block keeps what a block keeps") };
        keep
    }

    pub(super) fn block_backward(
        &mut self,
        cell: &Cell,
        piece: Piece,
        dx: PerRank,
        saved: &BlockSaved,
    ) -> PerRank {
        let AfterAttention::Mlp(mlp) = &saved.mlp else {
            unreachable!("replicas go through experts together")
        };
        let dx = self.mlp_backward(cell, piece, dx, mlp);
        self.attention_backward(cell, piece, dx, &saved.attention)
    }

    /// norm → q, k, v of this rank's heads → attention → the rows of the output map that they meet.
    fn attention_forward(
        &mut self,
        cell: &Cell,
        piece: Piece,
        x: &PerRank,
    ) -> (PerRank, Vec<AttentionSaved>) {
        let hidden = self.hidden();
        let own = hidden / self.tensor();
        let (formula, shape) = self.attention_shape();
        let mut saved = Vec::new();
        let mut partial = PerRank::new();
        let norms = self.norms_forward(cell, piece, block::ATTENTION_NORM, x);
        let n = self.enter(cell, norms.iter().map(|norm| norm.n).collect());
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let w = self.emitter.parameters(rank, piece);
            let norm = norms[index];
            let qkv = self.linear_forward(rank, &w[block::QKV..block::QKV + 2], n[index], (hidden, 3 * own));
            let (o, log_sum_exp, eager) = self.attend(rank, qkv, formula, shape);
            let p = self.linear_forward(rank, &w[block::OUTPUT..block::OUTPUT + 1], o, (own, hidden));
            saved.push(AttentionSaved { norm, qkv, o, log_sum_exp, eager });
            partial.push(p);
        }
        (self.leave(cell, partial), saved)
    }

    /// The core of attention on this rank's heads.
    fn attend(
        &mut self,
        rank: Rank,
        qkv: BufferId,
        formula: Formula,
        shape: kernels::AttentionShape,
    ) -> (BufferId, BufferId, Option<BufferId>) {
        let rows = self.rows();
        let o = self.emitter.activation(rank, rows * shape.heads * shape.head_dim);
        let log_sum_exp = self.emitter.bytes_buffer(rank, rows * shape.heads, 4, MemoryUse::Activations);
        let kernel = self.attention_kernels(rank, shape, false);
        self.emitter.run(rank, formula, kernel, &[qkv], &[o, log_sum_exp], &[]);
        // Korthikanti et al., section 4.1: the output of the softmax, the mask of its dropout and the output
        // of that, 5·a·s²·b bytes in 16 bits; and the mask of the dropout behind the output map, s·b·h.
        let scores = shape.batch * shape.heads * shape.sequence * shape.sequence;
        let width = self.plan.precision.bytes_of(1).get();
        let mask = self.own_rows() * self.hidden();
        let eager = self.eager_room(rank, scores * (2 * width + 1) + mask);
        (o, log_sum_exp, eager)
    }

    /// Room for what an eager framework keeps from the forward to the backward pass beyond what its formulas
    /// need.
    fn eager_room(&mut self, rank: Rank, bytes: u64) -> Option<BufferId> {
        let eager = self.plan.software.is_eager();
        eager.then(|| {
            let room = self.emitter.packed_buffer(rank, 0, Bytes(bytes), MemoryUse::Activations);
            self.emitter.run(rank, Formula::Beside, None, &[], &[room], &[]);
            room
        })
    }

    /// The backward pass has come to where such room is given back.
    fn leave_room(&mut self, rank: Rank, room: Option<BufferId>) {
        if let Some(room) = room {
            self.emitter.run(rank, Formula::Beside, None, &[room], &[], &[]);
        }
    }

    /// The kernel of attention; where it is not one, the last of them, the others having been run before.
    fn attention_kernels(
        &mut self,
        rank: Rank,
        shape: kernels::AttentionShape,
        backward: bool,
    ) -> Option<Kernel> {
        if !self.plan.software.is_eager() {
            return kernels::attention(shape, backward);
        }
        let mut kernels = kernels::unfused_attention(shape, backward);
        let last = kernels.pop();
        kernels.into_iter().for_each(|kernel| self.emitter.beside(rank, Some(kernel)));
        last
    }

    /// A pass over `elements` numbers that an eager framework makes besides.
    fn eager_pass(&mut self, rank: Rank, elements: u64, inputs: u32, outputs: u32, precision: Precision) {
        if self.plan.software.is_eager() {
            self.emitter.beside(rank, kernels::elementwise(elements, inputs, outputs, 1, precision));
        }
    }

    /// What attention kept, its core computed again where it was not.
    fn attention_again(&mut self, rank: Rank, keep: &AttentionSaved) -> AttentionSaved {
        if self.plan.recompute != Recompute::Selective {
            return *keep;
        }
        let (formula, shape) = self.attention_shape();
        let activity = self.emitter.activity(&[rank], Activity::Recompute);
        let (o, log_sum_exp, eager) = self.attend(rank, keep.qkv, formula, shape);
        self.emitter.activity(&[rank], activity);
        AttentionSaved { o, log_sum_exp, eager, ..*keep }
    }

    fn attention_backward(
        &mut self,
        cell: &Cell,
        piece: Piece,
        dx: PerRank,
        saved: &[AttentionSaved],
    ) -> PerRank {
        let (rows, hidden) = (self.rows(), self.hidden());
        let own = hidden / self.tensor();
        let (forward, shape) = self.attention_shape();
        let Formula::Attention { heads, head_dim, sequence } = forward else { unreachable!("see there") };
        let formula = Formula::AttentionInput { heads, head_dim, sequence };
        let dp = self.enter(cell, dx.clone());
        let n = self.enter(cell, saved.iter().map(|keep| keep.norm.n).collect());
        let mut dn = PerRank::new();
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let w = self.emitter.parameters(rank, piece);
            let keep = self.attention_again(rank, &saved[index]);
            self.bias_backward(rank, w[block::OUTPUT + 1], dx[index]);
            let output = &w[block::OUTPUT..block::OUTPUT + 1];
            let d_o = self.linear_backward(rank, output, dp[index], keep.o, (own, hidden));
            let dqkv = self.emitter.activation(rank, rows * 3 * own);
            let kernel = self.attention_kernels(rank, shape, true);
            let reads = [d_o, keep.qkv, keep.o, keep.log_sum_exp];
            self.emitter.run(rank, formula, kernel, &reads, &[dqkv], &[]);
            self.leave_room(rank, keep.eager);
            let qkv = &w[block::QKV..block::QKV + 2];
            dn.push(self.linear_backward(rank, qkv, dqkv, n[index], (hidden, 3 * own)));
        }
        let dn = self.leave(cell, dn);
        let norms = saved.iter().map(|keep| keep.norm).collect::<Vec<_>>();
        self.norm_backward(cell, piece, block::ATTENTION_NORM, &dn, &norms, Some(&dx))
    }

    /// norm → this rank's columns of the up map → GELU → the rows of the down map that they meet.
    fn mlp_forward(&mut self, cell: &Cell, piece: Piece, x: &PerRank) -> (PerRank, Vec<MlpSaved>) {
        let (rows, hidden) = (self.rows(), self.hidden());
        let own = self.gpt().ffn() / self.tensor();
        let mut saved = Vec::new();
        let mut partial = PerRank::new();
        let norms = self.norms_forward(cell, piece, block::MLP_NORM, x);
        let n = self.enter(cell, norms.iter().map(|norm| norm.n).collect());
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let w = self.emitter.parameters(rank, piece);
            let norm = norms[index];
            let a = self.linear_forward(rank, &w[block::UP..block::UP + 2], n[index], (hidden, own));
            let h = self.emitter.activation(rank, rows * own);
            let kernel = kernels::elementwise(rows * own, 1, 1, kernels::GELU_FLOPS, self.plan.precision);
            self.emitter.run(rank, Formula::Gelu, kernel, &[a], &[h], &[]);
            partial.push(self.linear_forward(rank, &w[block::DOWN..block::DOWN + 1], h, (own, hidden)));
            let mask = self.own_rows() * hidden;
            let eager = self.eager_room(rank, mask);
            saved.push(MlpSaved { norm, a, h, eager });
        }
        (self.leave(cell, partial), saved)
    }

    fn mlp_backward(&mut self, cell: &Cell, piece: Piece, dx: PerRank, saved: &[MlpSaved]) -> PerRank {
        let (rows, hidden) = (self.rows(), self.hidden());
        let own = self.gpt().ffn() / self.tensor();
        let dp = self.enter(cell, dx.clone());
        let n = self.enter(cell, saved.iter().map(|keep| keep.norm.n).collect());
        let mut dn = PerRank::new();
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let w = self.emitter.parameters(rank, piece);
            let keep = &saved[index];
            self.leave_room(rank, keep.eager);
            self.bias_backward(rank, w[block::DOWN + 1], dx[index]);
            let down = &w[block::DOWN..block::DOWN + 1];
            let dh = self.linear_backward(rank, down, dp[index], keep.h, (own, hidden));
            let da = self.emitter.activation(rank, rows * own);
            let kernel = kernels::elementwise(rows * own, 2, 1, kernels::GELU_FLOPS, self.plan.precision);
            self.emitter.run(rank, Formula::GeluInput, kernel, &[dh, keep.a], &[da], &[]);
            let up = &w[block::UP..block::UP + 2];
            dn.push(self.linear_backward(rank, up, da, n[index], (hidden, own)));
        }
        let dn = self.leave(cell, dn);
        let norms = saved.iter().map(|keep| keep.norm).collect::<Vec<_>>();
        self.norm_backward(cell, piece, block::MLP_NORM, &dn, &norms, Some(&dx))
    }

    /// Final norm → logits of this rank's share of the vocabulary → loss.
    ///
    /// The softmax over a split vocabulary needs two small all-reduces: of the greatest logit, and of
    /// Σ exp and the target's logit (Megatron-LM's vocabulary-parallel cross-entropy).
    pub(super) fn head_forward(&mut self, cell: &Cell, x: PerRank, targets: &PerRank) -> (PerRank, Saved) {
        let (rows, hidden) = (self.rows(), self.hidden());
        let share = self.gpt().vocabulary / self.tensor();
        let norm = self.norms_forward(cell, Piece::Head, 0, &x);
        let n = self.enter(cell, norm.iter().map(|norm| norm.n).collect());
        let mut logits = PerRank::new();
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let w = self.emitter.parameters(rank, Piece::Head);
            logits.push(self.linear_forward(rank, &w[2..3], n[index], (hidden, share)));
        }
        let (max, sums) = self.cross_entropy_forward(cell, &logits, targets, share, rows);
        let targets = targets.clone();
        (PerRank::new(), Saved::Head(Box::new(HeadSaved { norm, logits, max, sums, targets })))
    }

    pub(super) fn head_backward(&mut self, cell: &Cell, saved: &HeadSaved) -> PerRank {
        let hidden = self.hidden();
        let share = self.gpt().vocabulary / self.tensor();
        let n = self.enter(cell, saved.norm.iter().map(|norm| norm.n).collect());
        let mut dn = PerRank::new();
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let w = self.emitter.parameters(rank, Piece::Head);
            let reads = [saved.logits[index], saved.targets[index], saved.max[index], saved.sums[index]];
            let dlogits = self.cross_entropy_backward(rank, index, reads, share);
            dn.push(self.linear_backward(rank, &w[2..3], dlogits, n[index], (hidden, share)));
        }
        let dn = self.leave(cell, dn);
        self.norm_backward(cell, Piece::Head, 0, &dn, &saved.norm, None)
    }

    /// The loss over classes split in equal shares; returns the greatest logits and the sums.
    pub(super) fn cross_entropy_forward(
        &mut self,
        cell: &Cell,
        logits: &PerRank,
        targets: &PerRank,
        share: u64,
        rows: u64,
    ) -> (PerRank, PerRank) {
        let scale = self.loss_scale();
        let (mut max, mut sums) = (PerRank::new(), PerRank::new());
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let top = self.emitter.bytes_buffer(rank, rows, 4, MemoryUse::Activations);
            let kernel = kernels::elementwise(rows * share, 1, 0, 1, self.plan.precision);
            let formula = Formula::LogitMax { classes: share as u32 };
            // Made f32 first.
            self.eager_pass(rank, rows * share, 1, 2, self.plan.precision);
            self.emitter.run(rank, formula, kernel, &[logits[index]], &[top], &[]);
            max.push(top);
        }
        self.emitter.reduce_tensor(cell, &max, Precision::F32, Reduction::Max);
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let sum = self.emitter.bytes_buffer(rank, 2 * rows, 4, MemoryUse::Activations);
            let (first_class, classes) = (index as u32 * share as u32, share as u32);
            let formula = Formula::LogitSums { first_class, classes };
            let kernel = kernels::elementwise(rows * share, 1, 0, kernels::EXP_FLOPS, self.plan.precision);
            let reads = [logits[index], targets[index], max[index]];
            // The greatest subtracted; a clone to pick the target from; exponentials kept; divided by
            // their sum (Megatron-LM, `cross_entropy.py`).
            for (inputs, outputs) in [(1, 1), (1, 1), (1, 1), (1, 1)] {
                self.eager_pass(rank, rows * share, inputs, outputs, Precision::F32);
            }
            self.emitter.run(rank, formula, kernel, &reads, &[sum], &[]);
            sums.push(sum);
        }
        self.emitter.reduce_tensor(cell, &sums, Precision::F32, Reduction::Sum);
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let loss = self.loss_buffer(rank);
            let formula = Formula::CrossEntropy { scale };
            self.emitter.run(rank, formula, None, &[sums[index]], &[], &[loss]);
        }
        (max, sums)
    }

    /// dlogits = (softmax − one-hot)·scale / rows, on this rank's share of the classes.
    pub(super) fn cross_entropy_backward(
        &mut self,
        rank: Rank,
        index: usize,
        reads: [BufferId; 4],
        share: u64,
    ) -> BufferId {
        let elements = self.emitter.elements(reads[0]);
        let dlogits = self.emitter.activation(rank, elements);
        let (first_class, classes) = (index as u32 * share as u32, share as u32);
        let formula = Formula::CrossEntropyInput { first_class, classes, scale: self.loss_scale() };
        let kernel = kernels::elementwise(elements, 1, 1, kernels::EXP_FLOPS, self.plan.precision);
        // Softmax scaled by the gradient in f32, and made as wide as the logits again.
        self.eager_pass(rank, elements, 1, 1, Precision::F32);
        self.eager_pass(rank, elements, 2, 1, self.plan.precision);
        self.emitter.run(rank, formula, kernel, &reads, &[dlogits], &[]);
        dlogits
    }

    /// Where a rank of the last stage gathers its loss.
    pub(super) fn loss_buffer(&mut self, rank: Rank) -> BufferId {
        let slot = self.emitter.state().loss(rank).expect("a rank of the last stage");
        self.emitter.slot(slot)
    }

    fn two(&mut self, rank: Rank, piece: Piece) -> [ParameterBuffers; 2] {
        let w = self.emitter.parameters(rank, piece);
        [w[0], w[1]]
    }

    fn attention_shape(&self) -> (Formula, kernels::AttentionShape) {
        let gpt = self.gpt();
        let heads = gpt.heads / self.tensor();
        let formula = Formula::Attention {
            heads: heads as u32,
            head_dim: gpt.head_dim() as u32,
            sequence: gpt.sequence as u32,
        };
        let shape = kernels::AttentionShape {
            batch: self.plan.micro_batch,
            heads,
            head_dim: gpt.head_dim(),
            sequence: gpt.sequence,
            precision: self.plan.precision,
        };
        (formula, shape)
    }

    /// The first row of the micro-batch that a rank of a cell holds between tensor-parallel regions.
    fn first_row(&self, index: usize) -> u32 {
        if self.plan.splits_rows() { index as u32 * self.own_rows() as u32 } else { 0 }
    }

    /// A norm on every rank of a cell, with the parameters that begin at `first`.
    pub(super) fn norms_forward(
        &mut self,
        cell: &Cell,
        piece: Piece,
        first: usize,
        x: &PerRank,
    ) -> Vec<NormSaved> {
        let mut norms = Vec::new();
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let w = self.emitter.parameters(rank, piece);
            norms.push(self.norm_forward(rank, &w[first..], x[index]));
        }
        norms
    }

    fn norm_forward(&mut self, rank: Rank, w: &[ParameterBuffers], x: BufferId) -> NormSaved {
        let (rows, hidden) = (self.own_rows(), self.hidden());
        let n = self.emitter.activation(rank, rows * hidden);
        let statistics = self.emitter.bytes_buffer(rank, 2 * rows, 4, MemoryUse::Activations);
        let formula = Formula::Norm { width: hidden as u32 };
        let kernel = kernels::norm(rows, hidden, false, self.plan.precision);
        self.emitter.run(rank, formula, kernel, &[x, w[0].weight, w[1].weight], &[n, statistics], &[]);
        NormSaved { x, n, statistics }
    }

    /// Gradient of a norm's input; where a residual stream passes by it, its gradient is added.
    pub(super) fn norm_backward(
        &mut self,
        cell: &Cell,
        piece: Piece,
        first: usize,
        dn: &PerRank,
        saved: &[NormSaved],
        beside: Option<&PerRank>,
    ) -> PerRank {
        let (rows, hidden) = (self.own_rows(), self.hidden());
        let precision = self.plan.precision;
        let width = hidden as u32;
        let mut out = PerRank::new();
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let w = self.emitter.parameters(rank, piece);
            let (gain, bias) = (w[first], w[first + 1]);
            let keep = saved[index];
            let dx = self.emitter.activation(rank, rows * hidden);
            let kernel = kernels::norm(rows, hidden, true, precision);
            let reads = [dn[index], keep.x, gain.weight, keep.statistics];
            self.emitter.run(rank, Formula::NormInput { width }, kernel, &reads, &[dx], &[]);
            let reads = [dn[index], keep.x, keep.statistics];
            let updates = [gain.gradient(), bias.gradient()];
            let kernel = kernels::elementwise(rows * hidden, 2, 0, 4, precision);
            self.emitter.run_weight(rank, Formula::NormWeight { width }, kernel, &reads, &updates);
            out.push(match beside {
                None => dx,
                Some(stream) => {
                    let sum = self.emitter.activation(rank, rows * hidden);
                    let kernel = kernels::elementwise(rows * hidden, 2, 1, 1, precision);
                    self.emitter.run(rank, Formula::Add, kernel, &[stream[index], dx], &[sum], &[]);
                    sum
                }
            });
        }
        out
    }

    /// y = x·W (+ b) with the parameters `w` = \[W\] or \[W, b\], of shape (inputs, outputs).
    pub(super) fn linear_forward(
        &mut self,
        rank: Rank,
        w: &[ParameterBuffers],
        x: BufferId,
        (inputs, outputs): (u64, u64),
    ) -> BufferId {
        let rows = self.rows();
        let y = self.emitter.activation(rank, rows * outputs);
        let formula = Formula::Linear { inputs: inputs as u32, outputs: outputs as u32 };
        let kernel = kernels::gemm(rows, inputs, outputs, Pass::Forward, self.plan.precision);
        let mut reads = vec![x];
        reads.extend(w.iter().map(|w| w.weight));
        self.emitter.run(rank, formula, kernel, &reads, &[y], &[]);
        y
    }

    /// dx = dy·Wᵀ now; dW = xᵀ·dy and db = Σ dy when weight gradients have their turn.
    pub(super) fn linear_backward(
        &mut self,
        rank: Rank,
        w: &[ParameterBuffers],
        dy: BufferId,
        x: BufferId,
        (inputs, outputs): (u64, u64),
    ) -> BufferId {
        let (rows, precision) = (self.rows(), self.plan.precision);
        let dx = self.emitter.activation(rank, rows * inputs);
        let formula = Formula::LinearInput { inputs: inputs as u32, outputs: outputs as u32 };
        let kernel = kernels::gemm(rows, inputs, outputs, Pass::InputGradient, precision);
        self.emitter.run(rank, formula, kernel, &[dy, w[0].weight], &[dx], &[]);
        self.linear_weight(rank, w, dy, x, (inputs, outputs));
        dx
    }

    /// dW = xᵀ·dy and db = Σ dy.
    pub(super) fn linear_weight(
        &mut self,
        rank: Rank,
        w: &[ParameterBuffers],
        dy: BufferId,
        x: BufferId,
        (inputs, outputs): (u64, u64),
    ) {
        let formula = Formula::LinearWeight { inputs: inputs as u32, outputs: outputs as u32 };
        let kernel = kernels::gemm(self.rows(), inputs, outputs, Pass::WeightGradient, self.plan.precision);
        let gradients: Vec<BufferId> = w.iter().map(|w| w.gradient()).collect();
        self.emitter.run_weight(rank, formula, kernel, &[x, dy], &gradients);
        // A framework's product writes a gradient of its own, which is then added to what was there.
        if self.plan.software.is_eager() {
            let precision = self.plan.precision;
            self.emitter.beside_weight(rank, kernels::elementwise(inputs * outputs, 2, 1, 1, precision));
        }
    }

    /// x + p + b, where b is the bias of the row-split map whose partial sums p were.
    fn add_to_stream(&mut self, cell: &Cell, piece: Piece, bias: usize, x: &PerRank, p: &PerRank) -> PerRank {
        let elements = self.own_rows() * self.hidden();
        let mut out = PerRank::new();
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let b = self.emitter.parameters(rank, piece)[bias];
            let y = self.emitter.activation(rank, elements);
            let kernel = kernels::elementwise(elements, 2, 1, 2, self.plan.precision);
            // The dropped-out sum's mask, which the backward pass reads.
            self.eager_pass(rank, elements, 0, 1, Precision::I8);
            self.emitter.run(rank, Formula::AddBias, kernel, &[x[index], p[index], b.weight], &[y], &[]);
            out.push(y);
        }
        out
    }

    /// x + p, where nothing has a bias.
    fn add_unbiased(&mut self, cell: &Cell, x: &PerRank, p: &PerRank) -> PerRank {
        let elements = self.own_rows() * self.hidden();
        let mut out = PerRank::new();
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let y = self.emitter.activation(rank, elements);
            let kernel = kernels::elementwise(elements, 2, 1, 1, self.plan.precision);
            self.emitter.run(rank, Formula::Add, kernel, &[x[index], p[index]], &[y], &[]);
            out.push(y);
        }
        out
    }

    fn bias_backward(&mut self, rank: Rank, b: ParameterBuffers, dy: BufferId) {
        let elements = self.emitter.elements(dy);
        // Through the dropout before the sum.
        self.eager_pass(rank, elements, 2, 1, self.plan.precision);
        let kernel = kernels::elementwise(elements, 1, 0, 1, self.plan.precision);
        self.emitter.run_weight(rank, Formula::BiasWeight, kernel, &[dy], &[b.gradient()]);
    }
}
