//! Which tokens of a sequence each rank of a context group holds, and which of another's they see.

use serde::{Deserialize, Serialize};

/// How the tokens of a sequence are dealt to `n` ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenOrder {
    /// Rank i has the i-th of n parts. Under a causal mask the last rank has the most to do, the first hardly
    /// anything.
    Contiguous,
    /// Rank i has the i-th and the i-th last of 2n parts, so that all have as much to do (Megatron-LM's
    /// context parallelism; Llama 3 herd of models, 2024, section 3.3.2).
    #[default]
    Zigzag,
    /// Rank i has every n-th token, from the i-th on (Brandon et al., "Striped Attention: Faster Ring Attention
    /// for Causal Transformers", 2023, section 3).
    Striped,
}

impl TokenOrder {
    /// What a sequence must be a multiple of to be dealt to `ranks` ranks.
    pub fn divisor(self, ranks: u32) -> u32 {
        match self {
            TokenOrder::Zigzag if ranks > 1 => 2 * ranks,
            _ => ranks,
        }
    }
}

/// The tokens of each sequence that a rank holds, from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens {
    /// Length of the whole sequence.
    pub sequence: u32,
    /// Ranks of the group.
    pub of: u16,
    /// Which of them.
    pub rank: u16,
    /// How they are dealt.
    pub order: TokenOrder,
}

/// What some tokens see of others under a causal mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// The first that sees any; those after it see some too.
    pub first: u64,
    /// How many of the others are seen by any, which are the first ones.
    pub keys: u64,
    /// Whether some see less than others.
    pub causal: bool,
}

impl Tokens {
    /// All tokens of a sequence, on one rank.
    pub fn whole(sequence: u64) -> Self {
        let sequence = u32::try_from(sequence).expect("sequences are checked to be shorter than 2^32");
        Tokens { sequence, of: 1, rank: 0, order: TokenOrder::Contiguous }
    }

    /// How many.
    pub fn count(self) -> usize {
        self.sequence as usize / usize::from(self.of)
    }

    /// Where in the sequence the `at`-th of them is.
    pub fn position(self, at: usize) -> usize {
        let (rank, of) = (usize::from(self.rank), usize::from(self.of));
        match self.order {
            TokenOrder::Contiguous => rank * self.count() + at,
            TokenOrder::Striped => at * of + rank,
            TokenOrder::Zigzag => {
                let part = self.count() / 2;
                if at < part { rank * part + at } else { (2 * of - 2 - rank) * part + at }
            }
        }
    }

    /// How many of them a token at a position sees: those up to it.
    pub fn seen_from(self, position: usize) -> usize {
        let (rank, of, count) = (usize::from(self.rank), usize::from(self.of), self.count());
        let within = |first: usize, most: usize| (position + 1).saturating_sub(first).min(most);
        match self.order {
            TokenOrder::Contiguous => within(rank * count, count),
            TokenOrder::Striped => (position + of - rank) / of,
            TokenOrder::Zigzag => {
                let part = count / 2;
                within(rank * part, part) + within((2 * of - 1 - rank) * part, part)
            }
        }
    }

    /// What these tokens see of another rank's; nothing where all of those come later.
    pub fn sight(self, keys: Tokens) -> Option<Sight> {
        let seen = |at: usize| keys.seen_from(self.position(at));
        let last = seen(self.count() - 1);
        // The later a token, the more it sees.
        let (mut first, mut beyond) = (0, self.count());
        while first < beyond {
            let middle = (first + beyond) / 2;
            if seen(middle) == 0 { first = middle + 1 } else { beyond = middle }
        }
        (last > 0).then(|| Sight { first: first as u64, keys: last as u64, causal: seen(first) < last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDERS: [TokenOrder; 3] = [TokenOrder::Contiguous, TokenOrder::Zigzag, TokenOrder::Striped];

    fn group(order: TokenOrder, of: u16, sequence: u32) -> impl Iterator<Item = Tokens> {
        (0..of).map(move |rank| Tokens { sequence, of, rank, order })
    }

    #[test]
    fn every_token_is_held_once_and_in_order() {
        for order in ORDERS {
            for of in 1..=5 {
                let sequence = 6 * u32::from(of);
                let mut held = Vec::new();
                for tokens in group(order, of, sequence) {
                    let own: Vec<usize> = (0..tokens.count()).map(|at| tokens.position(at)).collect();
                    assert!(own.is_sorted(), "{order:?} of {of}: {own:?}");
                    held.extend(own);
                }
                held.sort_unstable();
                assert_eq!(held, (0..sequence as usize).collect::<Vec<_>>(), "{order:?} of {of}");
            }
        }
    }

    /// One pair after the other.
    #[test]
    fn sight_is_what_a_causal_mask_leaves() {
        for order in ORDERS {
            for queries in group(order, 3, 24) {
                for keys in group(order, 3, 24) {
                    let seen: Vec<usize> = (0..8)
                        .map(|q| (0..8).filter(|&k| keys.position(k) <= queries.position(q)).count())
                        .collect();
                    let expected = (seen[7] > 0).then(|| {
                        let first = seen.iter().position(|&seen| seen > 0).unwrap();
                        let causal = seen[first] < seen[7];
                        Sight { first: first as u64, keys: seen[7] as u64, causal }
                    });
                    assert_eq!(queries.sight(keys), expected, "{queries:?} {keys:?}");
                }
            }
        }
    }

    /// Half the pairs of a step of a ring, whatever ranks meet; but for what a rank has of itself.
    #[test]
    fn zigzag_gives_every_rank_as_much_to_do() {
        for queries in group(TokenOrder::Zigzag, 4, 64) {
            for keys in group(TokenOrder::Zigzag, 4, 64).filter(|keys| keys.rank != queries.rank) {
                let sight = queries.sight(keys).unwrap();
                assert!(!sight.causal);
                assert_eq!((16 - sight.first) * sight.keys, 16 * 16 / 2);
            }
        }
    }
}
