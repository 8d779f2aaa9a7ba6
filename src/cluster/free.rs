//! What of a machine is free.

use crate::cluster::job::WHOLE;
use crate::cluster::{Demand, Gang, KindId, Machine};
use crate::ids::{DeviceId, IdVec, NodeId};

/// What of each device and host is free.
#[derive(Debug, Clone, PartialEq)]
pub struct Free {
    left: IdVec<DeviceId, u16>,
    whole: IdVec<NodeId, u32>,
    whole_of: IdVec<KindId, u32>,
    cpu: IdVec<NodeId, u64>,
    memory: IdVec<NodeId, u64>,
    /// What is left of all devices, in thousandths.
    total: u64,
}

impl Free {
    /// Everything.
    pub fn all(machine: &Machine) -> Self {
        Free {
            left: IdVec::filled(WHOLE, machine.devices()),
            whole: machine.nodes().iter().map(|node| node.devices.len() as u32).collect(),
            whole_of: machine.kinds().map(|kind| machine.devices_of(kind)).collect(),
            cpu: machine.nodes().iter().map(|node| node.host.cpu_milli).collect(),
            memory: machine.nodes().iter().map(|node| node.host.memory_mib).collect(),
            total: machine.devices() as u64 * u64::from(WHOLE),
        }
    }

    /// What is left of a device, in thousandths.
    pub fn left(&self, device: DeviceId) -> u16 {
        self.left[device]
    }

    /// Devices of a node that nobody uses.
    pub fn whole(&self, node: NodeId) -> u32 {
        self.whole[node]
    }

    /// Devices of a kind that nobody uses.
    pub fn whole_of(&self, kind: KindId) -> u32 {
        self.whole_of[kind]
    }

    /// Whether nothing is left of any device.
    pub fn is_exhausted(&self) -> bool {
        self.total == 0
    }

    /// How many pieces of a demand a node could take now.
    pub fn slots(&self, machine: &Machine, node: NodeId, demand: &Demand) -> u32 {
        let devices = match demand {
            Demand { devices: 0, .. } => u32::MAX,
            Demand { share: WHOLE, .. } => self.whole[node],
            Demand { share, .. } => {
                let able = |&&device: &&DeviceId| self.left[device] >= *share;
                machine.nodes()[node].devices.iter().filter(able).count() as u32
            }
        };
        devices
            .min(pieces(self.cpu[node], demand.cpu_of_piece()))
            .min(pieces(self.memory[node], demand.memory_of_piece()))
    }

    /// Gives a gang what its job demands.
    ///
    /// # Panics
    /// When something is not free: a mistake of whoever chose the gang.
    pub fn take(&mut self, machine: &Machine, gang: &Gang, demand: &Demand) {
        for (node, devices) in &gang.parts {
            for &device in devices {
                let left = self.left[device];
                assert!(left >= demand.share, "{device} has {left} thousandths left, not {}", demand.share);
                self.set(machine, device, left - demand.share);
            }
            let held = devices.len().max(1) as u64;
            self.cpu[*node] -= demand.cpu_of_piece() * held;
            self.memory[*node] -= demand.memory_of_piece() * held;
        }
    }

    /// Takes back what a gang had.
    pub fn give(&mut self, machine: &Machine, gang: &Gang, demand: &Demand) {
        for (node, devices) in &gang.parts {
            for &device in devices {
                let left = self.left[device] + demand.share;
                assert!(left <= WHOLE, "{device} would have {left} thousandths");
                self.set(machine, device, left);
            }
            let held = devices.len().max(1) as u64;
            self.cpu[*node] += demand.cpu_of_piece() * held;
            self.memory[*node] += demand.memory_of_piece() * held;
        }
    }

    /// Whether a gang could be given what its job demands.
    pub fn has(&self, gang: &Gang, demand: &Demand) -> bool {
        gang.parts.iter().all(|(node, devices)| {
            let held = devices.len().max(1) as u64;
            devices.iter().all(|&device| self.left[device] >= demand.share)
                && self.cpu[*node] >= demand.cpu_of_piece() * held
                && self.memory[*node] >= demand.memory_of_piece() * held
        })
    }

    /// Takes a device that nobody uses out of service, or puts it back.
    pub(super) fn serve(&mut self, machine: &Machine, device: DeviceId, up: bool) {
        assert_eq!(self.left[device], if up { 0 } else { WHOLE }, "{device} is in use");
        self.set(machine, device, if up { WHOLE } else { 0 });
    }

    fn set(&mut self, machine: &Machine, device: DeviceId, left: u16) {
        let node = machine.node_of(device);
        let kind = machine.nodes()[node].kind;
        match (self.left[device] == WHOLE, left == WHOLE) {
            (true, false) => {
                self.whole[node] -= 1;
                self.whole_of[kind] -= 1;
            }
            (false, true) => {
                self.whole[node] += 1;
                self.whole_of[kind] += 1;
            }
            _ => {}
        }
        self.total = self.total - u64::from(self.left[device]) + u64::from(left);
        self.left[device] = left;
    }
}

/// How many pieces of `each` there are in `left`.
fn pieces(left: u64, each: u64) -> u32 {
    left.checked_div(each).map_or(u32::MAX, |pieces| u32::try_from(pieces).unwrap_or(u32::MAX))
}
