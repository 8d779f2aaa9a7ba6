//! The machine as a cluster sees it: nodes with devices of one kind each, and how far apart they are.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use petgraph::graph::NodeIndex;

use crate::hardware::{DeviceKind, Topology};
use crate::ids::{DeviceId, Id, IdVec, NodeId, VertexId};

/// A kind of device, among those of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindId(pub u32);

impl Id for KindId {
    fn from_index(index: usize) -> Self {
        KindId(u32::try_from(index).expect("few kinds of device"))
    }
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a node's host has besides devices; a machine that does not count them has plenty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    /// Thousandths of a CPU core.
    pub cpu_milli: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
}

impl Host {
    /// More than any job asks for: the host is not counted.
    pub const PLENTY: Host = Host { cpu_milli: u64::MAX, memory_mib: u64::MAX };
}

/// Devices of one kind in one machine.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is called.
    pub name: String,
    /// Which kind of device it has.
    pub kind: KindId,
    /// Its devices.
    pub devices: Vec<DeviceId>,
    /// What its host has.
    pub host: Host,
}

/// Nodes and devices.
#[derive(Debug, Clone)]
pub struct Machine {
    name: String,
    kinds: IdVec<KindId, Kind>,
    nodes: IdVec<NodeId, Node>,
    home: IdVec<DeviceId, NodeId>,
    distances: Option<Distances>,
}

#[derive(Debug, Clone)]
struct Kind {
    name: String,
    accelerator: bool,
    nodes: Vec<NodeId>,
    devices: u32,
}

/// Hops between nodes, and between the devices of each node.
#[derive(Debug, Clone)]
struct Distances {
    nodes: Vec<u16>,
    /// By node: a square of its devices, row by row.
    devices: IdVec<NodeId, Vec<u16>>,
}

impl Machine {
    /// A machine without nodes, to add them to.
    pub fn new(name: impl Into<String>) -> Self {
        let (kinds, nodes, home) = (IdVec::new(), IdVec::new(), IdVec::new());
        Machine { name: name.into(), kinds, nodes, home, distances: None }
    }

    /// The devices of a topology. A machine with devices of several kinds counts as a node of each.
    pub fn of(topology: &Topology) -> Self {
        let mut machine = Machine::new(topology.name());
        machine.home = IdVec::filled(NodeId(0), topology.devices().len());
        for node in (0..topology.node_count()).map(NodeId::from_index) {
            let mut parts: BTreeMap<KindId, Vec<DeviceId>> = BTreeMap::new();
            for &device in topology.node_devices(node) {
                let spec = &topology.devices()[device].spec;
                parts.entry(machine.kind(&spec.name, spec.kind != DeviceKind::Cpu)).or_default().push(device);
            }
            for (kind, devices) in parts {
                let first = &topology.devices()[devices[0]].name;
                let name = first.rsplit_once('/').map_or(first.as_str(), |(node, _)| node).to_owned();
                machine.enter(Node { name, kind, devices, host: Host::PLENTY });
            }
        }
        machine
    }

    /// Adds a node of `devices` devices of the kind called `kind`.
    pub fn add_node(&mut self, name: impl Into<String>, kind: &str, devices: u32, host: Host) -> NodeId {
        let first = self.home.len();
        let devices: Vec<DeviceId> = (first..first + devices as usize).map(DeviceId::from_index).collect();
        for _ in &devices {
            self.home.push(NodeId(0));
        }
        let kind = self.kind(kind, true);
        self.enter(Node { name: name.into(), kind, devices, host })
    }

    fn enter(&mut self, node: Node) -> NodeId {
        let id = NodeId::from_index(self.nodes.len());
        for &device in &node.devices {
            self.home[device] = id;
        }
        let kind = &mut self.kinds[node.kind];
        kind.devices += node.devices.len() as u32;
        kind.nodes.push(id);
        self.nodes.push(node)
    }

    /// The kind called `name`, new if need be.
    fn kind(&mut self, name: &str, accelerator: bool) -> KindId {
        let known = self.kinds.enumerate().find(|(_, kind)| kind.name == name).map(|(id, _)| id);
        known.unwrap_or_else(|| {
            self.kinds.push(Kind { name: name.to_owned(), accelerator, nodes: Vec::new(), devices: 0 })
        })
    }

