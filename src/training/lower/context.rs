//! Attention between ranks that share a sequence: keys and values go round a ring, or heads and tokens change
//! places.
//!
//! **Around** (Liu et al., "Ring Attention", 2023, section 3). In round r of n, rank i attends to the keys of rank
//! i − r, while it passes these on to rank i + 1 and gets those of rank i − r − 1. A block lands where the one
//! before the last was, so that a rank has two blocks beside its own at most. The results of the rounds are
//! merged in f32 by their log-sum-exp. Backward the gradients of keys and values follow them round the ring: each
//! rank adds its own to what has arrived and passes the sum on; after n rounds it is home. What a causal mask
//! hides entirely is not computed.
//!
//! **Across** (Jacobs et al., "DeepSpeed Ulysses", 2023, section 3.1). An all-to-all turns all heads of some tokens
//! into some heads of all tokens, and another one back.

use crate::collective::CollectiveKind;
use crate::compute::Kernel;
use crate::hardware::Precision;
use crate::ids::{BufferId, OpId, Rank};
use crate::parallel::{Axis, Coordinates, Sight, Tokens};
use crate::program::{Formula, Part, Reduction};
use crate::trace::{Activity, MemoryUse, Stream};
use crate::training::lower::attention::Core;
use crate::training::lower::{Cell, Lowering, PerRank, kernels};

/// Flops of merging a result with another: two exponentials and a logarithm a row and head are few beside two
/// multiplications and an addition a number.
const MERGE_FLOPS: u32 = 3;

/// Whose tokens a rank attends to in a round, and what its own see of them.
#[derive(Debug, Clone, Copy)]
struct Look {
    queries: Tokens,
    keys: u16,
    /// Nothing where the mask hides all of them.
    sight: Option<Sight>,
}

