//! Packets through the queues of switches.
//!
//! A flow is cut into packets of at most the MTU. A packet is stored and forwarded: it waits in the
//! output queue of its next link, is sent at the link's rate, and is there after the link's latency.
//! The latency of a link contains that of the switch behind it, so switches add nothing but queueing.
//! Queues of a switch share one buffer. Around that:
//!
//! - **pauses** (PFC, IEEE 802.1Qbb): a switch that holds more than its share of packets from one link
//!   asks the sender to pause, so that nothing is dropped; the request takes the link's latency back;
//! - **marks** (ECN) by the length of the output queue, and **DCQCN** at the sources ([`dcqcn`]);
//! - **drops** where pauses are off and the buffer is full, and go-back-N, which repairs them;
//! - **routes**: one for each flow (ECMP), one for each packet at random (spray), or the shortest
//!   queue (adaptive), among the equally short ones of the topology.
//!
//! Sources of one link take turns by weight; what passes through a device or switch that also sends
//! takes turns with it. Acknowledgements, pauses and notifications take latencies and no bandwidth.
//! Headers are left out, so that a lone flow moves as many bytes as at the other fidelities.
//!
//! A circle of paused switches is a deadlock (Guo et al., "RDMA over Commodity Ethernet at Scale",
//! SIGCOMM 2016, section 4.2). Here packets change their priority where their route
//! [descends](crate::network::LinkTable::order), and priorities pause apart, so there is none.

pub mod dcqcn;
mod model;
mod port;
mod source;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::network::{LinkTable, NetworkFidelity, NetworkModel};
use crate::units::{Bytes, SimDuration};

pub use dcqcn::Dcqcn;
pub use model::PacketNetwork;

/// Packets, queues, pauses, marks, drops, many routes.
///
/// The defaults are the settings of a 400 Gbit/s network that SimAI publishes (Wang et al., "SimAI",
/// NSDI 2025; its `SimAI.conf`).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, try_from = "Written")]
pub struct Packet {
    /// The most bytes of a packet.
    pub mtu: Bytes,
    /// What a switch has for the packets that wait in it. The headroom that pauses need is beside it.
    pub buffer: Bytes,
    /// When packets are marked.
    pub ecn: Ecn,
    /// What sources do about marks.
    pub congestion: Congestion,
    /// How fast they do it.
    pub dcqcn: Dcqcn,
    /// Whether switches ask their neighbours to pause before they run out of room.
    pub pfc: bool,
    /// The share of the free buffer that packets from one link may fill before it is paused. SimAI's
    /// switch takes an eighth.
    pub pfc_share: f64,
    /// How packets find their way.
    pub routing: Routing,
    /// What becomes of a packet that was dropped.
    pub recovery: Recovery,
    /// After which silence a source sends again: RTO_high of Mittal et al., "Revisiting Network Support
    /// for RDMA", SIGCOMM 2018.
    pub timeout: SimDuration,
    /// Of marks, of sprayed packets and, if it is not 0, of ECMP: at 0 flows take the routes that they
    /// take at the other fidelities.
    pub seed: u64,
}

/// Random early marking, by the bytes in the output queue that a packet finds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ecn {
    /// Up to here nothing is marked.
    pub kmin: Bytes,
    /// From here on everything is.
    pub kmax: Bytes,
    /// The share that is marked just below `kmax`; in between it rises from 0 in a line.
    pub pmax: f64,
}

/// What sources do about marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Congestion {
    /// They slow down and recover as DCQCN has it.
    Dcqcn,
    /// Nothing.
    None,
}

/// How packets find their way among equally short routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Routing {
    /// All packets of a flow the same way, by a hash.
    Ecmp,
    /// Each packet at random.
    Spray,
    /// Each packet where the least is waiting.
    Adaptive,
}

/// What becomes of packets that were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// The receiver takes packets in order alone and asks for the first that is missing; the source
    /// goes back to it.
    GoBackN,
    /// They are lost; a flow ends when the rest has arrived.
    None,
}

impl Default for Packet {
    fn default() -> Self {
        Packet {
            mtu: Bytes(9_000),
            buffer: Bytes(32_000_000),
            ecn: Ecn::default(),
            congestion: Congestion::Dcqcn,
            dcqcn: Dcqcn::default(),
            pfc: true,
            pfc_share: 0.125,
            routing: Routing::Ecmp,
            recovery: Recovery::GoBackN,
            timeout: SimDuration::from_micros(320),
            seed: 0,
        }
    }
}

impl Default for Ecn {
    fn default() -> Self {
        Ecn { kmin: Bytes(800_000), kmax: Bytes(3_200_000), pmax: 0.2 }
    }
}

impl NetworkFidelity for Packet {
    fn model(&self, links: &LinkTable) -> Box<dyn NetworkModel> {
        Box::new(PacketNetwork::new(self, links))
    }
}

impl Packet {
    fn is_sane(&self) -> Result<(), String> {
        let Packet { mtu, buffer, ecn, pfc_share, .. } = self;
        if !(64..=1 << 20).contains(&mtu.get()) {
            return Err(format!("an `mtu` is 64 B to 1 MiB, not {mtu}"));
        }
        if buffer < mtu {
            return Err(format!("a `buffer` of {buffer} has no room for a packet of {mtu}"));
        }
        if ecn.kmin > ecn.kmax {
            return Err(format!("`ecn.kmin` ({}) is at most `ecn.kmax` ({})", ecn.kmin, ecn.kmax));
        }
        if !(0.0..=1.0).contains(&ecn.pmax) {
            return Err(format!("`ecn.pmax` is a share of the packets, 0 to 1, not {}", ecn.pmax));
        }
        if !(1e-3..=8.0).contains(pfc_share) {
            return Err(format!("`pfc_share` is a share of the free buffer, 0.001 to 8, not {pfc_share}"));
        }
        if self.timeout == SimDuration::ZERO {
            return Err("a `timeout` lasts longer than nothing".to_owned());
        }
        if !self.pfc && self.recovery == Recovery::GoBackN && self.routing != Routing::Ecmp {
            return Err(
                "go_back_n takes packets that come out of order for lost ones: without `pfc`, `spray` and \
                        `adaptive` need `recovery: none`, or let flows keep to one route with `routing: ecmp`"
                    .to_owned(),
            );
        }
        self.dcqcn.is_sane()
    }
}

/// The same as it is written, before it is known to be sane.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    mtu: Bytes,
    buffer: Bytes,
    ecn: Ecn,
    congestion: Congestion,
    dcqcn: Dcqcn,
    pfc: bool,
    pfc_share: f64,
    routing: Routing,
    recovery: Recovery,
    timeout: SimDuration,
    seed: u64,
}

impl Default for Written {
    fn default() -> Self {
        let Packet { mtu, buffer, ecn, congestion, dcqcn, pfc, pfc_share, routing, recovery, timeout, seed } =
            Packet::default();
        Written { mtu, buffer, ecn, congestion, dcqcn, pfc, pfc_share, routing, recovery, timeout, seed }
    }
}

impl TryFrom<Written> for Packet {
    type Error = String;
    fn try_from(written: Written) -> Result<Self, String> {
        let Written { mtu, buffer, ecn, congestion, dcqcn, pfc, pfc_share, routing, recovery, timeout, seed } =
            written;
        let packet =
            Packet { mtu, buffer, ecn, congestion, dcqcn, pfc, pfc_share, routing, recovery, timeout, seed };
        packet.is_sane().map(|()| packet)
    }
}