    /// Learns how many hops lie between nodes, and between the devices of a node.
    pub fn measure(&mut self, topology: &Topology) {
        let count = self.nodes.len();
        let mut distances = Distances { nodes: vec![0; count * count], devices: IdVec::new() };
        for (from, node) in self.nodes.enumerate() {
            let mut square = Vec::with_capacity(node.devices.len() * node.devices.len());
            for (index, &device) in node.devices.iter().enumerate() {
                let hops = hops_from(topology, topology.vertex_of(device));
                let to = |device: DeviceId| hops[topology.vertex_of(device)];
                square.extend(node.devices.iter().map(|&other| to(other)));
                if index == 0 {
                    for (other, there) in self.nodes.enumerate().filter(|(other, _)| *other != from) {
                        let nearest = there.devices.iter().map(|&device| to(device)).min();
                        distances.nodes[from.index() * count + other.index()] = nearest.unwrap_or(u16::MAX);
                    }
                }
            }
            distances.devices.push(square);
        }
        self.distances = Some(distances);
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Every node.
    pub fn nodes(&self) -> &IdVec<NodeId, Node> {
        &self.nodes
    }

    /// How many devices there are.
    pub fn devices(&self) -> usize {
        self.home.len()
    }

    /// The node a device sits in.
    pub fn node_of(&self, device: DeviceId) -> NodeId {
        self.home[device]
    }

    /// The kinds of device, in order of first appearance.
    pub fn kinds(&self) -> impl ExactSizeIterator<Item = KindId> + use<> {
        (0..self.kinds.len()).map(KindId::from_index)
    }

    /// The name of a kind.
    pub fn kind_name(&self, kind: KindId) -> &str {
        &self.kinds[kind].name
    }

    /// The kind called `name`.
    pub fn kind_named(&self, name: &str) -> Option<KindId> {
        self.kinds().find(|&kind| self.kinds[kind].name == name)
    }

    /// The nodes with devices of a kind.
    pub fn nodes_of(&self, kind: KindId) -> &[NodeId] {
        &self.kinds[kind].nodes
    }

    /// How many devices of a kind there are.
    pub fn devices_of(&self, kind: KindId) -> u32 {
        self.kinds[kind].devices
    }

    /// What a job may use that does not say: every kind but processors, or everything where there are
    /// only processors.
    pub fn usual_kinds(&self) -> Vec<KindId> {
        let some: Vec<KindId> = self.kinds().filter(|&kind| self.kinds[kind].accelerator).collect();
        if some.is_empty() { self.kinds().collect() } else { some }
    }

    /// Hops between two nodes: 0 within one, and 1 between any two when nothing was measured.
    pub fn hops(&self, a: NodeId, b: NodeId) -> u16 {
        match &self.distances {
            _ if a == b => 0,
            Some(distances) => distances.nodes[a.index() * self.nodes.len() + b.index()],
            None => 1,
        }
    }

    /// Hops between two devices of a node, by their places within it.
    pub fn hops_within(&self, node: NodeId, a: usize, b: usize) -> u16 {
        match &self.distances {
            Some(distances) => distances.devices[node][a * self.nodes[node].devices.len() + b],
            None => u16::from(a != b),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> =
            self.kinds.iter().map(|kind| format!("{} {}", kind.devices, kind.name)).collect();
        write!(f, "`{}` ({} in {} nodes)", self.name, parts.join(", "), self.nodes.len())
    }
}

/// Links to every vertex from one, passing through devices only where they forward.
fn hops_from(topology: &Topology, start: VertexId) -> IdVec<VertexId, u16> {
    let graph = topology.graph();
    let mut hops = IdVec::filled(u16::MAX, graph.node_count());
    hops[start] = 0;
    let mut reached = VecDeque::from([start]);
    while let Some(vertex) = reached.pop_front() {
        let ends_here = matches!(topology.vertex(vertex), crate::hardware::Vertex::Device(_));
        if ends_here && vertex != start && !topology.devices_forward() {
            continue;
        }
        for next in graph.neighbors(NodeIndex::new(vertex.index())) {
            let next = VertexId::from_index(next.index());
            if hops[next] == u16::MAX {
                hops[next] = hops[vertex] + 1;
                reached.push_back(next);
            }
        }
    }
    hops
}
