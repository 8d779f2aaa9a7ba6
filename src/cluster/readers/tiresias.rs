//! The simulator of Tiresias.
//!
//! Gu et al., "Tiresias: A GPU Cluster Manager for Distributed Deep Learning", NSDI 2019.

use serde::{Deserialize, Serialize};

use crate::cluster::Machine;
use crate::cluster::readers::rows::{Row, Table, plain};
use crate::cluster::readers::{Reading, TraceFormat};

/// `job_id,num_gpu,submit_time,iterations,model_name,duration,interval`, times in seconds. A job takes
/// its duration wherever it is placed; its model counts as its user.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tiresias {}

impl TraceFormat for Tiresias {
    fn read(&self, text: &str, machine: &Machine) -> Reading {
        let needs = &["job_id", "num_gpu", "submit_time", "duration", "model_name"];
        let table = Table { delimiter: b',', names: None, needs, ordered: true };
        table.read(text, |fields| {
            let arrival = fields.number("submit_time", "a number of seconds")?;
            let devices = fields.devices("num_gpu")?;
            if devices == 0 {
                return Err("expected at least 1 in `num_gpu`, found 0".into());
            }
            let model = fields.text("model_name")?;
            let name = format!("{} {model}", fields.text("job_id")?);
            let job = plain(name, model, devices, fields.seconds("duration")?, machine);
            Ok(Some(Row { arrival, job }))
        })
    }
}
