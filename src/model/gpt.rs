//! GPT: a pre-norm transformer decoder with learned positions and an untied head.
//!
//! Radford et al., "Language Models are Unsupervised Multitask Learners" (GPT-2), 2019; split over
//! tensor-parallel ranks as in Shoeybi et al., "Megatron-LM", 2019, section 3.

use serde::{Deserialize, Serialize};

use crate::ids::LayerId;
use crate::model::{Experts, Parameter, Piece, Split};

/// Standard deviation that GPT-2 starts its weights with.
const DEVIATION: f32 = 0.02;

/// The shape of a GPT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpt {
    /// Transformer blocks.
    pub layers: u64,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Attention heads; they divide `hidden`.
    pub heads: u64,
    /// Tokens of a sample.
    pub sequence: u64,
    /// Token ids.
    pub vocabulary: u64,
    /// Width of the MLP; four times `hidden` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ffn_hidden: Option<u64>,
    /// Experts in place of MLPs; [`Moe`](crate::model::Moe) has them.
    #[serde(skip)]
    pub experts: Option<Experts>,
}

impl Gpt {
    /// The experts of a block, where it has some.
    pub fn experts_of(&self, layer: LayerId) -> Option<&Experts> {
        self.experts.as_ref().filter(|experts| experts.are_in(u64::from(layer.0)))
    }

    /// Width of the MLP, and of an expert.
    pub fn ffn(&self) -> u64 {
        self.ffn_hidden.unwrap_or(4 * self.hidden)
    }

    /// Width of a head.
    pub fn head_dim(&self) -> u64 {
        self.hidden / self.heads
    }

    pub(super) fn pieces(&self) -> Vec<Piece> {
        let blocks = (0..self.layers as u32).map(|layer| Piece::Block(LayerId(layer)));
        std::iter::once(Piece::Embedding).chain(blocks).chain([Piece::Head]).collect()
    }

    pub(super) fn parameters(&self, piece: Piece) -> Vec<Parameter> {
        match piece {
            Piece::Embedding => vec![
                Parameter::matrix("embedding.table", self.vocabulary, self.hidden, Split::Rows, DEVIATION),
                Parameter::matrix("embedding.positions", self.sequence, self.hidden, Split::Whole, DEVIATION),
            ],
            Piece::Block(layer) => self.block_parameters(layer),
            Piece::Head => vec![
                Parameter::vector("head.norm.gain", self.hidden, Split::Whole, 1.0),
                Parameter::vector("head.norm.bias", self.hidden, Split::Whole, 0.0),
                Parameter::matrix(
                    "head.weight",
                    self.hidden,
                    self.vocabulary,
                    Split::Columns { groups: 1 },
                    DEVIATION,
                ),
            ],
            Piece::Dense(_) | Piece::Loss => Vec::new(),
        }
    }

    fn block_parameters(&self, layer: LayerId) -> Vec<Parameter> {
        let (hidden, ffn) = (self.hidden, self.ffn());
        let columns = Split::Columns { groups: 1 };
        let heads = Split::Columns { groups: 3 };
        // GPT-2 scales what is added to the residual stream by 1/√(2·layers), so that the stream does
        // not grow with depth.
        let output = DEVIATION / ((2 * self.layers) as f32).sqrt();
        let name = |part: &str| format!("{layer} {part}");
        let mut all = vec![
            Parameter::vector(name("attention.norm.gain"), hidden, Split::Whole, 1.0),
            Parameter::vector(name("attention.norm.bias"), hidden, Split::Whole, 0.0),
            Parameter::matrix(name("attention.qkv.weight"), hidden, 3 * hidden, heads, DEVIATION),
            Parameter::vector(name("attention.qkv.bias"), 3 * hidden, heads, 0.0),
            Parameter::matrix(name("attention.output.weight"), hidden, hidden, Split::Rows, output),
            Parameter::vector(name("attention.output.bias"), hidden, Split::Whole, 0.0),
            Parameter::vector(name("mlp.norm.gain"), hidden, Split::Whole, 1.0),
            Parameter::vector(name("mlp.norm.bias"), hidden, Split::Whole, 0.0),
        ];
        let (up, down) = (columns, Split::Rows);
        match self.experts_of(layer) {
            None => all.extend([
                Parameter::matrix(name("mlp.up.weight"), hidden, ffn, up, DEVIATION),
                Parameter::vector(name("mlp.up.bias"), ffn, up, 0.0),
                Parameter::matrix(name("mlp.down.weight"), ffn, hidden, down, output),
                Parameter::vector(name("mlp.down.bias"), hidden, Split::Whole, 0.0),
            ]),
            Some(experts) => all.extend([
                Parameter::matrix(name("router.weight"), hidden, experts.count, Split::Whole, DEVIATION)
                    .seen_in_part(),
                Parameter::matrix(name("experts.up.weight"), hidden, ffn, up, DEVIATION)
                    .of_each(experts.count),
                Parameter::matrix(name("experts.down.weight"), ffn, hidden, down, output)
                    .of_each(experts.count),
            ]),
        }
        all
    }

