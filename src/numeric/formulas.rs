//! What each formula computes.
//!
//! The operands of a formula are named in [`Formula`]; here each is taken apart and handed to the
//! function of [`layers`](crate::numeric::layers) that does the arithmetic.

use crate::ids::{OpId, StepIndex};
use crate::numeric::batches::{Batches, Part, Wanted};
use crate::numeric::layers::attention::{Attention, Kept};
use crate::numeric::layers::cross_entropy::{self, Classes, Softmax};
use crate::numeric::layers::embedding::{self, Positions};
use crate::numeric::layers::experts::{Decided, Grouped, Router, Run, Sent};
use crate::numeric::layers::linear::{Linear, backward_bias};
use crate::numeric::layers::{gelu, layer_norm, pointwise, relu, squared_error};
use crate::numeric::low_rank::LowRank;
use crate::numeric::optimizer::{Now, OptimizerSpec, outer};
use crate::numeric::packing;
use crate::numeric::scaling::LossScaling;
use crate::program::{Formula, Packing, Program, Routing};
use crate::rng::Stream;

/// What formulas need beside their operands.
pub(super) struct Context {
    batches: Batches,
    optimizer: OptimizerSpec,
    steps: u32,
    step: StepIndex,
    part: Part,
    first_not_finite: Option<String>,
    /// The losses that workers told, and whose they are.
    pub(super) told: Vec<(u32, f32)>,
    /// How losses are scaled, where gradients are kept in half precision.
    pub(super) scaling: Option<LossScaling>,
    /// Whether a step has been begun that is to be ended.
    stepped: bool,
    /// What the routing is that an instruction is about.
    pub(super) routing: Option<Routing>,
    /// What its router decided.
    pub(super) decided: Option<Decided>,
    /// How the rows lie that an instruction multiplies with experts' matrices.
    pub(super) runs: Vec<Run>,
    /// Room that some formulas work in, used again and again.
    scratch: Vec<f32>,
}

/// What a context carries from step to step.
#[derive(Debug, Clone)]
pub struct Going {
    scaling: Option<LossScaling>,
    stepped: bool,
}

/// The operands of an instruction.
pub(super) struct Operands<'a> {
    pub(super) reads: &'a [&'a [f32]],
    pub(super) writes: &'a mut [Vec<f32>],
    pub(super) updates: &'a mut [Vec<f32>],
}

impl Context {
    /// What is carried from step to step.
    pub(super) fn going(&self) -> Going {
        Going { scaling: self.scaling.clone(), stepped: self.stepped }
    }

    /// Goes back to what was carried then.
    pub(super) fn go_back(&mut self, going: Going) {
        Going { scaling: self.scaling, stepped: self.stepped } = going;
        self.first_not_finite = None;
    }

    pub(super) fn new(batches: Batches, optimizer: OptimizerSpec, steps: u32) -> Self {
        let (step, part) = (StepIndex(0), Part::Training);
        Context {
            batches,
            optimizer,
            steps,
            step,
            part,
            first_not_finite: None,
            told: Vec::new(),
            scaling: None,
            stepped: false,
            routing: None,
            decided: None,
            runs: Vec::new(),
            scratch: Vec::new(),
        }
    }

    pub(super) fn begin_step(&mut self, step: StepIndex) {
        self.step = step;
    }

    /// Losses are scaled from now on.
    pub(super) fn scale_losses(&mut self) {
        self.scaling = Some(LossScaling::default());
    }

    /// The step before, if there was one, has ended.
    pub(super) fn end_step(&mut self) {
        if std::mem::replace(&mut self.stepped, true)
            && let Some(scaling) = &mut self.scaling
        {
            scaling.end_step();
        }
    }

    fn loss_scale(&self) -> f32 {
        self.scaling.as_ref().map_or(1.0, LossScaling::scale)
    }

    pub(super) fn held_out(&mut self, held_out: bool) {
        self.part = if held_out { Part::HeldOut } else { Part::Training };
    }

    pub(super) fn first_not_finite(&self) -> Option<&str> {
        self.first_not_finite.as_deref()
    }

