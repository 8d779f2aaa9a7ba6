//! Alibaba's GPU-sharing cluster, "openb".
//!
//! Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient
//! Descent", USENIX ATC 2023: a list of nodes and lists of pods.

use serde::{Deserialize, Serialize};

use crate::cluster::job::WHOLE;
use crate::cluster::machine::Host;
use crate::cluster::readers::rows::{Row, Table, kinds, length, plain};
use crate::cluster::readers::{BadRow, Reading, TraceFormat};
use crate::cluster::{Demand, Machine};

/// Pods: `name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,…,creation_time,deletion_time,
/// scheduled_time`, times in seconds.
///
/// A pod arrives when it was created and takes as long as it was scheduled; it needs one node; one GPU
/// may be shared in thousandths. Pods that were never scheduled have no length and are left out. The
/// quality-of-service class counts as the user.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Openb {}

impl TraceFormat for Openb {
    fn read(&self, text: &str, machine: &Machine) -> Reading {
        let needs = &[
            "name",
            "cpu_milli",
            "memory_mib",
            "num_gpu",
            "gpu_milli",
            "gpu_spec",
            "qos",
            "creation_time",
            "deletion_time",
            "scheduled_time",
        ];
        let table = Table { delimiter: b',', names: None, needs, ordered: true };
        let left_out = std::cell::Cell::new(0_u32);
        let mut reading = table.read(text, |fields| {
            let arrival = fields.number("creation_time", "a number of seconds")?;
            if fields.get("scheduled_time").is_none() {
                left_out.set(left_out.get() + 1);
                return Ok(None);
            }
            let start = fields.number("scheduled_time", "a number of seconds")?;
            let end = fields.number("deletion_time", "a number of seconds")?;
            let work = length(end - start).map_err(|why| format!("{why} between `scheduled_time` and `deletion_time`"))?;
            let devices = fields.devices("num_gpu")?;
            let milli = fields.whole("gpu_milli", "thousandths of a GPU")?;
            let share = match (devices, milli) {
                (0, 0) => WHOLE,
                (1, 1..=1000) => milli as u16,
                (2.., 1000) => WHOLE,
                _ => return Err(format!("expected `gpu_milli` from 1 to 1000 for one GPU, 1000 for several and 0 for none, found {milli}")),
            };
            let mut job = plain(fields.text("name")?.to_owned(), fields.get("qos").unwrap_or("none"), devices, work, machine);
            job.demand = Demand {
                devices,
                share,
                cpu_milli: fields.whole("cpu_milli", "thousandths of a core")?,
                memory_mib: fields.whole("memory_mib", "MiB")?,
                one_node: true,
            };
            if let Some(spec) = fields.get("gpu_spec") {
                job.kinds = kinds(machine, spec)?;
            }
            Ok(Some(Row { arrival, job }))
        });
        if left_out.get() > 0 {
            reading
                .notes
                .push(format!("{} pods were never scheduled and have no length: left out", left_out.get()));
        }
        reading
    }
}

/// Nodes: `sn,cpu_milli,memory_mib,gpu,model`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpenbNodes {}

impl OpenbNodes {
    /// The machine that a list of nodes describes.
    ///
    /// # Errors
    /// Every row that could not be used.
    pub fn read(&self, name: &str, text: &str) -> Result<Machine, Vec<BadRow>> {
        let needs = &["sn", "cpu_milli", "memory_mib", "gpu", "model"];
        let table = Table { delimiter: b',', names: None, needs, ordered: false };
        let machine = std::cell::RefCell::new(Machine::new(name));
        let reading = table.read(text, |fields| {
            let host = Host {
                cpu_milli: fields.whole("cpu_milli", "thousandths of a core")?,
                memory_mib: fields.whole("memory_mib", "MiB")?,
            };
            let (node, model) = (fields.text("sn")?.to_owned(), fields.text("model")?);
            machine.borrow_mut().add_node(node, model, fields.devices("gpu")?, host);
            Ok(None)
        });
        if reading.bad.is_empty() { Ok(machine.into_inner()) } else { Err(reading.bad) }
    }
}
