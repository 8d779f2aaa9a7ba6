//! Where tasks run: devices, and what joins them.

use std::sync::Arc;

use crate::hardware::Topology;
use crate::ids::{DeviceId, IdVec};
use crate::tasks::Communication;
use crate::units::Bytes;

/// A device as tasks see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// What it is called.
    pub name: String,
    /// What it is: `a100_80gb_pcie`; empty where nothing is known of it.
    pub kind: String,
    /// The node that it sits in; empty where there are none.
    pub node: String,
    /// Its memory, where that is counted.
    pub memory: Option<Bytes>,
}

/// Devices with their network, or, as in much of the literature, devices known by nothing but their
/// number, between which only plain communication costs pass.
#[derive(Debug, Clone)]
pub struct Machine {
    /// What it is called.
    pub name: String,
    /// Its devices.
    pub devices: IdVec<DeviceId, Seat>,
    /// What joins them; without it bytes take no time.
    pub topology: Option<Arc<Topology>>,
    /// How long data is thought to travel when nothing else is on its way.
    pub communication: Communication,
}

impl Machine {
    /// Devices of these names and nothing known of them.
    pub fn plain(name: impl Into<String>, devices: impl IntoIterator<Item = String>) -> Self {
        let seat = |name| Seat { name, kind: String::new(), node: String::new(), memory: None };
        Machine {
            name: name.into(),
            devices: devices.into_iter().map(seat).collect(),
            topology: None,
            communication: Communication::plain(),
        }
    }

    /// The devices of a topology, with its routes.
    pub fn of(topology: &Arc<Topology>) -> Self {
        let seat = |device: &crate::hardware::Device| Seat {
            name: device.name.clone(),
            kind: device.spec.name.clone(),
            node: device.node.to_string(),
            memory: Some(device.spec.memory.capacity),
        };
        Machine {
            name: topology.name().to_owned(),
            devices: topology.devices().iter().map(seat).collect(),
            topology: Some(Arc::clone(topology)),
            communication: Communication::over(topology),
        }
    }

    /// The device called `name`.
    pub fn named(&self, name: &str) -> Option<DeviceId> {
        self.devices.enumerate().find(|(_, seat)| seat.name == name).map(|(id, _)| id)
    }
}