    /// Remembers the first instruction that gave something that is no finite number. Only formulas
    /// whose results sum rows up are looked at: they are short, and one bad number in a row shows.
    pub(super) fn look_at(&mut self, formula: &Formula, program: &Program, op: OpId, writes: &[Vec<f32>]) {
        let looked_at = match formula {
            Formula::Norm { .. } => writes.get(1),
            Formula::LogitMax { .. } => writes.first(),
            _ => None,
        };
        let bad = looked_at.is_some_and(|numbers| numbers.iter().any(|number| !number.is_finite()));
        if bad && self.first_not_finite.is_none() {
            let op = &program.ops()[op];
            let layer = op.label.layer.map_or("the head".to_owned(), |layer| layer.to_string());
            let micro_batch = op.label.micro_batch.map_or(String::new(), |mb| format!(", {mb}"));
            self.first_not_finite = Some(format!("{layer} on {}{micro_batch} ({})", op.rank, op.label.name));
        }
    }

    /// Where all replicas draw the same places from.
    fn places(&self, packing: Packing) -> Stream {
        let bucket = if let Packing::Random { bucket, .. } = packing { bucket } else { 0 };
        self.batches.seed().stream(&format!("places of bucket {bucket} in {}", self.step))
    }

    fn now(&self, rule: crate::program::OptimizerRule) -> Now {
        // Steps that were left out do not count.
        let skipped = self.scaling.as_ref().map_or(0, LossScaling::skipped);
        Now { count: self.step.0 + 1 - skipped, rate: self.optimizer.rate().at(self.step, self.steps), rule }
    }
}

