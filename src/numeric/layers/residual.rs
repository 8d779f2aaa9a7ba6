//! The residual connection: x ← x + (y + b).
//!
//! y is a row-parallel layer's output after its partial sums were added over the ranks; b is that layer's
//! bias, which every rank holds and which counts once. The gradient passes to x and to y unchanged, and
//! to b as its sum over tokens ([`linear::backward_bias`](super::linear::backward_bias)).

use multiversion::multiversion;

use crate::numeric::real::Real;

/// x: (N, H)   y: (N, H)   b: (H)
#[multiversion(targets = "simd")]
pub fn add<T: Real>(x: &mut [T], y: &[T], b: &[T]) {
    for (x, y) in x.chunks_exact_mut(b.len()).zip(y.chunks_exact(b.len())) {
        for ((x, y), b) in x.iter_mut().zip(y).zip(b) {
            *x += *y + *b;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bias_is_added_to_every_token() {
        let mut x = [1.0, 2.0, 3.0, 4.0];
        add(&mut x, &[10.0, 20.0, 30.0, 40.0], &[0.5, 0.25]);
        assert_eq!(x, [11.5, 22.25, 33.5, 44.25]);
    }
}
