//! What each formula computes.
//!
//! The operands of a formula are named in [`Formula`]; here each is taken apart and handed to the
//! function that does the arithmetic, one file a family.

mod attention;
mod embedding;
mod linear;
mod loss;
mod norm;
mod pointwise;

use crate::ids::{OpId, StepIndex};
use crate::numeric::batches::{Batches, Part, Wanted};
use crate::numeric::optimizer::{Now, OptimizerSpec};
use crate::program::{Formula, Program};

/// What formulas need beside their operands.
pub(super) struct Context {
    batches: Batches,
    optimizer: OptimizerSpec,
    steps: u32,
    step: StepIndex,
    part: Part,
    first_not_finite: Option<String>,
}

/// The operands of an instruction.
pub(super) struct Operands<'a> {
    pub(super) reads: &'a [&'a [f32]],
    pub(super) writes: &'a mut [Vec<f32>],
    pub(super) updates: &'a mut [Vec<f32>],
}

impl Context {
    pub(super) fn new(batches: Batches, optimizer: OptimizerSpec, steps: u32) -> Self {
        let (step, part) = (StepIndex(0), Part::Training);
        Context { batches, optimizer, steps, step, part, first_not_finite: None }
    }

    pub(super) fn begin_step(&mut self, step: StepIndex) {
        self.step = step;
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

    fn now(&self, rule: crate::program::OptimizerRule) -> Now {
        Now { count: self.step.0 + 1, rate: self.optimizer.rate().at(self.step, self.steps), rule }
    }
}

/// Computes an instruction.
pub(super) fn apply(formula: &Formula, context: &mut Context, operands: Operands<'_>) {
    let Operands { reads, writes, updates } = operands;
    match (*formula, reads, writes, updates) {
        (Formula::Batch { first, count, first_column }, [], [inputs, targets], []) => {
            let wanted = Wanted { first, count, first_column };
            context.batches.fill(context.part, context.step, wanted, inputs, targets);
        }
        (Formula::Copy, [x], [y], []) => y.copy_from_slice(x),
        (Formula::Zero, [], writes, updates) => {
            writes.iter_mut().chain(updates).for_each(|numbers| numbers.fill(0.0));
        }
        (Formula::Add, [x, y], [z], []) => pointwise::add(x, y, z),
        (Formula::AddBias, [x, y, b], [z], []) => pointwise::add_bias(x, y, b, z),
        (Formula::Scale { factor }, [], [], updates) => pointwise::scale(factor, updates),
        (Formula::Embed { first_row, width }, [tokens, table], [x], []) => {
            embedding::forward(first_row, width, tokens, table, x);
        }
        (Formula::EmbedWeight { first_row, width }, [tokens, dx], [], [dtable]) => {
            embedding::weight(first_row, width, tokens, dx, dtable);
        }
        (Formula::AddPositions { first, sequence, width }, [x, positions], [y], []) => {
            embedding::add_positions((first, sequence, width), x, positions, y);
        }
        (Formula::PositionsWeight { first, sequence, width }, [dy], [], [dpositions]) => {
            embedding::positions_weight((first, sequence, width), dy, dpositions);
        }
        (Formula::Norm { width }, [x, gain, bias], [y, statistics], []) => {
            norm::forward(width, x, gain, bias, y, statistics);
        }
        (Formula::NormInput { width }, [dy, x, gain, statistics], [dx], []) => {
            norm::input(width, dy, x, gain, statistics, dx);
        }
        (Formula::NormWeight { width }, [dy, x, statistics], [], [dgain, dbias]) => {
            norm::weight(width, dy, x, statistics, dgain, dbias);
        }
        (Formula::Linear { inputs, outputs }, [x, w, bias @ ..], [y], []) => {
            linear::forward((inputs, outputs), x, w, bias.first().copied(), y);
        }
        (Formula::LinearInput { inputs, outputs }, [dy, w], [dx], []) => {
            linear::input((inputs, outputs), dy, w, dx);
        }
        (Formula::LinearWeight { inputs, outputs }, [x, dy], [], [dw, db @ ..]) => {
            linear::weight((inputs, outputs), x, dy, dw, db.first_mut().map(Vec::as_mut_slice));
        }
        (Formula::BiasWeight, [dy], [], [db]) => linear::bias_weight(dy, db),
        (Formula::Gelu, [x], [y], []) => pointwise::gelu(x, y),
        (Formula::GeluInput, [dy, x], [dx], []) => pointwise::gelu_input(dy, x, dx),
        (Formula::Relu, [x], [y], []) => pointwise::relu(x, y),
        (Formula::ReluInput, [dy, x], [dx], []) => pointwise::relu_input(dy, x, dx),
        (Formula::Attention { heads, head_dim, sequence }, [qkv], [o, log_sum_exp], []) => {
            attention::forward((heads, head_dim, sequence), qkv, o, log_sum_exp);
        }
        (Formula::AttentionInput { heads, head_dim, sequence }, [d_o, qkv, o, log_sum_exp], [dqkv], []) => {
            attention::input((heads, head_dim, sequence), d_o, qkv, o, log_sum_exp, dqkv);
        }
        (Formula::LogitMax { classes }, [logits], [max], []) => loss::max(classes, logits, max),
        (Formula::LogitSums { first_class, classes }, [logits, targets, max], [sums], []) => {
            loss::sums((first_class, classes), logits, targets, max, sums);
        }
        (Formula::CrossEntropy { scale }, [sums], [], [loss]) => loss::cross_entropy(scale, sums, loss),
        (
            Formula::CrossEntropyInput { first_class, classes, scale },
            [logits, targets, max, sums],
            [dlogits],
            [],
        ) => {
            let softmax = loss::Softmax { logits, targets, max, sums };
            loss::cross_entropy_input((first_class, classes), scale, softmax, dlogits);
        }
        (Formula::SquaredError { scale }, [prediction, targets], [], [loss]) => {
            loss::squared_error(scale, prediction, targets, loss);
        }
        (Formula::SquaredErrorInput { scale }, [prediction, targets], [dprediction], []) => {
            loss::squared_error_input(scale, prediction, targets, dprediction);
        }
        (Formula::SquaredNorm, gradients, [sum], []) => sum[0] = pointwise::squared_norm(gradients),
        (Formula::Clip { limit }, [squared_norm], [], gradients) => {
            let norm = squared_norm[0].sqrt();
            if norm > limit {
                pointwise::scale(limit / norm, gradients);
            }
        }
        (Formula::Optimizer { rule }, [gradient], [], [weights, moments @ ..]) => {
            let now = context.now(rule);
            context.optimizer.step(now, gradient, weights, moments);
        }
        (formula, ..) => panic!("{formula:?} has other operands than it says"),
    }
}
