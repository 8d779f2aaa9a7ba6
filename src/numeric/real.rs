//! The numbers that training computes with: `f32`, and `f64` where a check needs more digits.
//!
//! Every layer is written once for any [`Real`]. Loops over slices are compiled for several instruction
//! sets and chosen at run time (`#[multiversion]`); they never rely on fused multiply-add and sum in a
//! fixed number of [`LANES`], so a loop yields the same bits whichever set it runs on.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

/// Partial sums kept side by side in a reduction; a multiple of every vector width in use.
pub(crate) const LANES: usize = 16;

/// A floating-point number.
pub trait Real:
    Copy
    + Default
    + Debug
    + PartialOrd
    + Send
    + Sync
    + Neg<Output = Self>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + 'static
{
    /// Nought.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// The smallest: the maximum of nothing.
    const NEG_INFINITY: Self;
    /// The nearest number to `value`.
    fn from_f64(value: f64) -> Self;
    /// This number, exactly.
    fn to_f64(self) -> f64;
    /// eˣ. In `f32` within 1e-7 relative of the truth, nought below -87.3, and held at e^88.3 above.
    fn exp(self) -> Self;
    /// √x
    fn sqrt(self) -> Self;
    /// ln x
    fn ln(self) -> Self;
    /// The larger of the two; `self` where `other` is not a number.
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        if other > self { other } else { self }
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NEG_INFINITY: Self = f64::NEG_INFINITY;
    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn exp(self) -> Self {
        f64::exp(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        f64::ln(self)
    }
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NEG_INFINITY: Self = f32::NEG_INFINITY;
    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn exp(self) -> Self {
        exp_f32(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        f32::ln(self)
    }
}

/// eˣ = 2ⁿ·eʳ with n = round(x / ln 2) and |r| ≤ ln 2 / 2, without a branch, so that loops over it become
/// vector code. eʳ is 1 + r + r²·q(r), q of degree 4 fitted here for the least largest relative error
/// (Lawson's iteration, 3.1e-9 before rounding). ln 2 is taken off in two parts (Cody and Waite,
/// *Software Manual for the Elementary Functions*, 1980), the first of which has so few digits that
/// n times it is exact.
#[inline(always)]
#[allow(clippy::excessive_precision)]
fn exp_f32(x: f32) -> f32 {
    const LOWEST: f32 = -87.3;
    const HIGHEST: f32 = 88.3;
    const LN_2_HIGH: f32 = 0.693_359_375;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Adding this rounds to a whole number, which then stands in the lowest bits.
    const ROUNDER: f32 = 12_582_912.0;

    // Comparisons with NaN are false, so NaN stays what it is.
    let held = if x > HIGHEST { HIGHEST } else { x };
    let held = if held < LOWEST { LOWEST } else { held };
    let shifted = held * std::f32::consts::LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = held - n * LN_2_HIGH - n * LN_2_LOW;
    let q = 1.381_446_690e-3_f32;
    let q = q * r + 8.368_780_413e-3;
    let q = q * r + 4.166_839_421e-2;
    let q = q * r + 1.666_652_011e-1;
    let q = q * r + 4.999_999_341e-1;
    let power = q * r * r + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUNDER.to_bits()).wrapping_add(127) << 23;
    let result = power * f32::from_bits(exponent);
    if x < LOWEST { 0.0 } else { result }
}

/// The sum of the partial sums, in one fixed order: halves are added to halves.
#[inline(always)]
pub(crate) fn fold_sum<T: Real>(mut lanes: [T; LANES]) -> T {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The largest of the partial maxima.
#[inline(always)]
pub(crate) fn fold_max<T: Real>(lanes: [T; LANES]) -> T {
    lanes.into_iter().fold(T::NEG_INFINITY, T::larger)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_right_to_a_tenth_of_a_millionth() {
        // Both ends of the range, the points where n changes, and a fine sweep between.
        let mut worst = 0.0_f64;
        for step in -870_000..=880_000 {
            let x = step as f32 * 1e-4;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp_f32(x)) / exact - 1.0).abs());
        }
        assert!(worst < 1.2e-7, "relative error {worst:e}");
    }

    #[test]
    fn exp_ends_well_at_both_ends() {
        assert_eq!(exp_f32(0.0), 1.0);
        assert_eq!(exp_f32(f32::NEG_INFINITY), 0.0);
        assert!(exp_f32(f32::INFINITY).is_finite());
        assert!(exp_f32(f32::NAN).is_nan());
    }

    #[test]
    fn lanes_are_folded_completely() {
        let lanes: [f64; LANES] = std::array::from_fn(|lane| lane as f64);
        assert_eq!(fold_sum(lanes), (LANES * (LANES - 1) / 2) as f64);
        assert_eq!(fold_max(lanes), (LANES - 1) as f64);
    }
}
