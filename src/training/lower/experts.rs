//! Forward and backward of experts in place of an MLP, divided over replicas and split over tensor ranks.
//!
//! Lepikhin et al., "GShard", 2020, section 3; Rajbhandari et al., "DeepSpeed-MoE", ICML 2022, section 5; Singh et
//! al., "A Hybrid Tensor-Expert-Data Parallelism Approach to Optimize Mixture-of-Experts Training", ICS 2023,
//! section 4. Neighbouring replicas hold a part of a layer's experts each. An all-to-all brings every row to its
//! experts (dispatch) and a second one brings back what they made of it (combine); the backward pass does both
//! again. Each expert is split over the tensor ranks as an MLP is, every tensor rank sends its own copy of the rows,
//! and their partial sums meet when they are back.
//!
//! The router is on every tensor rank. What reaches it backward on one of them is what that rank's part of the
//! experts says, so the gradient of its weight is summed over tensor ranks.
//!
//! Without a capacity the sizes go by the rows that arrive: the all-to-alls, the products, and the room that the
//! rows take between them. With one the buffers are as large as the capacity, whatever arrives.
//!
//! Letters: as in [`gpt`](super::gpt); rows that are sent to experts, have arrived at them, are back.

use crate::compute::{Kernel, Pass};
use crate::hardware::Precision;
use crate::ids::{BufferId, Rank, RoutingId};
use crate::model::{Experts, Piece};
use crate::program::{Arrivals, Formula, InstructionSpec, OpLabel, Part, Routing};
use crate::trace::MemoryUse;
use crate::training::lower::emit::{ParameterBuffers, spec};
use crate::training::lower::gpt::NormSaved;
use crate::training::lower::{Cell, Lowering, PerRank, kernels};

/// What experts keep on a rank for their backward pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExpertsSaved {
    norm: NormSaved,
    routing: RoutingId,
    arrivals: Arrivals,
    logits: BufferId,
    gates: BufferId,
    choices: BufferId,
    places: BufferId,
    arrived: BufferId,
    a: BufferId,
    h: BufferId,
    back: BufferId,
}

/// Positions of a block's parameters, where it has experts.
mod block {
    pub const MLP_NORM: usize = 6;
    pub const ROUTER: usize = 8;
    pub const UP: usize = 9;
    pub const DOWN: usize = 10;
}

/// The sizes of a layer with experts.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    experts: Experts,
    /// Rows of the residual stream, and their width.
    tokens: u64,
    hidden: u64,
    /// Width of a tensor rank's part of an expert.
    own: u64,
    /// Rows that are sent, and that arrive when they are spread evenly.
    rows: u64,
    /// Experts of each rank.
    held: u64,
}

