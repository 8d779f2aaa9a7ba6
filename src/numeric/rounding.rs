//! Rounding to narrow formats: what is left of a number that has been kept in one.
//!
//! To nearest, ties to even. The formats with infinities overflow to them; the eight-bit ones stop at
//! their largest number (Micikevicius et al., "FP8 Formats for Deep Learning", 2022, section 3.1,
//! saturating conversion).

use crate::hardware::Precision;
use crate::program::{Buffer, Format};
use crate::trace::MemoryUse;

/// What the narrow numbers of a program are rounded to.
///
/// Activations are rounded when they are written, whoever writes them (a reduction over ranks rounds its
/// sum once, where a ring of real devices rounds at every hop). Weights are stepped in `f32`, their master
/// copy, and rounded where they are multiplied with; gradients are summed in `f32` where the program has
/// four bytes for them (Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.1).
#[derive(Debug, Clone, Copy)]
pub(super) enum Narrow {
    /// Two bytes, in this format.
    Half(Format),
    /// One byte: E4M3 forward and E5M2 backward, each tensor scaled to its largest number (Micikevicius et
    /// al., "FP8 Formats for Deep Learning", 2022, section 3; NVIDIA's Transformer Engine calls it current
    /// scaling).
    Eight,
}

impl Narrow {
    pub(super) fn of(precision: Precision) -> Option<Self> {
        match precision {
            Precision::Bf16 => Some(Narrow::Half(Format::Bf16)),
            Precision::F16 => Some(Narrow::Half(Format::F16)),
            Precision::F8 => Some(Narrow::Eight),
            _ => None,
        }
    }

    /// Whether a buffer keeps its numbers in fewer than four bytes, and they are not stepped.
    pub(super) fn keeps(self, buffer: &Buffer) -> bool {
        let narrow = buffer.bytes.get() < 4 * buffer.elements;
        narrow
            && match buffer.usage {
                MemoryUse::Activations | MemoryUse::Gradients => true,
                MemoryUse::Parameters => buffer.slot.is_none(),
                MemoryUse::Optimizer | MemoryUse::Buffers => false,
            }
    }

    /// Whether a buffer holds weights that are stepped in `f32` and multiplied with in fewer bytes.
    pub(super) fn multiplies(self, buffer: &Buffer) -> bool {
        buffer.usage == MemoryUse::Parameters && buffer.bytes.get() < 4 * buffer.elements
    }

    /// Rounds a tensor.
    pub(super) fn round(self, numbers: &mut [f32], backward: bool) {
        match self {
            Narrow::Half(format) => numbers.iter_mut().for_each(|x| *x = format.round(*x)),
            Narrow::Eight => {
                let format = if backward { Format::E5M2 } else { Format::E4M3 };
                format.round_blocks(numbers, numbers.len().max(1));
            }
        }
    }
}

impl Format {
    /// The largest finite number.
    pub fn largest(self) -> f32 {
        match self {
            Format::I8 => 127.0,
            Format::E4M3 => 448.0,
            Format::E5M2 => 57_344.0,
            Format::F16 => 65_504.0,
            Format::Bf16 => f32::from_bits(0x7f7f_0000),
        }
    }

    /// The nearest number of the format.
    pub fn round(self, x: f32) -> f32 {
        match self {
            Format::I8 => x.round_ties_even().clamp(-127.0, 127.0),
            Format::Bf16 => bf16(x),
            Format::F16 => {
                let rounded = floating(x, 10, -14);
                // Half a unit beyond the largest is the first that is infinity.
                if rounded.abs() > 65_504.0 { f32::INFINITY.copysign(x) } else { rounded }
            }
            Format::E4M3 => floating(x, 3, -6).clamp(-448.0, 448.0),
            Format::E5M2 => floating(x, 2, -14).clamp(-57_344.0, 57_344.0),
        }
    }

