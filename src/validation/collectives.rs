//! Measured collectives, read from a table, and what the plans of a collective algorithm say of them.
//!
//! A table is CSV with a header. Of its columns
//! - `device`, `collective`, `devices`, `bytes` and `time_us` are needed; `id` and `source` say which row
//!   it is and where it was published;
//! - `bytes` is the whole buffer as nccl-tests counts it (all-gather: what is gathered);
//! - where `nodes` is empty, they are as many as `node_devices` (8 where that is empty too) ask for;
//! - `link` may say `pcie` where devices have faster ports, and which network joins nodes (`hdr`, `100g` …).
//!
//! The devices of a node stand on one switch, each joined to it by all its ports to peers, as on an HGX
//! board; between nodes each has its own network card. Empty cells are unknown, further columns are
//! not looked at.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::collective::{AlgorithmSpec, Collective, CollectiveKind, timing};
use crate::hardware::naming::meant_by;
use crate::hardware::{DeviceSpec, Topology};
use crate::ids::{DeviceId, Id};
use crate::network::{NetworkSpec, links_of};
use crate::units::Bytes;
use crate::validation::cells::{needed, plain, whole};
use crate::validation::kernels::Skipped;
use crate::validation::machine::Place;
use crate::validation::summary::{Note, taken_for};
use crate::validation::{Comparison, Group, Summary};

/// The number of devices whose rows no fit sees: groups of another size and everything about them.
pub const HELD_OUT_DEVICES: u32 = 4;

/// From this size on a collective counts as large: time is bytes rather than steps.
pub const LARGE: Bytes = Bytes(16 << 20);

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
    /// What joins them.
    #[serde(default)]
    pub link: String,
    /// How many nodes they stand in.
    #[serde(default, deserialize_with = "whole")]
    pub nodes: Option<u32>,
    /// Devices of a node.
    #[serde(default, deserialize_with = "whole")]
    pub node_devices: Option<u32>,
    /// How many devices took part.
    #[serde(deserialize_with = "needed")]
    pub devices: u32,
    /// `all-reduce`, `all-gather` and so on.
    pub collective: String,
    /// The whole buffer.
    #[serde(deserialize_with = "needed")]
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
    /// What was assumed of rows.
    pub notes: Vec<Note>,
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
    let (mut notes, mut skipped) = (Vec::new(), Vec::new());
    let mut sizes: BTreeMap<String, Vec<Comparison>> = BTreeMap::new();
    let mut machines: BTreeMap<(String, Place), Arc<Topology>> = BTreeMap::new();
    for row in rows {
        match row.predict(devices, algorithm, &mut machines) {
            Ok(predicted) => {
                notes.extend(taken_for(&row.id, &row.device, devices));
                let row_compared = Comparison::new(&row.id, &row.device, &row.source, row.time_us, predicted);
                sizes.entry(row.class()).or_default().push(row_compared.clone());
                compared.push(row_compared);
            }
            Err(why) => skipped.push(Skipped { id: row.id.clone(), why }),
        }
    }
    let summary = Summary::of(&compared);
    let by_size = sizes.into_iter().map(|(class, rows)| (class, Group::of(&rows))).collect();
    CollectiveReport { rows: compared, summary, by_size, notes, skipped }
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
        machines: &mut BTreeMap<(String, Place), Arc<Topology>>,
    ) -> Result<f64, String> {
        let device = meant_by(devices, &self.device);
        let device = device.ok_or_else(|| format!("no device is called `{}`", self.device))?;
        let kind = self.kind()?;
        let place = Place::of(self.devices, self.nodes, self.node_devices, &self.link);
        let key = (device.name.clone(), place.clone());
        if !machines.contains_key(&key) {
            let machine = if place.nodes() > 1 { place.rails(device) } else { place.board(device) };
            machines.insert(key.clone(), Arc::new(machine?));
        }
        let topology = &machines[&key];
        let group: Arc<[DeviceId]> =
            (0..self.devices).map(|index| DeviceId::from_index(index as usize)).collect();
        let call = Collective { kind, bytes: Bytes(self.bytes), group };
        algorithm.admits(&call, topology)?;
        let plan = algorithm.plan(&call, topology);
        let mut network = NetworkSpec::from_name("fluid").expect("a listed model").model(&links_of(topology));
        Ok(timing::time(&call, &plan, topology, &mut *network).time_s * 1e6)
    }

    fn kind(&self) -> Result<CollectiveKind, String> {
        let wanted = plain(&self.collective);
        let wanted = match wanted.as_str() {
            "sendrecv" | "send" | "recv" | "p2p" | "sendandreceive" => "sendreceive",
            "alltoallv" | "a2a" => "alltoall",
            "bcast" => "broadcast",
            other => other,
        };
        let kind = CollectiveKind::ALL.into_iter().find(|kind| plain(kind.name()) == wanted);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::{LinkClass, LinkSpec};

    #[test]
    fn a_table_is_read_with_what_it_lacks() {
        let text = "device,devices,collective,bytes,time_us\nh100,8,all_reduce,1024,12.5\n";
        let rows = read(text).unwrap();
        assert_eq!((rows[0].id.as_str(), rows[0].nodes, rows[0].bytes), ("line 2", None, 1024));
        assert_eq!(rows[0].kind(), Ok(CollectiveKind::AllReduce));
        let error = read("device,devices,collective,bytes,time_us\nh100,8,all_reduce,1024,0\n").unwrap_err();
        assert!(error.contains("line 2"), "{error}");
    }

    /// Two nodes of eight: a ring of one channel per card carries twice 15/16 of 1 GiB over 8 cards of
    /// 25 GB/s, so that it cannot take less than 10.06 ms.
    #[test]
    fn several_nodes_are_joined_by_their_cards() {
        let mut device = crate::compute::support::fitted_a100();
        device.host = Some(LinkSpec::new(LinkClass::Pcie, 31.5e9, 400));
        device.peers = Some(LinkSpec::new(LinkClass::Nvlink, 300e9, 250));
        let row = CollectiveRow {
            device: device.name.clone(),
            devices: 16,
            collective: "all-reduce".to_owned(),
            bytes: 1 << 30,
            time_us: 11_000.0,
            ..CollectiveRow::default()
        };
        let report = predict(&[row], &[device], &AlgorithmSpec::from_name("auto").unwrap());
        let predicted = report.rows[0].predicted;
        assert!((10_060.0..14_500.0).contains(&predicted), "{predicted} us");
    }

    #[test]
    fn what_cannot_be_predicted_says_why() {
        let row = |device: &str, collective: &str| CollectiveRow {
            device: device.to_owned(),
            devices: 8,
            collective: collective.to_owned(),
            time_us: 1.0,
            ..CollectiveRow::default()
        };
        let ring = AlgorithmSpec::from_name("ring").unwrap();
        let report = predict(&[row("x", "all-reduce")], &[], &ring);
        assert!(report.skipped[0].why.contains("no device is called `x`"), "{:?}", report.skipped);
        assert!(row("x", "gossip").kind().unwrap_err().contains("gossip"));
        assert!(row("x", "send-receive").kind().unwrap_err().contains("2 devices"));
        assert_eq!(row("x", "AllReduce").kind(), Ok(CollectiveKind::AllReduce));
    }
}