impl Lowering<'_> {
    /// Whether a piece of the model has experts, so that replicas work on it together.
    pub(super) fn has_experts(&self, piece: Piece) -> bool {
        match (piece, self.plan.model.gpt()) {
            (Piece::Block(layer), Some(gpt)) => gpt.experts_of(layer).is_some(),
            _ => false,
        }
    }

    fn expert_sizes(&self) -> Sizes {
        let gpt = self.plan.model.gpt().expect("only a GPT has experts");
        let experts = gpt.experts.expect("a block with experts");
        let tokens = self.rows();
        Sizes {
            experts,
            tokens,
            hidden: gpt.hidden,
            own: gpt.ffn() / u64::from(self.plan.mesh.tensor),
            rows: match experts.room(tokens) {
                Some(room) => room * experts.count,
                None => tokens * experts.top_k,
            },
            held: experts.count / u64::from(self.plan.expert),
        }
    }

    /// norm → router → rows to their experts → up, GELU, down → rows back, weighted and added up.
    pub(super) fn experts_forward(
        &mut self,
        cells: &[Cell],
        piece: Piece,
        streams: &[PerRank],
    ) -> (Vec<PerRank>, Vec<Vec<ExpertsSaved>>) {
        let (mut out, mut saved) = (Vec::new(), Vec::new());
        // A folded plan has one cell, which stands for its neighbours too.
        let each = self.plan.expert as usize;
        for (cells, streams) in cells.chunks(each).zip(streams.chunks(each)) {
            let (partial, keep) = self.group_forward(cells, piece, streams);
            for (cell, partial) in cells.iter().zip(partial) {
                out.push(self.leave(cell, partial));
            }
            saved.extend(keep);
        }
        (out, saved)
    }

    fn group_forward(
        &mut self,
        cells: &[Cell],
        piece: Piece,
        streams: &[PerRank],
    ) -> (Vec<PerRank>, Vec<Vec<ExpertsSaved>>) {
        let sizes = self.expert_sizes();
        let routing = self.routing_of(cells, piece, &sizes);
        let (mut sent, mut saved) = (Vec::new(), Vec::new());
        for (cell, x) in cells.iter().zip(streams) {
            let (sent_here, keep) = self.route(cell, piece, x, routing, &sizes);
            sent.push(sent_here);
            saved.push(keep);
        }
        let arrivals = |saved: &Vec<ExpertsSaved>| saved[0].arrivals;
        let arrivals: Vec<Arrivals> = saved.iter().map(arrivals).collect();
        let arrived = self.exchange_tokens(cells, routing, sent, Some(&arrivals), &sizes);
        let mut made = Vec::new();
        for (at, cell) in cells.iter().enumerate() {
            let mut made_here = PerRank::new();
            for (index, &rank) in cell.ranks.iter().enumerate() {
                let keep = &mut saved[at][index];
                keep.arrived = arrived[at][index];
                made_here.push(self.expert_forward(rank, piece, keep, &sizes));
            }
            made.push(made_here);
        }
        let back = self.exchange_tokens(cells, routing, made, None, &sizes);
        let mut partial = Vec::new();
        for (at, cell) in cells.iter().enumerate() {
            let mut partial_here = PerRank::new();
            for (index, &rank) in cell.ranks.iter().enumerate() {
                let keep = &mut saved[at][index];
                keep.back = back[at][index];
                partial_here.push(self.combine(rank, keep, &sizes));
            }
            partial.push(partial_here);
        }
        (partial, saved)
    }

    /// The decision of a group; the same one when a block is gone through a second time.
    fn routing_of(&mut self, cells: &[Cell], piece: Piece, sizes: &Sizes) -> RoutingId {
        let micro_batch = self.emitter.micro_batch().expect("a pass of a micro-batch");
        let key = (cells[0].replica, piece, micro_batch);
        if let Some(&known) = self.routings.get(&key) {
            return known;
        }
        let routing = self.emitter.routing(Routing {
            label: OpLabel::default(),
            members: self.plan.expert,
            experts: sizes.experts.count as u32,
            rows: (sizes.tokens * sizes.experts.top_k) as u32,
            top_k: sizes.experts.top_k as u32,
            room: sizes.experts.room(sizes.tokens).map(|room| room as u32),
        });
        self.routings.insert(key, routing);
        routing
    }

    /// norm → logits → which experts take each row → the rows in their order.
    fn route(
        &mut self,
        cell: &Cell,
        piece: Piece,
        x: &PerRank,
        routing: RoutingId,
        sizes: &Sizes,
    ) -> (PerRank, Vec<ExpertsSaved>) {
        let Sizes { experts, tokens, hidden, rows, .. } = *sizes;
        let precision = self.plan.precision;
        let member = cell.replica % self.plan.expert;
        let arrivals = self.emitter.arrivals(routing, member);
        let (mut sent, mut saved) = (PerRank::new(), Vec::new());
        let norms = self.norms_forward(cell, piece, block::MLP_NORM, x);
        let n = self.enter(cell, norms.iter().map(|norm| norm.n).collect());
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let router = self.emitter.parameters(rank, piece)[block::ROUTER];
            // Switch Transformers, section 2.4: the router works in f32.
            let [logits, gates, choices, places] =
                [experts.count, experts.top_k, experts.top_k, experts.top_k].map(|columns| {
                    self.emitter.bytes_buffer(rank, tokens * columns, 4, MemoryUse::Activations)
                });
            let formula = Formula::Linear { inputs: hidden as u32, outputs: experts.count as u32 };
            let kernel = kernels::gemm(tokens, hidden, experts.count, Pass::Forward, precision);
            self.emitter.run(rank, formula, kernel, &[n[index], router.weight], &[logits], &[]);
            let formula = Formula::Route { routing, member };
            let kernel = kernels::router(tokens, experts.count, false);
            self.emitter.run(rank, formula, kernel, &[logits], &[gates, choices, places], &[]);
            let rows_sent = self.emitter.activation(rank, rows * hidden);
            let formula = Formula::Permute { width: hidden as u32 };
            let kernel = kernels::elementwise(rows * hidden, 1, 1, 0, precision);
            self.emitter.run(rank, formula, kernel, &[n[index], places], &[rows_sent], &[]);
            sent.push(rows_sent);
            // What comes later is filled in when it comes.
            let later = rows_sent;
            saved.push(ExpertsSaved {
                norm: norms[index],
                routing,
                arrivals,
                logits,
                gates,
                choices,
                places,
                arrived: later,
                a: later,
                h: later,
                back: later,
            });
        }
        (sent, saved)
    }

    /// Rows that have arrived through this rank's part of its experts.
    fn expert_forward(
        &mut self,
        rank: Rank,
        piece: Piece,
        keep: &mut ExpertsSaved,
        sizes: &Sizes,
    ) -> BufferId {
        let Sizes { hidden, own, rows, .. } = *sizes;
        let precision = self.plan.precision;
        let w = self.emitter.parameters(rank, piece);
        keep.a = self.grouped_forward(rank, w[block::UP], keep.arrived, keep.arrivals, (hidden, own), sizes);
        keep.h = self.emitter.arriving(rank, rows * own, keep.arrivals);
        let kernel = kernels::elementwise(rows * own, 1, 1, kernels::GELU_FLOPS, precision);
        self.by_arrivals(rank, keep.arrivals, spec(Formula::Gelu, kernel, &[keep.a], &[keep.h], &[]));
        self.grouped_forward(rank, w[block::DOWN], keep.h, keep.arrivals, (own, hidden), sizes)
    }

    fn combine(&mut self, rank: Rank, keep: &ExpertsSaved, sizes: &Sizes) -> BufferId {
        let Sizes { experts, tokens, hidden, .. } = *sizes;
        let y = self.emitter.activation(rank, tokens * hidden);
        let formula = Formula::Combine { width: hidden as u32 };
        let top_k = experts.top_k as u32;
        let kernel = kernels::elementwise(tokens * hidden, top_k, 1, 2 * top_k, self.plan.precision);
        self.emitter.run(rank, formula, kernel, &[keep.back, keep.gates, keep.places], &[y], &[]);
        y
    }

    /// The gradient of the residual stream before the experts, from the one behind them.
    pub(super) fn experts_backward(
        &mut self,
        cells: &[Cell],
        piece: Piece,
        streams: Vec<PerRank>,
        saved: &[Vec<ExpertsSaved>],
    ) -> Vec<PerRank> {
        let each = self.plan.expert as usize;
        let mut out = Vec::new();
        for ((cells, dx), saved) in cells.chunks(each).zip(streams.chunks(each)).zip(saved.chunks(each)) {
            let dn = self.group_backward(cells, piece, dx, saved);
            for (((cell, dx), dn), saved) in cells.iter().zip(dx).zip(dn).zip(saved) {
                let dn = self.leave(cell, dn);
                let norms = saved.iter().map(|keep| keep.norm).collect::<Vec<_>>();
                out.push(self.norm_backward(cell, piece, block::MLP_NORM, &dn, &norms, Some(dx)));
            }
        }
        out
    }

    fn group_backward(
        &mut self,
        cells: &[Cell],
        piece: Piece,
        streams: &[PerRank],
        saved: &[Vec<ExpertsSaved>],
    ) -> Vec<PerRank> {
        let sizes = self.expert_sizes();
        let routing = saved[0][0].routing;
        let arrivals: Vec<Arrivals> = saved.iter().map(|saved| saved[0].arrivals).collect();
        let (mut d_back, mut dgates) = (Vec::new(), Vec::new());
        for ((cell, dx), saved) in cells.iter().zip(streams).zip(saved) {
            let dp = self.enter(cell, dx.clone());
            let (rows, gates) = self.combine_backward(cell, &dp, saved, &sizes);
            d_back.push(rows);
            dgates.push(gates);
        }
        let d_made = self.exchange_tokens(cells, routing, d_back, Some(&arrivals), &sizes);
        // While the rows are on their way to the experts, the router has its turn.
        let mut through_router = Vec::new();
        for ((cell, dgates), saved) in cells.iter().zip(&dgates).zip(saved) {
            through_router.push(self.router_backward(cell, piece, dgates, saved, &sizes));
            self.emitter.flush(&cell.ranks);
        }
        let mut d_arrived = Vec::new();
        for ((cell, d_made), saved) in cells.iter().zip(&d_made).zip(saved) {
            let ranks = cell.ranks.iter().zip(d_made).zip(saved);
            let here = ranks.map(|((&rank, &d), keep)| self.expert_backward(rank, piece, d, keep, &sizes));
            d_arrived.push(here.collect::<PerRank>());
        }
        let d_sent = self.exchange_tokens(cells, routing, d_arrived, None, &sizes);
        let mut dn = Vec::new();
        for (((cell, d_sent), beside), saved) in cells.iter().zip(&d_sent).zip(&through_router).zip(saved) {
            let ranks = cell.ranks.iter().zip(d_sent).zip(beside).zip(saved);
            let here = ranks
                .map(|(((&rank, &d), &beside), keep)| self.permute_backward(rank, d, beside, keep, &sizes));
            dn.push(here.collect::<PerRank>());
        }
        dn
    }

    fn combine_backward(
        &mut self,
        cell: &Cell,
        dp: &PerRank,
        saved: &[ExpertsSaved],
        sizes: &Sizes,
    ) -> (PerRank, PerRank) {
        let Sizes { experts, tokens, hidden, rows, .. } = *sizes;
        let (mut d_back, mut dgates) = (PerRank::new(), PerRank::new());
        for ((&rank, &dp), keep) in cell.ranks.iter().zip(dp).zip(saved) {
            let d = self.emitter.activation(rank, rows * hidden);
            let gates = self.emitter.bytes_buffer(rank, tokens * experts.top_k, 4, MemoryUse::Activations);
            let formula = Formula::CombineInput { width: hidden as u32 };
            let kernel = kernels::elementwise(rows * hidden, 2, 1, 3, self.plan.precision);
            let reads = [dp, keep.back, keep.gates, keep.places];
            self.emitter.run(rank, formula, kernel, &reads, &[d, gates], &[]);
            d_back.push(d);
            dgates.push(gates);
        }
        (d_back, dgates)
    }

    /// The gradient that comes through the router, of its load-balancing loss too.
    fn router_backward(
        &mut self,
        cell: &Cell,
        piece: Piece,
        dgates: &PerRank,
        saved: &[ExpertsSaved],
        sizes: &Sizes,
    ) -> PerRank {
        let Sizes { experts, tokens, hidden, .. } = *sizes;
        let n = self.enter(cell, saved.iter().map(|keep| keep.norm.n).collect());
        let mut out = PerRank::new();
        for (index, &rank) in cell.ranks.iter().enumerate() {
            let keep = &saved[index];
            let router = [self.emitter.parameters(rank, piece)[block::ROUTER]];
            let dlogits = self.emitter.bytes_buffer(rank, tokens * experts.count, 4, MemoryUse::Activations);
            // Every tensor rank knows the whole of it, and it counts once.
            let first = self.plan.mesh.coordinates(rank).tensor == 0;
            let balance = if first { experts.auxiliary_loss as f32 * self.loss_scale() } else { 0.0 };
            let formula =
                Formula::RouteInput { experts: experts.count as u32, top_k: experts.top_k as u32, balance };
            let kernel = kernels::router(tokens, experts.count, true);
            let reads = [dgates[index], keep.logits, keep.gates, keep.choices];
            self.emitter.run(rank, formula, kernel, &reads, &[dlogits], &[]);
            let shape = (hidden, experts.count);
            out.push(self.linear_backward(rank, &router, dlogits, n[index], shape));
        }
        out
    }

    fn expert_backward(
        &mut self,
        rank: Rank,
        piece: Piece,
        d_made: BufferId,
        keep: &ExpertsSaved,
        sizes: &Sizes,
    ) -> BufferId {
        let Sizes { hidden, own, rows, .. } = *sizes;
        let w = self.emitter.parameters(rank, piece);
        let (arrivals, precision) = (keep.arrivals, self.plan.precision);
        let dh =
            self.grouped_backward(rank, w[block::DOWN], [d_made, keep.h], arrivals, (own, hidden), sizes);
        let da = self.emitter.arriving(rank, rows * own, arrivals);
        let kernel = kernels::elementwise(rows * own, 2, 1, kernels::GELU_FLOPS, precision);
        self.by_arrivals(rank, arrivals, spec(Formula::GeluInput, kernel, &[dh, keep.a], &[da], &[]));
        self.grouped_backward(rank, w[block::UP], [da, keep.arrived], arrivals, (hidden, own), sizes)
    }

    fn permute_backward(
        &mut self,
        rank: Rank,
        d_sent: BufferId,
        through_router: BufferId,
        keep: &ExpertsSaved,
        sizes: &Sizes,
    ) -> BufferId {
        let Sizes { experts, tokens, hidden, .. } = *sizes;
        let precision = self.plan.precision;
        let [through_experts, dn] = [(); 2].map(|()| self.emitter.activation(rank, tokens * hidden));
        let formula = Formula::PermuteInput { width: hidden as u32 };
        let top_k = experts.top_k as u32;
        let kernel = kernels::elementwise(tokens * hidden, top_k, 1, top_k, precision);
        self.emitter.run(rank, formula, kernel, &[d_sent, keep.places], &[through_experts], &[]);
        let kernel = kernels::elementwise(tokens * hidden, 2, 1, 1, precision);
        self.emitter.run(rank, Formula::Add, kernel, &[through_experts, through_router], &[dn], &[]);
        dn
    }

    /// Rows to their experts, or back to where they came from; those that arrive at experts take room as many as
    /// there are. Where a rank has all experts they stay.
    fn exchange_tokens(
        &mut self,
        cells: &[Cell],
        routing: RoutingId,
        given: Vec<PerRank>,
        arrivals: Option<&[Arrivals]>,
        sizes: &Sizes,
    ) -> Vec<PerRank> {
        if self.plan.expert == 1 {
            return given;
        }
        let elements = sizes.rows * sizes.hidden;
        cells.iter().flat_map(|cell| &cell.ranks).for_each(|&rank| self.emitter.flush_pending(rank));
        let mut got = vec![PerRank::new(); cells.len()];
        for index in 0..cells[0].ranks.len() {
            let mut parts = Vec::new();
            for (at, cell) in cells.iter().enumerate() {
                let rank = cell.ranks[index];
                let lands = match arrivals {
                    Some(arrivals) => self.emitter.arriving(rank, elements, arrivals[at]),
                    None => self.emitter.activation(rank, elements),
                };
                got[at].push(lands);
                parts.push(Part { rank, reads: vec![given[at][index]], writes: vec![lands] });
            }
            let group = self.plan.expert_group(cells[0].ranks[index]);
            self.emitter.exchange_tokens((routing, arrivals.is_none()), sizes.hidden, &group, parts);
        }
        cells.iter().for_each(|cell| self.emitter.flush(&cell.ranks));
        got
    }

    /// y = x·W of each row's expert.
    fn grouped_forward(
        &mut self,
        rank: Rank,
        w: ParameterBuffers,
        x: BufferId,
        arrivals: Arrivals,
        (inputs, outputs): (u64, u64),
        sizes: &Sizes,
    ) -> BufferId {
        let y = self.emitter.arriving(rank, sizes.rows * outputs, arrivals);
        let formula = Formula::Grouped { inputs: inputs as u32, outputs: outputs as u32 };
        let kernel = self.grouped(sizes, (inputs, outputs), Pass::Forward);
        self.by_arrivals(rank, arrivals, spec(formula, kernel, &[x, w.weight], &[y], &[]));
        y
    }

    /// dx = dy·Wᵀ now; dW = xᵀ·dy when weight gradients have their turn.
    fn grouped_backward(
        &mut self,
        rank: Rank,
        w: ParameterBuffers,
        [dy, x]: [BufferId; 2],
        arrivals: Arrivals,
        (inputs, outputs): (u64, u64),
        sizes: &Sizes,
    ) -> BufferId {
        let dx = self.emitter.arriving(rank, sizes.rows * inputs, arrivals);
        let (columns, results) = (inputs as u32, outputs as u32);
        let formula = Formula::GroupedInput { inputs: columns, outputs: results };
        let kernel = self.grouped(sizes, (inputs, outputs), Pass::InputGradient);
        self.by_arrivals(rank, arrivals, spec(formula, kernel, &[dy, w.weight], &[dx], &[]));
        let formula = Formula::GroupedWeight { inputs: columns, outputs: results };
        let kernel = self.grouped(sizes, (inputs, outputs), Pass::WeightGradient);
        let instruction = spec(formula, kernel, &[x, dy], &[], &[w.gradient()]);
        let arrivals = Some(arrivals);
        self.emitter.weight_instruction(rank, InstructionSpec { arrivals, ..instruction });
        dx
    }

    fn by_arrivals(&mut self, rank: Rank, arrivals: Arrivals, instruction: InstructionSpec) {
        let arrivals = Some(arrivals);
        self.emitter.instruction(rank, InstructionSpec { arrivals, ..instruction });
    }

    /// The product of rows that are spread evenly.
    fn grouped(&self, sizes: &Sizes, (inputs, outputs): (u64, u64), pass: Pass) -> Option<Kernel> {
        let precision: Precision = self.plan.precision;
        let busiest = sizes.rows.div_ceil(sizes.held);
        Some(Kernel::GroupedGemm {
            groups: sizes.held,
            tokens: sizes.rows,
            busiest,
            n: outputs,
            k: inputs,
            precision,
            pass,
        })
    }
}
