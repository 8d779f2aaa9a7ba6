//! The paged KV cache: blocks of tokens that are taken and given back.
//!
//! Kwon et al., "Efficient Memory Management for Large Language Model Serving with PagedAttention",
//! SOSP 2023, section 4: a request holds ⌈tokens / block⌉ blocks, which need not lie together, so that
//! only the last of them is partly empty. A policy sees [how many](BlockPool) are free; [which](FreeBlocks) ones a
//! request gets makes no difference to it, but to what is [computed](crate::serving::generation).

use crate::ids::BlockId;

/// How many blocks of a replica are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockPool {
    /// Tokens that a block holds.
    block: u32,
    total: u64,
    free: u64,
}

impl BlockPool {
    /// So many blocks for so many tokens each, all free.
    ///
    /// # Panics
    /// When a block holds nothing.
    pub fn new(total: u64, block: u32) -> Self {
        assert!(block > 0, "a block holds at least one token");
        BlockPool { block, total, free: total }
    }

    /// Blocks that hold so many tokens.
    #[inline]
    pub fn blocks_of(&self, tokens: u64) -> u64 {
        tokens.div_ceil(u64::from(self.block))
    }

    /// Tokens that a block holds.
    pub fn block(&self) -> u32 {
        self.block
    }

    /// Blocks in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Blocks that nobody holds.
    #[inline]
    pub fn free(&self) -> u64 {
        self.free
    }

    /// Blocks that somebody holds.
    pub fn used(&self) -> u64 {
        self.total - self.free
    }

    /// Takes blocks; whether there were enough.
    #[must_use]
    #[inline]
    pub fn take(&mut self, blocks: u64) -> bool {
        let enough = blocks <= self.free;
        if enough {
            self.free -= blocks;
        }
        enough
    }

    /// Gives blocks back.
    ///
    /// # Panics
    /// When more are given than were taken.
    pub fn give(&mut self, blocks: u64) {
        self.free += blocks;
        assert!(self.free <= self.total, "{} of {} blocks are free", self.free, self.total);
    }
}

/// Which blocks of a replica are free: those given back last are taken first, then such as nobody has had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FreeBlocks {
    returned: Vec<BlockId>,
    fresh: u32,
}

impl FreeBlocks {
    /// Lets a table grow to so many blocks.
    #[inline]
    pub fn extend(&mut self, table: &mut Vec<BlockId>, blocks: u32) {
        while (table.len() as u32) < blocks {
            let block = self.returned.pop().unwrap_or_else(|| {
                self.fresh += 1;
                BlockId(self.fresh - 1)
            });
            table.push(block);
        }
    }

    /// Takes all blocks of a table back.
    pub fn give(&mut self, table: Vec<BlockId>) {
        // The first block of a table is taken first again.
        self.returned.extend(table.into_iter().rev());
    }

    /// Whether every block that was ever taken has come back, once.
    pub fn are_whole(&self) -> bool {
        let mut all = self.returned.clone();
        all.sort_unstable();
        all.iter().zip(0..).all(|(block, at)| block.0 == at) && all.len() as u32 == self.fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_came_back_are_taken_again() {
        let mut free = FreeBlocks::default();
        let (mut one, mut other) = (Vec::new(), Vec::new());
        free.extend(&mut one, 2);
        free.extend(&mut other, 1);
        assert!(!free.are_whole());
        free.give(one);
        let mut third = Vec::new();
        free.extend(&mut third, 3);
        assert_eq!(third, [BlockId(0), BlockId(1), BlockId(3)]);
        free.give(other);
        free.give(third);
        assert!(free.are_whole());
        // A block that comes back twice is noticed.
        free.give(vec![BlockId(2)]);
        assert!(!free.are_whole());
    }

    #[test]
    fn tokens_fill_whole_blocks() {
        let mut pool = BlockPool::new(4, 16);
        assert_eq!([0, 1, 16, 17].map(|tokens| pool.blocks_of(tokens)), [0, 1, 1, 2]);
        assert!(pool.take(3) && !pool.take(2) && pool.take(1));
        pool.give(4);
        assert_eq!((pool.free(), pool.used()), (4, 0));
    }
}
