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

use crate::compute::Pass;
use crate::hardware::Precision;
use crate::ids::{BufferId, Rank};
use crate::model::{Gpt, Model, Piece};
use crate::program::{Formula, Reduction};
use crate::trace::{Activity, MemoryUse};
use crate::training::lower::attention::AttentionSaved;
use crate::training::lower::emit::ParameterBuffers;
use crate::training::lower::{Cell, Lowering, PerRank, Saved, kernels};
use crate::units::Bytes;

/// What a block keeps for its backward pass, on each rank.
#[derive(Debug, Clone)]
pub(super) struct BlockSaved {
    attention: AttentionSaved,
    mlp: Vec<MlpSaved>,
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
pub(super) mod block {
    pub const ATTENTION_NORM: usize = 0;
    pub const QKV: usize = 2;
    pub const OUTPUT: usize = 4;
    pub const MLP_NORM: usize = 6;
    pub const UP: usize = 8;
    pub const DOWN: usize = 10;
}

impl Lowering<'_> {
    pub(super) fn gpt(&self) -> &Gpt {
        let Model::Gpt(gpt) = &self.plan.model else { panic!("only a GPT has blocks") };
        gpt
    }

    pub(super) fn hidden(&self) -> u64 {
        self.gpt().hidden
    }

    /// Rows of the residual stream that one rank holds.
    pub(super) fn own_rows(&self) -> u64 {
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

    pub(super) fn tensor(&self) -> u64 {
        u64::from(self.plan.mesh.tensor)
    }

    /// Each rank looks up the ids that it holds; the sum over ranks is the embedding.
    pub(super) fn embedding_forward(&mut self, cell: &Cell, tokens: PerRank) -> (PerRank, Saved) {
        let (rows, hidden) = (self.rows(), self.hidden());
        let share = self.gpt().vocabulary / self.tensor();
        let precision = self.plan.precision;
        let mut partial = PerRank::new();
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let [table, _] = self.two(rank, Piece::Embedding);
            let x = self.emitter.activation(rank, rows * hidden);
            let formula = Formula::Embed { first_row: self.first_of(rank, share), width: hidden as u32 };
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
            let (first, tokens) = (self.first_row(rank), self.plan.tokens_of(rank));
            let formula = Formula::AddPositions { first, tokens, width: hidden as u32 };
            let kernel = kernels::elementwise(own * hidden, 2, 1, 1, precision);
            self.emitter.run(rank, formula, kernel, &[partial[index], positions.weight], &[y], &[]);
            out.push(y);
        }
        (out, Saved::Embedding { tokens })
    }

