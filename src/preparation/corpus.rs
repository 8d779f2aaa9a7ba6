//! What is prepared: shards of documents, as they are found.

use std::collections::BTreeMap;

use lipsum::LIBER_PRIMUS;
use serde::{Deserialize, Serialize};

use crate::ids::{IdVec, ShardId};
use crate::rng::{RngExt, Seed, Stream};
use crate::units::Bytes;

/// Documents that are read together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Where it came from.
    pub name: String,
    /// Its documents as they were found.
    pub documents: Vec<String>,
}

impl Shard {
    /// What is read from the disk: the documents, and a byte that ends each.
    pub fn bytes(&self) -> Bytes {
        Bytes(self.documents.iter().map(|document| document.len() as u64 + 1).sum())
    }
}

/// Everything that is to be prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    /// The shards, in the order in which their results are put together.
    pub shards: IdVec<ShardId, Shard>,
}

impl Corpus {
    /// Documents in shards of at least `least` bytes each, the last one aside; names say where the
    /// documents of a shard begin.
    pub fn of_documents(documents: impl IntoIterator<Item = (String, String)>, least: Bytes) -> Corpus {
        let mut shards: IdVec<ShardId, Shard> = IdVec::new();
        let mut open: Option<(Shard, u64)> = None;
        for (name, document) in documents {
            let (shard, bytes) = open.get_or_insert_with(|| (Shard { name, documents: Vec::new() }, 0));
            *bytes += document.len() as u64 + 1;
            shard.documents.push(document);
            if *bytes >= least.get() {
                shards.push(open.take().expect("it is open").0);
            }
        }
        if let Some((last, _)) = open {
            shards.push(last);
        }
        Corpus { shards }
    }

    /// How many documents there are.
    pub fn documents(&self) -> usize {
        self.shards.iter().map(|shard| shard.documents.len()).sum()
    }

    /// Bytes of all shards.
    pub fn bytes(&self) -> Bytes {
        self.shards.iter().map(Shard::bytes).sum()
    }

    /// The first document of each shard, counted over all shards.
    pub fn first_documents(&self) -> IdVec<ShardId, usize> {
        let mut next = 0;
        let first = |shard: &Shard| {
            let first = next;
            next += shard.documents.len();
            first
        };
        self.shards.iter().map(first).collect()
    }
}

/// A corpus in Latin, with the blemishes of one that was gathered from the web.
///
/// The first documents are Cicero's *De finibus bonorum et malorum*, book one, as the `lipsum` crate
/// carries it, cut into pieces; when it is used up, more is written in his manner: a chain in which
/// each word follows two that it follows in the text. Then copies, near copies (a few words changed)
/// and noise (markup, control characters, decomposed letters) are put in, and all is shuffled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Latin {
    /// Documents that are no copies.
    pub documents: u32,
    /// Words of each, give or take a half.
    pub words: u32,
    /// Copies among the documents, as a share of those that are none.
    pub duplicates: f64,
    /// The same, of copies with a few words changed.
    pub near_duplicates: f64,
    /// Share of the words that a near copy has changed.
    pub changed: f64,
    /// Share of the documents that are noisy.
    pub noise: f64,
}

impl Default for Latin {
    fn default() -> Self {
        Latin { documents: 240, words: 150, duplicates: 0.1, near_duplicates: 0.1, changed: 0.02, noise: 0.5 }
    }
}

impl Latin {
    /// The documents, in the order in which they are found.
    pub fn write(&self, seed: Seed) -> Vec<String> {
        let originals = self.originals(seed);
        let mut random = seed.stream("latin copies");
        let copies = |share: f64| (share * originals.len() as f64).round() as usize;
        let mut documents = originals.clone();
        for _ in 0..copies(self.duplicates) {
            documents.push(originals[random.random_range(0..originals.len())].clone());
        }
        for _ in 0..copies(self.near_duplicates) {
            let original = &originals[random.random_range(0..originals.len())];
            documents.push(changed(original, self.changed, &mut random));
        }
        // Fisher and Yates.
        for at in (1..documents.len()).rev() {
            documents.swap(at, random.random_range(0..=at));
        }
        let mut random = seed.stream("latin noise");
        for document in &mut documents {
            if random.random::<f64>() < self.noise {
                *document = noisy(document, &mut random);
            }
        }
        documents
    }

