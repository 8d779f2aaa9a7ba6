//! Measured collectives, read from a table, and what the plans of a collective algorithm say of them.
//!
//! A table is CSV with a header. Of its columns
//! - `device`, `collective`, `devices`, `bytes` and `time_us` are needed; `id` and `source` say which row
//!   it is and where it was published;
//! - `bytes` is the whole buffer as nccl-tests counts it (all-gather: what is gathered);
//! - `nodes` is 1 where it is empty. Rows of several nodes are skipped: the table does not say by which
//!   network they are joined.
//!
//! The devices of a row stand on one switch, each joined to it by all its ports to peers, as in an HGX
//! board. Empty cells are unknown, further columns are not looked at.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::collective::{AlgorithmSpec, Collective, CollectiveKind, timing};
use crate::hardware::{DeviceSpec, LinkSpec, Topology};
use crate::ids::{DeviceId, Id};
use crate::network::{NetworkSpec, links_of};
use crate::units::{Bytes, SimDuration};
use crate::validation::kernels::Skipped;
use crate::validation::{Comparison, Group, Summary};

/// The number of devices whose rows no fit sees: groups of another size and everything about them.
pub const HELD_OUT_DEVICES: u32 = 4;

/// From this size on a collective counts as large: time is bytes rather than steps.
pub const LARGE: Bytes = Bytes(16 << 20);

/// From an accelerator to the switch or back (unverified; the protocols' steps are fitted on top).
const PORT_LATENCY: SimDuration = SimDuration::from_nanos(250);

/// A row of a table of measured collectives.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CollectiveRow {
    /// Its identity; the line number if the table gives none.
    #[serde(default)]
    pub id: String,
    /// Where it was published.
    #[serde(default)]
    pub source: String,
    /// The device's name or an alias of it.
    pub device: String,
    /// How many nodes they stand in.
    #[serde(default)]
    pub nodes: Option<u32>,
    /// How many devices took part.
    pub devices: u32,
    /// `all-reduce`, `all-gather` and so on.
    pub collective: String,
    /// The whole buffer.
    pub bytes: u64,
    /// What was measured, in microseconds.
    pub time_us: f64,
}

/// A table with what was predicted for it.
#[derive(Debug, Clone, Serialize)]
pub struct CollectiveReport {
    /// Measured and predicted microseconds.
    pub rows: Vec<Comparison>,
    /// What the errors amount to.
    pub summary: Summary,
    /// The errors of large messages, by `seen` and `held_out`, and of small ones.
    pub by_size: BTreeMap<String, Group>,
    /// Rows that could not be predicted, and why.
    pub skipped: Vec<Skipped>,
}

