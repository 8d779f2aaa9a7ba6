//! Racks in which every accelerator hangs on one NVLink domain.
//!
//! NVIDIA, "GB200 NVL72": 18 compute trays of four GPUs, NVLink 5 (900 GB/s a direction and GPU)
//! through nine switch trays.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hardware::device::DeviceSpec;
use crate::hardware::link::{LinkClass, LinkSpec};
use crate::hardware::shapes::rail::Rail;
use crate::hardware::shapes::{Shape, ShapeFacts, at_least, sane_oversubscription};
use crate::hardware::spec::Problem;
use crate::hardware::topology::TopologyBuilder;

/// NVL72 racks: rails whose nodes are trays and whose domains and units are racks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nvl72 {
    /// How many racks.
    pub racks: u64,
    /// Compute trays of a rack.
    pub trays: u64,
    /// Accelerators (and network cards) of a tray.
    pub tray_devices: u64,
    /// Spine switches that join the racks.
    pub spines: u64,
    /// How much more bandwidth the cards of a rack have than its trunks to the spines.
    pub oversubscription: f64,
    /// From an accelerator to the rack's switches: all its lanes together.
    pub scale_up: LinkSpec,
    /// From an accelerator to its card.
    pub host: LinkSpec,
    /// From a card to its leaf switch.
    pub network: LinkSpec,
}

impl Default for Nvl72 {
    fn default() -> Self {
        Nvl72 {
            racks: 1,
            trays: 18,
            tray_devices: 4,
            spines: 4,
            oversubscription: 1.0,
            scale_up: LinkSpec::new(LinkClass::Nvlink, 900e9, 250),
            host: LinkSpec::new(LinkClass::Pcie, 63e9, 400),
            network: LinkSpec::new(LinkClass::Infiniband, 50e9, 600),
        }
    }
}

impl Shape for Nvl72 {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = at_least(&[
            ("racks", self.racks, 1),
            ("trays", self.trays, 1),
            ("tray_devices", self.tray_devices, 1),
            ("spines", self.spines, 1),
        ]);
        problems.extend(sane_oversubscription(self.oversubscription));
        problems
    }

    fn facts(&self) -> ShapeFacts {
        self.rails().facts()
    }

    fn lay_out(&self, device: &Arc<DeviceSpec>, to: &mut TopologyBuilder) {
        self.rails().lay_out(device, to);
    }
}

impl Nvl72 {
    fn rails(&self) -> Rail {
        Rail {
            nodes: self.racks.saturating_mul(self.trays),
            node_devices: self.tray_devices,
            domain: self.trays,
            unit: self.trays,
            spines: self.spines,
            oversubscription: self.oversubscription,
            scale_up: self.scale_up,
            host: self.host,
            network: self.network,
        }
    }
}
