//! What the stages do to the documents. It knows no time and no workers: whoever calls a stage for a
//! shard, the shard is the same afterwards.

use crate::ids::{IdVec, ShardId};
use crate::preparation::duplicates::{Hashes, Signature, Verdict, decide};
use crate::preparation::embedding::Embedding;
use crate::preparation::packing::{Packed, pack_rests};
use crate::preparation::stage::StageKind;
use crate::preparation::tokenizer::{Tokenizer, TokenizerChoice, WordCounts, count_words};
use crate::preparation::{Corpus, Treatment};
use crate::rng::Seed;
use crate::units::Bytes;

/// How much went into a stage and came out of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Documents in.
    pub documents_in: u64,
    /// Documents out.
    pub documents_out: u64,
    /// Bytes in.
    pub bytes_in: Bytes,
    /// Bytes out.
    pub bytes_out: Bytes,
}

/// A shard on its way.
#[derive(Debug, Clone, Default)]
struct Progress {
    documents: Vec<String>,
    signatures: Vec<Option<Signature>>,
    counts: WordCounts,
    tokens: Vec<Vec<u32>>,
    packed: Packed,
    vectors: Vec<f32>,
}

/// Everything that a preparation makes.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// Sequences of one length, in order of shards; the rests of all shards are the last ones.
    pub sequences: Vec<Vec<u32>>,
    /// How many of them each shard filled.
    pub of_shards: IdVec<ShardId, usize>,
    /// A vector for each sequence that a shard filled, one after the other; none unless asked for.
    pub vectors: Vec<f32>,
    /// How many different tokens there are.
    pub vocabulary: u32,
    /// Tokens put in only to fill sequences.
    pub padding: usize,
    /// Which documents were left out, and why.
    pub verdict: Verdict,
}

impl Prepared {
    /// The sequences as they are stored: tokens of four bytes, the lowest first.
    pub fn bytes(&self) -> Vec<u8> {
        self.sequences.iter().flatten().flat_map(|token| token.to_le_bytes()).collect()
    }

    /// FNV-1a of 64 bits over tokens and vectors: two outputs that differ have different ones.
    pub fn digest(&self) -> u64 {
        let vectors = self.vectors.iter().flat_map(|value| value.to_le_bytes());
        self.bytes()
            .into_iter()
            .chain(vectors)
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

/// The real work, called in simulated order.
#[derive(Debug)]
pub struct Work<'a> {
    corpus: &'a Corpus,
    how: &'a Treatment,
    hashes: Hashes,
    shards: IdVec<ShardId, Progress>,
    verdict: Option<Verdict>,
    tokenizer: Option<Tokenizer>,
    embedding: Option<Embedding>,
}

impl<'a> Work<'a> {
    /// Nothing done yet.
    pub fn new(corpus: &'a Corpus, how: &'a Treatment, seed: Seed) -> Self {
        Work {
            corpus,
            how,
            hashes: Hashes::new(&how.deduplication, seed),
            shards: corpus.shards.iter().map(|_| Progress::default()).collect(),
            verdict: None,
            tokenizer: (!how.tokenizer.learns())
                .then(|| Tokenizer::learn(&TokenizerChoice::Bytes, &WordCounts::new())),
            embedding: how.embedding.map(|keys| Embedding::new(keys, seed)),
        }
    }

    /// Does a stage for a shard.
    ///
    /// # Panics
    /// When a stage that gathers is asked for: it is not done shard by shard.
    pub fn shard(&mut self, stage: StageKind, shard: ShardId) -> Amounts {
        let before = self.measure(stage, shard);
        let how = self.how;
        let progress = &mut self.shards[shard];
        match stage {
            StageKind::Read => progress.documents.clone_from(&self.corpus.shards[shard].documents),
            StageKind::Clean => {
                for document in &mut progress.documents {
                    *document = how.cleaning.clean(document);
                }
            }
            StageKind::Sign => {
                let sign = |text: &String| (!text.is_empty()).then(|| self.hashes.sign(text));
                progress.signatures = progress.documents.iter().map(sign).collect();
            }
            StageKind::Count => {
                for document in &progress.documents {
                    count_words(document, &mut progress.counts);
                }
            }
            StageKind::Tokenize => {
                let tokenizer = self.tokenizer.as_ref().expect("a tokenizer was learned before");
                let kept = progress.documents.iter().filter(|text| !text.is_empty());
                progress.tokens = kept.map(|document| tokenizer.encode(document)).collect();
            }
            StageKind::Pack => progress.packed = how.packing.pack(&progress.tokens, how.sequence as usize),
            StageKind::Embed => {
                let embedding = self.embedding.as_mut().expect("this stage is there only with an embedding");
                progress.vectors =
                    progress.packed.sequences.iter().flat_map(|tokens| embedding.embed(tokens)).collect();
            }
            StageKind::Write => {}
            StageKind::Deduplicate | StageKind::Learn => panic!("{} is done once for all", stage.name()),
        }
        let after = self.result(stage, shard);
        Amounts { documents_in: before.0, bytes_in: before.1, documents_out: after.0, bytes_out: after.1 }
    }

    /// Does a stage that needs all shards.
    ///
    /// # Panics
    /// When the stage is one that is done shard by shard.
    pub fn all(&mut self, stage: StageKind) -> Amounts {
        let sent = self.corpus.shards.ids().map(|shard| self.sent(stage, shard)).sum();
        let (documents_in, _) = self.total();
        match stage {
            StageKind::Deduplicate => self.leave_out_copies(),
            StageKind::Learn => {
                let mut counts = WordCounts::new();
                for progress in self.shards.iter() {
                    for (word, count) in &progress.counts {
                        *counts.entry(word.clone()).or_insert(0) += count;
                    }
                }
                self.tokenizer = Some(Tokenizer::learn(&self.how.tokenizer, &counts));
            }
            _ => panic!("{} is done shard by shard", stage.name()),
        }
        let (documents_out, _) = self.total();
        Amounts { documents_in, documents_out, bytes_in: sent, bytes_out: self.answer(stage) }
    }

