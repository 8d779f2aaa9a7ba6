//! Networks as layers with shapes, parameters, flops and bytes.
//!
//! A model is a chain of [`Piece`]s, the smallest parts that a pipeline stage can hold. It knows which
//! parameters each piece has, how tensor parallelism splits them, and what they start as. It knows
//! nothing of devices, of time, or of who trains it.

pub mod decoder;
mod gpt;
mod moe;
mod parameter;
mod simple;

pub use decoder::Decoder;
pub use gpt::Gpt;
pub use moe::{Assumed, Capacity, Experts, Moe};
pub use parameter::{Held, Init, Parameter, Split};
pub use simple::{Linear, Mlp};

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::LayerId;

/// `model:` of a workload.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Model {
    /// A GPT: pre-norm transformer decoder with learned positions.
    Gpt(Gpt),
    /// The same with experts in place of MLPs.
    Moe(Moe),
    /// Dense layers with ReLU between them, for classification.
    Mlp(Mlp),
    /// One linear map, for regression.
    Linear(Linear),
}

/// The smallest part of a model that a pipeline stage can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Piece {
    /// Token and position embedding.
    Embedding,
    /// A transformer block.
    Block(LayerId),
    /// Final norm, logits and loss.
    Head,
    /// A dense layer.
    Dense(LayerId),
    /// The loss of a model without a head of its own.
    Loss,
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Piece::Embedding => f.write_str("embedding"),
            Piece::Block(layer) => write!(f, "block {}", layer.0),
            Piece::Head => f.write_str("head"),
            Piece::Dense(layer) => write!(f, "dense {}", layer.0),
            Piece::Loss => f.write_str("loss"),
        }
    }
}

impl Model {
    /// The transformer, where it is one.
    pub fn gpt(&self) -> Option<&Gpt> {
        match self {
            Model::Gpt(gpt) | Model::Moe(Moe(gpt)) => Some(gpt),
            Model::Mlp(_) | Model::Linear(_) => None,
        }
    }

    /// Its experts, where it has some.
    pub fn experts(&self) -> Option<&Experts> {
        self.gpt()?.experts.as_ref()
    }

    /// The pieces, from input to loss.
    pub fn pieces(&self) -> Vec<Piece> {
        match self {
            Model::Gpt(gpt) | Model::Moe(Moe(gpt)) => gpt.pieces(),
            Model::Mlp(mlp) => mlp.pieces(),
            Model::Linear(_) => vec![Piece::Dense(LayerId(0)), Piece::Loss],
        }
    }

    /// The parameters of a piece, in the order in which they are used.
    pub fn parameters(&self, piece: Piece) -> Vec<Parameter> {
        match self {
            Model::Gpt(gpt) | Model::Moe(Moe(gpt)) => gpt.parameters(piece),
            Model::Mlp(mlp) => mlp.parameters(piece),
            Model::Linear(linear) => linear.parameters(piece),
        }
    }

    /// How many parameters there are in all.
    pub fn parameter_count(&self) -> u64 {
        let of_piece = |piece| self.parameters(piece).iter().map(Parameter::elements).sum::<u64>();
        self.pieces().into_iter().map(of_piece).sum()
    }

    /// Units of work in a sample: tokens of a sequence, or one.
    pub fn tokens_per_sample(&self) -> u64 {
        match self {
            Model::Gpt(gpt) | Model::Moe(Moe(gpt)) => gpt.sequence,
            Model::Mlp(_) | Model::Linear(_) => 1,
        }
    }

    /// Flops of one step of `samples` samples, forward and backward, without recomputation.
    pub fn step_flops(&self, samples: u64) -> f64 {
        match self {
            Model::Gpt(gpt) | Model::Moe(Moe(gpt)) => gpt.step_flops(samples),
            // A dense layer costs 2 flops a weight and sample forward and twice that backward.
            Model::Mlp(_) | Model::Linear(_) => 6.0 * samples as f64 * self.parameter_count() as f64,
        }
    }
}
