//! Topologies built from a few numbers: `shape:` of a topology file.
//!
//! A shape adds devices, switches and links to a builder, and states by closed form what came out
//! ([`ShapeFacts`]); the conformance test below counts and searches the graph and holds the two
//! against each other. It knows one device, which it repeats; machines of several kinds of device
//! are written out vertex by vertex ([`spec`](crate::hardware::spec)).
//!
//! To add one, write its file and list it here.

mod direct;
mod dragonfly;
mod dragonfly_plus;
mod fat_tree;
mod fully_connected;
mod hgx;
mod mesh;
mod nvl72;
mod pcie_tree;
mod rail;
mod ring;
mod star;
mod torus;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::hardware::device::DeviceSpec;
use crate::hardware::spec::Problem;
use crate::hardware::topology::{Topology, TopologyBuilder};
use crate::ids::VertexId;
use crate::registry;
use crate::units::Bandwidth;

pub use dragonfly::Dragonfly;
pub use dragonfly_plus::DragonflyPlus;
pub use fat_tree::FatTree;
pub use fully_connected::FullyConnected;
pub use hgx::Hgx;
pub use mesh::Mesh;
pub use nvl72::Nvl72;
pub use pcie_tree::PcieTree;
pub use rail::Rail;
pub use ring::Ring;
pub use star::Star;
pub use torus::Torus;

/// The most devices a shape may have; beyond it a number was mistyped.
pub const MOST_DEVICES: u64 = 1 << 20;
/// The most directed links a shape may have.
pub const MOST_LINKS: u64 = 1 << 24;

/// What a shape comes to, by closed form.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShapeFacts {
    /// Devices.
    pub devices: u64,
    /// Directed links (a cable is two).
    pub links: u64,
    /// The most hops of any route.
    pub diameter: u64,
    /// The least bandwidth, in one direction, over all ways to part the devices in halves; `None`
    /// where no closed form is known.
    pub bisection: Option<Bandwidth>,
}

/// A family of topologies.
///
/// Contract: when [`problems`](Self::problems) is empty, the graph that [`lay_out`](Self::lay_out)
/// makes has exactly the devices, links, diameter and bisection bandwidth of
/// [`facts`](Self::facts), and every link has one back of the same bandwidth and latency.
pub trait Shape {
    /// What is wrong with the parameters, with paths relative to the shape's own map.
    fn problems(&self) -> Vec<Problem>;

    /// The counts by closed form; saturating, so that absurd sizes can be asked about.
    fn facts(&self) -> ShapeFacts;

    /// Adds everything to `to`, with `device` in each place.
    fn lay_out(&self, device: &Arc<DeviceSpec>, to: &mut TopologyBuilder);
}

registry! {
    /// `shape:` of a topology.
    pub enum ShapeSpec: Shape {
        /// each linked to the next
        "ring" => Ring(ring::Ring),
        /// a grid of any dimensions with wrap links
        "torus" => Torus(torus::Torus),
        /// a grid without wrap links
        "mesh" => Mesh(mesh::Mesh),
        /// everyone linked to everyone
        "fully_connected" => FullyConnected(fully_connected::FullyConnected),
        /// everyone on one switch
        "star" => Star(star::Star),
        /// three levels of k-port switches
        "fat_tree" => FatTree(fat_tree::FatTree),
        /// nodes whose i-th NICs share a leaf switch
        "rail" => Rail(rail::Rail),
        /// groups of routers, all-to-all between groups
        "dragonfly" => Dragonfly(dragonfly::Dragonfly),
        /// groups of leaves and spines, all-to-all between groups
        "dragonfly_plus" => DragonflyPlus(dragonfly_plus::DragonflyPlus),
        /// GPUs on NVSwitch, each with a NIC, beside the hosts
        "hgx" => Hgx(hgx::Hgx),
        /// devices under PCIe switches that share uplinks
        "pcie_tree" => PcieTree(pcie_tree::PcieTree),
        /// 72 GPUs on one NVLink fabric
        "nvl72" => Nvl72(nvl72::Nvl72),
    }
}

impl ShapeSpec {
    /// Everything wrong with the parameters, size included.
    pub fn check(&self) -> Vec<Problem> {
        let problems = self.problems();
        if !problems.is_empty() {
            return problems;
        }
        let facts = self.facts();
        if facts.devices > MOST_DEVICES || facts.links > MOST_LINKS {
            let message = format!(
                "this {} would have {} devices and {} links; at most {MOST_DEVICES} and {MOST_LINKS} are supported",
                self.name(),
                facts.devices,
                facts.links
            );
            return vec![Problem::at("", message)];
        }
        Vec::new()
    }

    /// The topology of this shape with `device` in each place.
    pub fn build(&self, name: &str, device: &Arc<DeviceSpec>) -> Result<Topology, Vec<Problem>> {
        let problems = self.check();
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut builder = Topology::builder(name);
        self.lay_out(device, &mut builder);
        builder.facts(self.facts());
        builder.build().map_err(|error| vec![Problem::at("", error.to_string())])
    }
}

/// Draws a vertex on a circle, `turn` of a full turn clockwise from the top.
fn place_on_circle(to: &mut TopologyBuilder, vertex: VertexId, turn: f64, radius: f64) {
    let angle = std::f64::consts::TAU * turn;
    to.place(vertex, radius * angle.sin(), radius * angle.cos());
}

/// The radius of a circle on which `count` vertices stand one step apart.
fn radius_for(count: u64) -> f64 {
    (count as f64 / std::f64::consts::TAU).max(1.0)
}

/// The product of some counts, saturating.
fn product(counts: &[u64]) -> u64 {
    counts.iter().fold(1, |product: u64, &count| product.saturating_mul(count))
}

/// A problem for each named count that is below its least value.
fn at_least(counts: &[(&str, u64, u64)]) -> Vec<Problem> {
    counts
        .iter()
        .filter(|(_, value, least)| value < least)
        .map(|(key, value, least)| Problem::at(key, format!("`{key}` must be at least {least}, not {value}")))
        .collect()
}

/// A problem when an oversubscription is not a finite factor of at least 1.
fn sane_oversubscription(factor: f64) -> Option<Problem> {
    (!(1.0..=1e6).contains(&factor)).then(|| {
        Problem::at(
            "oversubscription",
            format!("an oversubscription is a factor of at least 1, not {factor}"),
        )
    })
}

/// The bandwidth of `links` links of `each`; `None` when there is no link at all.
fn links_of(links: u64, each: Bandwidth) -> Option<Bandwidth> {
    (links > 0).then(|| each.scaled(links as f64))
}
