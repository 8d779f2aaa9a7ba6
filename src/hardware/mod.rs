//! What there is: devices, links, the topology that joins them, and the routes through it.
//!
//! Everything here is an immutable spec or graph. The room knows nothing of time passing (a failed
//! link is the [`network`](crate::network)'s state, not a removed edge), of files or of YAML:
//! specs are serde types, and whoever reads the text hands them over.
//!
//! - [`precision`]: number formats;
//! - [`device`]: what a device can do, as its datasheet says and calibration corrects;
//! - [`communication`]: what its communication library adds to its links;
//! - [`link`]: what joins two vertices;
//! - [`topology`]: the graph, its builder and its questions;
//! - [`naming`]: which device a name in a paper or of a driver means;
//! - [`measure`]: what it comes to: counts, diameter, bisection bandwidth, where to draw;
//! - [`route`]: shortest paths with deterministic ECMP;
//! - [`shapes`]: ring, torus, fat tree, rail, dragonfly … built from a few numbers;
//! - [`spec`]: a topology as it is written, resolved to the graph with located problems.
//!
//! A new device or topology is a YAML file under `topologies/`, citing its source; a new shape is a
//! file in [`shapes`] and a line in its list.

pub mod communication;
pub mod device;
mod hosts;
pub mod link;
mod max_flow;
pub mod measure;
pub mod naming;
pub mod precision;
pub mod route;
pub mod shapes;
pub mod spec;
#[cfg(test)]
mod support;
pub mod topology;

pub use communication::{CommunicationSpec, ProtocolSpec};
pub use device::{CpuSpec, DeviceKind, DeviceSpec, GpuSpec, Sparsity, SystolicSpec};
pub use hosts::Hosted;
pub use link::{Link, LinkClass, LinkSpec};
pub use measure::Description;
pub use precision::Precision;
pub use route::{Route, Ways};
pub use shapes::{Shape, ShapeSpec};
pub use spec::{DeviceNotFound, Problem, TopologySpec};
pub use topology::{Device, Position, Topology, TopologyBuilder, TopologyError, Vertex};
