//! The paged KV cache: blocks of tokens that are taken and given back.
//!
//! Kwon et al., "Efficient Memory Management for Large Language Model Serving with PagedAttention",
//! SOSP 2023, section 4: a request holds ⌈tokens / block⌉ blocks, which need not lie together, so that
//! only the last of them is partly empty. Which blocks they are makes no difference here.

/// The blocks of a replica.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_fill_whole_blocks() {
        let mut pool = BlockPool::new(4, 16);
        assert_eq!([0, 1, 16, 17].map(|tokens| pool.blocks_of(tokens)), [0, 1, 1, 2]);
        assert!(pool.take(3) && !pool.take(2) && pool.take(1));
        pool.give(4);
        assert_eq!((pool.free(), pool.used()), (4, 0));
    }
}
