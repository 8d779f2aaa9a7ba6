//! Real prompts: what answers them, and how text becomes tokens and tokens text.

use std::path::Path;
use std::sync::Arc;

use crate::config::check::{Check, divisors};
use crate::config::checkpoint::{self, Tokens};
use crate::config::serving::file::{PromptKeys, ServingFile};
use crate::config::serving::resolve::Limits;
use crate::hardware::Precision;
use crate::ids::{IdVec, RequestId};
use crate::model::decoder::{Family, Sizes};
use crate::model::{Decoder, Gpt, Model};
use crate::numeric::weights::Weights;
use crate::preparation::tokenizer::Tokenizer;
use crate::serving::Request;
use crate::serving::generation::{Network, Prompt, Sampling};
use crate::units::SimTime;

/// Prompts with what answers them.
#[derive(Debug, Clone)]
pub struct Words {
    /// What each request says.
    pub texts: IdVec<RequestId, String>,
    /// The same in tokens.
    pub prompts: IdVec<RequestId, Prompt>,
    /// How tokens are read.
    pub vocabulary: Vocabulary,
    /// The trained model; nothing as long as it is still to be trained.
    pub weights: Option<Arc<Weights>>,
    /// Which token follows.
    pub sampling: Sampling,
}

/// How text becomes tokens and tokens text.
#[derive(Debug, Clone)]
pub enum Vocabulary {
    /// A token is a byte.
    Bytes,
    /// As the preparation that trained the model's data does.
    Prepared(Tokenizer),
}

impl Vocabulary {
    /// The tokens of a text.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        match self {
            Vocabulary::Bytes => text.bytes().map(u32::from).collect(),
            Vocabulary::Prepared(tokenizer) => tokenizer.encode(text),
        }
    }

    /// The text of tokens; bytes that are no UTF-8 are replaced.
    pub fn decode(&self, tokens: &[u32]) -> String {
        match self {
            Vocabulary::Bytes => {
                let bytes: Vec<u8> = tokens.iter().map(|&token| token as u8).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Vocabulary::Prepared(tokenizer) => {
                // What a model says need not be in the vocabulary: it can have more tokens than were ever made.
                let known: Vec<u32> =
                    tokens.iter().copied().filter(|&token| token < tokenizer.vocabulary()).collect();
                tokenizer.decode(&known)
            }
        }
    }
}

impl Words {
    /// The model, cut as replicas are.
    ///
    /// # Panics
    /// When nothing is trained yet.
    pub fn network(&self, tensor: u64, stages: u64) -> Network {
        Network::new(self.weights.as_ref().expect("a trained model"), tensor, stages)
    }
}

/// What the workload's own training trains, as far as it is known before it is run.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The model.
    pub model: Model,
    /// How its tokens are read; nothing where it computes nothing.
    pub vocabulary: Option<Vocabulary>,
}

/// A model that is served.
pub(super) struct Served {
    pub decoder: Decoder,
    /// Its sizes as it was trained.
    pub gpt: Option<Gpt>,
    pub weights: Option<Arc<Weights>>,
    /// How its tokens are read, or why they cannot be.
    pub vocabulary: Result<Vocabulary, (String, String)>,
}

impl Served {
    /// A shape without weights.
    pub fn shape(decoder: Decoder) -> Served {
        let why = "only a trained model answers prompts; this one is a shape without weights".to_owned();
        let help = "serve `model: {checkpoint: FILE.safetensors}`, train one with `training:` in this workload, or give \
                    lengths (`list:`, `generate:`) instead of prompts";
        Served { decoder, gpt: None, weights: None, vocabulary: Err((why, help.into())) }
    }
}

/// The shape of a trained GPT, as it is served.
fn decoder(gpt: &Gpt) -> Decoder {
    Family::Gpt2.decoder(&Sizes {
        layers: gpt.layers,
        hidden: gpt.hidden,
        heads: gpt.heads,
        kv_heads: None,
        head_dim: None,
        ffn: Some(gpt.ffn()),
        vocabulary: gpt.vocabulary,
        context: gpt.sequence,
        tied: Some(false),
        experts: None,
    })
}

