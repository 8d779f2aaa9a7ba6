//! Decoders read from Hugging Face's `config.json`.
//!
//! Keys and their defaults are those of the `configuration_*.py` of the families in `transformers`.

use serde::Deserialize;

use crate::hardware::Precision;
use crate::model::decoder::{Decoder, Experts, Family, Sizes};

/// What a `config.json` says.
#[derive(Debug, Clone)]
pub struct Published {
    /// The shape.
    pub decoder: Decoder,
    /// The format that its weights are published in, if it says so.
    pub precision: Option<Precision>,
}

/// The values of `model_type` that are understood.
pub const MODEL_TYPES: [&str; 9] =
    ["llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen2_moe", "qwen3_moe", "gpt2", "gpt_neox"];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    model_type: Option<String>,
    #[serde(alias = "n_layer")]
    num_hidden_layers: Option<u64>,
    #[serde(alias = "n_embd")]
    hidden_size: Option<u64>,
    #[serde(alias = "n_head")]
    num_attention_heads: Option<u64>,
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    #[serde(alias = "n_inner")]
    intermediate_size: Option<u64>,
    vocab_size: Option<u64>,
    #[serde(alias = "n_positions")]
    max_position_embeddings: Option<u64>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    qkv_bias: Option<bool>,
    #[serde(alias = "num_experts")]
    num_local_experts: Option<u64>,
    num_experts_per_tok: Option<u64>,
    moe_intermediate_size: Option<u64>,
    shared_expert_intermediate_size: Option<u64>,
    decoder_sparse_step: Option<u64>,
    mlp_only_layers: Option<Vec<u64>>,
    #[serde(alias = "dtype")]
    torch_dtype: Option<String>,
}

/// The decoder that a `config.json` describes.
///
/// # Errors
/// A sentence that says what is missing, or what would be understood.
pub fn read(text: &str) -> Result<Published, String> {
    let config: Config =
        serde_json::from_str(text).map_err(|why| format!("expected a Hugging Face config.json: {why}"))?;
    let kind = config.model_type.as_deref().ok_or("expected a `model_type`; there is none")?;
    let family = match kind {
        "llama" | "mistral" => Family::Llama,
        "qwen2" | "qwen2_moe" => Family::Qwen2,
        "qwen3" | "qwen3_moe" => Family::Qwen3,
        "mixtral" => Family::Mixtral,
        "gpt2" => Family::Gpt2,
        "gpt_neox" => Family::GptNeox,
        other => {
            let known = MODEL_TYPES.join(", ");
            return Err(format!("expected a `model_type` among {known}; found `{other}`"));
        }
    };
    let need = |value: Option<u64>, key: &str| match value {
        Some(0) => Err(format!("expected at least 1 in `{key}`")),
        Some(value) => Ok(value),
        None => Err(format!("expected `{key}`, which a `{kind}` has; there is none")),
    };
    let heads = need(config.num_attention_heads, "num_attention_heads")?;
    let experts = match kind {
        "mixtral" | "qwen2_moe" | "qwen3_moe" => Some(Experts {
            count: need(config.num_local_experts, "num_local_experts (or num_experts)")?,
            active: need(config.num_experts_per_tok, "num_experts_per_tok")?,
            shared: config.shared_expert_intermediate_size.filter(|_| kind == "qwen2_moe"),
        }),
        _ => None,
    };
    let ffn = match kind {
        "gpt2" => config.intermediate_size,
        _ => Some(need(config.intermediate_size, "intermediate_size")?),
    };
    let sizes = Sizes {
        layers: need(config.num_hidden_layers, "num_hidden_layers")?,
        hidden: need(config.hidden_size, "hidden_size")?,
        heads,
        kv_heads: Some(config.num_key_value_heads.unwrap_or(heads)),
        // Qwen3 has heads of 128 whatever the width.
        head_dim: config.head_dim.or(kind.starts_with("qwen3").then_some(128)),
        ffn,
        vocabulary: need(config.vocab_size, "vocab_size")?,
        context: need(config.max_position_embeddings, "max_position_embeddings")?,
        tied: config.tie_word_embeddings,
        experts,
    };
    let mut decoder = family.decoder(&sizes);
    special(&config, kind, &mut decoder);
    Ok(Published { decoder, precision: config.torch_dtype.as_deref().and_then(precision) })
}

/// What single models of a family do differently.
fn special(config: &Config, kind: &str, decoder: &mut Decoder) {
    match kind {
        "llama" | "mistral" | "qwen3" | "qwen3_moe" => {
            let bias = config.attention_bias.unwrap_or(false);
            decoder.qkv_bias = bias;
            decoder.output_bias = bias;
            decoder.mlp_bias = config.mlp_bias.unwrap_or(false);
        }
        "gpt_neox" => {
            let bias = config.attention_bias.unwrap_or(true);
            decoder.qkv_bias = bias;
            decoder.output_bias = bias;
        }
        "qwen2_moe" => decoder.qkv_bias = config.qkv_bias.unwrap_or(true),
        _ => {}
    }
    if kind.ends_with("_moe") {
        decoder.expert_ffn = config.moe_intermediate_size.unwrap_or(decoder.ffn);
        let layers = decoder.layers();
        let step = config.decoder_sparse_step.unwrap_or(1).max(1);
        let plain = config.mlp_only_layers.as_deref().unwrap_or_default();
        let sparse = (0..layers).filter(|layer| (layer + 1) % step == 0 && !plain.contains(layer));
        decoder.sparse_layers = sparse.count() as u64;
        decoder.dense_layers = layers - decoder.sparse_layers;
    }
}

