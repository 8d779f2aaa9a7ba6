//! Azure's traces of LLM inference: `TIMESTAMP,ContextTokens,GeneratedTokens`.
//!
//! Patel et al., "Splitwise: Efficient Generative LLM Inference Using Phase Splitting", ISCA 2024;
//! github.com/Azure/AzurePublicDataset, `AzureLLMInferenceDataset2023.md`.

use crate::serving::readers::{BadRow, Line, Reading, Row, lines, read, tokens};
use crate::units::PICOS_PER_SECOND;

const COLUMNS: [&str; 3] = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"];

/// The requests of a trace.
pub fn azure(text: &str) -> Reading {
    let mut rows = lines(text);
    let header = rows.next();
    let names = |(_, header): &(Line, &str)| header.split(',').map(str::trim).eq(COLUMNS);
    if !header.as_ref().is_some_and(names) {
        let line = header.map_or(Line { number: 1, span: 0..0 }, |(line, _)| line);
        let why = format!("expected the header `{}`", COLUMNS.join(","));
        return Reading { requests: Vec::new(), bad: vec![BadRow { line, why, fatal: true }] };
    }
    read(rows, |row| {
        let fields: Vec<&str> = row.split(',').collect();
        let [at, prompt, output] = fields[..] else {
            return Err(format!("expected 3 fields, found {}", fields.len()));
        };
        let at = moment(at.trim()).ok_or_else(|| {
            format!(
                "expected a time such as 2023-11-16 18:15:46.6805900 in `TIMESTAMP`, found `{}`",
                at.trim()
            )
        })?;
        Ok(Row { at, prompt: tokens(COLUMNS[1], prompt)?, output: tokens(COLUMNS[2], output)? })
    })
}

/// Picoseconds since year 0, of `2023-11-16 18:15:46.6805900`; the fraction may be missing.
fn moment(written: &str) -> Option<u128> {
    let (date, time) = written.split_once([' ', 'T'])?;
    let numbers = |text: &str, by: char| -> Option<[u64; 3]> {
        let all: Option<Vec<u64>> = text.split(by).map(|part| part.parse().ok()).collect();
        all?.try_into().ok()
    };
    let [year, month, day] = numbers(date, '-')?;
    let (whole, fraction) = time.split_once('.').unwrap_or((time, ""));
    let [hour, minute, second] = numbers(whole, ':')?;
    let real = (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !real || hour > 23 || minute > 59 || second > 60 || fraction.len() > 12 {
        return None;
    }
    let picos: u64 = if fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        format!("{fraction:0<12}").parse().ok()?
    } else {
        return None;
    };
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(u128::from(seconds) * u128::from(PICOS_PER_SECOND) + u128::from(picos))
}

/// Days of the Gregorian calendar since 1 March of year 0: years that begin in March have their leap day
/// last, and months of 153 days in five.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1
}
