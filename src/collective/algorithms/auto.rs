//! Auto: the algorithm and protocol that promise the shortest time, as NCCL's tuner chooses.
//!
//! NVIDIA/nccl, `src/graph/tuning.cc`: every pair of an algorithm and a protocol is predicted by
//! t = launch + steps·latency + bytes/bandwidth, and the shortest wins. Here the constants of the
//! protocols are those measured of the device ([`CommunicationSpec`]); what was not measured falls back
//! on NCCL's table. Beside NCCL's rings, trees and in-network sums the hierarchical algorithm stands for
//! rings over all network cards where the rings themselves would be too many transfers.
//!
//! The plan is carried out over the network like any other, with the efficiency of its protocol on every
//! link; launch and steps are waited for before it begins.

use serde::{Deserialize, Serialize};

use super::chain::Chain;
use super::direct::Direct;
use super::double_binary_tree::DoubleBinaryTree;
use super::hierarchical::Hierarchical;
use super::nvls::Nvls;
use super::pxn::Pxn;
use super::ring::Ring;
use super::{AlgorithmSpec, nodes_of};
use crate::collective::algorithms::CollectiveAlgorithm;
use crate::collective::{Collective, CollectiveKind, CommPlan, Wire};
use crate::hardware::{CommunicationSpec, DeviceKind, LinkClass, ProtocolSpec, Topology};
use crate::ids::DeviceId;
use crate::units::SimDuration;

/// The quickest by prediction.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auto {
    /// Whether switches may be asked to add, where the device's library can.
    pub in_network: bool,
}

impl Default for Auto {
    fn default() -> Self {
        Auto { in_network: true }
    }
}

impl CollectiveAlgorithm for Auto {
    fn plan(&self, call: &Collective, topology: &Topology) -> CommPlan {
        let choices = self.choices(call, topology);
        let best = choices.iter().min_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let best = best.expect("there is always a ring");
        best.algorithm.plan(call, topology).over(best.wire)
    }
}

/// A way to carry out a call.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The algorithm, with its parameters.
    pub algorithm: AlgorithmSpec,
    /// The protocol's name.
    pub protocol: String,
    /// What the library adds.
    pub wire: Wire,
    /// The time promised, without the launch of the kernel.
    pub seconds: f64,
}

impl Auto {
    /// Every way that there is, with its promise.
    pub fn choices(&self, call: &Collective, topology: &Topology) -> Vec<Choice> {
        let ground = Ground::new(call, topology);
        let library = topology.devices()[call.group[0]].spec.communication.clone();
        let library = library.unwrap_or_else(|| unmeasured(topology, call.group[0]));
        let ways = match call.kind {
            CollectiveKind::AllToAll | CollectiveKind::SendReceive => {
                let way = ground.exchange(call);
                library.peers.iter().map(|protocol| ground.choice(way.clone(), protocol)).collect()
            }
            _ => self.around(call, topology, &ground, &library),
        };
        debug_assert!(!ways.is_empty(), "a library has protocols");
        ways
    }

    fn around(
        &self,
        call: &Collective,
        topology: &Topology,
        ground: &Ground,
        library: &CommunicationSpec,
    ) -> Vec<Choice> {
        let mut choices = Vec::new();
        for protocol in &library.rings {
            let ways = ground.rings(call).into_iter().chain(ground.trees(call));
            choices.extend(ways.map(|way| ground.choice(way, protocol)));
        }
        let sums = library.in_network.as_ref().filter(|_| self.in_network && ground.nodes == 1);
        if let (Some(protocol), CollectiveKind::AllReduce) = (sums, call.kind) {
            let nvls = AlgorithmSpec::Nvls(Nvls::default());
            if call.members() > 2 && nvls.admits(call, topology).is_ok() {
                // In 8 chunks the first way up and the last way down meet no other.
                let bytes = call.bytes.as_f64() * 9.0 / 8.0;
                let way = Way { algorithm: nvls, within: 2.0, between: 0.0, bytes, outside: 0.0, own: 0.0 };
                choices.push(ground.choice(way, protocol));
            }
        }
        choices
    }
}

/// What a prediction needs to know of an algorithm.
#[derive(Debug, Clone)]
struct Way {
    algorithm: AlgorithmSpec,
    /// Steps one after the other, within a node and between nodes.
    within: f64,
    between: f64,
    /// Bytes over the busiest port within a node, and over the busiest card.
    bytes: f64,
    outside: f64,
    /// Bytes of a member's own that it handles besides.
    own: f64,
}

