//! Which device holds what tasks have made, and what is lost when one fails.

use std::collections::BTreeMap;

use crate::ids::{DataId, DeviceId, IdVec, TaskId};
use crate::tasks::TaskGraph;
use crate::tasks::transport::TransferIndex;

/// A copy of an edge's data away from the device where they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    /// On its way.
    OnWay(TransferIndex),
    /// Arrived.
    There,
}

/// What is where.
#[derive(Debug, Clone)]
pub struct Store {
    /// The device on which each task was done; nothing while it is not, or when that device failed.
    home: IdVec<TaskId, Option<DeviceId>>,
    copies: BTreeMap<(DataId, DeviceId), Copy>,
}

impl Store {
    /// Nothing has been made.
    pub fn new(tasks: usize) -> Self {
        Store { home: IdVec::filled(None, tasks), copies: BTreeMap::new() }
    }

    /// A task was done on a device.
    pub fn made(&mut self, task: TaskId, device: DeviceId) {
        self.home[task] = Some(device);
    }

    /// Data have left for a device.
    pub fn left(&mut self, data: DataId, to: DeviceId, transfer: TransferIndex) {
        self.copies.insert((data, to), Copy::OnWay(transfer));
    }

    /// A transfer has arrived; whether it was still awaited.
    pub fn arrived(&mut self, data: DataId, to: DeviceId, transfer: TransferIndex) -> bool {
        let awaited = self.copies.get(&(data, to)) == Some(&Copy::OnWay(transfer));
        if awaited {
            self.copies.insert((data, to), Copy::There);
        }
        awaited
    }

    /// Whether a device holds an edge's data.
    pub fn holds(&self, graph: &TaskGraph, data: DataId, device: DeviceId) -> bool {
        self.home[graph.data(data).from] == Some(device)
            || self.copies.get(&(data, device)) == Some(&Copy::There)
    }

    /// Whether a device holds an edge's data or will without more being done.
    pub fn expects(&self, graph: &TaskGraph, data: DataId, device: DeviceId) -> bool {
        self.home[graph.data(data).from] == Some(device) || self.copies.contains_key(&(data, device))
    }

    /// From where an edge's data can be sent: where they were made, else the first device with a copy.
    pub fn source(&self, graph: &TaskGraph, data: DataId) -> Option<DeviceId> {
        let copies = self.copies.range((data, DeviceId(0))..=(data, DeviceId(u32::MAX)));
        let there = copies.filter(|(_, copy)| **copy == Copy::There).map(|(&(_, device), _)| device);
        self.home[graph.data(data).from].or_else(|| there.min())
    }

    /// A device has failed: what it held, and what was on its way to it or from it, is lost. `source`
    /// says from where a transfer left.
    pub fn fail(&mut self, device: DeviceId, source: impl Fn(TransferIndex) -> DeviceId) {
        for home in self.home.iter_mut().filter(|home| **home == Some(device)) {
            *home = None;
        }
        self.copies.retain(|&(_, at), copy| match *copy {
            Copy::OnWay(transfer) => at != device && source(transfer) != device,
            Copy::There => at != device,
        });
    }

    /// Whether an edge's data are held by no device any more, or only by one to which they are on their
    /// way.
    pub fn lost(&self, graph: &TaskGraph, data: DataId) -> bool {
        let mut copies = self.copies.range((data, DeviceId(0))..=(data, DeviceId(u32::MAX)));
        self.home[graph.data(data).from].is_none() && copies.next().is_none()
    }
}
