//! Devices in a circle, each joined to the next.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hardware::device::DeviceSpec;
use crate::hardware::link::{LinkClass, LinkSpec};
use crate::hardware::shapes::direct::Grid;
use crate::hardware::shapes::{Shape, ShapeFacts, at_least, place_on_circle, radius_for};
use crate::hardware::spec::Problem;
use crate::hardware::topology::TopologyBuilder;

/// A ring: a torus of one dimension.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ring {
    /// How many devices.
    pub devices: u64,
    /// Each cable.
    pub link: LinkSpec,
}

impl Default for Ring {
    fn default() -> Self {
        Ring { devices: 8, link: LinkSpec::new(LinkClass::Nvlink, 100e9, 500) }
    }
}

impl Shape for Ring {
    fn problems(&self) -> Vec<Problem> {
        at_least(&[("devices", self.devices, 1)])
    }

    fn facts(&self) -> ShapeFacts {
        self.grid().facts()
    }

    fn lay_out(&self, device: &Arc<DeviceSpec>, to: &mut TopologyBuilder) {
        let vertices = self.grid().lay_out(device, to);
        for (at, &vertex) in vertices.iter().enumerate() {
            place_on_circle(to, vertex, at as f64 / vertices.len() as f64, radius_for(self.devices));
        }
    }
}

impl Ring {
    fn grid(&self) -> Grid<'_> {
        Grid { sizes: std::slice::from_ref(&self.devices), wraps: true, link: self.link }
    }
}
