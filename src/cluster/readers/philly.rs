//! Microsoft's Philly cluster.
//!
//! Jeon et al., "Analysis of Large-Scale Multi-Tenant GPU Clusters for DNN Training Workloads", USENIX
//! ATC 2019, as the tables `timestamp,duration,num_gpus,gpu_time,vc` that AdaptDL made of its logs.

use serde::{Deserialize, Serialize};

use crate::cluster::Machine;
use crate::cluster::readers::rows::{Row, Table, plain};
use crate::cluster::readers::{Reading, TraceFormat};

/// `timestamp` (`2017-10-09 07:01:55`), `duration` in seconds, `num_gpus`; and where they are given
/// `gpu_time` (duration × GPUs, which is checked) and the virtual cluster as `vc` or `cluster`, which
/// counts as the user.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Philly {
    /// Whether rows must be in order of arrival. The published sample's are not; it is sorted.
    pub ordered: bool,
}

impl TraceFormat for Philly {
    fn read(&self, text: &str, machine: &Machine) -> Reading {
        let needs = &["timestamp", "duration", "num_gpus"];
        let table = Table { delimiter: b',', names: None, needs, ordered: self.ordered };
        let mut reading = table.read(text, |fields| {
            let arrival = moment(fields.text("timestamp")?)?;
            let work = fields.seconds("duration")?;
            let devices = fields.devices("num_gpus")?;
            if devices == 0 {
                return Err("expected at least 1 in `num_gpus`, found 0".into());
            }
            if fields.get("gpu_time").is_some() {
                let given = fields.number("gpu_time", "a number of seconds")?;
                let product = work.seconds() * f64::from(devices);
                // Published with one decimal.
                if (given - product).abs() > 0.1 * f64::from(devices) {
                    return Err(format!(
                        "expected `duration` × `num_gpus` = {product} in `gpu_time`, found {given}"
                    ));
                }
            }
            let user = fields.get("vc").or(fields.get("cluster")).unwrap_or("everybody");
            Ok(Some(Row { arrival: arrival as f64, job: plain(String::new(), user, devices, work, machine) }))
        });
        for (index, job) in reading.jobs.iter_mut().enumerate() {
            job.name = format!("job {index}");
        }
        reading
    }
}

/// Seconds from 1970 until a moment written as `2017-10-09 07:01:55`.
fn moment(text: &str) -> Result<i64, String> {
    let wrong = || format!("expected a moment like `2017-10-09 07:01:55` in `timestamp`, found `{text}`");
    let (date, time) = text.split_once([' ', 'T']).ok_or_else(wrong)?;
    let three = |text: &str, separator: char| -> Option<[i64; 3]> {
        let parts: Vec<i64> = text.split(separator).map(|part| part.parse().ok()).collect::<Option<_>>()?;
        parts.try_into().ok()
    };
    let [year, month, day] = three(date, '-').ok_or_else(wrong)?;
    let [hour, minute, second] = three(time, ':').ok_or_else(wrong)?;
    let fits = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !fits {
        return Err(wrong());
    }
    let before: i64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let days = before + (1..month).map(|month| days_of(year, month)).sum::<i64>() + day - 1;
    Ok(((days * 24 + hour) * 60 + minute) * 60 + second)
}

fn leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2000-03-01 is day 11,017: thirty years of 365 days, seven leap days, and 60 days of a leap year.
    #[test]
    fn moments_are_counted_from_1970() {
        assert_eq!(moment("1970-01-01 00:00:01"), Ok(1));
        assert_eq!(moment("2000-03-01 00:00:00"), Ok((30 * 365 + 7 + 60) * 86_400));
        assert!(moment("2017-02-29 00:00:00").is_err() && moment("yesterday").is_err());
    }
}