    /// What a shard sends to whoever does a stage for all.
    pub fn sent(&self, stage: StageKind, shard: ShardId) -> Bytes {
        let progress = &self.shards[shard];
        Bytes(match stage {
            StageKind::Deduplicate => progress.signatures.iter().flatten().map(Signature::bytes).sum(),
            // A word, its length and its count.
            StageKind::Learn => progress.counts.keys().map(|word| word.len() as u64 + 12).sum(),
            _ => 0,
        })
    }

    /// What whoever does a stage for all sends back to each worker.
    pub fn answer(&self, stage: StageKind) -> Bytes {
        Bytes(match stage {
            // A bit for each document.
            StageKind::Deduplicate => (self.corpus.documents() as u64).div_ceil(8),
            StageKind::Learn => self.tokenizer.as_ref().map_or(0, Tokenizer::bytes),
            _ => 0,
        })
    }

    /// What a worker holds of a shard in its memory.
    pub fn held(&self, shard: ShardId) -> Bytes {
        let progress = &self.shards[shard];
        let signatures: u64 = progress.signatures.iter().flatten().map(Signature::bytes).sum();
        let tokens: usize = progress.tokens.iter().map(Vec::len).sum();
        let packed = packed_tokens(&progress.packed);
        let numbers = 4 * (tokens + packed + progress.vectors.len()) as u64;
        Bytes(text_bytes(&progress.documents).get() + signatures + numbers)
    }

    /// What turns text into tokens, once it is known.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// The sequences of all shards, put together in order of shards.
    pub fn finish(self) -> Prepared {
        let vocabulary = self.tokenizer.as_ref().map_or(0, Tokenizer::vocabulary);
        let empty =
            self.shards.iter().flat_map(|shard| &shard.documents).filter(|text| text.is_empty()).count();
        let verdict = self.verdict.unwrap_or_else(|| Verdict { empty, ..Verdict::default() });
        let mut prepared = Prepared {
            sequences: Vec::new(),
            of_shards: IdVec::new(),
            vectors: Vec::new(),
            vocabulary,
            padding: 0,
            verdict,
        };
        let mut rests = Vec::new();
        for progress in self.shards {
            prepared.of_shards.push(progress.packed.sequences.len());
            prepared.sequences.extend(progress.packed.sequences);
            prepared.vectors.extend(progress.vectors);
            prepared.padding += progress.packed.padding;
            rests.extend(progress.packed.rest);
        }
        let last = pack_rests(rests, self.how.sequence as usize);
        prepared.padding += last.padding;
        prepared.sequences.extend(last.sequences);
        prepared
    }

    fn leave_out_copies(&mut self) {
        let signatures: Vec<Option<&Signature>> =
            self.shards.iter().flat_map(|shard| &shard.signatures).map(Option::as_ref).collect();
        let verdict = decide(&self.how.deduplication, &signatures);
        let mut kept = verdict.kept.iter();
        for progress in self.shards.iter_mut() {
            progress.documents.retain(|_| *kept.next().expect("a verdict for each document"));
        }
        self.verdict = Some(verdict);
    }

    fn total(&self) -> (u64, Bytes) {
        let documents = self.shards.iter().map(|shard| shard.documents.len() as u64).sum();
        (documents, self.shards.iter().map(|shard| text_bytes(&shard.documents)).sum())
    }

    /// Documents and bytes that a stage finds.
    fn measure(&self, stage: StageKind, shard: ShardId) -> (u64, Bytes) {
        let progress = &self.shards[shard];
        let documents = progress.documents.len() as u64;
        let tokens: usize = progress.tokens.iter().map(Vec::len).sum();
        match stage {
            StageKind::Read => {
                let shard = &self.corpus.shards[shard];
                (shard.documents.len() as u64, shard.bytes())
            }
            StageKind::Pack => (progress.tokens.len() as u64, Bytes(4 * tokens as u64)),
            StageKind::Embed | StageKind::Write => self.stored(shard),
            _ => (documents, text_bytes(&progress.documents)),
        }
    }

    /// Documents and bytes that a stage leaves.
    fn result(&self, stage: StageKind, shard: ShardId) -> (u64, Bytes) {
        let progress = &self.shards[shard];
        let documents = progress.documents.len() as u64;
        match stage {
            StageKind::Sign => (documents, self.sent(StageKind::Deduplicate, shard)),
            StageKind::Count => (documents, self.sent(StageKind::Learn, shard)),
            StageKind::Tokenize => self.measure(StageKind::Pack, shard),
            StageKind::Pack | StageKind::Embed | StageKind::Write => self.stored(shard),
            _ => (documents, text_bytes(&progress.documents)),
        }
    }

    fn stored(&self, shard: ShardId) -> (u64, Bytes) {
        let progress = &self.shards[shard];
        let numbers = packed_tokens(&progress.packed) + progress.vectors.len();
        (progress.tokens.len() as u64, Bytes(4 * numbers as u64))
    }
}

fn packed_tokens(packed: &Packed) -> usize {
    packed.sequences.iter().map(Vec::len).sum::<usize>() + packed.rest.len()
}

fn text_bytes(documents: &[String]) -> Bytes {
    Bytes(documents.iter().map(|document| document.len() as u64 + 1).sum())
}