impl Lowering<'_> {
    /// Ring attention, forward.
    pub(super) fn attend_around(&mut self, cell: &Cell, qkv: &PerRank) -> Vec<Core> {
        let mut held = self.keys_and_values(cell, qkv);
        // What each rank computed last, when the block before the one that it looks at now was the newest.
        let mut done: Vec<Option<OpId>> = vec![None; cell.ranks.len()];
        let mut merged: Vec<[BufferId; 2]> = Vec::new();
        for round in 0..self.plan.mesh.context {
            let next = self.pass_keys_on(cell, &held, round, &done);
            for (index, &rank) in cell.ranks.iter().enumerate() {
                let look = self.look(rank, round);
                if round == 0 {
                    let width = self.merged_width();
                    merged.push(self.attend_block(rank, look, [qkv[index], held[index]], width));
                } else if look.sight.is_some() {
                    let width = self.plan.precision.bytes_of(1).get();
                    let more = self.attend_block(rank, look, [qkv[index], held[index]], width);
                    self.merge(rank, look, more, merged[index]);
                }
            }
            self.emitter.flush(&cell.ranks);
            done = cell.ranks.iter().map(|&rank| self.emitter.last_op(rank)).collect();
            held = next;
        }
        let each = cell.ranks.iter().zip(merged);
        each.map(|(&rank, [o, log_sum_exp])| Core {
            o: self.narrowed(rank, o),
            log_sum_exp,
            whole: None,
            eager: None,
        })
        .collect()
    }

    /// Ring attention, backward.
    pub(super) fn attend_around_backward(
        &mut self,
        cell: &Cell,
        d_o: &PerRank,
        qkv: &PerRank,
        cores: &[Core],
    ) -> PerRank {
        let width = self.heads_width();
        let rows = self.row_of_sequence();
        let mut held = self.keys_and_values(cell, qkv);
        let mut done: Vec<Option<OpId>> = vec![None; cell.ranks.len()];
        let (mut dq, mut arrived) = (PerRank::new(), PerRank::new());
        for round in 0..self.plan.mesh.context {
            let next = self.pass_keys_on(cell, &held, round, &done);
            let mut own: Vec<Option<BufferId>> = vec![None; cell.ranks.len()];
            for (index, &rank) in cell.ranks.iter().enumerate() {
                let look = self.look(rank, round);
                let reads = [d_o[index], qkv[index], held[index], cores[index].o, cores[index].log_sum_exp];
                if round == 0 {
                    let [of_queries, of_keys] =
                        self.attend_block_backward(rank, look, reads, self.merged_width());
                    dq.push(of_queries);
                    arrived.push(of_keys);
                } else if let Some(sight) = look.sight {
                    let narrow = self.plan.precision.bytes_of(1).get();
                    let [more, of_keys] = self.attend_block_backward(rank, look, reads, narrow);
                    let (first, count) = (sight.first as u32, rows - sight.first as u32);
                    self.add_rows(rank, more, dq[index], (first, count, width));
                    own[index] = Some(of_keys);
                }
            }
            self.emitter.flush(&cell.ranks);
            done = cell.ranks.iter().map(|&rank| self.emitter.last_op(rank)).collect();
            for (index, &rank) in cell.ranks.iter().enumerate() {
                if let (Some(own), Some(sight)) = (own[index], self.look(rank, round).sight) {
                    self.add_rows(rank, own, arrived[index], (0, sight.keys as u32, 2 * width));
                }
            }
            self.emitter.flush(&cell.ranks);
            arrived = self.pass_on(cell, &arrived, "ring gradients", MemoryUse::Activations, &[]);
            held = next;
        }
        let each = cell.ranks.iter().zip(dq.into_iter().zip(arrived));
        each.map(|(&rank, (dq, dkv))| {
            let elements = self.emitter.elements(dq) + self.emitter.elements(dkv);
            let dqkv = self.emitter.activation(rank, elements);
            let kernel = kernels::elementwise(elements, 1, 1, 0, self.plan.precision);
            self.emitter.run(rank, Formula::JoinGradients { width }, kernel, &[dq, dkv], &[dqkv], &[]);
            dqkv
        })
        .collect()
    }

    /// k and v of each rank's tokens, laid side by side to travel.
    fn keys_and_values(&mut self, cell: &Cell, qkv: &PerRank) -> PerRank {
        let width = self.heads_width();
        let elements = 2 * self.rows() * u64::from(width);
        let each = cell.ranks.iter().zip(qkv);
        each.map(|(&rank, &qkv)| {
            let bytes = self.plan.precision.bytes_of(elements);
            let kv = self.emitter.packed_buffer(rank, elements, bytes, MemoryUse::Buffers);
            let kernel = kernels::elementwise(elements, 1, 1, 0, self.plan.precision);
            self.emitter.run(rank, Formula::KeysValues { width }, kernel, &[qkv], &[kv], &[]);
            kv
        })
        .collect()
    }

    /// Passes the blocks that ranks look at on, but in the last round. A block may only land where its
    /// receiver has done with the one before the last.
    fn pass_keys_on(&mut self, cell: &Cell, held: &PerRank, round: u32, done: &[Option<OpId>]) -> PerRank {
        if round + 1 == self.plan.mesh.context {
            return PerRank::new();
        }
        self.pass_on(cell, held, "ring keys and values", MemoryUse::Buffers, done)
    }

    /// Each rank gives the next one of its ring what it holds; what lands at each.
    fn pass_on(
        &mut self,
        cell: &Cell,
        held: &PerRank,
        name: &'static str,
        usage: MemoryUse,
        done: &[Option<OpId>],
    ) -> PerRank {
        self.emitter.flush(&cell.ranks);
        let label = self.emitter.label(name);
        let mut landed = held.clone();
        for (&rank, &block) in cell.ranks.iter().zip(held) {
            let target = self.next_around(rank);
            let to = cell.ranks.iter().position(|&other| other == target).expect("a whole ring in a cell");
            let elements = self.emitter.elements(block);
            let bytes = self.plan.precision.bytes_of(elements);
            let landing = self.emitter.packed_buffer(target, elements, bytes, usage);
            let from = Part { rank, reads: vec![block], writes: Vec::new() };
            let into = Part { rank: target, reads: Vec::new(), writes: vec![landing] };
            let send =
                self.emitter.send_parts(Stream::Context, Activity::ContextComm, label, bytes, from, into);
            if let Some(&Some(earlier)) = done.get(to) {
                self.emitter.after(earlier, send);
            }
            landed[to] = landing;
        }
        landed
    }

    fn next_around(&self, rank: Rank) -> Rank {
        let mesh = self.plan.mesh;
        let at = mesh.coordinates(rank);
        mesh.rank(Coordinates { context: (at.context + 1) % mesh.context, ..at })
    }

    /// What a rank looks at in a round.
    fn look(&self, rank: Rank, round: u32) -> Look {
        let context = self.plan.mesh.context;
        let queries = self.plan.tokens_of(rank);
        let keys = ((u32::from(queries.rank) + context - round) % context) as u16;
        Look { queries, keys, sight: queries.sight(Tokens { rank: keys, ..queries }) }
    }

    /// Attention to a block of keys: o, kept in numbers of a width, and log-sum-exp.
    fn attend_block(
        &mut self,
        rank: Rank,
        look: Look,
        [qkv, kv]: [BufferId; 2],
        width: u64,
    ) -> [BufferId; 2] {
        let sight = look.sight.expect("a block that is seen");
        let (heads, head_dim) = self.head_shape();
        let rows = self.samples() * (look.queries.count() as u64 - sight.first);
        let elements = rows * u64::from(heads * head_dim);
        let o = self.emitter.bytes_buffer(rank, elements, width, MemoryUse::Activations);
        let sums = self.emitter.bytes_buffer(rank, rows * u64::from(heads), 4, MemoryUse::Activations);
        let Look { queries, keys, .. } = look;
        let formula = Formula::AttentionBlock { heads, head_dim, queries, keys };
        let kernel = self.block_kernel(look, false);
        self.emitter.run(rank, formula, kernel, &[qkv, kv], &[o, sums], &[]);
        [o, sums]
    }

    /// dq, kept in numbers of a width, and dk and dv of what is seen of a block of keys.
    fn attend_block_backward(
        &mut self,
        rank: Rank,
        look: Look,
        reads: [BufferId; 5],
        width: u64,
    ) -> [BufferId; 2] {
        let sight = look.sight.expect("a block that is seen");
        let (heads, head_dim) = self.head_shape();
        let row = u64::from(heads * head_dim);
        let seeing = self.samples() * (look.queries.count() as u64 - sight.first);
        let seen = self.samples() * sight.keys;
        let dq = self.emitter.bytes_buffer(rank, seeing * row, width, MemoryUse::Activations);
        let dkv = self.emitter.activation(rank, 2 * seen * row);
        let Look { queries, keys, .. } = look;
        let formula = Formula::AttentionBlockInput { heads, head_dim, queries, keys };
        let kernel = self.block_kernel(look, true);
        self.emitter.run(rank, formula, kernel, &reads, &[dq, dkv], &[]);
        [dq, dkv]
    }

    fn block_kernel(&self, look: Look, backward: bool) -> Option<Kernel> {
        let sight = look.sight.expect("a block that is seen");
        let (heads, head_dim) = self.head_shape();
        let (heads, head_dim) = (u64::from(heads), u64::from(head_dim));
        let queries = look.queries.count() as u64 - sight.first;
        let shape = kernels::BlockShape { batch: self.samples(), heads, head_dim, queries, sight };
        kernels::attention_block(shape, self.plan.precision, backward)
    }

    /// What a block comes to joins what those before it have come to.
    fn merge(&mut self, rank: Rank, look: Look, more: [BufferId; 2], merged: [BufferId; 2]) {
        let (heads, head_dim) = self.head_shape();
        let rows = look.queries.count() as u32;
        let seeing = rows - look.sight.expect("a block that is seen").first as u32;
        let formula = Formula::MergeAttention { head_dim, rows: heads * rows, merged: heads * seeing };
        let elements = self.emitter.elements(more[0]);
        let kernel = kernels::elementwise(elements, 2, 1, MERGE_FLOPS, Precision::F32);
        self.emitter.run(rank, formula, kernel, &more, &[], &merged);
    }

    /// Adds rows to a run of those of each sequence: where it begins, how many it has, and of what width.
    fn add_rows(&mut self, rank: Rank, x: BufferId, y: BufferId, (first, count, width): (u32, u32, u32)) {
        let formula = Formula::AccumulateRows { rows: self.row_of_sequence(), first, count, width };
        let kernel = kernels::elementwise(self.emitter.elements(x), 2, 1, 1, Precision::F32);
        self.emitter.run(rank, formula, kernel, &[x], &[], &[y]);
    }

    /// What was merged in f32, in the precision of activations.
    fn narrowed(&mut self, rank: Rank, wide: BufferId) -> BufferId {
        let elements = self.emitter.elements(wide);
        if self.plan.precision.bytes_of(1).get() == self.merged_width() {
            return wide;
        }
        let narrow = self.emitter.activation(rank, elements);
        let kernel = kernels::elementwise(elements, 1, 1, 0, Precision::F32);
        self.emitter.run(rank, Formula::Copy, kernel, &[wide], &[narrow], &[]);
        narrow
    }

    /// Bytes of a number that the rounds' results are summed in.
    fn merged_width(&self) -> u64 {
        self.plan.precision.bytes_of(1).get().max(4)
    }

    /// Heads of a tensor rank, and the width of one.
    fn head_shape(&self) -> (u32, u32) {
        let gpt = self.gpt();
        ((gpt.heads / self.tensor()) as u32, gpt.head_dim() as u32)
    }

    /// The heads of a tensor rank side by side.
    fn heads_width(&self) -> u32 {
        let (heads, head_dim) = self.head_shape();
        heads * head_dim
    }

    /// Rows of one sequence on one context rank.
    fn row_of_sequence(&self) -> u32 {
        (self.gpt().sequence / u64::from(self.plan.mesh.context)) as u32
    }

    /// Ulysses, forward.
    pub(super) fn attend_across(&mut self, cell: &Cell, qkv: &PerRank) -> Vec<Core> {
        let shape = self.attention_shape(u64::from(self.plan.mesh.context));
        let whole = self.deal_heads(cell, qkv, 3);
        let each = cell.ranks.iter().zip(&whole);
        let cores: Vec<Core> = each.map(|(&rank, &qkv)| self.attend_whole(rank, qkv, shape)).collect();
        let of_heads: PerRank = cores.iter().map(|core| core.o).collect();
        let of_tokens = self.deal_tokens(cell, &of_heads, 1);
        let each = cores.into_iter().zip(whole).zip(of_tokens);
        each.map(|((core, qkv), o)| Core { o, whole: Some([qkv, core.o]), ..core }).collect()
    }

    /// Ulysses, backward.
    pub(super) fn attend_across_backward(&mut self, cell: &Cell, d_o: &PerRank, cores: &[Core]) -> PerRank {
        let shape = self.attention_shape(u64::from(self.plan.mesh.context));
        let d_o = self.deal_heads(cell, d_o, 1);
        let each = cell.ranks.iter().zip(d_o).zip(cores);
        let dqkv = each.map(|((&rank, d_o), core)| {
            let [qkv, o] = core.whole.expect("heads that were brought together");
            self.attend_whole_backward(rank, d_o, (qkv, o), *core, shape)
        });
        let dqkv: PerRank = dqkv.collect();
        self.deal_tokens(cell, &dqkv, 3)
    }

    /// From all heads of a rank's tokens to some heads of all tokens, `kinds` numbers (q, k, v or o) of each.
    ///
    /// (rows, kinds, n, width) becomes (n, rows, kinds, width) for the exchange, and what arrives, (n, samples,
    /// rows of a sequence, …), becomes (samples, n, …): whole sequences.
    fn deal_heads(&mut self, cell: &Cell, x: &PerRank, kinds: u64) -> PerRank {
        let n = u64::from(self.plan.mesh.context);
        let width = u64::from(self.heads_width()) / n;
        let of_one = u64::from(self.row_of_sequence()) * kinds * width;
        let dealt = self.swap(cell, x, [self.rows() * kinds, n, width]);
        let arrived = self.across(cell, &dealt);
        self.swap(cell, &arrived, [n, self.samples(), of_one])
    }

    /// The opposite.
    fn deal_tokens(&mut self, cell: &Cell, x: &PerRank, kinds: u64) -> PerRank {
        let n = u64::from(self.plan.mesh.context);
        let width = u64::from(self.heads_width()) / n;
        let of_one = u64::from(self.row_of_sequence()) * kinds * width;
        let dealt = self.swap(cell, x, [self.samples(), n, of_one]);
        let arrived = self.across(cell, &dealt);
        self.swap(cell, &arrived, [n, self.rows() * kinds, width])
    }

    /// (rows, columns, width) to (columns, rows, width), where that is not the same.
    fn swap(&mut self, cell: &Cell, x: &PerRank, [rows, columns, width]: [u64; 3]) -> PerRank {
        if rows == 1 || columns == 1 {
            return x.clone();
        }
        let formula = Formula::SwapBlocks { rows: rows as u32, columns: columns as u32, width: width as u32 };
        let elements = rows * columns * width;
        let each = cell.ranks.iter().zip(x);
        each.map(|(&rank, &x)| {
            let y = self.emitter.activation(rank, elements);
            let kernel = kernels::elementwise(elements, 1, 1, 0, self.plan.precision);
            self.emitter.run(rank, formula, kernel, &[x], &[y], &[]);
            y
        })
        .collect()
    }

    /// An all-to-all among the context ranks of each tensor rank.
    fn across(&mut self, cell: &Cell, x: &PerRank) -> PerRank {
        self.emitter.flush(&cell.ranks);
        let elements = self.emitter.elements(x[0]);
        let bytes = self.plan.precision.bytes_of(elements);
        let label = self.emitter.label("all-to-all");
        let landed: PerRank =
            cell.ranks.iter().map(|&rank| self.emitter.activation(rank, elements)).collect();
        for &lead in &cell.ranks {
            if self.plan.mesh.coordinates(lead).context > 0 {
                continue;
            }
            let group = self.plan.mesh.group(lead, Axis::Context);
            let at = |rank: Rank| cell.ranks.iter().position(|&other| other == rank);
            let members = group.iter().filter_map(|&rank| at(rank).map(|at| (rank, at)));
            let parts = members
                .map(|(rank, at)| Part { rank, reads: vec![x[at]], writes: vec![landed[at]] })
                .collect();
            let (kind, stream, activity) = (CollectiveKind::AllToAll, Stream::Context, Activity::ContextComm);
            self.emitter.exchange(kind, stream, activity, label, bytes, Reduction::Sum, &group, parts);
        }
        landed
    }
}
