//! relu(u) = max(u, 0)

use multiversion::multiversion;

use crate::numeric::real::Real;

/// y = relu(u), in place.
#[multiversion(targets = "simd")]
pub fn forward<T: Real>(u: &mut [T]) {
    for u in u {
        // Written so that NaN stays NaN.
        *u = if *u < T::ZERO { T::ZERO } else { *u };
    }
}

/// du = dy where y is positive, else 0 (PyTorch's choice at nought too); written over dy.
#[multiversion(targets = "simd")]
pub fn backward<T: Real>(y: &[T], dy: &mut [T]) {
    for (dy, y) in dy.iter_mut().zip(y) {
        *dy = if *y > T::ZERO { *dy } else { T::ZERO };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_negative_passes_neither_forward_nor_back() {
        let mut y = [-1.0, 0.0, 2.0];
        forward(&mut y);
        assert_eq!(y, [0.0, 0.0, 2.0]);
        let mut dy = [5.0, 6.0, 7.0];
        backward(&y, &mut dy);
        assert_eq!(dy, [0.0, 0.0, 7.0]);
    }
}
