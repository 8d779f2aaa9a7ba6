//! Rows of a table, read one by one, each mistake with its line.

use std::ops::Range;

use crate::cluster::readers::Reading;
use crate::cluster::speed::Speed;
use crate::cluster::{Demand, Job, KindId, Machine};
use crate::units::{SimDuration, SimTime};

/// A row that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Its line, counted from 1.
    pub line: u64,
    /// Its bytes in the text.
    pub span: Range<usize>,
    /// What was expected, and what was found.
    pub why: String,
    /// Whether the whole text is of no use (its header is wrong): then leaving it out is no help.
    pub fatal: bool,
}

/// How a table is written, and what its rows must be.
pub(super) struct Table<'a> {
    /// What separates fields.
    pub delimiter: u8,
    /// The names of its columns, if it has no header.
    pub names: Option<&'a [&'a str]>,
    /// Columns that must be there.
    pub needs: &'a [&'a str],
    /// Whether rows must be in order of arrival; else they are sorted.
    pub ordered: bool,
}

/// What a row says: a job, with its arrival in seconds on the trace's own clock.
pub(super) struct Row {
    pub arrival: f64,
    pub job: Job,
}

/// The longest time that a run can last, in seconds.
const CLOCK: f64 = 213.0 * 86_400.0;

impl Table<'_> {
    /// Reads every row; `parse` says what it means, or what was expected instead.
    pub fn read(&self, text: &str, parse: impl Fn(&Fields) -> Result<Option<Row>, String>) -> Reading {
        let mut reading = Reading::default();
        let mut reader = ::csv::ReaderBuilder::new()
            .delimiter(self.delimiter)
            .has_headers(self.names.is_none())
            .quoting(self.delimiter == b',')
            .flexible(true)
            .from_reader(text.as_bytes());
        let names: Vec<String> = match self.names {
            Some(names) => names.iter().map(|name| (*name).to_owned()).collect(),
            None => match reader.headers() {
                Ok(header) => header.iter().map(|name| name.trim().to_owned()).collect(),
                Err(_) => Vec::new(),
            },
        };
        let missing: Vec<&str> =
            self.needs.iter().copied().filter(|need| !names.iter().any(|name| name == need)).collect();
        if !missing.is_empty() {
            let why = format!(
                "expected a header with the columns {}; {} not there",
                list(self.needs),
                are(&missing)
            );
            let span = 0..text.lines().next().unwrap_or_default().len();
            reading.bad.push(BadRow { line: 1, span, why, fatal: true });
            return reading;
        }
        let mut rows: Vec<Row> = Vec::new();
        let mut before: Option<(f64, u64)> = None;
        for record in reader.records() {
            let (position, parsed) = match &record {
                Ok(record) => {
                    let position = record.position().cloned().expect("a record that was read has a place");
                    let line = position.line();
                    let fields = Fields { names: &names, record };
                    (
                        position,
                        fields.check().and_then(|()| parse(&fields)).and_then(|row| match row {
                            Some(row) if self.ordered => in_order(row, line, &mut before).map(Some),
                            row => Ok(row),
                        }),
                    )
                }
                Err(why) => match why.position() {
                    Some(position) => (position.clone(), Err(format!("expected a row of text: {why}"))),
                    None => continue,
                },
            };
            match parsed {
                Ok(Some(row)) => rows.push(row),
                Ok(None) => {}
                Err(why) => {
                    let start = (position.byte() as usize).min(text.len());
                    // The reader's place may be at the end of the line before.
                    let start =
                        start + text[start..].len() - text[start..].trim_start_matches(['\r', '\n']).len();
                    let length = text[start..].lines().next().unwrap_or_default().len();
                    let line = text[..start].matches('\n').count() as u64 + 1;
                    reading.bad.push(BadRow { line, span: start..start + length, why, fatal: false });
                }
            }
        }
        reading.jobs = from_first_arrival(rows);
        reading
    }
}

fn in_order(row: Row, line: u64, before: &mut Option<(f64, u64)>) -> Result<Row, String> {
    match *before {
        Some((arrival, other)) if row.arrival < arrival => Err(format!(
            "expected rows in order of arrival: this one arrives at {}, but line {other} at {arrival}",
            row.arrival
        )),
        _ => {
            *before = Some((row.arrival, line));
            Ok(row)
        }
    }
}

