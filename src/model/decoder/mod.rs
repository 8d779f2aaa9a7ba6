//! Decoders as they are served: transformers of the families that Hugging Face publishes, by their sizes.
//!
//! A [`Decoder`] knows its parameters exactly and the bytes that a token's keys and values take. It is
//! made from a [`Family`] and its [`Sizes`], or [read from a `config.json`](huggingface).

pub mod huggingface;

use serde::{Deserialize, Serialize};

use crate::hardware::Precision;
use crate::units::Bytes;

/// What decoders of one kind have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Touvron et al. 2023; also Mistral (Jiang et al. 2023): RMS norms, rotary positions, gated MLP, no biases.
    Llama,
    /// Qwen Team 2024: Llama with biases of queries, keys and values.
    Qwen2,
    /// Qwen Team 2025: Llama with a norm over each head of queries and keys.
    Qwen3,
    /// Jiang et al. 2024: Llama with experts, of which each token meets some.
    Mixtral,
    /// Radford et al. 2019: layer norms, learned positions, biases everywhere, the embedding as the head.
    Gpt2,
    /// Black et al. 2022; also Pythia: layer norms, rotary positions, biases, a head of its own.
    GptNeox,
}

/// The sizes of a decoder, as a workload writes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// Transformer blocks.
    pub layers: u64,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Query heads.
    pub heads: u64,
    /// Heads of keys and values; as many as query heads unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_heads: Option<u64>,
    /// Width of a head; `hidden / heads` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<u64>,
    /// Width of the MLP (with experts, of each); four times `hidden` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ffn: Option<u64>,
    /// Token ids.
    pub vocabulary: u64,
    /// Tokens of prompt and answer, at most.
    pub context: u64,
    /// Whether the embedding is the head; as the family has it unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tied: Option<bool>,
    /// Experts of every block's MLP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experts: Option<Experts>,
}

/// Experts of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experts {
    /// How many.
    pub count: u64,
    /// How many each token meets.
    pub active: u64,
    /// Width of an expert that every token meets, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<u64>,
}

/// The shape of a decoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoder {
    /// Its family.
    pub family: Family,
    /// Transformer blocks with a plain MLP.
    pub dense_layers: u64,
    /// Transformer blocks with experts.
    pub sparse_layers: u64,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Query heads.
    pub heads: u64,
    /// Heads of keys and values.
    pub kv_heads: u64,
    /// Width of a head.
    pub head_dim: u64,
    /// Width of a plain MLP.
    pub ffn: u64,
    /// Experts, in blocks that have them.
    pub experts: Option<Experts>,
    /// Width of an expert.
    pub expert_ffn: u64,
    /// Token ids.
    pub vocabulary: u64,
    /// Tokens of prompt and answer, at most.
    pub context: u64,
    /// Rows of a table of positions; none when they are rotary.
    pub positions: u64,
    /// Whether the embedding is the head.
    pub tied: bool,
    /// Whether the MLP has a gate: three matrices instead of two.
    pub gated: bool,
    /// Biases of queries, keys and values.
    pub qkv_bias: bool,
    /// Bias of attention's output.
    pub output_bias: bool,
    /// Biases of the MLP.
    pub mlp_bias: bool,
    /// Whether norms have a bias besides their gain.
    pub norm_bias: bool,
    /// Whether each head of queries and keys has a norm.
    pub head_norms: bool,
}

impl Family {
    /// The decoder of these sizes.
    pub fn decoder(self, sizes: &Sizes) -> Decoder {
        let older = matches!(self, Family::Gpt2 | Family::GptNeox);
        let ffn = sizes.ffn.unwrap_or(4 * sizes.hidden);
        Decoder {
            family: self,
            dense_layers: if sizes.experts.is_none() { sizes.layers } else { 0 },
            sparse_layers: if sizes.experts.is_some() { sizes.layers } else { 0 },
            hidden: sizes.hidden,
            heads: sizes.heads,
            kv_heads: sizes.kv_heads.unwrap_or(sizes.heads),
            head_dim: sizes.head_dim.unwrap_or(sizes.hidden / sizes.heads.max(1)),
            ffn,
            experts: sizes.experts,
            expert_ffn: ffn,
            vocabulary: sizes.vocabulary,
            context: sizes.context,
            positions: if self == Family::Gpt2 { sizes.context } else { 0 },
            tied: sizes.tied.unwrap_or(self == Family::Gpt2),
            gated: !older,
            qkv_bias: older || self == Family::Qwen2,
            output_bias: older,
            mlp_bias: older,
            norm_bias: older,
            head_norms: self == Family::Qwen3,
        }
    }
}

