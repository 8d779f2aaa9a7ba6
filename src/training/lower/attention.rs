//! The attention half of a block, forward and backward.
//!
//! Its maps are split over tensor ranks as in [`gpt`](super::gpt). Its core looks from one token to others: where
//! these are on other ranks of a context group, [`context`](super::context) brings them together.

use crate::compute::Kernel;
use crate::ids::{BufferId, Rank};
use crate::model::Piece;
use crate::program::Formula;
use crate::trace::{Activity, MemoryUse};
use crate::training::context::Travels;
use crate::training::lower::gpt::{NormSaved, block};
use crate::training::lower::kernels::AttentionShape;
use crate::training::lower::{Cell, Lowering, PerRank, kernels};
use crate::training::recompute::Recompute;

/// What the attention half of a block keeps for its backward pass.
#[derive(Debug, Clone)]
pub(super) struct AttentionSaved {
    norms: Vec<NormSaved>,
    qkv: PerRank,
    cores: Vec<Core>,
}

/// What the core of attention comes to on a rank, and keeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Core {
    /// The results of this rank's tokens, which the output map reads.
    pub(super) o: BufferId,
    pub(super) log_sum_exp: BufferId,
    /// q, k, v and o of this rank's heads for whole sequences, where those are brought together.
    pub(super) whole: Option<[BufferId; 2]>,
    /// What only an eager framework keeps.
    pub(super) eager: Option<BufferId>,
}

