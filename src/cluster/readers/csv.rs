//! Tables of your own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cluster::job::WHOLE;
use crate::cluster::readers::rows::{Row, Table, kinds, plain};
use crate::cluster::readers::{Reading, TraceFormat};
use crate::cluster::{Demand, Machine};

/// `arrival`, `duration` (seconds) and `devices`; and, where there are such columns, `name`, `user`,
/// `estimate` (seconds), `share` (thousandths of one device), `cpu_milli`, `memory_mib`, `one_node` (0 or
/// 1), `kinds` (`a100|v100`, the best first) and `weight`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Csv {
    /// What the table calls a column, where it is not the name above.
    pub columns: BTreeMap<String, String>,
    /// Whether rows are sorted by arrival; otherwise they must be in order.
    pub sort: bool,
}

impl Csv {
    /// The columns that there can be.
    pub const COLUMNS: [&str; 12] = [
        "arrival",
        "duration",
        "devices",
        "name",
        "user",
        "estimate",
        "share",
        "cpu_milli",
        "memory_mib",
        "one_node",
        "kinds",
        "weight",
    ];

    fn name(&self, column: &'static str) -> &str {
        self.columns.get(column).map_or(column, String::as_str)
    }
}

impl TraceFormat for Csv {
    fn read(&self, text: &str, machine: &Machine) -> Reading {
        let name = |column: &'static str| self.name(column);
        let needs = [name("arrival"), name("duration"), name("devices")];
        let table = Table { delimiter: b',', names: None, needs: &needs, ordered: !self.sort };
        let mut reading = table.read(text, |fields| {
            let arrival = fields.number(name("arrival"), "a number of seconds")?;
            let work = fields.seconds(name("duration"))?;
            let devices = fields.devices(name("devices"))?;
            let called = fields.get(name("name")).unwrap_or_default().to_owned();
            let user = fields.get(name("user")).unwrap_or("everybody");
            let mut job = plain(called, user, devices, work, machine);
            if fields.get(name("estimate")).is_some() {
                job.estimate = fields.seconds(name("estimate"))?;
            }
            let whole = |column: &'static str, what: &str| match fields.get(name(column)) {
                Some(_) => fields.whole(name(column), what),
                None => Ok(0),
            };
            let share = match fields.get(name("share")) {
                Some(_) => fields.whole(name("share"), "thousandths of a device")?,
                None => u64::from(WHOLE),
            };
            if share == 0 || share > u64::from(WHOLE) || (devices != 1 && share != u64::from(WHOLE)) {
                return Err(format!(
                    "expected 1 to 1000 in `{}`, less than 1000 for one device only; found {share}",
                    name("share")
                ));
            }
            let (cpu_milli, memory_mib) =
                (whole("cpu_milli", "thousandths of a core")?, whole("memory_mib", "MiB")?);
            if devices == 0 && cpu_milli == 0 && memory_mib == 0 {
                return Err("expected a job that asks for something: no devices, no CPU and no memory".into());
            }
            let one_node = match whole("one_node", "0 or 1")? {
                0 => false,
                1 => true,
                other => return Err(format!("expected 0 or 1 in `{}`, found {other}", name("one_node"))),
            };
            job.demand = Demand { devices, share: share as u16, cpu_milli, memory_mib, one_node };
            if let Some(written) = fields.get(name("kinds")) {
                job.kinds = kinds(machine, written)?;
            }
            if fields.get(name("weight")).is_some() {
                job.weight = fields.number(name("weight"), "a positive weight")?;
                if job.weight <= 0.0 {
                    return Err(format!("expected a positive weight, found {}", job.weight));
                }
            }
            Ok(Some(Row { arrival, job }))
        });
        for (index, job) in reading.jobs.iter_mut().enumerate().filter(|(_, job)| job.name.is_empty()) {
            job.name = format!("job {index}");
        }
        reading
    }
}
