//! What a device's communication library (NCCL and its like) adds to the physics of links.
//!
//! A library carries bytes by a protocol. NCCL has three (NVIDIA/nccl, `src/include/device.h`,
//! `src/graph/tuning.cc`): LL stores four bytes of flag beside four of data and so needs no fence, LL128
//! eight beside a hundred and twenty, Simple moves bare data in large chunks behind fences. So the first
//! is quick and wasteful, the last slow to start and thrifty. Each is a few constants, calibrated for a
//! device and the links among its peers, never for a collective's size or kind.

use serde::{Deserialize, Serialize};

use crate::units::{Bandwidth, SimDuration};

/// What was measured of a device's communication library.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommunicationSpec {
    /// What the constants were fitted to, and how well they do.
    pub calibration: String,
    /// The protocols of collectives that pass pieces around.
    pub rings: Vec<ProtocolSpec>,
    /// The protocols between two devices, of which an all-to-all is made.
    pub peers: Vec<ProtocolSpec>,
    /// Sums made by the switches, where they can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_network: Option<ProtocolSpec>,
}

/// A protocol: t = launch + steps·step + bytes/(efficiency·bandwidth) + own piece/copy, besides the
/// device's launch of a kernel and the links' latencies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProtocolSpec {
    /// Its name: `ll`, `ll128` or `simple`.
    pub name: String,
    /// From the kernel's start to its first bytes, beyond the launch of any kernel.
    pub launch: SimDuration,
    /// What each step (or each peer) takes beyond the links' latencies.
    pub step: SimDuration,
    /// The share of the links' bandwidth that payload gets.
    pub efficiency: f64,
    /// At what rate the device handles its own piece, which crosses no link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<Bandwidth>,
}

impl CommunicationSpec {
    /// All protocols, with the family that each belongs to.
    pub fn protocols(&self) -> impl Iterator<Item = (&'static str, &ProtocolSpec)> {
        let rings = self.rings.iter().map(|protocol| ("rings", protocol));
        let peers = self.peers.iter().map(|protocol| ("peers", protocol));
        rings.chain(peers).chain(self.in_network.iter().map(|protocol| ("in_network", protocol)))
    }
}
