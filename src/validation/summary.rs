//! Measured against predicted, and what the errors amount to.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::compute::calibrate::median;
use crate::hardware::DeviceSpec;
use crate::hardware::naming::meant_by;

/// One measurement and what was predicted for it, both in the unit of the measured column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The row's identity in its table.
    pub id: String,
    /// What was measured.
    pub measured: f64,
    /// What was predicted without looking at it.
    pub predicted: f64,
    /// 100·(predicted / measured − 1).
    pub error_percent: f64,
    /// The device it ran on.
    #[serde(skip)]
    pub device: String,
    /// Where the measurement was published.
    #[serde(skip)]
    pub source: String,
}

impl Comparison {
    /// A row; its error is computed.
    pub fn new(id: &str, device: &str, source: &str, measured: f64, predicted: f64) -> Self {
        Comparison {
            id: id.to_owned(),
            measured,
            predicted,
            error_percent: 100.0 * (predicted / measured - 1.0),
            device: device.to_owned(),
            source: source.to_owned(),
        }
    }
}

/// Something that was assumed of a row because its table does not say it, or says it otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The row's identity.
    pub id: String,
    /// What was assumed.
    pub what: String,
}

/// A note where a device goes by another name than its own.
pub(super) fn taken_for(id: &str, name: &str, devices: &[DeviceSpec]) -> Option<Note> {
    let device = meant_by(devices, name).filter(|device| !device.is_called(name))?;
    Some(Note { id: id.to_owned(), what: format!("`{name}` is taken for {}", device.name) })
}

/// What the errors of many rows amount to, in percent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// All rows together.
    pub all: Group,
    /// By the device they ran on.
    pub by_device: BTreeMap<String, Group>,
    /// By where they were published.
    pub by_source: BTreeMap<String, Group>,
    /// The rows with the largest absolute errors, worst first.
    pub worst: Vec<Comparison>,
}

/// The errors of a group of rows, in percent of what was measured.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Group {
    /// Rows compared.
    pub rows: usize,
    /// Mean of the absolute errors.
    pub mean_absolute_percent: f64,
    /// Median of the absolute errors.
    pub median_absolute_percent: f64,
    /// Median of the signed errors: above zero where predictions are too high.
    pub bias_percent: f64,
}

/// How many of the worst rows a summary lists.
const WORST: usize = 10;

impl Summary {
    /// Of these rows.
    pub fn of(rows: &[Comparison]) -> Summary {
        let grouped = |key: fn(&Comparison) -> &str| {
            let mut groups: BTreeMap<String, Vec<&Comparison>> = BTreeMap::new();
            for row in rows {
                groups.entry(key(row).to_owned()).or_default().push(row);
            }
            groups.into_iter().map(|(name, rows)| (name, Group::of(rows))).collect()
        };
        let mut worst = rows.to_vec();
        worst.sort_by(|a, b| b.error_percent.abs().total_cmp(&a.error_percent.abs()).then(a.id.cmp(&b.id)));
        worst.truncate(WORST);
        Summary {
            all: Group::of(rows),
            by_device: grouped(|row| &row.device),
            by_source: grouped(|row| &row.source),
            worst,
        }
    }
}

impl Group {
    /// Of these rows; all zeros of none.
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a Comparison>) -> Group {
        let signed: Vec<f64> = rows.into_iter().map(|row| row.error_percent).collect();
        let absolute: Vec<f64> = signed.iter().map(|error| error.abs()).collect();
        Group {
            rows: signed.len(),
            mean_absolute_percent: absolute.iter().sum::<f64>() / absolute.len().max(1) as f64,
            median_absolute_percent: median(absolute),
            bias_percent: median(signed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, device: &str, measured: f64, predicted: f64) -> Comparison {
        Comparison::new(id, device, "a paper", measured, predicted)
    }

    /// Errors +10, −20, +30 and −40 %: absolute mean and median 25, signed median (−20 + 10) / 2.
    #[test]
    fn errors_are_summarised_by_hand() {
        let rows = [
            row("a", "x", 10.0, 11.0),
            row("b", "x", 10.0, 8.0),
            row("c", "y", 10.0, 13.0),
            row("d", "y", 10.0, 6.0),
        ];
        let summary = Summary::of(&rows);
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} is not {b}");
        near(summary.all.mean_absolute_percent, 25.0);
        near(summary.all.median_absolute_percent, 25.0);
        near(summary.all.bias_percent, -5.0);
        near(summary.by_device["x"].median_absolute_percent, 15.0);
        let worst: Vec<&str> = summary.worst.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(worst, ["d", "c", "b", "a"]);
        assert_eq!(Summary::of(&[]).all, Group::default());
    }
}