    /// Rounds every number of each block of `block` numbers, scaled so that the block's largest is the
    /// format's. A block with a number that is not finite stays as it is, so that it is not lost.
    pub fn round_blocks(self, numbers: &mut [f32], block: usize) {
        for block in numbers.chunks_mut(block) {
            let largest = block.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
            if largest == 0.0 || !block.iter().all(|x| x.is_finite()) {
                continue;
            }
            let scale = largest / self.largest();
            if scale >= f32::MIN_POSITIVE {
                block.iter_mut().for_each(|x| *x = self.round(*x / scale) * scale);
            }
        }
    }
}

/// Rounds to `mantissa` bits behind the point and exponents from `least` up, gradually below.
fn floating(x: f32, mantissa: i32, least: i32) -> f32 {
    if !x.is_finite() || x == 0.0 {
        return x;
    }
    let exponent = ((x.to_bits() >> 23) & 0xff) as i32 - 127;
    // A power of two as f64, whose exponents reach far beyond.
    let unit = f64::from_bits(((exponent.max(least) - mantissa + 1023) as u64) << 52);
    ((f64::from(x) / unit).round_ties_even() * unit) as f32
}

fn bf16(x: f32) -> f32 {
    if x.is_nan() {
        return x;
    }
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    f32::from_bits(nearest & 0xffff_0000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the formats' own tables: smallest, largest, ties.
    #[test]
    fn numbers_of_the_formats_stay_and_others_go_to_the_nearest() {
        let cases = [
            (Format::E4M3, 448.0, 448.0),
            (Format::E4M3, 1e9, 448.0),
            (Format::E4M3, 0.001_953_125, 0.001_953_125),
            (Format::E4M3, 0.0009, 0.0),
            (Format::E4M3, 1.0625, 1.0),
            (Format::E4M3, 1.1875, 1.25),
            (Format::E5M2, 1.125, 1.0),
            (Format::E5M2, -1.375, -1.5),
            (Format::E5M2, 1e9, 57_344.0),
            (Format::F16, 65_519.0, 65_504.0),
            (Format::F16, 65_520.0, f32::INFINITY),
            (Format::F16, 5.960_464_5e-8, 5.960_464_5e-8),
            (Format::F16, 2.9e-8, 0.0),
            (Format::Bf16, 1.003_906_3, 1.0),
            (Format::Bf16, 3.4e38, f32::INFINITY),
            (Format::I8, 2.5, 2.0),
            (Format::I8, -300.0, -127.0),
        ];
        for (format, x, expected) in cases {
            assert_eq!(format.round(x), expected, "{format:?} of {x}");
        }
        assert_eq!(Format::Bf16.round(3.38e38), f32::from_bits(0x7f7e_0000));
        assert!(Format::ALL_FLOATING.iter().all(|format| format.round(f32::NAN).is_nan()));
    }

    #[test]
    fn rounding_twice_is_rounding_once_and_errs_by_half_a_unit() {
        use crate::numeric::support::draw;
        for format in Format::ALL_FLOATING {
            let digits = match format {
                Format::E5M2 => 2,
                Format::E4M3 => 3,
                Format::Bf16 => 7,
                _ => 10,
            };
            for x in draw::<f32>("rounding", 1000) {
                let once = format.round(x);
                assert_eq!(format.round(once), once);
                let unit = 2.0_f32.powi(x.abs().log2().floor().max(-6.0) as i32 - digits);
                assert!((once - x).abs() <= unit / 2.0, "{format:?} of {x}: {once}");
            }
        }
    }

    #[test]
    fn blocks_are_scaled_to_their_largest() {
        let mut numbers = [1.0, -0.5, 0.25, 1000.0, f32::NAN, 2.0];
        Format::I8.round_blocks(&mut numbers[..3], 3);
        assert_eq!(numbers[0], 1.0);
        assert!((numbers[1] + 0.5).abs() < 0.5 / 127.0);
        Format::I8.round_blocks(&mut numbers[3..], 3);
        assert_eq!(numbers[5], 2.0);
    }

    impl Format {
        const ALL_FLOATING: [Format; 4] = [Format::E4M3, Format::E5M2, Format::F16, Format::Bf16];
    }
}