impl Decoder {
    /// Transformer blocks.
    pub fn layers(&self) -> u64 {
        self.dense_layers + self.sparse_layers
    }

    /// Parameters, every one counted once.
    pub fn parameter_count(&self) -> u64 {
        self.shard(1, 1).iter().sum()
    }

    /// Parameters that a token meets: of the experts only those that are active.
    pub fn active_parameter_count(&self) -> u64 {
        let idle = self.experts.map_or(0, |experts| experts.count - experts.active.min(experts.count));
        self.parameter_count() - self.sparse_layers * idle * self.mlp(self.expert_ffn, 1)
    }

    /// Bytes of the keys and values of a token, in all layers: 2 · layers · kv heads · width of a head.
    pub fn kv_bytes_per_token(&self, precision: Precision) -> Bytes {
        precision.bytes_of(2 * self.layers() * self.kv_heads * self.head_dim)
    }

    /// The same on each of `tensor` ranks of each of `stages` stages. Heads that are fewer than ranks are
    /// kept several times.
    pub fn kv_bytes_per_token_and_rank(&self, tensor: u64, stages: u64, precision: Precision) -> Bytes {
        let layers = self.layers() / stages;
        precision.bytes_of(2 * layers * self.kv_heads_per_rank(tensor) * self.head_dim)
    }

    /// Heads of keys and values on each of `tensor` ranks.
    pub fn kv_heads_per_rank(&self, tensor: u64) -> u64 {
        self.kv_heads.div_ceil(tensor)
    }

    /// Parameters on each rank of each stage. Matrices are split over the `tensor` ranks of a stage
    /// (Shoeybi et al., "Megatron-LM", 2019), the vocabulary too; norms and positions are on all of them.
    /// An embedding that is also the head is on the first stage and on the last.
    ///
    /// # Panics
    /// When layers do not divide into stages.
    pub fn shard(&self, tensor: u64, stages: u64) -> Vec<u64> {
        assert!(self.layers().is_multiple_of(stages), "{} layers in {stages} stages", self.layers());
        let each = self.layers() / stages;
        let table = self.vocabulary.div_ceil(tensor) * self.hidden;
        let stage = |at: u64| {
            // Blocks with a plain MLP are counted first; few models have both kinds.
            let dense = self.dense_layers.clamp(at * each, (at + 1) * each) - at * each;
            let mut count = dense * self.block(tensor, false) + (each - dense) * self.block(tensor, true);
            if at == 0 {
                count += table + self.positions * self.hidden;
            }
            if at + 1 == stages {
                count += self.norm();
                if !self.tied || stages > 1 {
                    count += table;
                }
            }
            count
        };
        (0..stages).map(stage).collect()
    }

    fn block(&self, tensor: u64, sparse: bool) -> u64 {
        let mlp = match (self.experts, sparse) {
            (Some(experts), true) => {
                let shared = experts.shared.map_or(0, |width| self.mlp(width, tensor) + self.hidden);
                experts.count * (self.hidden + self.mlp(self.expert_ffn, tensor)) + shared
            }
            _ => self.mlp(self.ffn, tensor),
        };
        2 * self.norm() + self.attention(tensor) + mlp
    }

    fn norm(&self) -> u64 {
        self.hidden * if self.norm_bias { 2 } else { 1 }
    }

    fn attention(&self, tensor: u64) -> u64 {
        let queries = self.heads.div_ceil(tensor) * self.head_dim;
        let all = queries + 2 * self.kv_heads_per_rank(tensor) * self.head_dim;
        let biases = if self.qkv_bias { all } else { 0 } + if self.output_bias { self.hidden } else { 0 };
        let norms = if self.head_norms { 2 * self.head_dim } else { 0 };
        self.hidden * (all + queries) + biases + norms
    }

    fn mlp(&self, width: u64, tensor: u64) -> u64 {
        let width = width.div_ceil(tensor);
        let up = if self.gated { 2 } else { 1 };
        let biases = if self.mlp_bias { up * width + self.hidden } else { 0 };
        (up + 1) * self.hidden * width + biases
    }
}
