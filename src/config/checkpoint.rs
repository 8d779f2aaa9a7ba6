//! Trained models as files: `safetensors`, laid out as Hugging Face's `transformers` lays out its models.
//!
//! A GPT has the names and shapes of a GPT-2 with a head of its own (`GPT2LMHeadModel` with
//! `tie_word_embeddings: false`; its `Conv1D` keeps weights as inputs × outputs, as we do, and its head as
//! vocabulary × width): what trainyard saves, `transformers` loads, and the other way round. Other models
//! keep our names, with dots for spaces. Tensors are whole, one a parameter, in f32: the mesh that trained
//! them leaves no trace.
//!
//! The file's metadata has the model as a workload writes it, under [`MODEL_KEY`], and how its tokens are to
//! be read, under [`TOKENS_KEY`]. A file of others has no such metadata; then a `config.json` beside it is
//! asked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::config::diagnostic::Source;
use crate::config::locate;
use crate::model::{Gpt, Model, Parameter};
use crate::numeric::weights::{Weights, parameters_of};

/// Under what the metadata has the model.
pub const MODEL_KEY: &str = "trainyard.model";
/// Under what the metadata says how text is read as tokens.
pub const TOKENS_KEY: &str = "trainyard.tokens";
/// The file of a model in a folder.
pub const FILE_IN_FOLDER: &str = "model.safetensors";
/// What Hugging Face calls the file beside it.
pub const CONFIG_IN_FOLDER: &str = "config.json";

/// How a model's tokens are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tokens {
    /// A token is a byte of UTF-8.
    Bytes,
    /// A preparation made them; only the workload that prepares can read them.
    Prepared,
}

/// What a file holds.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Where it was found.
    pub name: String,
    tensors: BTreeMap<String, Tensor>,
    /// The model, if the file or the `config.json` beside it says so.
    pub model: Option<Model>,
    /// How its tokens are read, if the file says so.
    pub tokens: Option<Tokens>,
}

/// Numbers with a shape.
#[derive(Debug, Clone, PartialEq)]
struct Tensor {
    shape: Vec<usize>,
    numbers: Vec<f32>,
}

/// The bytes of a file with these weights: the same for the same weights.
pub fn write(weights: &Weights, tokens: Option<Tokens>) -> Vec<u8> {
    let mut tensors = BTreeMap::new();
    for (parameter, numbers) in weights.parameters() {
        let place = Place::of(weights.model(), parameter);
        let numbers = if place.turned { turned(numbers, parameter.rows) } else { numbers.clone() };
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        tensors.insert(place.name, (place.shape, bytes));
    }
    let views = tensors.iter().map(|(name, (shape, bytes))| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).expect("four bytes a number");
        (name.as_str(), view)
    });
    let file = safetensors::serialize(views, None).expect("names and shapes can be written");
    let mut metadata = BTreeMap::from([
        // `transformers` asks for it.
        ("format", "pt".to_owned()),
        (MODEL_KEY, serde_json::to_string(weights.model()).expect("a model is plain data")),
    ]);
    let word = |tokens: Tokens| match tokens {
        Tokens::Bytes => "bytes",
        Tokens::Prepared => "prepared",
    };
    metadata.extend(tokens.map(|tokens| (TOKENS_KEY, word(tokens).to_owned())));
    with_metadata(&file, &metadata)
}

/// Puts metadata into a file's header. The library takes them as a hash map, whose order differs from run to run.
fn with_metadata(file: &[u8], metadata: &BTreeMap<&str, String>) -> Vec<u8> {
    let (length, rest) = file.split_at(8);
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
    let (header, numbers) = rest.split_at(length);
    let old: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(header).expect("the library writes JSON");
    let mut new = serde_json::Map::new();
    new.insert("__metadata__".into(), serde_json::json!(metadata));
    new.extend(old);
    let mut header = serde_json::to_vec(&new).expect("JSON");
    // The format wants numbers to start at a multiple of eight.
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend(numbers);
    bytes
}

/// The `config.json` with which `transformers` loads a saved GPT; nothing for other models.
pub fn published_config(model: &Model) -> Option<String> {
    let Model::Gpt(gpt) = model else { return None };
    let config = serde_json::json!({
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_layer": gpt.layers,
        "n_embd": gpt.hidden,
        "n_head": gpt.heads,
        "n_positions": gpt.sequence,
        "n_inner": gpt.ffn(),
        "vocab_size": gpt.vocabulary,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": false,
        "torch_dtype": "float32",
    });
    Some(serde_json::to_string_pretty(&config).expect("JSON") + "\n")
}

