//! What joins two vertices of a topology: a directed link of some class, bandwidth and latency.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::VertexId;
use crate::units::{Bandwidth, SimDuration};

/// The technology of a link; calibration constants and reports are kept by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkClass {
    /// NVLink, AMD Infinity Fabric and their like between accelerators of one node or rack.
    Nvlink,
    /// PCI Express.
    Pcie,
    /// InfiniBand.
    Infiniband,
    /// Ethernet (with or without RDMA).
    Ethernet,
    /// The inter-chip interconnect of a TPU pod.
    Ici,
    /// Wires between the parts of one package.
    OnChip,
    /// Compute Express Link.
    Cxl,
    /// Anything else.
    Other,
}

impl LinkClass {
    /// Every class.
    pub const ALL: [LinkClass; 8] = [
        LinkClass::Nvlink,
        LinkClass::Pcie,
        LinkClass::Infiniband,
        LinkClass::Ethernet,
        LinkClass::Ici,
        LinkClass::OnChip,
        LinkClass::Cxl,
        LinkClass::Other,
    ];

    /// The name used in YAML and tables.
    pub const fn name(self) -> &'static str {
        match self {
            LinkClass::Nvlink => "nvlink",
            LinkClass::Pcie => "pcie",
            LinkClass::Infiniband => "infiniband",
            LinkClass::Ethernet => "ethernet",
            LinkClass::Ici => "ici",
            LinkClass::OnChip => "on_chip",
            LinkClass::Cxl => "cxl",
            LinkClass::Other => "other",
        }
    }
}

impl fmt::Display for LinkClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A link as it is written: what it can do, without its ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkSpec {
    /// The technology.
    #[serde(default = "other")]
    pub class: LinkClass,
    /// Bytes per second in each direction.
    pub bandwidth: Bandwidth,
    /// How long the first byte takes from end to end, with what the switch or device behind the
    /// link adds.
    #[serde(default)]
    pub latency: SimDuration,
}

impl LinkSpec {
    /// A link of this class, bytes per second per direction and nanoseconds.
    pub fn new(class: LinkClass, bytes_per_second: f64, nanos: u64) -> Self {
        LinkSpec {
            class,
            bandwidth: Bandwidth::per_second(bytes_per_second),
            latency: SimDuration::from_nanos(nanos),
        }
    }

    /// This link with its bandwidth times `factor`: a trunk of several, or a taper.
    pub fn widened(self, factor: f64) -> Self {
        LinkSpec { bandwidth: self.bandwidth.scaled(factor), ..self }
    }
}

fn other() -> LinkClass {
    LinkClass::Other
}

/// A directed link of a topology. A cable that carries traffic both ways is two of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// Where it begins.
    pub from: VertexId,
    /// Where it ends.
    pub to: VertexId,
    /// Bytes per second.
    pub bandwidth: Bandwidth,
    /// How long the first byte takes from end to end.
    pub latency: SimDuration,
    /// The technology.
    pub class: LinkClass,
    /// The dimension of a torus or mesh the link runs along; routes finish a lower dimension before
    /// a higher one.
    pub dimension: Option<u8>,
}
