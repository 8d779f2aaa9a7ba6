//! Text as numbers: byte-level byte-pair encoding, learned from the corpus itself, by the `tokenizers`
//! library.
//!
//! Text is split into words as GPT-2 does, each byte written as one character, and the most frequent pair
//! of neighbours is merged until the vocabulary is full (Sennrich et al., ACL 2016; Radford et al.,
//! "Language Models are Unsupervised Multitask Learners", 2019, section 2.2). Of pairs that are as
//! frequent the one of the smaller numbers comes first, so the same counts give the same vocabulary.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::utils::parallelism::set_parallelism;
use tokenizers::{
    AddedToken, Decoder, Model, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
};

/// How text becomes tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenizerChoice {
    /// A token for each byte.
    Bytes,
    /// Byte-pair encoding learned from what is left of the corpus.
    Bpe(Bpe),
}

impl Default for TokenizerChoice {
    fn default() -> Self {
        TokenizerChoice::Bpe(Bpe::default())
    }
}

impl TokenizerChoice {
    /// Whether words must be counted first.
    pub fn learns(&self) -> bool {
        matches!(self, TokenizerChoice::Bpe(_))
    }
}

/// `bpe:`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bpe {
    /// Tokens at most: the end of a text, 256 bytes, and merges.
    pub vocabulary: u32,
    /// How often a pair must occur to be merged.
    pub min_frequency: u64,
}

impl Default for Bpe {
    fn default() -> Self {
        Bpe { vocabulary: 1024, min_frequency: 2 }
    }
}

/// How often each word occurs, in the characters that stand for its bytes.
pub type WordCounts = BTreeMap<String, u64>;

/// The token that ends a document, in every vocabulary.
pub const END_OF_TEXT: u32 = 0;
/// How it is written, as GPT-2 does.
const END_OF_TEXT_NAME: &str = "<|endoftext|>";
/// The end of a text and 256 bytes.
pub const LEAST_VOCABULARY: u32 = 257;

/// Adds the words of a document.
pub fn count_words(document: &str, counts: &mut WordCounts) {
    for word in words(document) {
        *counts.entry(word).or_insert(0) += 1;
    }
}

/// What turns text into tokens and back.
#[derive(Debug, Clone)]
pub enum Tokenizer {
    /// A token for each byte: its value and one, after the end of a text.
    Bytes,
    /// Learned merges.
    Bpe(Arc<BPE>),
}

impl Tokenizer {
    /// The tokenizer that the counts of a corpus teach.
    pub fn learn(choice: &TokenizerChoice, counts: &WordCounts) -> Tokenizer {
        let TokenizerChoice::Bpe(bpe) = choice else { return Tokenizer::Bytes };
        // The library would use all cores of the host; one is as right, and ours to count.
        set_parallelism(false);
        let trainer = BpeTrainer::builder()
            .show_progress(false)
            .vocab_size(bpe.vocabulary.max(LEAST_VOCABULARY) as usize)
            .min_frequency(bpe.min_frequency)
            .special_tokens(vec![AddedToken::from(END_OF_TEXT_NAME, true)])
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let counts = counts.iter().map(|(word, &count)| (word.as_str().into(), count)).collect();
        let mut model = BPE::default();
        trainer.do_train(&counts, &mut model).expect("words of the alphabet can be learned from");
        Tokenizer::Bpe(Arc::new(model))
    }

    /// How many tokens there are.
    pub fn vocabulary(&self) -> u32 {
        match self {
            Tokenizer::Bytes => LEAST_VOCABULARY,
            Tokenizer::Bpe(model) => model.get_vocab_size() as u32,
        }
    }

    /// Bytes of its table, as it is sent to those who use it: each token's length and bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            Tokenizer::Bytes => 0,
            Tokenizer::Bpe(model) => {
                let token = |id| model.id_to_token(id).map_or(0, |token| token.chars().count() as u64 + 4);
                (0..self.vocabulary()).map(token).sum()
            }
        }
    }

    /// The tokens of a document, without an end.
    pub fn encode(&self, document: &str) -> Vec<u32> {
        match self {
            Tokenizer::Bytes => document.bytes().map(|byte| u32::from(byte) + 1).collect(),
            Tokenizer::Bpe(model) => {
                let of_word = |word: String| model.tokenize(&word).expect("every byte is in the alphabet");
                words(document).into_iter().flat_map(of_word).map(|token| token.id).collect()
            }
        }
    }

    /// The text of tokens; ends of texts are left out, bytes that are no UTF-8 replaced.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let tokens = tokens.iter().copied().filter(|&token| token != END_OF_TEXT);
        match self {
            Tokenizer::Bytes => {
                let bytes: Vec<u8> = tokens.map(|token| (token - 1) as u8).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Tokenizer::Bpe(model) => {
                let names = tokens.map(|token| model.id_to_token(token).expect("a token of this vocabulary"));
                byte_level().decode_chain(names.collect()).expect("bytes can be put together").concat()
            }
        }
    }
}

/// Without a blank put before the first word, so that what is encoded can be decoded to itself.
fn byte_level() -> ByteLevel {
    ByteLevel::new(false, true, true)
}

fn words(document: &str) -> Vec<String> {
    let mut text = PreTokenizedString::from(document);
    byte_level().pre_tokenize(&mut text).expect("any text can be split into words");
    let splits = text.get_splits(OffsetReferential::Original, OffsetType::None);
    splits.into_iter().map(|(word, _, _)| word.to_owned()).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn learned(text: &str, vocabulary: u32) -> Tokenizer {
        let mut counts = WordCounts::new();
        count_words(text, &mut counts);
        Tokenizer::learn(&TokenizerChoice::Bpe(Bpe { vocabulary, min_frequency: 2 }), &counts)
    }

    /// "abab" occurs twice: a b is the most frequent pair (4 times) and becomes token 257, then ab ab
    /// (twice) becomes 258; then no pair occurs twice.
    #[test]
    fn the_most_frequent_pair_is_merged_first() {
        let tokenizer = learned("abab\nabab", 1024);
        assert_eq!(tokenizer.vocabulary(), 259);
        assert_eq!(tokenizer.encode("abab"), [258]);
        assert_eq!(tokenizer.encode("ab"), [257]);
        assert_eq!(tokenizer.encode("ba").len(), 2);
    }

    #[test]
    fn the_same_words_teach_the_same_vocabulary() {
        let text = lipsum::LIBER_PRIMUS;
        let (one, other) = (learned(text, 600), learned(text, 600));
        assert_eq!(one.vocabulary(), 600);
        assert_eq!(one.encode(text), other.encode(text));
        assert!(one.encode(text).len() < text.len() / 2);
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(text in "\\PC*[a-z ]{0,20}\n?\\PC*") {
            for tokenizer in [Tokenizer::Bytes, learned("bene vivendi ratio", 300)] {
                let tokens = tokenizer.encode(&text);
                prop_assert!(tokens.iter().all(|&token| token > END_OF_TEXT && token < tokenizer.vocabulary()));
                prop_assert_eq!(tokenizer.decode(&tokens), text.clone());
            }
        }
    }
}