impl Check<'_> {
    /// `model: trained`.
    pub(super) fn trained(&mut self, trained: Option<&Trained>) -> Option<Served> {
        let Some(trained) = trained else {
            let help = "add `training:`, or serve `model: {checkpoint: FILE.safetensors}`";
            self.wrong("serving.model", "nothing is trained in this workload", help);
            return None;
        };
        let Model::Gpt(gpt) = &trained.model else {
            self.wrong("serving.model", "only a gpt answers requests", "train `model: {gpt: …}`");
            return None;
        };
        let nothing = || {
            let why = "training computes nothing (`numeric: false`), so nobody answers prompts".to_owned();
            (why, "set `numeric: true`, or give lengths instead of prompts".to_owned())
        };
        let vocabulary = trained.vocabulary.clone().ok_or_else(nothing);
        Some(Served { decoder: decoder(gpt), gpt: Some(gpt.clone()), weights: None, vocabulary })
    }

    /// `model: {checkpoint: …}`.
    pub(super) fn saved(&mut self, path: &Path) -> Option<Served> {
        const KEY: &str = "serving.model.checkpoint";
        let checkpoint = match checkpoint::find(path, self.locations.source()) {
            Ok(checkpoint) => checkpoint,
            Err(why) => {
                let help = "a path is seen from the workload's folder, then from the working folder; \
                            `trainyard run … --save FILE.safetensors` makes one";
                self.wrong(KEY, why, help);
                return None;
            }
        };
        let name = &checkpoint.name;
        let gpt = match &checkpoint.model {
            Some(Model::Gpt(gpt)) => gpt.clone(),
            Some(_) => {
                self.wrong(KEY, format!("`{name}` is no gpt; only a gpt answers requests"), "");
                return None;
            }
            None => {
                let help = "put the model's `config.json` beside it";
                self.wrong(KEY, format!("`{name}` does not say what model it is"), help);
                return None;
            }
        };
        let weights = match checkpoint.weights(&Model::Gpt(gpt.clone())) {
            Ok(weights) => Arc::new(weights),
            Err(wrong) => {
                for why in wrong.iter().take(8) {
                    self.wrong(KEY, format!("`{name}` does not fit its own model: {why}"), "");
                }
                return None;
            }
        };
        let vocabulary = match checkpoint.tokens {
            Some(Tokens::Prepared) => Err((
                format!("the tokens of `{name}` are those of a preparation, which alone can read prompts"),
                "serve it in the workload that prepares and trains: `preparation:`, `training:` and `serving:` together"
                    .to_owned(),
            )),
            _ if gpt.vocabulary != 256 => Err((
                format!("prompts are read byte by byte, which takes a vocabulary of 256, not {}", gpt.vocabulary),
                "give lengths instead of prompts".to_owned(),
            )),
            _ => Ok(Vocabulary::Bytes),
        };
        Some(Served { decoder: decoder(&gpt), gpt: Some(gpt), weights: Some(weights), vocabulary })
    }

    /// Prompts as requests, in order of arrival, with what answers them.
    pub(super) fn prompts(
        &mut self,
        file: &ServingFile,
        list: &[PromptKeys],
        served: Option<&Served>,
        limits: &Limits,
    ) -> (Vec<Request>, Option<Words>) {
        const KEY: &str = "serving.requests.prompts";
        let readable = match served {
            Some(served) => served.vocabulary.as_ref().map_err(|(why, help)| (why.as_str(), help.as_str())),
            None => Err(("`step:` says how long steps take, but nothing that could answer", "add `model:`")),
        };
        let vocabulary = match readable {
            Ok(vocabulary) => vocabulary.clone(),
            Err((why, help)) => {
                self.wrong(KEY, why, help);
                return (Vec::new(), None);
            }
        };
        self.splits(file, served.and_then(|served| served.gpt.as_ref()));
        if let Err(why) = file.serving.sampling.check() {
            self.wrong("serving.sampling", why, "");
        }
        let mut asked = Vec::new();
        for (at, keys) in list.iter().enumerate() {
            let path = format!("{KEY}[{at}]");
            let tokens = vocabulary.encode(&keys.prompt);
            let arrival = SimTime::ZERO + keys.arrival;
            let request = Request { arrival, prompt: tokens.len() as u32, output: keys.output };
            if request.prompt == 0 || request.output == 0 {
                self.wrong(&path, "a request has at least 1 token of prompt and of answer", "");
            } else if let Err((why, help)) = limits.check(&request) {
                self.wrong(&path, why, &help);
            }
            asked.push((request, keys.prompt.clone(), Prompt { tokens, number: at as u32 }));
        }
        asked.sort_by_key(|(request, ..)| request.arrival);
        asked.truncate(file.serving.limit.map_or(usize::MAX, |limit| limit as usize));
        if file.serving.precision != Precision::F32 {
            self.notes.push(format!(
                "answers are computed in f32; `precision: {}` is what is timed",
                file.serving.precision
            ));
        }
        let words = Words {
            texts: asked.iter().map(|(_, text, _)| text.clone()).collect(),
            prompts: asked.iter().map(|(_, _, prompt)| prompt.clone()).collect(),
            vocabulary,
            weights: served.and_then(|served| served.weights.clone()),
            sampling: file.serving.sampling,
        };
        (asked.into_iter().map(|(request, ..)| request).collect(), Some(words))
    }

    /// Whether the ranks of a replica can share the model's numbers.
    fn splits(&mut self, file: &ServingFile, gpt: Option<&Gpt>) {
        let Some(gpt) = gpt else { return };
        let tensor = u64::from(file.serving.tensor);
        for (name, size) in [("vocabulary", gpt.vocabulary), ("width of the MLP", gpt.ffn())] {
            if !size.is_multiple_of(tensor) {
                let why = format!("a {name} of {size} does not divide among {tensor} ranks");
                self.wrong("serving.tensor", why, &format!("these would do: {}", divisors(size)));
            }
        }
    }
}
