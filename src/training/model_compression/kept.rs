//! The forms in which matrices of weights are kept: what they take on disk and in memory, and which kernels
//! multiply with them.

use crate::compute::{Kernel, Pass};
use crate::hardware::{DeviceSpec, Precision};
use crate::units::Bytes;

/// How a matrix of weights is kept; rows are inputs, along which products sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Every number.
    Whole,
    /// The numbers that are not nought, and a bit for each place.
    Places {
        /// How many numbers.
        numbers: u64,
    },
    /// At most `n` of every `m` numbers of a column, each with its place among them.
    Pattern {
        /// How many are kept …
        n: u32,
        /// … of so many.
        m: u32,
    },
    /// Eight-bit integers, a scale of four bytes for each column; inputs are made integers too.
    Integers8,
    /// Four-bit integers, a scale of two bytes for each group of a column; multiplied in the run's format.
    Integers4 {
        /// Numbers of a column that share a scale.
        group: u64,
    },
    /// Two thin matrices.
    Factors {
        /// The length that they share.
        rank: u64,
    },
}

/// Flops by which a four-bit integer becomes a number again: shift and mask, conversion, scale.
const UNPACK_FLOPS: u32 = 4;

impl Kept {
    /// How many numbers are left of a matrix.
    pub fn numbers(self, rows: u64, columns: u64) -> u64 {
        match self {
            Kept::Whole | Kept::Integers8 | Kept::Integers4 { .. } => rows * columns,
            Kept::Places { numbers } => numbers,
            Kept::Pattern { n, m } => {
                let (n, m) = (u64::from(n), u64::from(m));
                // Rows that do not fill a last group keep as many as there are, up to n.
                columns * (rows / m * n + (rows % m).min(n))
            }
            Kept::Factors { rank } => rank * (rows + columns),
        }
    }

    /// What a matrix takes where it is stored: its numbers with everything that is needed to read them.
    pub fn stored(self, rows: u64, columns: u64, precision: Precision) -> Bytes {
        let numbers = self.numbers(rows, columns);
        match self {
            Kept::Whole | Kept::Factors { .. } => precision.bytes_of(numbers),
            Kept::Places { .. } => precision.bytes_of(numbers) + Bytes((rows * columns).div_ceil(8)),
            Kept::Pattern { m, .. } => {
                let bits = u64::from(m.next_power_of_two().ilog2());
                precision.bytes_of(numbers) + Bytes((numbers * bits).div_ceil(8))
            }
            Kept::Integers8 => Bytes(numbers + 4 * columns),
            Kept::Integers4 { group } => Bytes(numbers.div_ceil(2) + 2 * columns * rows.div_ceil(group)),
        }
    }

    /// What it takes in the memory of a device that multiplies with it: dense kernels want every number.
    pub fn resident(self, rows: u64, columns: u64, precision: Precision, device: &DeviceSpec) -> Bytes {
        match self {
            Kept::Places { .. } => Kept::Whole.stored(rows, columns, precision),
            Kept::Pattern { .. } if !self.skips(rows, device) => Kept::Whole.stored(rows, columns, precision),
            _ => self.stored(rows, columns, precision),
        }
    }

    /// Whether a device's matrix engine leaves the noughts of the pattern out.
    fn skips(self, rows: u64, device: &DeviceSpec) -> bool {
        let Kept::Pattern { n, m } = self else { return false };
        rows.is_multiple_of(u64::from(m))
            && device.sparsity.is_some_and(|sparse| (sparse.n, sparse.m) == (n, m))
    }

    /// The kernels of a product y(m × columns) = x(m × rows)·W.
    pub fn kernels(
        self,
        (m, rows, columns): (u64, u64, u64),
        precision: Precision,
        device: &DeviceSpec,
    ) -> Vec<Kernel> {
        let gemm = |n, k, precision| Kernel::Gemm { batch: 1, m, n, k, precision, pass: Pass::Forward };
        let packed = |unpack, pattern| Kernel::PackedGemm {
            m,
            n: columns,
            k: rows,
            precision,
            weights: self.stored(rows, columns, precision),
            unpack,
            pattern,
        };
        match self {
            Kept::Pattern { n, m } if self.skips(rows, device) => vec![packed(0, Some((n, m)))],
            Kept::Whole | Kept::Places { .. } | Kept::Pattern { .. } => vec![gemm(columns, rows, precision)],
            Kept::Integers8 => {
                let inputs = Kernel::Quantise { elements: m * rows, from: precision, to: Precision::I8 };
                vec![inputs, gemm(columns, rows, Precision::I8)]
            }
            Kept::Integers4 { .. } => vec![packed(UNPACK_FLOPS, None)],
            Kept::Factors { rank } => vec![gemm(rank, rows, precision), gemm(columns, rank, precision)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A matrix of 128 × 12 in two bytes a number, each form counted by hand.
    #[test]
    fn bytes_are_those_of_numbers_places_and_scales() {
        let (rows, columns) = (128, 12);
        let cases = [
            (Kept::Whole, 1536, 3072),
            // 300 numbers and 1536 bits.
            (Kept::Places { numbers: 300 }, 300, 600 + 192),
            // Half the numbers with two bits each; a quarter of them with four bits each.
            (Kept::Pattern { n: 2, m: 4 }, 768, 1536 + 192),
            (Kept::Pattern { n: 4, m: 16 }, 384, 768 + 192),
            (Kept::Integers8, 1536, 1536 + 48),
            // Two groups a column; three where they do not come out even.
            (Kept::Integers4 { group: 64 }, 1536, 768 + 48),
            (Kept::Integers4 { group: 50 }, 1536, 768 + 72),
            (Kept::Factors { rank: 5 }, 700, 1400),
        ];
        for (kept, numbers, bytes) in cases {
            assert_eq!(kept.numbers(rows, columns), numbers, "{kept:?}");
            assert_eq!(kept.stored(rows, columns, Precision::Bf16), Bytes(bytes), "{kept:?}");
        }
    }

    /// Ten rows in groups of four: two groups of two numbers and two rows that are both kept.
    #[test]
    fn a_last_group_that_is_not_full_keeps_what_it_has() {
        assert_eq!(Kept::Pattern { n: 2, m: 4 }.numbers(10, 3), 3 * 6);
        assert_eq!(Kept::Pattern { n: 1, m: 4 }.numbers(10, 3), 3 * 3);
    }
}
