//! Cells of tables as people write them.
//!
//! A cell that is empty or says that it is unknown is nothing; numbers may be written `8`, `8.0` or `1e6`;
//! words count whatever their case and the signs between them. What remains is an error that names the cell.

use serde::de::{Deserializer, Error};
use serde::{Deserialize, de};

use crate::hardware::Precision;

/// What a table says where it does not know.
const UNKNOWN: [&str; 9] = ["", "-", "?", "na", "n/a", "nan", "none", "null", "unknown"];

/// A word without its case and the signs in it: `All-Reduce` is `allreduce`.
pub(super) fn plain(word: &str) -> String {
    word.chars().filter(char::is_ascii_alphanumeric).map(|sign| sign.to_ascii_lowercase()).collect()
}

/// A whole number; nothing where it is unknown.
pub(super) fn whole<'de, D, N>(from: D) -> Result<Option<N>, D::Error>
where
    D: Deserializer<'de>,
    N: TryFrom<u64>,
{
    let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
    let text = text.trim();
    if UNKNOWN.contains(&text.to_lowercase().as_str()) {
        return Ok(None);
    }
    let digits = text.replace([',', '_', ' '], "");
    let number: Option<u64> = digits.parse().ok().or_else(|| {
        let number: f64 = digits.parse().ok()?;
        (number >= 0.0 && number.fract() == 0.0 && number < 2.0_f64.powi(63)).then_some(number as u64)
    });
    let number = number.and_then(|number| N::try_from(number).ok());
    number.map(Some).ok_or_else(|| de::Error::custom(format!("`{text}` is not a whole number")))
}

/// A whole number that may not be unknown.
pub(super) fn needed<'de, D, N>(from: D) -> Result<N, D::Error>
where
    D: Deserializer<'de>,
    N: TryFrom<u64>,
{
    whole(from)?.ok_or_else(|| Error::custom("a number is missing"))
}

/// Yes or no; nothing where it is unknown.
pub(super) fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
    match text.trim().to_lowercase().as_str() {
        "true" | "yes" | "y" | "1" | "1.0" | "on" => Ok(Some(true)),
        "false" | "no" | "n" | "0" | "0.0" | "off" => Ok(Some(false)),
        text if UNKNOWN.contains(&text) => Ok(None),
        other => Err(Error::custom(format!("`{other}` is neither true nor false"))),
    }
}

/// The number format that a word names.
pub(super) fn precision(word: &str) -> Option<Precision> {
    let word = plain(word);
    let word =
        ["amp", "torch", "cuda"].iter().fold(word.as_str(), |word, idle| word.trim_start_matches(idle));
    Some(match word {
        "f64" | "fp64" | "float64" | "double" => Precision::F64,
        "f32" | "fp32" | "float32" | "float" | "single" => Precision::F32,
        "tf32" | "tensorfloat32" => Precision::Tf32,
        "bf16" | "bfloat16" | "mixed" | "mixedbf16" | "bf16mixed" => Precision::Bf16,
        "f16" | "fp16" | "float16" | "half" | "mixedfp16" | "fp16mixed" => Precision::F16,
        word if word.starts_with("fp8") || word.starts_with("f8") || word.starts_with("float8") => {
            Precision::F8
        }
        "e4m3" | "e5m2" | "e4m3fn" => Precision::F8,
        word if word.starts_with("int8") || word == "i8" || word == "w8a8" => Precision::I8,
        word if word.starts_with("int4") || word == "i4" => Precision::I4,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Cells {
        #[serde(default, deserialize_with = "whole")]
        number: Option<u32>,
        #[serde(default, deserialize_with = "flag")]
        flag: Option<bool>,
    }

    fn read(text: &str) -> Result<Cells, String> {
        let text = format!("number,flag\n{text}\n");
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        reader.deserialize().next().unwrap().map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_and_flags_are_read_as_people_write_them() {
        let cells = |number, flag| Ok(Cells { number, flag });
        assert_eq!(read("8.0,True"), cells(Some(8), Some(true)));
        assert_eq!(read("1e3,no"), cells(Some(1000), Some(false)));
        assert_eq!(read("\"51,200\",1"), cells(Some(51_200), Some(true)));
        assert_eq!(read(",unknown"), cells(None, None));
        assert_eq!(read("N/A,"), cells(None, None));
        assert!(read("8.5,").unwrap_err().contains("`8.5`"));
        assert!(read("8,perhaps").unwrap_err().contains("`perhaps`"));
    }

    #[test]
    fn formats_have_many_names() {
        for (word, format) in [
            ("FP16", Precision::F16),
            ("float32", Precision::F32),
            ("amp_bf16", Precision::Bf16),
            ("torch.bfloat16", Precision::Bf16),
            ("fp8_block", Precision::F8),
            ("TF32", Precision::Tf32),
            ("INT8", Precision::I8),
        ] {
            assert_eq!(precision(word), Some(format), "{word}");
        }
        assert_eq!(precision("bf17"), None);
    }
}
