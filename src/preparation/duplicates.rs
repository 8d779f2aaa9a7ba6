//! Documents that say what another one says: exact copies by their hash, near copies by MinHash.
//!
//! A document is seen as the set of its shingles, runs of `shingle` words. The smallest value of a
//! random hash over a set is the same for two sets with probability J, their Jaccard similarity, so the
//! share of equal minima in two signatures estimates J with a standard deviation of √(J(1 − J)/k)
//! (Broder, "On the resemblance and containment of documents", Compression and Complexity of Sequences,
//! 1997). Signatures that agree in all rows of some band are candidates: a share 1 − (1 − J^r)^b of the
//! pairs (Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4).

use std::collections::{BTreeMap, BTreeSet};

use petgraph::unionfind::UnionFind;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::rng::{RngExt, Seed};

/// Which documents count as copies of others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deduplication {
    /// Whether documents that are equal once cleaned are copies.
    pub exact: bool,
    /// Whether documents whose estimated similarity reaches the threshold are copies.
    pub near: bool,
    /// The least similarity of near copies, 0 to 1 (0.8 in Lee et al., "Deduplicating Training Data Makes
    /// Language Models Better", ACL 2022).
    pub threshold: f64,
    /// Words of a shingle (5 there).
    pub shingle: u32,
    /// b: bands of a signature.
    pub bands: u32,
    /// r: minima of a band. With 16 bands of 8 half of the pairs of similarity 0.68 are candidates.
    pub rows: u32,
}

impl Default for Deduplication {
    fn default() -> Self {
        Deduplication { exact: true, near: true, threshold: 0.8, shingle: 5, bands: 16, rows: 8 }
    }
}

impl Deduplication {
    /// k: minima of a signature; none without near copies.
    pub fn minima(&self) -> usize {
        if self.near { (self.bands * self.rows) as usize } else { 0 }
    }
}

/// What is compared instead of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// A hash of the whole text.
    pub text: u128,
    /// The smallest value of each hash function over the shingles.
    pub minima: Vec<u64>,
    /// How many different shingles there are.
    pub shingles: usize,
}

impl Signature {
    /// Bytes that are sent to whoever compares.
    pub fn bytes(&self) -> u64 {
        16 + 8 * self.minima.len() as u64
    }

    /// The estimated Jaccard similarity of two documents: the share of equal minima.
    pub fn similarity(&self, other: &Signature) -> f64 {
        let equal = self.minima.iter().zip(&other.minima).filter(|(a, b)| a == b).count();
        equal as f64 / self.minima.len().max(1) as f64
    }
}

/// Hash functions h(x) = (a·x + b) mod p with p = 2⁶¹ − 1 (Carter and Wegman, "Universal classes of hash
/// functions", 1979), the same for all documents.
#[derive(Debug, Clone)]
pub struct Hashes {
    shingle: usize,
    functions: Vec<(u64, u64)>,
}

const PRIME: u64 = (1 << 61) - 1;

impl Hashes {
    /// The functions that a seed gives.
    pub fn new(how: &Deduplication, seed: Seed) -> Self {
        let mut random = seed.stream("minhash");
        let mut function = |_| (random.random_range(1..PRIME), random.random_range(0..PRIME));
        Hashes {
            shingle: how.shingle.max(1) as usize,
            functions: (0..how.minima()).map(&mut function).collect(),
        }
    }

    /// The signature of a document.
    pub fn sign(&self, document: &str) -> Signature {
        let shingles = if self.functions.is_empty() { BTreeSet::new() } else { self.shingles(document) };
        let minimum = |&(a, b): &(u64, u64)| {
            let hash = |&x: &u64| reduce(u128::from(a) * u128::from(x) + u128::from(b));
            shingles.iter().map(hash).min().unwrap_or(PRIME)
        };
        let minima = self.functions.iter().map(minimum).collect();
        Signature { text: fnv_128(document.as_bytes()), minima, shingles: shingles.len() }
    }

    /// The shingles of a document, as hashes below p. A document shorter than a shingle is one shingle.
    pub fn shingles(&self, document: &str) -> BTreeSet<u64> {
        let words: Vec<&str> = document.split_whitespace().collect();
        let hash = |words: &[&str]| {
            let joined = words.join(" ");
            reduce(fnv_128(joined.as_bytes()))
        };
        if words.len() < self.shingle {
            return [hash(&words)].into();
        }
        words.windows(self.shingle).map(hash).collect()
    }
}

/// The share of two sets that both have: |A ∩ B| / |A ∪ B|.
pub fn jaccard(a: &BTreeSet<u64>, b: &BTreeSet<u64>) -> f64 {
    let both = a.intersection(b).count() as f64;
    both / (a.len() as f64 + b.len() as f64 - both).max(1.0)
}

/// x mod 2⁶¹ − 1, for any x: its 61-bit digits are added up.
fn reduce(x: u128) -> u64 {
    let mask = u128::from(PRIME);
    let once = (x & mask) + ((x >> 61) & mask) + (x >> 122);
    let twice = (once & mask) + (once >> 61);
    let value = twice as u64;
    if value >= PRIME { value - PRIME } else { value }
}

/// FNV-1a of 128 bits (Fowler, Noll and Vo). Two of 10⁹ different texts share one with probability 10⁻²¹.
fn fnv_128(bytes: &[u8]) -> u128 {
    let start = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    let prime = 0x0000_0000_0100_0000_0000_0000_0000_013b_u128;
    bytes.iter().fold(start, |hash, &byte| (hash ^ u128::from(byte)).wrapping_mul(prime))
}

