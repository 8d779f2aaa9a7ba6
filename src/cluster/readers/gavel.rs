//! Gavel's traces of jobs, with measured throughputs.
//!
//! Narayanan et al., "Heterogeneity-Aware Cluster Scheduling Policies for Deep Learning Workloads",
//! OSDI 2020: one job a line, fields separated by tabs, without a header; and a table of throughputs in
//! steps a second by kind of device, job type and number of devices.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cluster::readers::rows::{Row, Table, kind, length, plain};
use crate::cluster::readers::{Reading, TraceFormat};
use crate::cluster::speed::{Speed, SpeedTable};
use crate::cluster::{KindId, Machine};
use crate::ids::IdVec;

/// Jobs with the table that says how fast they are.
///
/// A job's work is its steps at the throughput of the fastest kind that the machine has, with its gang
/// in one node; `…_unconsolidated` kinds are the same gangs spread over nodes. The job type counts as
/// the user. A job type that was measured on no kind of the machine is a bad row.
#[derive(Debug, Clone)]
pub struct Gavel {
    /// How fast jobs are.
    pub throughputs: Throughputs,
}

/// Steps a second, alone on a gang, by kind and by (job type, number of devices).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Throughputs(BTreeMap<String, BTreeMap<(String, u32), f64>>);

impl Throughputs {
    /// Reads a table of throughputs (JSON). What it says of jobs that share a device is left aside.
    ///
    /// # Errors
    /// What was expected, and where.
    pub fn read(text: &str) -> Result<Self, String> {
        let table: BTreeMap<String, BTreeMap<String, BTreeMap<String, serde_json::Value>>> =
            serde_json::from_str(text).map_err(|why| {
                format!(
                    "expected {{kind: {{\"('job type', devices)\": {{\"null\": steps a second}}}}}}: {why}"
                )
            })?;
        let mut all = BTreeMap::new();
        for (kind, rows) in table {
            let mut of_kind = BTreeMap::new();
            for (written, cells) in rows {
                let wrong = |what: &str| format!("expected {what} in `{kind}`, at `{written}`");
                let key =
                    job_type(&written).ok_or_else(|| wrong("a key like ('ResNet-50 (batch size 64)', 4)"))?;
                let alone = cells.get("null").and_then(serde_json::Value::as_f64).filter(|rate| *rate >= 0.0);
                of_kind.insert(key, alone.ok_or_else(|| wrong("a number of steps a second under \"null\""))?);
            }
            all.insert(kind, of_kind);
        }
        Ok(Throughputs(all))
    }

    fn of(&self, kind: &str, job_type: &str, devices: u32) -> Option<f64> {
        self.0.get(kind)?.get(&(job_type.to_owned(), devices)).copied()
    }

    /// Steps a second of a job on each kind of a machine, in one node and spread; nothing where it was
    /// measured on none.
    fn on(&self, machine: &Machine, job_type: &str, devices: u32) -> Option<SpeedTable> {
        let mut together: IdVec<KindId, f64> = machine.kinds().map(|_| 0.0).collect();
        let mut apart = together.clone();
        for name in self.0.keys().filter(|name| !name.ends_with(APART)) {
            let Some(kind) = kind(machine, name) else { continue };
            together[kind] = self.of(name, job_type, devices).unwrap_or(0.0);
            apart[kind] = self.of(&format!("{name}{APART}"), job_type, devices).unwrap_or(together[kind]);
        }
        together.iter().any(|&rate| rate > 0.0).then_some(SpeedTable { together, apart })
    }
}

const APART: &str = "_unconsolidated";

/// `('ResNet-50 (batch size 64)', 4)`.
fn job_type(written: &str) -> Option<(String, u32)> {
    let inner = written.strip_prefix("('")?.strip_suffix(')')?;
    let (name, devices) = inner.rsplit_once("', ")?;
    Some((name.to_owned(), devices.parse().ok()?))
}

const COLUMNS: &[&str] = &[
    "job_type",
    "command",
    "working_directory",
    "num_steps_arg",
    "needs_data_dir",
    "total_steps",
    "scale_factor",
    "priority_weight",
    "slo",
    "arrival_time",
];

impl TraceFormat for Gavel {
    fn read(&self, text: &str, machine: &Machine) -> Reading {
        let table = Table { delimiter: b'\t', names: Some(COLUMNS), needs: &[], ordered: true };
        table.read(text, |fields| {
            let arrival = fields.number("arrival_time", "a number of seconds")?;
            let devices = fields.devices("scale_factor")?;
            let steps = fields.number("total_steps", "a number of steps")?;
            let job_type = fields.text("job_type")?;
            let weight = fields.number("priority_weight", "a positive weight")?;
            if weight <= 0.0 {
                return Err(format!("expected a positive weight in `priority_weight`, found {weight}"));
            }
            let mut table = self.throughputs.on(machine, job_type, devices).ok_or_else(|| {
                format!("expected a job type that was measured with {devices} devices on a kind of the machine, found `{job_type}`")
            })?;
            let fastest = table.together.iter().copied().fold(0.0, f64::max);
            let work = length(steps / fastest)?;
            for speed in table.together.iter_mut().chain(table.apart.iter_mut()) {
                *speed /= fastest;
            }
            let mut job = plain(job_type.to_owned(), job_type, devices, work, machine);
            // The fastest kind first.
            job.kinds.retain(|&kind| table.together[kind] > 0.0);
            job.kinds.sort_by(|&a, &b| table.together[b].total_cmp(&table.together[a]).then(a.cmp(&b)));
            job.speed = Speed::Table(Arc::new(table));
            job.weight = weight;
            Ok(Some(Row { arrival, job }))
        })
    }
}
