//! A grid of any number of dimensions, open at its edges.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hardware::device::DeviceSpec;
use crate::hardware::link::{LinkClass, LinkSpec};
use crate::hardware::shapes::direct::Grid;
use crate::hardware::shapes::{Shape, ShapeFacts};
use crate::hardware::spec::Problem;
use crate::hardware::topology::TopologyBuilder;

/// A mesh: a torus without the links that close it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mesh {
    /// Devices along each dimension; the first changes fastest with the device's number.
    pub sizes: Vec<u64>,
    /// Each cable.
    pub link: LinkSpec,
}

impl Default for Mesh {
    fn default() -> Self {
        Mesh { sizes: vec![4, 4], link: LinkSpec::new(LinkClass::OnChip, 50e9, 10) }
    }
}

impl Shape for Mesh {
    fn problems(&self) -> Vec<Problem> {
        self.grid().problems()
    }

    fn facts(&self) -> ShapeFacts {
        self.grid().facts()
    }

    fn lay_out(&self, device: &Arc<DeviceSpec>, to: &mut TopologyBuilder) {
        self.grid().lay_out(device, to);
    }
}

impl Mesh {
    fn grid(&self) -> Grid<'_> {
        Grid { sizes: &self.sizes, wraps: false, link: self.link }
    }
}
