//! Mooncake's traces: a JSON object a line with `timestamp` (ms), `input_length`, `output_length`.
//!
//! Qin et al., "Mooncake: A KVCache-centric Disaggregated Architecture for LLM Serving", FAST 2025.
//! `hash_ids` name blocks that requests share; caches here share nothing, and they are not used.

use serde::Deserialize;

use crate::serving::readers::{Reading, Row, lines, read};

#[derive(Deserialize)]
struct Entry {
    timestamp: f64,
    input_length: u32,
    output_length: u32,
}

/// The requests of a trace.
pub fn mooncake(text: &str) -> Reading {
    read(lines(text), |row| {
        let entry: Entry = serde_json::from_str(row).map_err(|why| {
            format!("expected an object with `timestamp` (ms), `input_length` and `output_length`: {why}")
        })?;
        let Entry { timestamp, input_length: prompt, output_length: output } = entry;
        if prompt == 0 || output == 0 {
            return Err("expected at least 1 token in `input_length` and `output_length`".into());
        }
        if !(0.0..1e15).contains(&timestamp) {
            return Err(format!("expected a number of milliseconds in `timestamp`, found {timestamp}"));
        }
        // Whole picoseconds, exact for whole milliseconds.
        let whole = timestamp.trunc();
        let at = whole as u128 * 1_000_000_000 + ((timestamp - whole) * 1e9).round() as u128;
        Ok(Row { at, prompt, output })
    })
}
