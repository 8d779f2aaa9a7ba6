//! A GPT whose MLPs are experts, of which each token meets some.
//!
//! Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer", ICLR
//! 2017; Lepikhin et al., "GShard", 2020 (two experts a token, capacity, dropped tokens pass by in the residual
//! stream); Fedus et al., "Switch Transformers", 2021 (one expert, the auxiliary loss of equations 4 to 6);
//! Gale et al., "MegaBlocks", 2022 (no token is dropped).
//!
//! A router, one linear map without a bias, gives each token a probability for each expert. The `top_k`
//! likeliest (of equals the first) take it. Their outputs are weighted by these probabilities: with one expert
//! as they are (Switch, equation 2), with more scaled to sum to one (GShard, algorithm 1; Mixtral, Jiang et al.
//! 2024, section 2.1, whose softmax over the chosen logits is the same). Experts have no biases, as those of
//! Mixtral and of Megatron-Core's grouped products have none.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::Gpt;

/// A GPT with experts, as a workload writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Keys", into = "Keys")]
pub struct Moe(pub Gpt);

/// The experts of a GPT.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Experts {
    /// How many a block has.
    pub count: u64,
    /// How many each token meets.
    pub top_k: u64,
    /// What an expert has room for.
    pub capacity: Capacity,
    /// α of the load-balancing loss; nothing balances where it is nought.
    pub auxiliary_loss: f64,
    /// Every how manyth block has experts, the last of them; the others have a plain MLP.
    pub every: u64,
    /// Where tokens are supposed to go in runs that compute nothing.
    pub routing: Assumed,
}

/// What an expert has room for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Capacity {
    /// From each rank and micro-batch ⌈factor · tokens · top_k / experts⌉ tokens (GShard, section 2.2).
    /// What exceeds it is dropped, in the order of tokens.
    Factor(f64),
    /// Whatever comes.
    Dropless,
}

/// Where tokens go in runs that compute nothing: an assumption, in place of a router that has learned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assumed {
    /// As many to each expert: what the load-balancing loss aims at.
    #[default]
    Even,
    /// Each token to experts drawn with equal chances.
    Uniform,
    /// Expert i (of an order drawn for each layer) is chosen with a chance in proportion to 1/iˢ.
    Zipf(f64),
}

/// The keys of `moe:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    layers: u64,
    hidden: u64,
    heads: u64,
    sequence: u64,
    vocabulary: u64,
    experts: u64,
    #[serde(default = "two")]
    top_k: u64,
    #[serde(default = "dropless")]
    capacity_factor: Capacity,
    #[serde(default = "hundredth")]
    auxiliary_loss: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ffn: Option<u64>,
    #[serde(default = "one")]
    every: u64,
    #[serde(default)]
    routing: Assumed,
}

fn one() -> u64 {
    1
}

fn two() -> u64 {
    2
}

fn dropless() -> Capacity {
    Capacity::Dropless
}

/// α of Switch Transformers, section 2.2.
fn hundredth() -> f64 {
    0.01
}

impl From<Keys> for Moe {
    fn from(keys: Keys) -> Self {
        let Keys { layers, hidden, heads, sequence, vocabulary, experts, top_k, ffn, every, routing, .. } =
            keys;
        let Keys { capacity_factor: capacity, auxiliary_loss, .. } = keys;
        let experts = Experts { count: experts, top_k, capacity, auxiliary_loss, every, routing };
        Moe(Gpt { layers, hidden, heads, sequence, vocabulary, ffn_hidden: ffn, experts: Some(experts) })
    }
}

impl From<Moe> for Keys {
    fn from(Moe(gpt): Moe) -> Self {
        let Gpt { layers, hidden, heads, sequence, vocabulary, ffn_hidden: ffn, experts } = gpt;
        let Experts { count, top_k, capacity, auxiliary_loss, every, routing } = experts.expect("experts");
        Keys {
            layers,
            hidden,
            heads,
            sequence,
            vocabulary,
            experts: count,
            top_k,
            capacity_factor: capacity,
            auxiliary_loss,
            ffn,
            every,
            routing,
        }
    }
}

impl Experts {
    /// Whether a block has experts.
    pub fn are_in(&self, layer: u64) -> bool {
        (layer + 1).is_multiple_of(self.every)
    }

    /// Rows that each expert has room for from each rank, of `tokens` there; nothing where there is room for all.
    pub fn room(&self, tokens: u64) -> Option<u64> {
        let Capacity::Factor(factor) = self.capacity else { return None };
        // A factor written as a decimal stands for it: 1.1 × 10 is 11, not the 12 that follows from 11.000000000000002.
        let room = (factor * (tokens * self.top_k) as f64 / self.count as f64 - 1e-9).ceil().max(1.0);
        Some((room as u64).min(tokens))
    }
}

impl Serialize for Capacity {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Capacity::Factor(factor) => factor.serialize(to),
            Capacity::Dropless => "dropless".serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Capacity {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct FactorOrDropless;
        impl Visitor<'_> for FactorOrDropless {
            type Value = Capacity;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a factor such as `1.25`, or `dropless`")
            }
            fn visit_f64<E: de::Error>(self, factor: f64) -> Result<Capacity, E> {
                Ok(Capacity::Factor(factor))
            }
            fn visit_u64<E: de::Error>(self, factor: u64) -> Result<Capacity, E> {
                Ok(Capacity::Factor(factor as f64))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Capacity, E> {
                match text {
                    "dropless" => Ok(Capacity::Dropless),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        from.deserialize_any(FactorOrDropless)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;

    fn moe(more: &str) -> Model {
        let text = format!(
            "moe: {{layers: 4, hidden: 8, heads: 2, sequence: 16, vocabulary: 32, experts: 4, ffn: 16{more}}}"
        );
        serde_yaml::from_str(&text).unwrap()
    }

    /// A block's attention has 4h² + 4h, its norms 4h; a router h·E, experts 2·h·f each; a plain MLP 2·h·f + f + h.
    #[test]
    fn parameters_are_those_of_all_experts_and_flops_those_of_active_ones() {
        let (h, f, e, v, s) = (8, 16, 4, 32, 16);
        let around = 4 * h * h + 4 * h + 4 * h;
        let ends = (v + s) * h + 2 * h + h * v;
        let sparse = around + h * e + e * 2 * h * f;
        assert_eq!(moe("").parameter_count(), ends + 4 * sparse);
        let dense = around + 2 * h * f + f + h;
        assert_eq!(moe(", every: 2").parameter_count(), ends + 2 * sparse + 2 * dense);
        // Every matrix product of a token, 6 flops a weight: of two experts here.
        let token = |blocks: u64| (blocks * (4 * h * h + h * e + 2 * 2 * h * f + 2 * s * h) + v * h) as f64;
        assert_eq!(moe("").step_flops(3), 6.0 * (3 * s) as f64 * token(4));
    }

    #[test]
    fn room_is_rounded_up_and_is_never_for_more_than_there_are() {
        let room = |factor: f64, tokens: u64| {
            let experts = Experts {
                count: 10,
                top_k: 1,
                capacity: Capacity::Factor(factor),
                auxiliary_loss: 0.0,
                every: 1,
                routing: Assumed::Even,
            };
            experts.room(tokens).unwrap()
        };
        assert_eq!([room(1.0, 10), room(1.1, 100), room(1.25, 10), room(100.0, 10)], [1, 11, 2, 10]);
    }
}
