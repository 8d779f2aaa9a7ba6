//! Devices around one switch.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hardware::device::DeviceSpec;
use crate::hardware::link::{LinkClass, LinkSpec};
use crate::hardware::shapes::{Shape, ShapeFacts, at_least, links_of};
use crate::hardware::spec::Problem;
use crate::hardware::topology::TopologyBuilder;

/// One non-blocking switch; each device is a node of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Star {
    /// How many devices.
    pub devices: u64,
    /// From each device to the switch.
    pub link: LinkSpec,
}

impl Default for Star {
    fn default() -> Self {
        Star { devices: 8, link: LinkSpec::new(LinkClass::Ethernet, 12.5e9, 1_000) }
    }
}

impl Shape for Star {
    fn problems(&self) -> Vec<Problem> {
        at_least(&[("devices", self.devices, 1)])
    }

    fn facts(&self) -> ShapeFacts {
        ShapeFacts {
            devices: self.devices,
            links: self.devices.saturating_mul(2),
            diameter: if self.devices > 1 { 2 } else { 0 },
            // The switch stands with the larger half; the other half's cables are cut.
            bisection: links_of(self.devices / 2, self.link.bandwidth),
        }
    }

    fn lay_out(&self, device: &Arc<DeviceSpec>, to: &mut TopologyBuilder) {
        let switch = to.add_switch("switch");
        for at in 0..self.devices {
            let node = to.add_node();
            let vertex = to.add_device(format!("device{at}"), device, node);
            to.connect(vertex, switch, self.link);
        }
    }
}
