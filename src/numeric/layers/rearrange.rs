//! Numbers put in another order: the tokens that a rank holds, keys beside values, blocks by heads.

use crate::parallel::Tokens;

/// The tokens of each sequence that a rank holds.     x: (…, S)   y: (…, held of S)
pub fn take_tokens<T: Copy>(tokens: Tokens, x: &[T], y: &mut [T]) {
    let sequences = x.chunks_exact(tokens.sequence as usize).zip(y.chunks_exact_mut(tokens.count()));
    for (x, y) in sequences {
        y.iter_mut().enumerate().for_each(|(at, y)| *y = x[tokens.position(at)]);
    }
}

/// qkv: (N, 3, W)   kv: (N, 2, W)
pub fn keys_values<T: Copy>(width: usize, qkv: &[T], kv: &mut [T]) {
    for (qkv, kv) in qkv.chunks_exact(3 * width).zip(kv.chunks_exact_mut(2 * width)) {
        kv.copy_from_slice(&qkv[width..]);
    }
}

/// dq: (N, W)   dkv: (N, 2, W)   dqkv: (N, 3, W)
pub fn join<T: Copy>(width: usize, dq: &[T], dkv: &[T], dqkv: &mut [T]) {
    let rows = dq.chunks_exact(width).zip(dkv.chunks_exact(2 * width));
    for ((dq, dkv), dqkv) in rows.zip(dqkv.chunks_exact_mut(3 * width)) {
        dqkv[..width].copy_from_slice(dq);
        dqkv[width..].copy_from_slice(dkv);
    }
}

/// x: (…, R, C, W)   y: (…, C, R, W)
pub fn swap_blocks<T: Copy>([rows, columns, width]: [usize; 3], x: &[T], y: &mut [T]) {
    let whole = rows * columns * width;
    for (x, y) in x.chunks_exact(whole).zip(y.chunks_exact_mut(whole)) {
        for (at, block) in x.chunks_exact(width).enumerate() {
            let (row, column) = (at / columns, at % columns);
            y[(column * rows + row) * width..][..width].copy_from_slice(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::parallel::TokenOrder;

    #[test]
    fn tokens_are_taken_from_every_sequence() {
        let tokens = Tokens { sequence: 8, of: 2, rank: 1, order: TokenOrder::Zigzag };
        let mut y = [0; 8];
        take_tokens(tokens, &[0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17], &mut y);
        assert_eq!(y, [2, 3, 4, 5, 12, 13, 14, 15]);
    }

    #[test]
    fn what_is_parted_is_joined() {
        let qkv: Vec<u32> = (0..12).collect();
        let (mut kv, mut joined) = ([0; 8], [0; 12]);
        keys_values(2, &qkv, &mut kv);
        assert_eq!(kv, [2, 3, 4, 5, 8, 9, 10, 11]);
        join(2, &[0, 1, 6, 7], &kv, &mut joined);
        assert_eq!(joined[..], qkv[..]);
    }

    /// Two rows of three blocks of two become three rows of two; swapped again they are what they were.
    #[test]
    fn blocks_are_swapped() {
        let x: Vec<u32> = (0..12).collect();
        let (mut y, mut back) = ([0; 12], [0; 12]);
        swap_blocks([2, 3, 2], &x, &mut y);
        assert_eq!(y, [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11]);
        swap_blocks([3, 2, 2], &y, &mut back);
        assert_eq!(back[..], x[..]);
    }
}