/// What a prediction needs to know of a group's place.
#[derive(Debug)]
struct Ground {
    members: f64,
    nodes: u32,
    per_node: u32,
    within: Path,
    between: Path,
}

/// A way from one member to another.
#[derive(Debug, Clone, Copy, Default)]
struct Path {
    bandwidth: f64,
    latency: f64,
}

impl Ground {
    fn new(call: &Collective, topology: &Topology) -> Self {
        let members = call.members();
        let path = |from: usize, to: usize| {
            let route = topology.route(call.group[from], call.group[to], 0);
            let links = route.iter().map(|&link| &topology.links()[link]);
            Path {
                bandwidth: links.clone().map(|link| link.bandwidth.get()).fold(f64::INFINITY, f64::min),
                latency: links.map(|link| link.latency.seconds()).sum(),
            }
        };
        let last = call.group.len() - 1;
        // Members that do not fill nodes side by side are taken one by one.
        let per_node = nodes_of(call, topology).unwrap_or(1);
        let neighbour = path(0, 1.min(last));
        let (within, between) = match members / per_node {
            1 => (neighbour, neighbour),
            _ if per_node == 1 => (path(0, last), path(0, last)),
            _ => (neighbour, path(0, per_node as usize)),
        };
        Ground { members: f64::from(members), nodes: members / per_node, per_node, within, between }
    }

    /// Rings, or what stands for them.
    fn rings(&self, call: &Collective) -> Vec<Way> {
        let (n, nodes, per_node) = (self.members, f64::from(self.nodes), f64::from(self.per_node));
        let size = call.bytes.as_f64();
        let passes = match call.kind {
            CollectiveKind::AllReduce => 2.0,
            CollectiveKind::Broadcast { .. } | CollectiveKind::Reduce { .. } => {
                return vec![self.chain(size)];
            }
            _ => 1.0,
        };
        let crossings = if self.nodes > 1 { passes * nodes } else { 0.0 };
        let mut ways = Vec::new();
        if self.nodes == 1 || self.per_node == 1 || n <= 64.0 {
            let channels = if self.nodes > 1 { self.per_node as u16 } else { 1 };
            let crossings = crossings.min(passes * (n - 1.0));
            ways.push(Way {
                algorithm: AlgorithmSpec::Ring(Ring { channels, ..Ring::default() }),
                within: passes * (n - 1.0) - crossings,
                between: crossings,
                bytes: passes * (n - 1.0) / n * size,
                outside: passes * (n - 1.0) / n * size / f64::from(channels),
                own: size / n,
            });
        }
        if self.nodes > 1 && self.per_node > 1 {
            ways.push(Way {
                algorithm: AlgorithmSpec::Hierarchical(Hierarchical::default()),
                within: passes * (per_node - 1.0),
                between: passes * (nodes - 1.0),
                // One dimension after the other, so both take their time.
                bytes: passes * (per_node - 1.0) / per_node * size,
                outside: passes * (nodes - 1.0) / n * size,
                own: size / n,
            });
        }
        ways
    }

    /// A pipelined chain in chunks of 128 KiB, at most 64.
    fn chain(&self, size: f64) -> Way {
        let chunks = (size / 131_072.0).round().clamp(1.0, 64.0);
        let hops = self.members - 2.0 + chunks;
        let crossings = if self.nodes > 1 { f64::from(self.nodes) + chunks } else { 0.0 };
        let algorithm = AlgorithmSpec::Chain(Chain { chunks: chunks as u32 });
        let outside = if self.nodes > 1 { hops / chunks * size } else { 0.0 };
        // Chunks follow each other without waiting for a step of the library.
        let within = self.members - 1.0;
        Way { algorithm, within, between: crossings, bytes: hops / chunks * size, outside, own: 0.0 }
    }

    /// Two trees, for what carries whole buffers.
    fn trees(&self, call: &Collective) -> Option<Way> {
        let passes = match call.kind {
            CollectiveKind::AllReduce => 2.0,
            CollectiveKind::Broadcast { .. } | CollectiveKind::Reduce { .. } => 1.0,
            _ => return None,
        };
        let size = call.bytes.as_f64();
        let levels = self.members.log2().ceil();
        let crossings = if self.nodes > 1 { f64::from(self.nodes).log2().ceil() } else { 0.0 };
        let chunks = (size / 262_144.0).round().clamp(1.0, 16.0);
        // Filling and draining take a chunk for each level.
        let bytes = (passes + passes * levels / (2.0 * chunks)) * size / 0.9;
        Some(Way {
            algorithm: AlgorithmSpec::DoubleBinaryTree(DoubleBinaryTree { chunks: chunks as u32 }),
            within: passes * (levels - crossings),
            between: passes * crossings,
            bytes,
            outside: if self.nodes > 1 { bytes } else { 0.0 },
            own: size / self.members,
        })
    }

