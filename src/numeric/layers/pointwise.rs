//! What is done to each number, or to all of them alike.

use multiversion::multiversion;

use crate::numeric::real::{LANES, Real, fold_sum};

/// z = x + y
#[multiversion(targets = "simd")]
pub fn add<T: Real>(x: &[T], y: &[T], z: &mut [T]) {
    for ((z, x), y) in z.iter_mut().zip(x).zip(y) {
        *z = *x + *y;
    }
}

/// z = x + y + b     x, y, z: (N, H)   b: (H)
///
/// The residual connection around a row-parallel layer: y is its output once the partial sums were added
/// over the ranks, b its bias, which every rank holds and which counts once.
#[multiversion(targets = "simd")]
pub fn add_bias<T: Real>(x: &[T], y: &[T], b: &[T], z: &mut [T]) {
    let rows = x.chunks_exact(b.len()).zip(y.chunks_exact(b.len()));
    for (z, (x, y)) in z.chunks_exact_mut(b.len()).zip(rows) {
        for (((z, x), y), b) in z.iter_mut().zip(x).zip(y).zip(b) {
            *z = *x + *y + *b;
        }
    }
}

/// y += x
#[multiversion(targets = "simd")]
pub fn accumulate<T: Real>(x: &[T], y: &mut [T]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += *x;
    }
}

/// y *= factor
#[multiversion(targets = "simd")]
pub fn scale<T: Real>(factor: T, y: &mut [T]) {
    for y in y {
        *y *= factor;
    }
}

/// Σ x², in `f64` so that the order hardly matters.
#[multiversion(targets = "simd")]
pub fn squared_norm<T: Real>(x: &[T]) -> f64 {
    let mut lanes = [0.0; LANES];
    for chunk in x.chunks(LANES) {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += x.to_f64() * x.to_f64();
        }
    }
    fold_sum(lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::numeric::layers::linear::backward_bias;
    use crate::numeric::support::{Probe, draw};

    /// The residual's gradient is dy for x and for y alike, and the sum over the rows for the bias.
    #[test]
    fn the_gradients_of_a_residual_are_its_slopes() {
        let (rows, width) = (3, 4);
        let (x, y) = (draw::<f64>("x", rows * width), draw::<f64>("y", rows * width));
        let (b, dy) = (draw::<f64>("b", width), draw::<f64>("dy", rows * width));
        let sum = |x: &[f64], y: &[f64], b: &[f64]| {
            let mut z = vec![f64::NAN; rows * width];
            add_bias(x, y, b, &mut z);
            z
        };
        let mut db = vec![0.0; width];
        backward_bias(&dy, &mut db);
        let probe = Probe::new(&dy);
        probe.check(&x, &dy, |x| sum(x, &y, &b));
        probe.check(&y, &dy, |y| sum(&x, y, &b));
        probe.check(&b, &db, |b| sum(&x, &y, b));
    }

    #[test]
    fn the_bias_is_added_to_every_row() {
        let mut z = [f32::NAN; 4];
        add_bias(&[1.0, 2.0, 3.0, 4.0], &[10.0, 20.0, 30.0, 40.0], &[0.5, 0.25], &mut z);
        assert_eq!(z, [11.5, 22.25, 33.5, 44.25]);
    }

    #[test]
    fn squares_are_summed_with_many_digits() {
        // 3² + 4², and then 10⁶ times 10⁻⁴ squared, which single precision would lose beside 10⁸.
        assert_eq!(squared_norm(&[3.0_f32, 4.0]), 25.0);
        let mut many = vec![1e-4_f32; 1_000_000];
        many.push(1e4);
        let square = f64::from(1e-4_f32).powi(2);
        assert!((squared_norm(&many) - 1e8 - 1e6 * square).abs() < 1e-6);
    }
}
