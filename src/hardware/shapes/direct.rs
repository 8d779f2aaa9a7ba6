//! What ring, torus and mesh have in common: devices on a grid that forward for one another.

use std::sync::Arc;

use crate::hardware::device::DeviceSpec;
use crate::hardware::link::LinkSpec;
use crate::hardware::shapes::{ShapeFacts, links_of, product};
use crate::hardware::spec::Problem;
use crate::hardware::topology::TopologyBuilder;
use crate::ids::VertexId;
use crate::units::Bandwidth;

/// A grid of devices; each sits in a node of its own.
pub(super) struct Grid<'a> {
    /// Devices along each dimension; the first changes fastest.
    pub sizes: &'a [u64],
    /// Whether the ends of each dimension are joined.
    pub wraps: bool,
    /// Each cable.
    pub link: LinkSpec,
}

impl Grid<'_> {
    pub(super) fn problems(&self) -> Vec<Problem> {
        if self.sizes.is_empty() || self.sizes.len() > 8 {
            let message = format!("a grid has 1 to 8 dimensions, not {}", self.sizes.len());
            return vec![Problem::at("sizes", message)];
        }
        let empty = self.sizes.iter().enumerate().filter(|(_, size)| **size == 0);
        empty
            .map(|(at, _)| Problem::at(&format!("sizes[{at}]"), "a dimension has at least 1 device"))
            .collect()
    }

    pub(super) fn facts(&self) -> ShapeFacts {
        let devices = product(self.sizes);
        let cables = |&size: &u64| (devices / size).saturating_mul(self.cables_of_a_line(size));
        let reach = |&size: &u64| if self.wraps { size / 2 } else { size - 1 };
        ShapeFacts {
            devices,
            links: self.sizes.iter().map(cables).fold(0, u64::saturating_add).saturating_mul(2),
            diameter: self.sizes.iter().map(reach).fold(0, u64::saturating_add),
            bisection: self.bisection(devices),
        }
    }

    /// Cut the longest dimension in halves: each line across it loses one cable, or two where it is
    /// closed. Exact when that dimension is even, or the only one; otherwise no closed form is used.
    fn bisection(&self, devices: u64) -> Option<Bandwidth> {
        let longest = *self.sizes.iter().max()?;
        let one_line = devices == longest;
        if longest < 2 || (longest % 2 != 0 && !one_line) {
            return None;
        }
        let cut_per_line = if self.wraps && longest > 2 { 2 } else { 1 };
        links_of(devices / longest * cut_per_line, self.link.bandwidth)
    }

    /// A line of two is one cable even where it "wraps".
    fn cables_of_a_line(&self, size: u64) -> u64 {
        if self.wraps && size > 2 { size } else { size - 1 }
    }

    pub(super) fn lay_out(&self, device: &Arc<DeviceSpec>, to: &mut TopologyBuilder) -> Vec<VertexId> {
        to.devices_forward();
        let count = product(self.sizes);
        let vertices: Vec<VertexId> = (0..count)
            .map(|at| {
                let node = to.add_node();
                let vertex = to.add_device(self.name_of(at), device, node);
                let (x, y) = self.place_of(at);
                to.place(vertex, x, y);
                vertex
            })
            .collect();
        let mut stride = 1;
        for (dimension, &size) in self.sizes.iter().enumerate() {
            for at in 0..count {
                let along = at / stride % size;
                let last = along + 1 == size;
                if last && (!self.wraps || size <= 2) {
                    continue;
                }
                let next = if last { at - along * stride } else { at + stride };
                to.connect_along(dimension as u8, vertices[at as usize], vertices[next as usize], self.link);
            }
            stride *= size;
        }
        vertices
    }

    fn coordinates(&self, mut at: u64) -> impl Iterator<Item = u64> {
        self.sizes.iter().map(move |size| {
            let along = at % size;
            at /= size;
            along
        })
    }

    fn name_of(&self, at: u64) -> String {
        let coordinates: Vec<String> = self.coordinates(at).map(|along| along.to_string()).collect();
        format!("device{}", coordinates.join("."))
    }

    /// Planes of the first two dimensions, the further ones stepping aside: every second dimension
    /// to the right, the others upwards, each past what the ones before it took.
    fn place_of(&self, at: u64) -> (f64, f64) {
        let (mut x, mut y) = (0.0, 0.0);
        let (mut x_step, mut y_step) = (1.0, 1.0);
        for (dimension, (along, &size)) in self.coordinates(at).zip(self.sizes).enumerate() {
            if dimension % 2 == 0 {
                x += along as f64 * x_step;
                x_step *= size as f64 + 0.5;
            } else {
                y += along as f64 * y_step;
                y_step *= size as f64 + 0.5;
            }
        }
        (x, y)
    }
}
