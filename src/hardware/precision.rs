//! In which format numbers are kept and multiplied.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::units::Bytes;

/// A number format, from wide to narrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Precision {
    /// IEEE 754 double precision.
    #[serde(rename = "f64", alias = "fp64")]
    F64,
    /// IEEE 754 single precision.
    #[serde(rename = "f32", alias = "fp32")]
    F32,
    /// Single precision in memory, 10 mantissa bits in the multiplier (NVIDIA's TensorFloat-32).
    #[serde(rename = "tf32")]
    Tf32,
    /// The upper half of single precision (8 exponent bits, 7 mantissa bits).
    #[serde(rename = "bf16", alias = "bfloat16")]
    Bf16,
    /// IEEE 754 half precision (5 exponent bits, 10 mantissa bits).
    #[serde(rename = "fp16", alias = "f16")]
    F16,
    /// 8-bit floating point, E4M3 or E5M2.
    #[serde(rename = "fp8", alias = "f8")]
    F8,
    /// 8-bit integers.
    #[serde(rename = "int8", alias = "i8")]
    I8,
    /// 4-bit integers.
    #[serde(rename = "int4", alias = "i4")]
    I4,
}

impl Precision {
    /// Every format, from wide to narrow.
    pub const ALL: [Precision; 8] = [
        Precision::F64,
        Precision::F32,
        Precision::Tf32,
        Precision::Bf16,
        Precision::F16,
        Precision::F8,
        Precision::I8,
        Precision::I4,
    ];

    /// Bits an element takes in memory. TF32 is kept as single precision.
    pub const fn bits(self) -> u64 {
        match self {
            Precision::F64 => 64,
            Precision::F32 | Precision::Tf32 => 32,
            Precision::Bf16 | Precision::F16 => 16,
            Precision::F8 | Precision::I8 => 8,
            Precision::I4 => 4,
        }
    }

    /// Bytes that `elements` of this format take, packed; rounds up.
    pub fn bytes_of(self, elements: u64) -> Bytes {
        Bytes((elements.checked_mul(self.bits()).expect("fewer than 2^64 bits")).div_ceil(8))
    }

    /// The name used in YAML and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Precision::F64 => "f64",
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
            Precision::F16 => "fp16",
            Precision::F8 => "fp8",
            Precision::I8 => "int8",
            Precision::I4 => "int4",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_take_their_bits_packed_and_rounded_up() {
        assert_eq!(Precision::Bf16.bytes_of(3), Bytes(6));
        assert_eq!(Precision::Tf32.bytes_of(3), Bytes(12));
        // Three nibbles need two bytes.
        assert_eq!(Precision::I4.bytes_of(3), Bytes(2));
    }

    #[test]
    fn names_are_read_with_their_aliases() {
        for precision in Precision::ALL {
            let text = serde_json::to_string(&precision).unwrap();
            assert_eq!(text, format!("\"{}\"", precision.name()));
            assert_eq!(serde_json::from_str::<Precision>(&text).unwrap(), precision);
        }
        assert_eq!(serde_json::from_str::<Precision>("\"f16\"").unwrap(), Precision::F16);
        assert_eq!(serde_json::from_str::<Precision>("\"fp32\"").unwrap(), Precision::F32);
    }
}