    fn originals(&self, seed: Seed) -> Vec<String> {
        let text: Vec<&str> = LIBER_PRIMUS.split_whitespace().collect();
        let mut random = seed.stream("latin lengths");
        let mut chain = Chain::new(&text, seed);
        let mut used = 0;
        let length = |random: &mut Stream| {
            let words = self.words.max(2);
            random.random_range(words / 2..=words + words / 2) as usize
        };
        (0..self.documents)
            .map(|_| {
                let wanted = length(&mut random);
                let words = match text.get(used..used + wanted) {
                    Some(words) => words.to_vec(),
                    None => chain.words(wanted),
                };
                used += wanted;
                sentences(&words)
            })
            .collect()
    }
}

/// Words as lines of ten or so, as texts on the web are broken.
fn sentences(words: &[&str]) -> String {
    let lines: Vec<String> = words.chunks(12).map(|line| line.join(" ")).collect();
    lines.join("\n")
}

/// Words that follow two others in a text, as in the `lipsum` crate, drawn from our streams.
struct Chain<'a> {
    text: &'a [&'a str],
    followers: BTreeMap<(&'a str, &'a str), Vec<&'a str>>,
    random: Stream,
}

impl<'a> Chain<'a> {
    fn new(text: &'a [&'a str], seed: Seed) -> Self {
        let mut followers = BTreeMap::<_, Vec<_>>::new();
        for three in text.windows(3) {
            followers.entry((three[0], three[1])).or_default().push(three[2]);
        }
        Chain { text, followers, random: seed.stream("latin chain") }
    }

    fn words(&mut self, count: usize) -> Vec<&'a str> {
        let mut words = Vec::with_capacity(count + 2);
        while words.len() < count {
            let follows = match words.as_slice() {
                [.., a, b] => self.followers.get(&(*a, *b)),
                _ => None,
            };
            match follows {
                Some(next) => words.push(next[self.random.random_range(0..next.len())]),
                None => {
                    let start = self.random.random_range(0..self.text.len() - 1);
                    words.extend(&self.text[start..start + 2]);
                }
            }
        }
        words.truncate(count);
        words
    }
}

/// The document with a share of its words replaced, at least one.
fn changed(document: &str, share: f64, random: &mut Stream) -> String {
    let mut words: Vec<&str> = document.split(' ').collect();
    let count = ((share * words.len() as f64).round() as usize).max(1);
    for _ in 0..count {
        let at = random.random_range(0..words.len());
        words[at] = REPLACEMENTS[random.random_range(0..REPLACEMENTS.len())];
    }
    words.join(" ")
}

const REPLACEMENTS: [&str; 6] = ["errata", "corrigenda", "scilicet", "videlicet", "nempe", "quippe"];

/// The same words behind markup, entities, control characters, ligatures and decomposed letters.
fn noisy(document: &str, random: &mut Stream) -> String {
    let mut text = String::from("<div class=\"p\">\r\n<!-- pagina -->");
    for (at, word) in document.split(' ').enumerate() {
        if at > 0 {
            text.push(' ');
        }
        match random.random_range(0..40_u32) {
            0 => text.push_str(&format!("<em>{word}</em>")),
            1 => text.push_str(&format!("\u{200b}{word}\u{7}")),
            2 => text.push_str(&format!("&nbsp;{word}&#32;")),
            3 => text.push_str(&format!("<a href=\"#{at}\">{word}</a>")),
            4 => text.push_str(&word.replace("fi", "\u{fb01}").replace("fl", "\u{fb02}")),
            _ => text.push_str(word),
        }
    }
    text.push_str("<script>var x = \"<p>\";</script></div>\u{feff}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_depends_on_the_seed_alone() {
        let latin = Latin::default();
        assert_eq!(latin.write(Seed(1)), latin.write(Seed(1)));
        assert_ne!(latin.write(Seed(1)), latin.write(Seed(2)));
    }

    /// 240 originals, a tenth of them copied and another tenth nearly copied: 288 documents.
    #[test]
    fn copies_are_a_share_of_the_originals() {
        assert_eq!(Latin::default().write(Seed(1)).len(), 240 + 24 + 24);
    }

    /// Documents of 3 bytes and their ends are 4; shards of at least 8 bytes hold two, the last one one.
    #[test]
    fn shards_hold_whole_documents() {
        let documents = (0..5).map(|at| (format!("file {at}"), "abc".to_owned()));
        let corpus = Corpus::of_documents(documents, Bytes(8));
        let sizes: Vec<usize> = corpus.shards.iter().map(|shard| shard.documents.len()).collect();
        assert_eq!(sizes, [2, 2, 1]);
        assert_eq!(corpus.first_documents().as_slice(), [0, 2, 4]);
        assert_eq!((corpus.documents(), corpus.bytes()), (5, Bytes(20)));
        assert_eq!(corpus.shards[ShardId(1)].name, "file 2");
    }
}
