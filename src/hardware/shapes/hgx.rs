//! One node: accelerators on a fast switch, and a PCIe tree beside it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hardware::device::DeviceSpec;
use crate::hardware::link::{LinkClass, LinkSpec};
use crate::hardware::shapes::{Shape, ShapeFacts, at_least, links_of};
use crate::hardware::spec::Problem;
use crate::hardware::topology::TopologyBuilder;
use crate::units::Bandwidth;

/// An HGX board: all accelerators on NVSwitch, pairs of them on PCIe switches, those on the host's
/// root complex. Between accelerators the fast switch is as near and quicker, so the PCIe tree
/// carries only what is sent over it on purpose.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hgx {
    /// How many accelerators.
    pub devices: u64,
    /// Accelerators of a PCIe switch.
    pub switch_devices: u64,
    /// From an accelerator to the fast switch: all its lanes together.
    pub scale_up: LinkSpec,
    /// From an accelerator to its PCIe switch.
    pub pcie: LinkSpec,
    /// From a PCIe switch to the root complex.
    pub uplink: LinkSpec,
}

/// HGX H100: NVLink 4 and PCIe 5.0 x16.
impl Default for Hgx {
    fn default() -> Self {
        Hgx {
            devices: 8,
            switch_devices: 2,
            scale_up: LinkSpec::new(LinkClass::Nvlink, 450e9, 250),
            pcie: LinkSpec::new(LinkClass::Pcie, 63e9, 400),
            uplink: LinkSpec::new(LinkClass::Pcie, 63e9, 400),
        }
    }
}

impl Shape for Hgx {
    fn problems(&self) -> Vec<Problem> {
        let mut problems =
            at_least(&[("devices", self.devices, 1), ("switch_devices", self.switch_devices, 1)]);
        if problems.is_empty() && !self.devices.is_multiple_of(self.switch_devices) {
            let message = format!("{} devices do not fill switches of {}", self.devices, self.switch_devices);
            problems.push(Problem::at("switch_devices", message));
        }
        problems
    }

    fn facts(&self) -> ShapeFacts {
        ShapeFacts {
            devices: self.devices,
            links: self.devices.saturating_mul(2).saturating_add(self.switches()).saturating_mul(2),
            diameter: if self.devices > 1 { 2 } else { 0 },
            bisection: self.bisection(),
        }
    }

    fn lay_out(&self, device: &Arc<DeviceSpec>, to: &mut TopologyBuilder) {
        let node = to.add_node();
        let fast = to.add_switch("fast_switch");
        let root = to.add_switch("root_complex");
        to.processors_at(node, root);
        for switch in 0..self.switches() {
            let pcie = to.add_switch(format!("pcie{switch}"));
            to.connect(pcie, root, self.uplink);
            for at in 0..self.switch_devices {
                let name = format!("device{}", switch * self.switch_devices + at);
                let vertex = to.add_device(name, device, node);
                to.connect(vertex, fast, self.scale_up);
                to.connect(vertex, pcie, self.pcie);
            }
        }
    }
}

impl Hgx {
    fn switches(&self) -> u64 {
        self.devices / self.switch_devices
    }

    /// Half of the PCIe switches, with all that hangs on them, on each side. Parting the devices of
    /// a PCIe switch would cut as many device links as it saves uplinks, or more.
    fn bisection(&self) -> Option<Bandwidth> {
        if !self.switches().is_multiple_of(2) {
            return None;
        }
        let branch = self.uplink.bandwidth.get().min(self.pcie.bandwidth.get() * self.switch_devices as f64);
        let each = self.scale_up.bandwidth.get() + branch / self.switch_devices as f64;
        links_of(self.devices / 2, Bandwidth::per_second(each))
    }
}