    /// Model flops of a step: forward and backward, every matrix product counted once.
    ///
    /// Narayanan et al., SC 2021, equation 3 without its recomputation (72 in place of 96):
    /// F = 72·B·s·l·h²·(1 + s/(6h) + V/(12·l·h)) for a feed-forward width of 4h; here with the width
    /// as a parameter: 6·B·s·(l·(4h² + 2h·f) + 2·l·s·h + V·h). Large steps have more than 2⁶⁴. In a block
    /// with experts a token meets k of them and the router: k·2h·f + h·E in place of 2h·f.
    pub(super) fn step_flops(&self, samples: u64) -> f64 {
        let [h, s, v] = [self.hidden, self.sequence, self.vocabulary].map(|size| size as f64);
        let blocks = (0..self.layers as u32).map(|layer| self.block_flops(samples, LayerId(layer)));
        3.0 * (blocks.sum::<f64>() + 2.0 * samples as f64 * s * v * h)
    }

    /// Flops of the forward pass of one block.
    pub fn block_flops(&self, samples: u64, layer: LayerId) -> f64 {
        let [h, s, f] = [self.hidden, self.sequence, self.ffn()].map(|size| size as f64);
        let mlp = match self.experts_of(layer) {
            None => 2.0 * h * f,
            Some(experts) => experts.top_k as f64 * 2.0 * h * f + h * experts.count as f64,
        };
        2.0 * samples as f64 * s * (4.0 * h * h + mlp) + self.attention_flops(samples)
    }

    /// Flops of the core of attention of one block, forward: Q·Kᵀ and P·V over all pairs, as the formula
    /// of Narayanan et al. counts them, whatever a causal kernel skips.
    pub fn attention_flops(&self, samples: u64) -> f64 {
        let [s, h] = [self.sequence, self.hidden].map(|size| size as f64);
        4.0 * samples as f64 * s * s * h
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Narayanan et al.'s formula with V/(12lh) and s/(6h), 72·B·s·l·h²: B=8 s=64 l=4 h=128 V=256.
    #[test]
    fn step_flops_are_megatrons_formula() {
        let gpt = Gpt {
            layers: 4,
            hidden: 128,
            heads: 4,
            sequence: 64,
            vocabulary: 256,
            ffn_hidden: None,
            experts: None,
        };
        let (b, s, l, h, v) = (8.0, 64.0, 4.0, 128.0, 256.0);
        let expected = 72.0 * b * s * l * h * h * (1.0 + s / (6.0 * h) + v / (12.0 * l * h));
        assert!((gpt.step_flops(8) - expected).abs() < 1.0, "{expected}");
    }

    /// Kaplan's 12·l·h² for the blocks' matrices, plus 13·l·h biases and norms, embeddings and head.
    #[test]
    fn parameters_are_counted_once() {
        let gpt = Gpt {
            layers: 4,
            hidden: 128,
            heads: 4,
            sequence: 64,
            vocabulary: 256,
            ffn_hidden: None,
            experts: None,
        };
        let expected = 12 * 4 * 128 * 128 + 13 * 4 * 128 + (256 + 64) * 128 + 2 * 128 + 128 * 256;
        assert_eq!(crate::model::Model::Gpt(gpt).parameter_count(), expected);
    }
}