fn precision(name: &str) -> Option<Precision> {
    match name {
        "bfloat16" => Some(Precision::Bf16),
        "float16" => Some(Precision::F16),
        "float32" => Some(Precision::F32),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, parameters: u64, kv_bytes: u64) {
        let decoder = read(text).unwrap().decoder;
        assert_eq!(decoder.parameter_count(), parameters, "{text}");
        assert_eq!(decoder.kv_bytes_per_token(Precision::Bf16), crate::units::Bytes(kv_bytes), "{text}");
    }

    /// The numbers of parameters that the model cards and `safetensors` indices give.
    #[test]
    fn published_models_have_their_parameters() {
        // Llama-2-7B
        check(
            r#"{"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32,
                "num_hidden_layers": 32, "num_key_value_heads": 32, "vocab_size": 32000,
                "max_position_embeddings": 4096, "tie_word_embeddings": false, "torch_dtype": "float16"}"#,
            6_738_415_616,
            524_288,
        );
        // Llama-3.1-8B
        check(
            r#"{"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
                "num_hidden_layers": 32, "num_key_value_heads": 8, "vocab_size": 128256,
                "max_position_embeddings": 131072, "tie_word_embeddings": false}"#,
            8_030_261_248,
            131_072,
        );
        // Llama-3.2-1B: the embedding is the head
        check(
            r#"{"model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32,
                "num_hidden_layers": 16, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256,
                "max_position_embeddings": 131072, "tie_word_embeddings": true}"#,
            1_235_814_400,
            32_768,
        );
        // Qwen2.5-7B
        check(
            r#"{"model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28,
                "num_hidden_layers": 28, "num_key_value_heads": 4, "vocab_size": 152064,
                "max_position_embeddings": 131072, "tie_word_embeddings": false}"#,
            7_615_616_512,
            57_344,
        );
        // Qwen3-8B
        check(
            r#"{"model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288, "num_attention_heads": 32,
                "num_hidden_layers": 36, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
                "max_position_embeddings": 40960, "tie_word_embeddings": false}"#,
            8_190_735_360,
            147_456,
        );
        // Mixtral-8x7B
        check(
            r#"{"model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
                "num_hidden_layers": 32, "num_key_value_heads": 8, "vocab_size": 32000, "num_local_experts": 8,
                "num_experts_per_tok": 2, "max_position_embeddings": 32768}"#,
            46_702_792_704,
            131_072,
        );
        // GPT-2
        check(
            r#"{"model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024,
                "vocab_size": 50257}"#,
            124_439_808,
            36_864,
        );
    }

    #[test]
    fn more_published_models_have_their_parameters() {
        // GPT-NeoX-20B
        check(
            r#"{"model_type": "gpt_neox", "hidden_size": 6144, "intermediate_size": 24576,
                "num_attention_heads": 64, "num_hidden_layers": 44, "vocab_size": 50432,
                "max_position_embeddings": 2048, "tie_word_embeddings": false}"#,
            20_554_567_680,
            1_081_344,
        );
        // Qwen3-30B-A3B
        let text = r#"{"model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144,
            "num_attention_heads": 32, "num_hidden_layers": 48, "num_key_value_heads": 4, "head_dim": 128,
            "vocab_size": 151936, "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768,
            "decoder_sparse_step": 1, "mlp_only_layers": [], "max_position_embeddings": 40960,
            "tie_word_embeddings": false}"#;
        check(text, 30_532_122_624, 98_304);
        // "Number of Activated Parameters: 3.3B"
        assert_eq!(read(text).unwrap().decoder.active_parameter_count() / 10_000_000, 335);
        // Qwen1.5-MoE-A2.7B: a shared expert with a gate
        check(
            r#"{"model_type": "qwen2_moe", "hidden_size": 2048, "intermediate_size": 5632,
                "num_attention_heads": 16, "num_hidden_layers": 24, "num_key_value_heads": 16,
                "vocab_size": 151936, "num_experts": 60, "num_experts_per_tok": 4,
                "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632,
                "max_position_embeddings": 8192, "tie_word_embeddings": false}"#,
            14_315_784_192,
            196_608,
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = read(r#"{"model_type": "llama", "hidden_size": 1}"#).unwrap_err();
        assert!(missing.contains("num_attention_heads"), "{missing}");
        let unknown = read(r#"{"model_type": "bert"}"#).unwrap_err();
        assert!(unknown.contains("llama") && unknown.contains("`bert`"), "{unknown}");
    }

    /// Split over ranks and stages, the matrices are counted once: what is more are norms on every rank
    /// and the second copy of a tied embedding.
    #[test]
    fn shards_hold_the_whole_once() {
        let sizes = Sizes {
            layers: 8,
            hidden: 64,
            heads: 8,
            kv_heads: Some(4),
            head_dim: None,
            ffn: Some(256),
            vocabulary: 1024,
            context: 128,
            tied: None,
            experts: None,
        };
        let decoder = Family::Llama.decoder(&sizes);
        let all: u64 = decoder.shard(4, 2).iter().sum::<u64>() * 4;
        let norms = (2 * 8 + 1) * 64;
        assert_eq!(all, decoder.parameter_count() + 3 * norms);
    }
}