/// Reads a file, or the model in a folder, seen from the file that names it.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn find(path: &Path, named_in: &Source) -> Result<Checkpoint, String> {
    let beside = Path::new(&named_in.name).parent().unwrap_or(Path::new("")).join(path);
    let is_folder = beside.is_dir() || (!beside.is_file() && path.is_dir());
    let file = if is_folder { path.join(FILE_IN_FOLDER) } else { path.to_owned() };
    let bytes = locate::bytes(&file, named_in)?;
    let mut checkpoint = read(&file.to_string_lossy(), &bytes)?;
    if checkpoint.model.is_none() {
        let config = file.parent().unwrap_or(Path::new("")).join(CONFIG_IN_FOLDER);
        let config = locate::text(&config, named_in).ok();
        checkpoint.model = config.and_then(|text| described(&text));
    }
    Ok(checkpoint)
}

/// The GPT that a `config.json` describes; nothing where it describes another model.
fn described(text: &[u8]) -> Option<Model> {
    #[derive(Deserialize)]
    struct Config {
        model_type: String,
        n_layer: u64,
        n_embd: u64,
        n_head: u64,
        n_positions: u64,
        n_inner: Option<u64>,
        vocab_size: u64,
    }
    let config: Config = serde_json::from_slice(text).ok()?;
    (config.model_type == "gpt2").then_some(Model::Gpt(Gpt {
        layers: config.n_layer,
        hidden: config.n_embd,
        heads: config.n_head,
        sequence: config.n_positions,
        vocabulary: config.vocab_size,
        ffn_hidden: config.n_inner,
    }))
}

/// Reads a file's bytes.
///
/// # Errors
/// A sentence that says what is wrong with them.
pub fn read(name: &str, bytes: &[u8]) -> Result<Checkpoint, String> {
    let wrong = |why: String| format!("`{name}` is not a safetensors file that can be read: {why}");
    let file = SafeTensors::deserialize(bytes).map_err(|why| wrong(why.to_string()))?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|why| wrong(why.to_string()))?;
    let said = |key: &str| header.metadata().as_ref().and_then(|metadata| metadata.get(key));
    let model = match said(MODEL_KEY) {
        Some(text) => Some(
            serde_json::from_str(text)
                .map_err(|why| wrong(format!("its metadata `{MODEL_KEY}` describes no model: {why}")))?,
        ),
        None => None,
    };
    let tokens = match said(TOKENS_KEY).map(String::as_str) {
        Some("bytes") => Some(Tokens::Bytes),
        Some(_) => Some(Tokens::Prepared),
        None => None,
    };
    let mut tensors = BTreeMap::new();
    for (key, view) in file.tensors() {
        let numbers = widened(&view)
            .ok_or_else(|| wrong(format!("`{key}` is of {:?}; f32, f16 and bf16 are read", view.dtype())));
        // GPT-2 as first published has its causal masks among its tensors, as bytes.
        let numbers = match numbers {
            Ok(numbers) => numbers,
            Err(_) if is_mask(&key) => continue,
            Err(why) => return Err(why),
        };
        tensors.insert(key, Tensor { shape: view.shape().to_vec(), numbers });
    }
    tensors.retain(|key, _| !is_mask(key));
    if let Some(Model::Gpt(gpt)) = &model {
        plausible(gpt, tensors.len()).map_err(|why| wrong(format!("its metadata describes a gpt {why}")))?;
    }
    Ok(Checkpoint { name: name.to_owned(), tensors, model, tokens })
}

/// Why a shape cannot be that of so many tensors.
fn plausible(gpt: &Gpt, tensors: usize) -> Result<(), &'static str> {
    let sizes = [gpt.hidden, gpt.heads, gpt.sequence, gpt.vocabulary, gpt.ffn()];
    if sizes.iter().any(|size| !(1..=u64::from(u32::MAX)).contains(size)) {
        return Err("with a size of nought or beyond 32 bits");
    }
    if !gpt.hidden.is_multiple_of(gpt.heads) {
        return Err("whose heads do not divide its width");
    }
    if gpt.layers > tensors as u64 {
        return Err("with more layers than there are tensors");
    }
    Ok(())
}

/// Buffers of GPT-2 that are no parameters.
fn is_mask(name: &str) -> bool {
    name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias")
}

