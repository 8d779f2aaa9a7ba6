//! Sequences as vectors: the mean of the vectors of their tokens.
//!
//! A token's vector is drawn once from the seed, each number from −1 to 1 over the square root of the
//! dimension; by the lemma of Johnson and Lindenstrauss such vectors keep bags of tokens apart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::rng::{RngExt, Seed};

/// `embedding:` of a preparation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmbeddingKeys {
    /// Numbers of a vector.
    pub dimension: u32,
}

impl Default for EmbeddingKeys {
    fn default() -> Self {
        EmbeddingKeys { dimension: 64 }
    }
}

/// The vectors of tokens, drawn when they are first needed; a token's does not depend on which were
/// needed before.
#[derive(Debug)]
pub struct Embedding {
    dimension: usize,
    seed: Seed,
    table: BTreeMap<u32, Vec<f32>>,
}

impl Embedding {
    /// The table that a seed gives.
    pub fn new(keys: EmbeddingKeys, seed: Seed) -> Self {
        Embedding {
            dimension: keys.dimension as usize,
            seed: seed.child("embedding"),
            table: BTreeMap::new(),
        }
    }

    /// The mean of the vectors of a sequence, summed in its order.
    pub fn embed(&mut self, tokens: &[u32]) -> Vec<f32> {
        let mut sum = vec![0.0; self.dimension];
        for &token in tokens {
            for (sum, value) in sum.iter_mut().zip(self.vector(token)) {
                *sum += value;
            }
        }
        sum.iter_mut().for_each(|sum| *sum /= tokens.len().max(1) as f32);
        sum
    }

    fn vector(&mut self, token: u32) -> &[f32] {
        let (dimension, seed) = (self.dimension, self.seed);
        self.table.entry(token).or_insert_with(|| {
            let mut random = seed.stream(&token.to_string());
            let scale = 1.0 / (dimension as f32).sqrt();
            (0..dimension).map(|_| (random.random::<f32>() * 2.0 - 1.0) * scale).collect()
        })
    }
}
