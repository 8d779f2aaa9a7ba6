//! The keys and values that one rank keeps, in blocks.

use crate::ids::BlockId;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Keys,
    Values,
}

/// Blocks of a rank: each holds, for so many tokens, keys and values of the rank's heads in all layers of its stage.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    /// Tokens of a block.
    block: usize,
    /// Layers of the stage.
    layers: usize,
    /// Heads of the rank × width of a head.
    width: usize,
    /// (blocks so far, layers, 2, tokens of a block, width)
    numbers: Vec<f32>,
}

impl Cache {
    pub(super) fn new(block: u32, layers: usize, width: usize) -> Self {
        Cache { block: block as usize, layers, width, numbers: Vec::new() }
    }

    fn of_block(&self) -> usize {
        self.layers * 2 * self.block * self.width
    }

    /// Has memory for all blocks of a table; a new block holds whatever, as memory does.
    pub(super) fn cover(&mut self, table: &[BlockId]) {
        let most = table.iter().max().map_or(0, |block| block.0 as usize + 1);
        let len = most * self.of_block();
        if self.numbers.len() < len {
            self.numbers.resize(len, 0.0);
        }
    }

    /// Where the row of a token begins.
    fn place(&self, table: &[BlockId], layer: usize, kept: Kept, position: usize) -> usize {
        let block = table[position / self.block].0 as usize;
        let row = (block * self.layers + layer) * 2 + usize::from(kept == Kept::Values);
        (row * self.block + position % self.block) * self.width
    }

    /// The row of a token.
    pub(super) fn row(&self, table: &[BlockId], layer: usize, kept: Kept, position: usize) -> &[f32] {
        &self.numbers[self.place(table, layer, kept, position)..][..self.width]
    }

    /// Keeps the row of a token.
    pub(super) fn keep(&mut self, table: &[BlockId], layer: usize, position: usize, [k, v]: [&[f32]; 2]) {
        for (kept, numbers) in [(Kept::Keys, k), (Kept::Values, v)] {
            let at = self.place(table, layer, kept, position);
            self.numbers[at..][..self.width].copy_from_slice(numbers);
        }
    }

    /// Keys and values of the first tokens of a request, as they are sent.
    pub(super) fn read(&self, table: &[BlockId], tokens: u32) -> Vec<f32> {
        let rows = self.rows(tokens);
        rows.flat_map(|(layer, kept, position)| self.row(table, layer, kept, position)).copied().collect()
    }

    /// Keeps what another rank has sent.
    pub(super) fn write(&mut self, table: &[BlockId], sent: &[f32]) {
        self.cover(table);
        let tokens = sent.len() / (self.layers * 2 * self.width);
        for ((layer, kept, position), numbers) in self.rows(tokens as u32).zip(sent.chunks_exact(self.width))
        {
            let at = self.place(table, layer, kept, position);
            self.numbers[at..][..numbers.len()].copy_from_slice(numbers);
        }
    }

    fn rows(&self, tokens: u32) -> impl Iterator<Item = (usize, Kept, usize)> + use<> {
        let each = move |layer| {
            [Kept::Keys, Kept::Values]
                .into_iter()
                .flat_map(move |kept| (0..tokens as usize).map(move |position| (layer, kept, position)))
        };
        (0..self.layers).flat_map(each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three tokens in blocks of two that lie apart, sent to blocks that lie elsewhere.
    #[test]
    fn what_is_sent_is_what_was_kept() {
        let (here, there) = ([BlockId(3), BlockId(0)], [BlockId(1), BlockId(4)]);
        let mut cache = Cache::new(2, 1, 2);
        cache.cover(&here);
        for position in 0..3 {
            let numbers = [position as f32, 0.5];
            cache.keep(&here, 0, position, [&numbers, &[-1.0, position as f32]]);
        }
        let mut other = Cache::new(2, 1, 2);
        other.write(&there, &cache.read(&here, 3));
        assert_eq!(other.row(&there, 0, Kept::Keys, 2), [2.0, 0.5]);
        assert_eq!(other.row(&there, 0, Kept::Values, 1), [-1.0, 1.0]);
    }
}