/// Numbers as f32, which holds those of f16 and bf16 exactly.
fn widened(view: &TensorView) -> Option<Vec<f32>> {
    let pairs = || view.data().chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]]));
    match view.dtype() {
        Dtype::F32 => {
            let four = |four: &[u8]| f32::from_le_bytes([four[0], four[1], four[2], four[3]]);
            Some(view.data().chunks_exact(4).map(four).collect())
        }
        Dtype::BF16 => Some(pairs().map(|bits| f32::from_bits(u32::from(bits) << 16)).collect()),
        Dtype::F16 => Some(pairs().map(half).collect()),
        _ => None,
    }
}

/// IEEE 754 binary16.
fn half(bits: u16) -> f32 {
    let (exponent, fraction) = (u32::from(bits >> 10 & 31), u32::from(bits & 1023));
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    sign * match exponent {
        0 => fraction as f32 * 2.0_f32.powi(-24),
        31 if fraction == 0 => f32::INFINITY,
        31 => f32::NAN,
        _ => f32::from_bits(((exponent + 112) << 23) | (fraction << 13)),
    }
}

impl Checkpoint {
    /// The numbers of a model.
    ///
    /// # Errors
    /// Every tensor that is missing, has another shape, or belongs to no parameter of the model, a sentence each.
    pub fn weights(&self, model: &Model) -> Result<Weights, Vec<String>> {
        let mut wrong = Vec::new();
        let mut used = Vec::new();
        let mut parameters = Vec::new();
        for parameter in parameters_of(model) {
            let place = Place::of(model, &parameter);
            let Some((name, tensor)) = self.tensor(&place.name) else {
                wrong.push(format!("`{}` is missing; it would be {}", place.name, written(&place.shape)));
                continue;
            };
            used.push(name);
            if tensor.shape != place.shape {
                let (found, wanted) = (written(&tensor.shape), written(&place.shape));
                wrong.push(format!("`{name}` is {found}; the model's is {wanted}"));
                continue;
            }
            let numbers = &tensor.numbers;
            let numbers = if place.turned { turned(numbers, parameter.columns) } else { numbers.clone() };
            parameters.push((parameter, numbers));
        }
        let strangers = self.tensors.keys().filter(|name| !used.contains(&name.as_str()));
        wrong.extend(strangers.map(|name| format!("the model has no parameter for `{name}`")));
        if wrong.is_empty() { Ok(Weights::new(model.clone(), parameters)) } else { Err(wrong) }
    }

    /// A tensor by name; `transformers` writes a bare GPT-2 without the first part.
    fn tensor(&self, name: &str) -> Option<(&str, &Tensor)> {
        let short = name.strip_prefix("transformer.").unwrap_or(name);
        let found = self.tensors.get_key_value(name).or_else(|| self.tensors.get_key_value(short));
        found.map(|(name, tensor)| (name.as_str(), tensor))
    }
}

/// Where a parameter is in a file.
struct Place {
    name: String,
    shape: Vec<usize>,
    /// Whether rows and columns change places.
    turned: bool,
}

impl Place {
    fn of(model: &Model, parameter: &Parameter) -> Place {
        let (rows, columns) = (parameter.rows as usize, parameter.columns as usize);
        let name = match model {
            Model::Gpt(_) => gpt2_name(&parameter.name),
            _ => None,
        };
        let turned = name.as_deref() == Some("lm_head.weight");
        let shape = match (parameter.decayed, turned) {
            // Weight decay applies to matrices: what it leaves alone is a vector.
            (false, _) => vec![columns],
            (true, false) => vec![rows, columns],
            (true, true) => vec![columns, rows],
        };
        let name = name.unwrap_or_else(|| parameter.name.replace(' ', "."));
        Place { name, shape, turned }
    }
}

/// What GPT-2 calls a parameter.
fn gpt2_name(ours: &str) -> Option<String> {
    let whole = match ours {
        "embedding.table" => "transformer.wte.weight",
        "embedding.positions" => "transformer.wpe.weight",
        "head.norm.gain" => "transformer.ln_f.weight",
        "head.norm.bias" => "transformer.ln_f.bias",
        "head.weight" => "lm_head.weight",
        _ => {
            let (layer, part) = ours.strip_prefix("layer ")?.split_once(' ')?;
            let (part, kind) = part.rsplit_once('.')?;
            let part = match part {
                "attention.norm" => "ln_1",
                "attention.qkv" => "attn.c_attn",
                "attention.output" => "attn.c_proj",
                "mlp.norm" => "ln_2",
                "mlp.up" => "mlp.c_fc",
                "mlp.down" => "mlp.c_proj",
                _ => return None,
            };
            let kind = if kind == "gain" { "weight" } else { kind };
            return Some(format!("transformer.h.{layer}.{part}.{kind}"));
        }
    };
    Some(whole.to_owned())
}

