//! Documents as sequences of one length.

use serde::{Deserialize, Serialize};

use crate::preparation::tokenizer::END_OF_TEXT;
use crate::registry;

/// The sequences of a shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packed {
    /// Full sequences, all of the length asked for.
    pub sequences: Vec<Vec<u32>>,
    /// Tokens that fill no sequence; those of all shards are put together in order of shards.
    pub rest: Vec<u32>,
    /// Tokens put in only to fill sequences.
    pub padding: usize,
}

/// Packs the documents of a shard.
///
/// Contract: every document's tokens, with an end of text after each document, are in the sequences and
/// the rest, each once and in order within a document; sequences differ from them by `padding` ends of
/// text alone. A pure function, so a shard is packed the same wherever it is packed.
pub trait Packing {
    /// The sequences of `length` tokens that documents are packed into.
    fn pack(&self, documents: &[Vec<u32>], length: usize) -> Packed;
}

registry! {
    /// `packing:` of a preparation.
    pub enum PackingSpec: Packing {
        /// one document after the other, cut where a sequence is full
        "concatenate" => Concatenate(Concatenate),
        /// each piece where it fits best, cut only where longer than a sequence
        "best_fit" => BestFit(BestFit),
    }
}

/// One document after the other, cut where a sequence is full (as GPT-3's; Brown et al. 2020, section 2.2
/// of the appendix).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Concatenate {}

impl Packing for Concatenate {
    fn pack(&self, documents: &[Vec<u32>], length: usize) -> Packed {
        let tokens = documents.iter().flat_map(|tokens| tokens.iter().copied().chain([END_OF_TEXT]));
        cut(tokens.collect(), length)
    }
}

/// Tokens cut into sequences; what fills none is the rest.
fn cut(tokens: Vec<u32>, length: usize) -> Packed {
    let pieces = tokens.chunks_exact(length);
    let rest = pieces.remainder().to_vec();
    Packed { sequences: pieces.map(<[u32]>::to_vec).collect(), rest, padding: 0 }
}

/// The rests of all shards as sequences, the last one filled up.
pub fn pack_rests(rests: Vec<u32>, length: usize) -> Packed {
    let mut packed = cut(rests, length);
    if !packed.rest.is_empty() {
        packed.padding = length - packed.rest.len();
        let mut last = std::mem::take(&mut packed.rest);
        last.resize(length, END_OF_TEXT);
        packed.sequences.push(last);
    }
    packed
}

/// Documents are cut only where they are longer than a sequence; each piece goes into the fullest sequence
/// that still has room for it, the longest first (Ding et al., "Fewer Truncations Improve Language
/// Modeling", ICML 2024).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestFit {}

impl Packing for BestFit {
    fn pack(&self, documents: &[Vec<u32>], length: usize) -> Packed {
        let mut pieces: Vec<Vec<u32>> = Vec::new();
        for document in documents {
            let tokens: Vec<u32> = document.iter().copied().chain([END_OF_TEXT]).collect();
            pieces.extend(tokens.chunks(length).map(<[u32]>::to_vec));
        }
        // Stable: pieces of one length stay in the order of their documents.
        pieces.sort_by_key(|piece| std::cmp::Reverse(piece.len()));
        let mut sequences: Vec<Vec<u32>> = Vec::new();
        // Sequences by the room that they have left, the first opened first.
        let mut with_room: std::collections::BTreeSet<(usize, usize)> = std::collections::BTreeSet::new();
        for piece in pieces {
            let at = match with_room.range((piece.len(), 0)..).next().copied() {
                Some(place) => {
                    with_room.remove(&place);
                    place.1
                }
                None => {
                    sequences.push(Vec::with_capacity(length));
                    sequences.len() - 1
                }
            };
            sequences[at].extend(piece);
            with_room.insert((length - sequences[at].len(), at));
        }
        let mut padding = 0;
        for sequence in &mut sequences {
            padding += length - sequence.len();
            sequence.resize(length, END_OF_TEXT);
        }
        Packed { sequences, rest: Vec::new(), padding }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Ends of text are 0: [1 2 0 3 4 5 6 0] in sequences of three leaves two tokens.
    #[test]
    fn documents_follow_one_another() {
        let packed = Concatenate {}.pack(&[vec![1, 2], vec![3, 4, 5, 6]], 3);
        assert_eq!(packed.sequences, [[1, 2, 0], [3, 4, 5]]);
        assert_eq!(packed.rest, [6, 0]);
        let last = pack_rests(packed.rest, 3);
        assert_eq!((last.sequences, last.padding), (vec![vec![6, 0, 0]], 1));
    }

    /// With their ends the documents have 3, 4 and 2 tokens, and a sequence holds 6: the four and the two
    /// share one, the three has its own with three of padding.
    #[test]
    fn pieces_go_where_they_fit_best() {
        let packed = BestFit {}.pack(&[vec![1, 1], vec![2, 2, 2], vec![3]], 6);
        assert_eq!(packed.sequences, [[2, 2, 2, 0, 3, 0], [1, 1, 0, 0, 0, 0]]);
        assert_eq!(packed.padding, 3);
    }

    proptest! {
        #[test]
        fn no_token_is_lost(
            documents in prop::collection::vec(prop::collection::vec(1..9_u32, 0..30), 0..12), length in 1..17_usize,
        ) {
            for name in PackingSpec::NAMES {
                let packing = PackingSpec::from_name(name).unwrap();
                let packed = packing.pack(&documents, length);
                prop_assert!(packed.sequences.iter().all(|sequence| sequence.len() == length));
                let mut tokens: Vec<u32> = packed.sequences.concat();
                tokens.extend(&packed.rest);
                let ends = tokens.iter().filter(|&&token| token == END_OF_TEXT).count();
                prop_assert_eq!(ends, documents.len() + packed.padding);
                let mut wanted = documents.concat();
                wanted.sort_unstable();
                tokens.retain(|&token| token != END_OF_TEXT);
                tokens.sort_unstable();
                prop_assert_eq!(tokens, wanted);
            }
        }
    }
}