    pub(super) fn embedding_backward(&mut self, cell: &Cell, dx: PerRank, tokens: &PerRank) -> PerRank {
        let (rows, hidden) = (self.rows(), self.hidden());
        let share = self.gpt().vocabulary / self.tensor();
        let precision = self.plan.precision;
        let own = self.own_rows();
        let all = self.enter(cell, dx.clone());
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let [table, positions] = self.two(rank, Piece::Embedding);
            let width = hidden as u32;
            let held = self.plan.tokens_of(rank);
            let formula = Formula::PositionsWeight { first: self.first_row(rank), tokens: held, width };
            let kernel = kernels::elementwise(own * hidden, 1, 0, 1, precision);
            self.emitter.run_weight(rank, formula, kernel, &[dx[index]], &[positions.gradient()]);
            let formula = Formula::EmbedWeight { first_row: self.first_of(rank, share), width };
            let kernel = kernels::embedding(rows, hidden, true, precision);
            // The gradient of a table is as large as the table, zeroed, and then added to what was there.
            self.eager_pass(rank, share * hidden, 2, 2, precision);
            self.emitter.run_weight(rank, formula, kernel, &[tokens[index], all[index]], &[table.gradient()]);
        }
        PerRank::new()
    }

    /// Forward through a block in every cell: attention in all of them, then the MLP in all, so that what the
    /// tensor ranks of one exchange passes under what those of another compute.
    pub(super) fn block_forward(
        &mut self,
        cells: &[Cell],
        piece: Piece,
        streams: Vec<PerRank>,
    ) -> (Vec<PerRank>, Vec<Saved>) {
        let halves: Vec<_> =
            cells.iter().zip(&streams).map(|(cell, x)| self.attention_forward(cell, piece, x)).collect();
        let (mut out, mut saved) = (Vec::new(), Vec::new());
        for ((cell, x), (p, attention)) in cells.iter().zip(&streams).zip(halves) {
            let x = self.add_to_stream(cell, piece, block::OUTPUT + 1, x, &p);
            let (p, mlp) = self.mlp_forward(cell, piece, &x);
            out.push((x, p));
            saved.push(Saved::Block(Box::new(BlockSaved { attention, mlp })));
        }
        let out = cells
            .iter()
            .zip(out)
            .map(|(cell, (x, p))| self.add_to_stream(cell, piece, block::DOWN + 1, &x, &p))
            .collect();
        (out, saved)
    }

    /// Goes through a block a second time for what the first time did not keep, where that was its input alone.
    fn block_again(&mut self, cells: &[Cell], piece: Piece, saved: Vec<Saved>) -> Vec<BlockSaved> {
        let input = |keep: &Saved| match keep {
            Saved::Input(x) => Some(x.clone()),
            _ => None,
        };
        let inputs: Option<Vec<PerRank>> = saved.iter().map(input).collect();
        let saved = match inputs {
            None => saved,
            Some(inputs) => {
                let ranks: Vec<Rank> = cells.iter().flat_map(|cell| cell.ranks.iter().copied()).collect();
                let activity = self.emitter.activity(&ranks, Activity::Recompute);
                let (_, saved) = self.block_forward(cells, piece, inputs);
                self.emitter.activity(&ranks, activity);
                saved
            }
        };
        let of_block = |keep| match keep {
            Saved::Block(keep) => *keep,
            _ => unreachable!("a block keeps what a block keeps"),
        };
        saved.into_iter().map(of_block).collect()
    }

    pub(super) fn block_backward(
        &mut self,
        cells: &[Cell],
        piece: Piece,
        streams: Vec<PerRank>,
        saved: Vec<Saved>,
    ) -> Vec<PerRank> {
        let saved = self.block_again(cells, piece, saved);
        let each = cells.iter().zip(streams).zip(&saved);
        let streams: Vec<PerRank> =
            each.map(|((cell, dx), keep)| self.mlp_backward(cell, piece, dx, &keep.mlp)).collect();
        let each = cells.iter().zip(streams).zip(&saved);
        each.map(|((cell, dx), keep)| self.attention_backward(cell, piece, dx, &keep.attention)).collect()
    }

    /// Room for what an eager framework keeps from the forward to the backward pass beyond what its formulas
    /// need.
    pub(super) fn eager_room(&mut self, rank: Rank, bytes: u64) -> Option<BufferId> {
        let eager = self.plan.software.is_eager();
        eager.then(|| {
            let room = self.emitter.packed_buffer(rank, 0, Bytes(bytes), MemoryUse::Activations);
            self.emitter.run(rank, Formula::Beside, None, &[], &[room], &[]);
            room
        })
    }

    /// The backward pass has come to where such room is given back.
    pub(super) fn leave_room(&mut self, rank: Rank, room: Option<BufferId>) {
        if let Some(room) = room {
            self.emitter.run(rank, Formula::Beside, None, &[room], &[], &[]);
        }
    }

    /// A pass over `elements` numbers that an eager framework makes besides.
    fn eager_pass(&mut self, rank: Rank, elements: u64, inputs: u32, outputs: u32, precision: Precision) {
        if self.plan.software.is_eager() {
            self.emitter.beside(rank, kernels::elementwise(elements, inputs, outputs, 1, precision));
        }
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
            let dlogits = self.cross_entropy_backward(rank, reads, share);
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
            let (first_class, classes) = (self.first_of(rank, share), share as u32);
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
        reads: [BufferId; 4],
        share: u64,
    ) -> BufferId {
        let elements = self.emitter.elements(reads[0]);
        let dlogits = self.emitter.activation(rank, elements);
        let (first_class, classes) = (self.first_of(rank, share), share as u32);
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

    /// The first row, of those that its context rank works on, that a rank holds between tensor-parallel
    /// regions.
    fn first_row(&self, rank: Rank) -> u32 {
        if self.plan.splits_rows() { self.first_of(rank, self.own_rows()) } else { 0 }
    }

    /// Where a tensor rank's share begins of something cut into shares of this size.
    fn first_of(&self, rank: Rank, share: u64) -> u32 {
        self.plan.mesh.coordinates(rank).tensor * share as u32
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

    pub(super) fn bias_backward(&mut self, rank: Rank, b: ParameterBuffers, dy: BufferId) {
        let elements = self.emitter.elements(dy);
        // Through the dropout before the sum.
        self.eager_pass(rank, elements, 2, 1, self.plan.precision);
        let kernel = kernels::elementwise(elements, 1, 0, 1, self.plan.precision);
        self.emitter.run_weight(rank, Formula::BiasWeight, kernel, &[dy], &[b.gradient()]);
    }
}