/// Reads a table; the error names the line and what is wrong with it.
pub fn read(text: &str) -> Result<Vec<CollectiveRow>, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let mut rows = Vec::new();
    for (index, row) in reader.deserialize::<CollectiveRow>().enumerate() {
        let mut row = row.map_err(|error| error.to_string())?;
        if !(row.time_us > 0.0 && row.time_us.is_finite()) {
            return Err(format!("line {}: `time_us` is {}, not a length of time", index + 2, row.time_us));
        }
        if row.id.is_empty() {
            row.id = format!("line {}", index + 2);
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Predicts every row of a table on its device.
pub fn predict(
    rows: &[CollectiveRow],
    devices: &[DeviceSpec],
    algorithm: &AlgorithmSpec,
) -> CollectiveReport {
    let mut compared = Vec::new();
    let mut skipped = Vec::new();
    let mut sizes: BTreeMap<String, Vec<Comparison>> = BTreeMap::new();
    let mut boards: BTreeMap<(String, u32), Arc<Topology>> = BTreeMap::new();
    for row in rows {
        match row.predict(devices, algorithm, &mut boards) {
            Ok(predicted) => {
                let row_compared = Comparison::new(&row.id, &row.device, &row.source, row.time_us, predicted);
                sizes.entry(row.class()).or_default().push(row_compared.clone());
                compared.push(row_compared);
            }
            Err(why) => skipped.push(Skipped { id: row.id.clone(), why }),
        }
    }
    let summary = Summary::of(&compared);
    let by_size = sizes.into_iter().map(|(class, rows)| (class, Group::of(&rows))).collect();
    CollectiveReport { rows: compared, summary, by_size, skipped }
}

impl CollectiveRow {
    /// Whether no fit sees the row.
    pub fn is_held_out(&self) -> bool {
        self.devices == HELD_OUT_DEVICES
    }

    /// Whether time is bytes rather than steps.
    pub fn is_large(&self) -> bool {
        self.bytes >= LARGE.get()
    }

    fn class(&self) -> String {
        let size = if self.is_large() { "large" } else { "small" };
        let seen = if self.is_held_out() { "held_out" } else { "seen" };
        format!("{size}_{seen}")
    }

    /// Microseconds that the algorithm's plan takes on the row's devices.
    fn predict(
        &self,
        devices: &[DeviceSpec],
        algorithm: &AlgorithmSpec,
        boards: &mut BTreeMap<(String, u32), Arc<Topology>>,
    ) -> Result<f64, String> {
        if self.nodes.is_some_and(|nodes| nodes != 1) {
            return Err("it has several nodes, and the table does not say what joins them".to_owned());
        }
        let device = devices.iter().find(|device| device.is_called(&self.device));
        let device = device.ok_or_else(|| format!("no device is called `{}`", self.device))?;
        let kind = self.kind()?;
        let key = (device.name.clone(), self.devices);
        if !boards.contains_key(&key) {
            boards.insert(key.clone(), Arc::new(board(device, self.devices)?));
        }
        let topology = &boards[&key];
        let group: Arc<[DeviceId]> =
            (0..self.devices).map(|index| DeviceId::from_index(index as usize)).collect();
        let call = Collective { kind, bytes: Bytes(self.bytes), group };
        algorithm.admits(&call, topology)?;
        let plan = algorithm.plan(&call, topology);
        let mut network = NetworkSpec::from_name("fluid").expect("a listed model").model(&links_of(topology));
        Ok(timing::time(&call, &plan, topology, &mut *network).time_s * 1e6)
    }

    fn kind(&self) -> Result<CollectiveKind, String> {
        let wanted = self.collective.replace('_', "-");
        let kind = CollectiveKind::ALL.into_iter().find(|kind| kind.name() == wanted);
        let kind = kind.ok_or_else(|| format!("there is no collective `{}`", self.collective))?;
        match kind {
            _ if self.devices == 0 => Err("nobody takes part".to_owned()),
            CollectiveKind::SendReceive if self.devices != 2 => {
                Err(format!("a send-receive is between 2 devices, not {}", self.devices))
            }
            kind => Ok(kind),
        }
    }
}

/// Devices on one switch, each by all its ports to peers.
fn board(device: &DeviceSpec, devices: u32) -> Result<Topology, String> {
    let ports =
        device.peers.ok_or_else(|| format!("`{}` says nothing of its links to peers", device.name))?;
    let port = LinkSpec { latency: PORT_LATENCY, ..ports };
    let spec = Arc::new(device.clone());
    let mut builder = Topology::builder("board");
    let node = builder.add_node();
    let switch = builder.add_switch("switch");
    for index in 0..devices {
        let vertex = builder.add_device(format!("device{index}"), &spec, node);
        builder.connect(vertex, switch, port);
    }
    builder.build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_with_what_it_lacks() {
        let text = "device,devices,collective,bytes,time_us\nh100,8,all_reduce,1024,12.5\n";
        let rows = read(text).unwrap();
        assert_eq!((rows[0].id.as_str(), rows[0].nodes, rows[0].bytes), ("line 2", None, 1024));
        assert_eq!(rows[0].kind(), Ok(CollectiveKind::AllReduce));
        let error = read("device,devices,collective,bytes,time_us\nh100,8,all_reduce,1024,0\n").unwrap_err();
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn what_cannot_be_predicted_says_why() {
        let row = |nodes, device: &str, collective: &str| CollectiveRow {
            nodes,
            device: device.to_owned(),
            devices: 8,
            collective: collective.to_owned(),
            time_us: 1.0,
            ..CollectiveRow::default()
        };
        let ring = AlgorithmSpec::from_name("ring").unwrap();
        let rows = [row(Some(2), "x", "all-reduce"), row(None, "x", "all-reduce")];
        let report = predict(&rows, &[], &ring);
        assert!(report.skipped[0].why.contains("several nodes"), "{:?}", report.skipped);
        assert!(report.skipped[1].why.contains("no device is called `x`"), "{:?}", report.skipped);
        assert!(row(None, "x", "gossip").kind().unwrap_err().contains("gossip"));
        assert!(row(None, "x", "send-receive").kind().unwrap_err().contains("2 devices"));
    }
}
