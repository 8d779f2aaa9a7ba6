//! Named random streams grown from one seed.
//!
//! A stream depends on the seed and on its name alone, so drawing more from one never changes what
//! another yields, and adding a stream to a run leaves the others as they were.

use rand::SeedableRng;
pub use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// A stream of random numbers; the same on every machine for the same seed and name.
pub type Stream = ChaCha8Rng;

/// The seed of a run, from which every stream grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

impl Seed {
    /// The stream called `name`.
    pub fn stream(self, name: &str) -> Stream {
        let mut key = [0_u8; 32];
        for (word, chunk) in key.chunks_exact_mut(8).enumerate() {
            chunk.copy_from_slice(&hash(self.0.wrapping_add(word as u64), name).to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }

    /// A seed of its own for the part of a run called `name` (one of many jobs, trials, layers).
    pub fn child(self, name: &str) -> Seed {
        Seed(hash(self.0 ^ 0x9e37_79b9_7f4a_7c15, name))
    }
}

/// FNV-1a over the seed and the name, finished with SplitMix64's mixer so that near names part widely.
fn hash(seed: u64, name: &str) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325_u64;
    let fold = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let state = seed.to_le_bytes().into_iter().chain(name.bytes()).fold(start, fold);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_depend_on_seed_and_name_alone() {
        let draw = |seed: u64, name: &str| Seed(seed).stream(name).random::<u64>();
        assert_eq!(draw(1, "arrivals"), draw(1, "arrivals"));
        assert_ne!(draw(1, "arrivals"), draw(1, "lengths"));
        assert_ne!(draw(1, "arrivals"), draw(2, "arrivals"));
    }
}