impl Lowering<'_> {
    /// norm → q, k, v of this rank's heads → attention → the rows of the output map that they meet.
    pub(super) fn attention_forward(
        &mut self,
        cell: &Cell,
        piece: Piece,
        x: &PerRank,
    ) -> (PerRank, AttentionSaved) {
        let hidden = self.hidden();
        let own = hidden / self.tensor();
        let norms = self.norms_forward(cell, piece, block::ATTENTION_NORM, x);
        let n = self.enter(cell, norms.iter().map(|norm| norm.n).collect());
        let mut qkv = PerRank::new();
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let w = self.emitter.parameters(rank, piece);
            qkv.push(self.linear_forward(rank, &w[block::QKV..block::QKV + 2], n[index], (hidden, 3 * own)));
        }
        let cores = self.attend(cell, &qkv);
        let mut partial = PerRank::new();
        for (&rank, core) in cell.ranks.iter().zip(&cores) {
            let w = self.emitter.parameters(rank, piece);
            let output = &w[block::OUTPUT..block::OUTPUT + 1];
            partial.push(self.linear_forward(rank, output, core.o, (own, hidden)));
        }
        (self.leave(cell, partial), AttentionSaved { norms, qkv, cores })
    }

    pub(super) fn attention_backward(
        &mut self,
        cell: &Cell,
        piece: Piece,
        dx: PerRank,
        saved: &AttentionSaved,
    ) -> PerRank {
        let hidden = self.hidden();
        let own = hidden / self.tensor();
        let dp = self.enter(cell, dx.clone());
        let n = self.enter(cell, saved.norms.iter().map(|norm| norm.n).collect());
        let cores = self.cores_again(cell, saved);
        let mut d_o = PerRank::new();
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let w = self.emitter.parameters(rank, piece);
            self.bias_backward(rank, w[block::OUTPUT + 1], dx[index]);
            let output = &w[block::OUTPUT..block::OUTPUT + 1];
            d_o.push(self.linear_backward(rank, output, dp[index], cores[index].o, (own, hidden)));
        }
        let dqkv = self.attend_backward(cell, &d_o, &saved.qkv, &cores);
        let mut dn = PerRank::new();
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let w = self.emitter.parameters(rank, piece);
            let qkv = &w[block::QKV..block::QKV + 2];
            dn.push(self.linear_backward(rank, qkv, dqkv[index], n[index], (hidden, 3 * own)));
        }
        let dn = self.leave(cell, dn);
        self.norm_backward(cell, piece, block::ATTENTION_NORM, &dn, &saved.norms, Some(&dx))
    }

    /// What the cores kept, computed again where that is nothing.
    fn cores_again(&mut self, cell: &Cell, saved: &AttentionSaved) -> Vec<Core> {
        if self.plan.recompute != Recompute::Selective {
            return saved.cores.clone();
        }
        let activity = self.emitter.activity(&cell.ranks, Activity::Recompute);
        let cores = self.attend(cell, &saved.qkv);
        self.emitter.activity(&cell.ranks, activity);
        cores
    }

    /// The core of attention on every rank of a cell.
    fn attend(&mut self, cell: &Cell, qkv: &PerRank) -> Vec<Core> {
        match self.plan.context_scheme.travels() {
            _ if self.plan.mesh.context == 1 => {
                let shape = self.attention_shape(1);
                cell.ranks.iter().zip(qkv).map(|(&rank, &qkv)| self.attend_whole(rank, qkv, shape)).collect()
            }
            Travels::KeysAround => self.attend_around(cell, qkv),
            Travels::HeadsAcross => self.attend_across(cell, qkv),
        }
    }

    /// The gradients of q, k and v.
    fn attend_backward(&mut self, cell: &Cell, d_o: &PerRank, qkv: &PerRank, cores: &[Core]) -> PerRank {
        match self.plan.context_scheme.travels() {
            _ if self.plan.mesh.context == 1 => {
                let shape = self.attention_shape(1);
                let each = cell.ranks.iter().zip(d_o).zip(qkv.iter().zip(cores));
                each.map(|((&rank, &d_o), (&qkv, core))| {
                    self.attend_whole_backward(rank, d_o, (qkv, core.o), *core, shape)
                })
                .collect()
            }
            Travels::KeysAround => self.attend_around_backward(cell, d_o, qkv, cores),
            Travels::HeadsAcross => self.attend_across_backward(cell, d_o, cores),
        }
    }

    /// Attention of whole sequences, to an `of`-th of a tensor rank's heads.
    pub(super) fn attention_shape(&self, of: u64) -> AttentionShape {
        let gpt = self.gpt();
        AttentionShape {
            batch: self.samples(),
            heads: gpt.heads / self.tensor() / of,
            head_dim: gpt.head_dim(),
            sequence: gpt.sequence,
            precision: self.plan.precision,
        }
    }

    /// Attention within whole sequences.
    pub(super) fn attend_whole(&mut self, rank: Rank, qkv: BufferId, shape: AttentionShape) -> Core {
        let rows = shape.batch * shape.sequence;
        let o = self.emitter.activation(rank, rows * shape.heads * shape.head_dim);
        let log_sum_exp = self.emitter.bytes_buffer(rank, rows * shape.heads, 4, MemoryUse::Activations);
        let kernel = self.attention_kernels(rank, shape, false);
        let [heads, head_dim, sequence] =
            [shape.heads, shape.head_dim, shape.sequence].map(|size| size as u32);
        let formula = Formula::Attention { heads, head_dim, sequence };
        self.emitter.run(rank, formula, kernel, &[qkv], &[o, log_sum_exp], &[]);
        // Korthikanti et al., section 4.1: the output of the softmax, the mask of its dropout and the output
        // of that, 5·a·s²·b bytes in 16 bits; and the mask of the dropout behind the output map, s·b·h.
        let scores = shape.batch * shape.heads * shape.sequence * shape.sequence;
        let width = self.plan.precision.bytes_of(1).get();
        let mask = self.own_rows() * self.hidden();
        let eager = self.eager_room(rank, scores * (2 * width + 1) + mask);
        Core { o, log_sum_exp, whole: None, eager }
    }

    /// dqkv from d_o, with the q, k, v and o that are attended with.
    pub(super) fn attend_whole_backward(
        &mut self,
        rank: Rank,
        d_o: BufferId,
        (qkv, o): (BufferId, BufferId),
        core: Core,
        shape: AttentionShape,
    ) -> BufferId {
        let elements = self.emitter.elements(qkv);
        let dqkv = self.emitter.activation(rank, elements);
        let kernel = self.attention_kernels(rank, shape, true);
        let [heads, head_dim, sequence] =
            [shape.heads, shape.head_dim, shape.sequence].map(|size| size as u32);
        let formula = Formula::AttentionInput { heads, head_dim, sequence };
        self.emitter.run(rank, formula, kernel, &[d_o, qkv, o, core.log_sum_exp], &[dqkv], &[]);
        self.leave_room(rank, core.eager);
        dqkv
    }

    /// The kernel of attention; where it is not one, the last of them, the others having been run before.
    fn attention_kernels(&mut self, rank: Rank, shape: AttentionShape, backward: bool) -> Option<Kernel> {
        if !self.plan.software.is_eager() {
            return kernels::attention(shape, backward);
        }
        let mut kernels = kernels::unfused_attention(shape, backward);
        let last = kernels.pop();
        kernels.into_iter().for_each(|kernel| self.emitter.beside(rank, Some(kernel)));
        last
    }
}
