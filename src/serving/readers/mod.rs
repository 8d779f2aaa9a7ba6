//! Where requests come from: published traces.
//!
//! Rows that cannot be used are gathered, each with its line and what was expected there; whoever called
//! decides whether that is the end or whether they are counted and left out. Rows stand in order of
//! arrival; time zero is the first. A reader knows no files: it is handed texts.

mod azure;
mod mooncake;

pub use azure::azure;
pub use mooncake::mooncake;

use std::ops::Range;

use crate::serving::Request;
use crate::units::SimTime;

/// A row that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Its line.
    pub line: Line,
    /// What was expected, and what was found.
    pub why: String,
    /// Whether the whole text is of no use (its header is wrong): then leaving it out is no help.
    pub fatal: bool,
}

/// A line of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Counted from 1.
    pub number: u64,
    /// Its bytes in the text.
    pub span: Range<usize>,
}

/// What came of reading a trace.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// The requests, in order of arrival, each with its line.
    pub requests: Vec<(Request, Line)>,
    /// Rows that could not be used.
    pub bad: Vec<BadRow>,
}

/// What a row says: when, in picoseconds on the trace's own clock, and how many tokens.
struct Row {
    at: u128,
    prompt: u32,
    output: u32,
}

/// The lines of a text that are not empty.
fn lines(text: &str) -> impl Iterator<Item = (Line, &str)> {
    let mut end = 0;
    let line = move |(index, whole): (usize, &'_ str)| {
        let start = end;
        end += whole.len();
        let span = start..start + whole.trim_end_matches(['\n', '\r']).len();
        (Line { number: index as u64 + 1, span: span.clone() }, &text[span])
    };
    text.split_inclusive('\n').enumerate().map(line).filter(|(_, line)| !line.trim().is_empty())
}

/// Reads rows, each by `parse`, in order of arrival.
fn read<'a>(
    rows: impl Iterator<Item = (Line, &'a str)>,
    parse: impl Fn(&str) -> Result<Row, String>,
) -> Reading {
    let mut reading = Reading::default();
    let mut first = None;
    let mut before: Option<(u128, u64)> = None;
    for (line, text) in rows {
        let ordered = |row: Row| match before {
            Some((at, other)) if row.at < at => {
                Err(format!("expected rows in order of arrival; this one is earlier than line {other}"))
            }
            _ => Ok(row),
        };
        match parse(text).and_then(ordered).and_then(|row| moment(&row, first).map(|at| (row, at))) {
            Ok((Row { at, prompt, output }, arrival)) => {
                before = Some((at, line.number));
                first.get_or_insert(at);
                reading.requests.push((Request { arrival, prompt, output }, line));
            }
            Err(why) => reading.bad.push(BadRow { line, why, fatal: false }),
        }
    }
    reading
}

fn moment(row: &Row, first: Option<u128>) -> Result<SimTime, String> {
    let since = row.at - first.unwrap_or(row.at);
    // Half of the clock is left for the run.
    match u64::try_from(since) {
        Ok(picos) if picos < u64::MAX / 2 => Ok(SimTime::from_picos(picos)),
        _ => Err("expected an arrival within 106 days of the first".into()),
    }
}

/// A number of tokens, at least 1.
fn tokens(name: &str, written: &str) -> Result<u32, String> {
    match written.trim().parse() {
        Ok(tokens @ 1..) => Ok(tokens),
        _ => Err(format!(
            "expected a whole number of tokens from 1 on in `{name}`, found `{}`",
            written.trim()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(reading: &Reading) -> Vec<(u64, u32, u32)> {
        let row = |(request, _): &(Request, Line)| {
            (request.arrival.picos() / 100_000, request.prompt, request.output)
        };
        reading.requests.iter().map(row).collect()
    }

    /// Over midnight, in tenths of microseconds: 0.5 s − 0.0000001 s.
    #[test]
    fn azure_rows_are_read() {
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-12-31 23:59:59.7500000,374,44\r\n\
                    2024-01-01 00:00:00.2499999,396,109\n";
        let reading = azure(text);
        assert_eq!(rows(&reading), [(0, 374, 44), (4_999_999, 396, 109)]);
        assert!(reading.bad.is_empty());
    }

    #[test]
    fn bad_rows_are_told_with_their_lines() {
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:00:01,1,1\nyesterday,1,1\n\
                    2023-11-16 18:00:00,1,1\n2023-11-16 18:00:02,0,1\n2023-11-16 18:00:02,1\n";
        let reading = azure(text);
        assert_eq!(reading.bad.iter().map(|bad| bad.line.number).collect::<Vec<_>>(), [3, 4, 5, 6]);
        assert_eq!(&text[reading.bad[0].line.span.clone()], "yesterday,1,1");
        assert!(reading.bad[1].why.contains("line 2"), "{}", reading.bad[1].why);
        assert!(azure("a,b\n").bad[0].fatal);
    }

    #[test]
    fn mooncake_rows_are_read() {
        let text = "{\"timestamp\": 27000, \"input_length\": 6758, \"output_length\": 500, \"hash_ids\": [0]}\n\
                    {\"timestamp\": 27001.5, \"input_length\": 1, \"output_length\": 2}\n{\"timestamp\": 3}\n";
        let reading = mooncake(text);
        assert_eq!(rows(&reading), [(0, 6758, 500), (15_000, 1, 2)]);
        assert_eq!(reading.bad.len(), 1);
    }
}