    /// Everyone to everyone, over rails where there are some.
    fn exchange(&self, call: &Collective) -> Way {
        let (n, size) = (self.members, call.bytes.as_f64());
        if call.kind == CollectiveKind::SendReceive {
            let algorithm = AlgorithmSpec::Direct(Direct::default());
            let outside = if self.nodes > 1 { size } else { 0.0 };
            return Way { algorithm, within: 1.0, between: 0.0, bytes: size, outside, own: 0.0 };
        }
        let rails = self.nodes > 1 && self.per_node > 1;
        let direct = AlgorithmSpec::Direct(Direct::default());
        let per_node = f64::from(self.per_node);
        Way {
            algorithm: if rails { AlgorithmSpec::Pxn(Pxn::default()) } else { direct },
            within: n - 1.0,
            between: 0.0,
            bytes: (n - 1.0) / n * size,
            outside: if self.nodes > 1 { (n - per_node) / n * size } else { 0.0 },
            own: size / n,
        }
    }

    fn choice(&self, way: Way, protocol: &ProtocolSpec) -> Choice {
        let network = Network::of(&protocol.name);
        let own = protocol.copy.map_or(0.0, |copy| way.own / copy.get());
        // The network's figures hold from end to end; only what they have beyond the links' own is added.
        let crossing = (network.step - self.between.latency).max(0.0);
        let overhead =
            protocol.launch.seconds() + way.within * protocol.step.seconds() + way.between * crossing + own;
        let seconds = overhead
            + way.within * self.within.latency
            + way.between * self.between.latency
            + (way.bytes / (self.within.bandwidth * protocol.efficiency))
                .max(way.outside / (self.between.bandwidth * network.efficiency));
        let wire = Wire {
            overhead: SimDuration::from_seconds(overhead),
            within: protocol.efficiency,
            between: network.efficiency,
        };
        let protocol = protocol.name.clone();
        // Nothing moves in a group of one, and nothing is waited for.
        let wire = if self.members > 1.0 { wire } else { Wire::default() };
        Choice { algorithm: way.algorithm, protocol, wire, seconds }
    }
}

/// A protocol over the network between nodes: NVIDIA/nccl `src/graph/tuning.cc`, `hwLat` of NET and Ring,
/// LL's quarter and LL128's 120/128 of the bandwidth; the Simple protocol's share is unverified.
struct Network {
    step: f64,
    efficiency: f64,
}

impl Network {
    fn of(protocol: &str) -> Self {
        match protocol {
            "ll" => Network { step: 2.7e-6, efficiency: 0.25 },
            "ll128" => Network { step: 4.0e-6, efficiency: 0.92 },
            "simple" => Network { step: 9.6e-6, efficiency: 0.92 },
            _ => Network { step: 0.0, efficiency: 1.0 },
        }
    }
}

/// A device of which nothing was measured: a GPU has NCCL's own figures (`tuning.cc`: `baseLat` of Ring,
/// `hwLat` of NVLINK or PCI and Ring, shares of the bandwidth), with the share of the Simple protocol
/// measured on A100 and H100; anything else has bare links.
fn unmeasured(topology: &Topology, device: DeviceId) -> CommunicationSpec {
    let spec = &topology.devices()[device].spec;
    let on_pcie = spec.peers.is_some_and(|peers| peers.class == LinkClass::Pcie) || spec.peers.is_none();
    let protocol = |name: &str, launch: f64, step: f64, efficiency: f64| ProtocolSpec {
        name: name.to_owned(),
        launch: SimDuration::from_seconds(launch * 1e-6).saturating_sub(spec.launch),
        step: SimDuration::from_seconds(step * 1e-6),
        efficiency,
        copy: None,
    };
    let protocols = match (spec.kind, on_pcie) {
        (DeviceKind::Gpu, false) => vec![
            protocol("ll", 6.6, 0.47, 0.25),
            protocol("ll128", 14.0, 1.9, 0.7),
            protocol("simple", 8.4, 3.4, 0.77),
        ],
        (DeviceKind::Gpu, true) => {
            vec![protocol("ll", 6.6, 1.0, 0.25), protocol("simple", 8.4, 5.7, 0.77)]
        }
        _ => vec![protocol("bare", 0.0, 0.0, 1.0)],
    };
    CommunicationSpec {
        calibration: "none".to_owned(),
        rings: protocols.clone(),
        peers: protocols,
        in_network: None,
    }
}