/// Computes an instruction.
pub(super) fn apply(formula: &Formula, context: &mut Context, operands: Operands<'_>) {
    let Operands { reads, writes, updates } = operands;
    match (*formula, reads, writes, updates) {
        (Formula::Batch { first, count, first_column, ahead }, [], [inputs, targets], []) => {
            let wanted = Wanted { first, count, first_column };
            let step = StepIndex(context.step.0 + ahead);
            context.batches.fill(context.part, step, wanted, inputs, targets);
        }
        (Formula::Beside, _, _, []) => {}
        (Formula::Copy, [x], [y], []) => y.copy_from_slice(x),
        (Formula::Zero, [], writes, updates) => {
            writes.iter_mut().chain(updates).for_each(|numbers| numbers.fill(0.0));
        }
        (Formula::Accumulate, reads, [], updates) => {
            assert_eq!(reads.len(), updates.len(), "as many numbers to add as places to add them");
            for (x, y) in reads.iter().zip(updates) {
                y.iter_mut().zip(*x).for_each(|(y, x)| *y += x);
            }
        }
        (Formula::Add, [x, y], [z], []) => pointwise::add(x, y, z),
        (Formula::AddBias, [x, y, b], [z], []) => pointwise::add_bias(x, y, b, z),
        (Formula::Scale { factor }, [], [], updates) => {
            updates.iter_mut().for_each(|numbers| pointwise::scale(factor, numbers));
        }
        (Formula::Embed { first_row, width }, [tokens, table], [x], []) => {
            embedding::forward(first_row as usize, width as usize, tokens, table, x);
        }
        (Formula::EmbedWeight { first_row, width }, [tokens, dx], [], [dtable]) => {
            embedding::backward_weight(first_row as usize, width as usize, tokens, dx, dtable);
        }
        (Formula::AddPositions { first, sequence, width }, [x, table], [y], []) => {
            positions(first, sequence, width).forward(x, table, y);
        }
        (Formula::PositionsWeight { first, sequence, width }, [dy], [], [dtable]) => {
            positions(first, sequence, width).backward_weight(dy, dtable);
        }
        (Formula::Norm { .. }, [x, gain, bias], [y, statistics], []) => {
            layer_norm::forward(x, gain, bias, y, statistics);
        }
        (Formula::NormInput { .. }, [dy, x, gain, statistics], [dx], []) => {
            layer_norm::backward_input(dy, x, gain, statistics, dx);
        }
        (Formula::NormWeight { .. }, [dy, x, statistics], [], [dgain, dbias]) => {
            layer_norm::backward_weight(dy, x, statistics, dgain, dbias);
        }
        (Formula::Linear { inputs, outputs }, [x, w, bias @ ..], [y], []) => {
            linear(inputs, outputs).forward(x, w, bias.first().copied(), y);
        }
        (Formula::LinearInput { inputs, outputs }, [dy, w], [dx], []) => {
            linear(inputs, outputs).backward_input(dy, w, dx);
        }
        (Formula::LinearWeight { inputs, outputs }, [x, dy], [], [dw, db @ ..]) => {
            linear(inputs, outputs).backward_weight(x, dy, dw);
            db.iter_mut().for_each(|db| backward_bias(dy, db));
        }
        (Formula::BiasWeight, [dy], [], [db]) => backward_bias(dy, db),
        (Formula::Route { .. }, [logits], [gates, choices, places], []) => {
            let routing = context.routing.expect("the routing that this is a part of");
            let room = routing.room.map(|room| room as usize);
            let (experts, top_k) = (routing.experts as usize, routing.top_k as usize);
            let router = Router { experts, top_k, room };
            context.decided = Some(router.forward(logits, gates, choices, places));
        }
        (
            Formula::RouteInput { experts, top_k, balance },
            [dgates, logits, gates, choices],
            [dlogits],
            [],
        ) => {
            let router = Router { experts: experts as usize, top_k: top_k as usize, room: None };
            let balance = balance * context.loss_scale();
            router.backward_input(balance, dgates, (logits, gates, choices), dlogits);
        }
        (Formula::Permute { width }, [x, places], [rows], []) => sent(width).permute(x, places, rows),
        (Formula::PermuteInput { width }, [drows, places], [dx], []) => {
            sent(width).permute_backward(drows, places, dx);
        }
        (Formula::Combine { width }, [rows, gates, places], [y], []) => {
            sent(width).combine(rows, gates, places, y);
        }
        (Formula::CombineInput { width }, [dy, rows, gates, places], [drows, dgates], []) => {
            sent(width).combine_backward(dy, (rows, gates, places), drows, dgates);
        }
        (Formula::Grouped { inputs, outputs }, [x, w], [y], []) => {
            grouped(inputs, outputs).forward(&context.runs, x, w, y);
        }
        (Formula::GroupedInput { inputs, outputs }, [dy, w], [dx], []) => {
            grouped(inputs, outputs).backward_input(&context.runs, dy, w, dx);
        }
        (Formula::GroupedWeight { inputs, outputs }, [x, dy], [], [dw]) => {
            grouped(inputs, outputs).backward_weight(&context.runs, x, dy, dw);
        }
        (Formula::Gelu, [x], [y], []) => gelu::forward(x, y),
        (Formula::GeluInput, [dy, x], [dx], []) => gelu::backward_input(dy, x, dx),
        (Formula::Relu, [x], [y], []) => relu::forward(x, y),
        (Formula::ReluInput, [dy, x], [dx], []) => relu::backward_input(dy, x, dx),
        (Formula::Attention { heads, head_dim, sequence }, [qkv], [o, log_sum_exp], []) => {
            attention(heads, head_dim, sequence).forward(qkv, o, log_sum_exp, &mut context.scratch);
        }
        (Formula::AttentionInput { heads, head_dim, sequence }, [d_o, qkv, o, log_sum_exp], [dqkv], []) => {
            let kept = Kept { qkv, o, log_sum_exp };
            attention(heads, head_dim, sequence).backward_input(d_o, kept, dqkv, &mut context.scratch);
        }
        (Formula::LogitMax { .. }, [logits], [max], []) => cross_entropy::maxima(logits, max),
        (Formula::LogitSums { first_class, classes }, [logits, targets, max], [sums], []) => {
            cross_entropy::sums(held(first_class, classes), logits, targets, max, sums);
        }
        (Formula::CrossEntropy { scale }, [sums], [], [loss]) => {
            loss[0] += cross_entropy::mean_loss(sums) as f32 * scale;
        }
        (
            Formula::CrossEntropyInput { first_class, classes, scale },
            [logits, targets, max, sums],
            [dlogits],
            [],
        ) => {
            let scale = scale * context.loss_scale() / max.len() as f32;
            let softmax = Softmax { logits, targets, max, sums };
            cross_entropy::backward_input(held(first_class, classes), scale, softmax, dlogits);
        }
        (Formula::SquaredError { scale }, [predictions, targets], [], [loss]) => {
            loss[0] += squared_error::mean_loss(predictions, targets) as f32 * scale;
        }
        (Formula::SquaredErrorInput { scale }, [predictions, targets], [d], []) => {
            let scale = scale * context.loss_scale() / predictions.len() as f32;
            squared_error::backward_input(scale, predictions, targets, d);
        }
        (Formula::SquaredNorm, gradients, [sum], []) => {
            sum[0] = gradients.iter().map(|numbers| pointwise::squared_norm(numbers)).sum::<f64>() as f32;
        }
        (Formula::Clip { limit }, [squared_norm], [], gradients) => {
            let scale = context.loss_scale();
            if let Some(scaling) = context.scaling.as_mut().filter(|_| !squared_norm[0].is_finite()) {
                scaling.overflow();
                return;
            }
            let norm = squared_norm[0].sqrt() / scale;
            let factor = if norm > limit { limit / norm } else { 1.0 } / scale;
            if factor != 1.0 {
                gradients.iter_mut().for_each(|numbers| pointwise::scale(factor, numbers));
            }
        }
        (Formula::Pack { packing }, gradients, [packet], errors) => {
            packing::pack(packing, gradients, errors, packet, || context.places(packing));
        }
        (Formula::Unpack { packing, members }, [packets], [], gradients) => {
            packing::unpack(packing, members as usize, packets, gradients, || context.places(packing));
        }
        (Formula::SumPieces { format, block, members }, [pieces], [sum], []) => {
            let mut sent = pieces.chunks_exact(pieces.len() / members as usize);
            sum.copy_from_slice(sent.next().expect("at least one member"));
            sent.for_each(|piece| pointwise::accumulate(piece, sum));
            format.round_blocks(sum, block as usize);
        }
        (Formula::LowRankLeft { columns, rank }, [q], [p], [g, e @ ..]) => {
            low_rank(columns, rank).left(q, p, g, e.first());
        }
        (Formula::LowRankRight { columns, rank }, [g], [], [p, q]) => low_rank(columns, rank).right(g, p, q),
        (Formula::LowRankSum { columns, rank, members }, [p, q], [], [g, e @ ..]) => {
            low_rank(columns, rank).sum(p, q, members, g, e.first_mut());
        }
        (Formula::Outer { rule }, [], [], [weights, last, velocity]) => {
            let inner = context.optimizer.rate().at(context.step, context.steps) as f32;
            outer(rule, inner, weights, last, velocity);
        }
        (Formula::Tell { turn }, [loss], [], []) => context.told.push((turn, loss[0])),
        (Formula::Count, [], [], [count]) => count[0] += 1.0,
        (Formula::ServerStep { rule, workers }, [gradient, count], [], [weights, moments @ ..]) => {
            let count = count[0] as u32;
            let rate = context.optimizer.rate().at(StepIndex((count - 1) / workers), context.steps);
            context.optimizer.step(Now { count, rate, rule }, gradient, weights, moments);
        }
        (Formula::Compensate { lambda }, [weights, backup], [], [gradient]) => {
            for ((g, w), before) in gradient.iter_mut().zip(*weights).zip(*backup) {
                *g += lambda * *g * *g * (w - before);
            }
        }
        (Formula::Optimizer { rule }, [gradient], [], [weights, moments @ ..]) => {
            if context.scaling.as_ref().is_some_and(LossScaling::skips) {
                return;
            }
            let now = context.now(rule);
            context.optimizer.step(now, gradient, weights, moments);
        }
        (formula, ..) => panic!("{formula:?} has other operands than it says"),
    }
}

fn low_rank(columns: u32, rank: u32) -> LowRank {
    LowRank { columns: columns as usize, rank: rank as usize }
}

fn linear(inputs: u32, outputs: u32) -> Linear {
    Linear { inputs: inputs as usize, outputs: outputs as usize }
}

fn sent(width: u32) -> Sent {
    Sent { width: width as usize }
}

fn grouped(inputs: u32, outputs: u32) -> Grouped {
    Grouped { inputs: inputs as usize, outputs: outputs as usize }
}

fn attention(heads: u32, head_dim: u32, sequence: u32) -> Attention {
    Attention { heads: heads as usize, head_dim: head_dim as usize, sequence: sequence as usize }
}

fn positions(first: u32, sequence: u32, width: u32) -> Positions {
    Positions { first: first as usize, sequence: sequence as usize, width: width as usize }
}

fn held(first: u32, count: u32) -> Classes {
    Classes { first: first as usize, count: count as usize }
}