/// Jobs in order of arrival, equals as they were written, counted from the first.
fn from_first_arrival(mut rows: Vec<Row>) -> Vec<Job> {
    rows.sort_by(|a, b| a.arrival.total_cmp(&b.arrival));
    let first = rows.first().map_or(0.0, |row| row.arrival);
    let from_first = |row: Row| {
        let arrival = SimTime::ZERO + SimDuration::from_seconds((row.arrival - first).min(CLOCK));
        Job { arrival, ..row.job }
    };
    rows.into_iter().map(from_first).collect()
}

/// The fields of a row, by the names of their columns.
pub(super) struct Fields<'a> {
    names: &'a [String],
    record: &'a ::csv::StringRecord,
}

impl Fields<'_> {
    fn check(&self) -> Result<(), String> {
        match self.record.len() {
            fields if fields == self.names.len() => Ok(()),
            fields => Err(format!("expected {} fields, found {fields}", self.names.len())),
        }
    }

    /// What stands in a column; nothing when it is empty or there is no such column.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.names.iter().position(|known| known == name)?;
        self.record.get(at).map(str::trim).filter(|field| !field.is_empty())
    }

    /// A text.
    pub fn text(&self, name: &str) -> Result<&str, String> {
        self.get(name).ok_or_else(|| format!("expected something in `{name}`, found nothing"))
    }

    /// A whole number of `what`.
    pub fn whole(&self, name: &str, what: &str) -> Result<u64, String> {
        let text = self.text(name)?;
        // Some traces write `1.0`.
        let whole = text.strip_suffix(".0").unwrap_or(text);
        whole.parse().map_err(|_| format!("expected a whole number of {what} in `{name}`, found `{text}`"))
    }

    /// A whole number of devices that fits.
    pub fn devices(&self, name: &str) -> Result<u32, String> {
        let devices = self.whole(name, "devices")?;
        u32::try_from(devices)
            .map_err(|_| format!("expected a number of devices in `{name}`, found {devices}"))
    }

    /// A number.
    pub fn number(&self, name: &str, what: &str) -> Result<f64, String> {
        let text = self.text(name)?;
        let number: Option<f64> = text.parse().ok().filter(|number: &f64| number.is_finite());
        number.ok_or_else(|| format!("expected {what} in `{name}`, found `{text}`"))
    }

    /// A length of time in seconds, longer than nothing.
    pub fn seconds(&self, name: &str) -> Result<SimDuration, String> {
        let seconds = self.number(name, "a number of seconds")?;
        length(seconds).map_err(|why| format!("{why} in `{name}`"))
    }
}

/// A length of time, longer than nothing and not beyond the clock.
pub(super) fn length(seconds: f64) -> Result<SimDuration, String> {
    if seconds > 0.0 && seconds < CLOCK {
        Ok(SimDuration::from_seconds(seconds))
    } else {
        Err(format!("expected more than 0 and less than {CLOCK} seconds (213 days), found {seconds}"))
    }
}

/// A job that asks for whole devices and works at the same speed everywhere.
pub(super) fn plain(name: String, user: &str, devices: u32, work: SimDuration, machine: &Machine) -> Job {
    Job {
        name,
        user: user.to_owned(),
        arrival: SimTime::ZERO,
        demand: Demand::devices(devices),
        work,
        estimate: work,
        kinds: machine.usual_kinds(),
        speed: Speed::Same,
        weight: 1.0,
    }
}

/// Kinds by name; a trace's `v100` is also a machine's `v100_sxm2`.
pub(super) fn kind(machine: &Machine, name: &str) -> Option<KindId> {
    let same = |known: &str| known.eq_ignore_ascii_case(name);
    let variant =
        |known: &str| known.get(..name.len()).is_some_and(same) && known[name.len()..].starts_with('_');
    let find = |fits: &dyn Fn(&str) -> bool| machine.kinds().find(|&kind| fits(machine.kind_name(kind)));
    find(&same).or_else(|| find(&variant))
}

/// Kinds written as `a|b`.
pub(super) fn kinds(machine: &Machine, written: &str) -> Result<Vec<KindId>, String> {
    let known = || machine.kinds().map(|kind| machine.kind_name(kind)).collect::<Vec<_>>().join(", ");
    let find = |name: &str| {
        kind(machine, name)
            .ok_or_else(|| format!("expected kinds of device among {}, found `{name}`", known()))
    };
    written.split('|').map(str::trim).filter(|name| !name.is_empty()).map(find).collect()
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn are(names: &[&str]) -> String {
    format!("{} {}", list(names), if names.len() == 1 { "is" } else { "are" })
}
