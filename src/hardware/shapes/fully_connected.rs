//! A cable between every two devices.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hardware::device::DeviceSpec;
use crate::hardware::link::{LinkClass, LinkSpec};
use crate::hardware::shapes::{Shape, ShapeFacts, at_least, links_of, place_on_circle, radius_for};
use crate::hardware::spec::Problem;
use crate::hardware::topology::TopologyBuilder;
use crate::ids::VertexId;

/// All to all within one node, as eight MI300X are joined; devices do not forward.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FullyConnected {
    /// How many devices.
    pub devices: u64,
    /// Each cable.
    pub link: LinkSpec,
}

impl Default for FullyConnected {
    fn default() -> Self {
        FullyConnected { devices: 8, link: LinkSpec::new(LinkClass::Nvlink, 64e9, 500) }
    }
}

impl Shape for FullyConnected {
    fn problems(&self) -> Vec<Problem> {
        at_least(&[("devices", self.devices, 1)])
    }

    fn facts(&self) -> ShapeFacts {
        let n = self.devices;
        ShapeFacts {
            devices: n,
            links: n.saturating_mul(n - 1),
            diameter: u64::from(n > 1),
            // Every device of one half has a cable to every device of the other.
            bisection: links_of((n / 2).saturating_mul(n.div_ceil(2)), self.link.bandwidth),
        }
    }

    fn lay_out(&self, device: &Arc<DeviceSpec>, to: &mut TopologyBuilder) {
        let node = to.add_node();
        let vertices: Vec<VertexId> =
            (0..self.devices).map(|at| to.add_device(format!("device{at}"), device, node)).collect();
        for (at, &a) in vertices.iter().enumerate() {
            place_on_circle(to, a, at as f64 / vertices.len() as f64, radius_for(self.devices));
            for &b in &vertices[at + 1..] {
                to.connect(a, b, self.link);
            }
        }
    }
}