/// Rows and columns in each other's place.
fn turned(numbers: &[f32], rows: u64) -> Vec<f32> {
    let columns = numbers.len() / rows as usize;
    (0..columns).flat_map(|column| numbers.iter().skip(column).step_by(columns)).copied().collect()
}

fn written(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ")
}

/// The files of a saved model by path: one where the path ends in `.safetensors`, else those of a folder.
pub fn files(path: &Path, weights: &Weights, tokens: Option<Tokens>) -> Vec<(PathBuf, Vec<u8>)> {
    let bytes = write(weights, tokens);
    if path.extension().is_some_and(|ending| ending == "safetensors") {
        return vec![(path.to_owned(), bytes)];
    }
    let config = published_config(weights.model());
    let config = config.map(|text| (path.join(CONFIG_IN_FOLDER), text.into_bytes()));
    std::iter::once((path.join(FILE_IN_FOLDER), bytes)).chain(config).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::initial;
    use crate::rng::Seed;

    fn gpt() -> Model {
        let ffn_hidden = None;
        Model::Gpt(Gpt { layers: 2, hidden: 8, heads: 2, sequence: 4, vocabulary: 16, ffn_hidden })
    }

    fn drawn(model: &Model) -> Weights {
        let number = |parameter: Parameter| {
            let numbers = initial::whole(&parameter, Seed(3));
            (parameter, numbers)
        };
        Weights::new(model.clone(), parameters_of(model).into_iter().map(number).collect())
    }

    #[test]
    fn what_is_written_is_read() {
        let weights = drawn(&gpt());
        let bytes = write(&weights, Some(Tokens::Bytes));
        assert_eq!(bytes, write(&weights, Some(Tokens::Bytes)));
        let checkpoint = read("a", &bytes).unwrap();
        assert_eq!(checkpoint.tokens, Some(Tokens::Bytes));
        let model = checkpoint.model.clone().unwrap();
        assert_eq!(checkpoint.weights(&model).unwrap().parameters(), weights.parameters());
    }

    /// The names and shapes of `GPT2LMHeadModel`.
    #[test]
    fn a_gpt_is_a_gpt_2() {
        let checkpoint = read("a", &write(&drawn(&gpt()), None)).unwrap();
        let shape = |name: &str| checkpoint.tensors[name].shape.clone();
        assert_eq!(shape("transformer.wte.weight"), [16, 8]);
        assert_eq!(shape("transformer.h.1.attn.c_attn.weight"), [8, 24]);
        assert_eq!(shape("transformer.h.1.attn.c_attn.bias"), [24]);
        assert_eq!(shape("transformer.h.0.ln_2.weight"), [8]);
        assert_eq!(shape("lm_head.weight"), [16, 8]);
        assert_eq!(checkpoint.tensors.len(), 2 + 2 * 12 + 3);
        // Row v of the head is column v of ours.
        let weights = drawn(&gpt());
        let column: Vec<f32> = weights.of("head.weight").iter().skip(5).step_by(16).copied().collect();
        assert_eq!(checkpoint.tensors["lm_head.weight"].numbers[5 * 8..6 * 8], column);
    }

    #[test]
    fn every_tensor_that_does_not_fit_is_named() {
        let mut checkpoint = read("a", &write(&drawn(&gpt()), None)).unwrap();
        checkpoint.tensors.remove("transformer.ln_f.bias");
        let stranger = checkpoint.tensors["transformer.wpe.weight"].clone();
        checkpoint.tensors.insert("extra".into(), stranger);
        let Model::Gpt(mut wider) = gpt() else { unreachable!() };
        wider.vocabulary = 32;
        let wrong = checkpoint.weights(&Model::Gpt(wider)).unwrap_err().join("\n");
        for part in [
            "`transformer.wte.weight` is 16 × 8; the model's is 32 × 8",
            "`transformer.ln_f.bias` is missing",
            "no parameter for `extra`",
        ] {
            assert!(wrong.contains(part), "{wrong}");
        }
    }

    /// 1, −2, 2⁻²⁴ (the least), 65504 (the most).
    #[test]
    fn halves_are_widened_exactly() {
        let found = [0x3c00, 0xc000, 0x0001, 0x7bff].map(half);
        assert_eq!(found, [1.0, -2.0, 2.0_f32.powi(-24), 65504.0]);
    }

    #[test]
    fn what_is_no_checkpoint_is_refused() {
        for bytes in [&b""[..], b"abc", &[255; 64]] {
            assert!(read("a", bytes).unwrap_err().contains("`a` is not a safetensors file"));
        }
    }
}