/// What was found among all documents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Which documents are kept, in order.
    pub kept: Vec<bool>,
    /// Documents left out because an earlier one has the same text.
    pub exact: usize,
    /// Documents left out because they are near an earlier one.
    pub near: usize,
    /// Documents left out because nothing is left of them.
    pub empty: usize,
    /// Pairs that shared a band and were compared.
    pub candidates: usize,
}

/// Decides over all documents: of each group of copies the first is kept. What is a copy of a copy
/// belongs to the group.
///
/// `signatures` has a place for each document, empty for those of which nothing is left.
pub fn decide(how: &Deduplication, signatures: &[Option<&Signature>]) -> Verdict {
    let mut verdict = Verdict { kept: vec![true; signatures.len()], ..Verdict::default() };
    let mut first_with: FxHashMap<u128, usize> = FxHashMap::default();
    let mut differing = Vec::new();
    for (document, signature) in signatures.iter().enumerate() {
        let Some(signature) = signature else {
            verdict.kept[document] = false;
            verdict.empty += 1;
            continue;
        };
        let first = *first_with.entry(signature.text).or_insert(document);
        if how.exact && first != document {
            verdict.kept[document] = false;
            verdict.exact += 1;
        } else {
            differing.push((document, *signature));
        }
    }
    if how.near {
        let pairs = candidates(how, &differing);
        verdict.candidates = pairs.len();
        let mut groups: UnionFind<usize> = UnionFind::new(differing.len());
        for (a, b) in pairs {
            if differing[a].1.similarity(differing[b].1) >= how.threshold {
                groups.union(a, b);
            }
        }
        let mut seen = BTreeSet::new();
        for (at, (document, _)) in differing.iter().enumerate() {
            if !seen.insert(groups.find(at)) {
                verdict.kept[*document] = false;
                verdict.near += 1;
            }
        }
    }
    verdict
}

/// Pairs that agree in a whole band. Within a bucket each is compared with the first only and with its
/// predecessor, so that a bucket of n costs 2n comparisons and not n².
fn candidates(how: &Deduplication, documents: &[(usize, &Signature)]) -> BTreeSet<(usize, usize)> {
    let mut pairs = BTreeSet::new();
    for band in 0..how.bands as usize {
        let range = band * how.rows as usize..(band + 1) * how.rows as usize;
        let mut buckets: BTreeMap<&[u64], (usize, usize)> = BTreeMap::new();
        for (at, (_, signature)) in documents.iter().enumerate() {
            let (first, last) = buckets.entry(&signature.minima[range.clone()]).or_insert((at, at));
            if *first != at {
                pairs.extend([(*first, at), (*last, at)]);
            }
            *last = at;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(range: std::ops::Range<u32>) -> String {
        range.map(|at| format!("w{at}")).collect::<Vec<_>>().join(" ")
    }

    fn decided(how: &Deduplication, documents: &[String]) -> Verdict {
        let hashes = Hashes::new(how, Seed(7));
        let signatures: Vec<_> = documents.iter().map(|document| hashes.sign(document)).collect();
        decide(how, &signatures.iter().map(Some).collect::<Vec<_>>())
    }

    #[test]
    fn the_digits_of_a_number_add_up_to_its_remainder() {
        for x in [0, 1, u128::from(PRIME), u128::from(PRIME) + 1, u128::MAX, u128::MAX - 1, 1 << 122] {
            assert_eq!(u128::from(reduce(x)), x % u128::from(PRIME), "{x}");
        }
    }

    /// Words 0..120 and 0..100: 116 and 96 shingles of five, of which 96 are in both: J = 96/116 = 0.83.
    /// Words 200..300 share nothing.
    #[test]
    fn copies_and_near_copies_are_left_out() {
        let documents = [words(0..120), words(200..300), words(0..100), words(200..300)];
        let verdict = decided(&Deduplication { threshold: 0.7, ..Deduplication::default() }, &documents);
        assert_eq!(verdict.kept, [true, true, false, false]);
        assert_eq!((verdict.exact, verdict.near), (1, 1));
    }

    #[test]
    fn what_is_not_asked_for_is_kept() {
        let documents = [words(0..120), words(0..120), words(0..118)];
        let only = |exact, near| Deduplication { exact, near, ..Deduplication::default() };
        assert_eq!(decided(&only(true, false), &documents).kept, [true, false, true]);
        assert_eq!(decided(&only(false, false), &documents).kept, [true, true, true]);
        assert_eq!(decided(&only(false, true), &documents).kept, [true, false, false]);
    }

    #[test]
    fn documents_without_text_are_left_out() {
        let verdict = decide(&Deduplication::default(), &[None]);
        assert_eq!((verdict.kept, verdict.empty), (vec![false], 1));
    }

    proptest! {
        /// k = 512 minima: the estimate strays from J by more than six standard deviations
        /// 6·√(J(1 − J)/512) ≤ 0.133 in one of 10⁸ cases.
        #[test]
        fn equal_minima_estimate_the_jaccard_similarity(
            seed in any::<u64>(), shared in 20..200_u32, alone in 0..200_u32,
        ) {
            let how = Deduplication { bands: 64, rows: 8, ..Deduplication::default() };
            let hashes = Hashes::new(&how, Seed(seed));
            let (a, b) = (words(0..shared + 5), words(0..shared) + " x " + &words(1000..1005 + alone));
            let truth = jaccard(&hashes.shingles(&a), &hashes.shingles(&b));
            let estimate = hashes.sign(&a).similarity(&hashes.sign(&b));
            let deviation = (truth * (1.0 - truth) / 512.0).sqrt();
            prop_assert!((estimate - truth).abs() <= 6.0 * deviation + 1e-12, "{} for {}", estimate, truth);
        }
    }
}
