//! A grid of any number of dimensions, closed in each of them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hardware::device::DeviceSpec;
use crate::hardware::link::{LinkClass, LinkSpec};
use crate::hardware::shapes::direct::Grid;
use crate::hardware::shapes::{Shape, ShapeFacts};
use crate::hardware::spec::Problem;
use crate::hardware::topology::TopologyBuilder;

/// A torus, as TPU pods are wired (Jouppi et al., ISCA 2023). A dimension of size 2 has one cable
/// between its two devices.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Torus {
    /// Devices along each dimension; the first changes fastest with the device's number.
    pub sizes: Vec<u64>,
    /// Each cable.
    pub link: LinkSpec,
}

impl Default for Torus {
    fn default() -> Self {
        Torus { sizes: vec![4, 4], link: LinkSpec::new(LinkClass::Ici, 50e9, 500) }
    }
}

impl Shape for Torus {
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

impl Torus {
    fn grid(&self) -> Grid<'_> {
        Grid { sizes: &self.sizes, wraps: true, link: self.link }
    }
}
