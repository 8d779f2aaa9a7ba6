//! The machine as a graph: devices and switches joined by directed links.
//!
//! A [`Topology`] is made by a [`TopologyBuilder`] (which a [shape](crate::hardware::shapes) or a
//! [written topology](crate::hardware::spec) drives) and never changes afterwards. Vertices and
//! links keep the order in which they were added, so identities are the same in every run.

use std::fmt;
use std::sync::{Arc, Mutex};

use petgraph::graph::{DiGraph, NodeIndex};
use rustc_hash::FxHashMap;

use crate::hardware::device::DeviceSpec;
use crate::hardware::link::{Link, LinkSpec};
use crate::hardware::route::{Route, Router, Ways};
use crate::hardware::shapes::ShapeFacts;
use crate::ids::{DeviceId, Id, IdVec, LinkId, NodeId, VertexId};

/// A device in its place.
#[derive(Debug, Clone)]
pub struct Device {
    /// Unique within the topology: `node0/gpu3`.
    pub name: String,
    /// What it can do.
    pub spec: Arc<DeviceSpec>,
    /// The machine it sits in.
    pub node: NodeId,
    /// Its vertex of the graph.
    pub vertex: VertexId,
}

/// A vertex of the topology graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vertex {
    /// A device.
    Device(DeviceId),
    /// A switch, a network card, a router: forwards and does nothing else.
    Switch {
        /// Unique within the topology: `rail3/leaf0`.
        name: String,
    },
}

/// Where a vertex is drawn: x to the right, y upwards, in steps of about one vertex.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Position {
    /// To the right.
    pub x: f64,
    /// Upwards.
    pub y: f64,
}

/// An immutable graph of devices and switches, with routes between the devices.
#[derive(Debug)]
pub struct Topology {
    pub(super) name: String,
    pub(super) graph: DiGraph<Vertex, LinkId>,
    pub(super) devices: IdVec<DeviceId, Device>,
    pub(super) links: IdVec<LinkId, Link>,
    pub(super) nodes: IdVec<NodeId, Vec<DeviceId>>,
    pub(super) devices_forward: bool,
    /// Devices from this one on were added later, and traffic never passes through them.
    pub(super) leaves_from: DeviceId,
    /// Where a node's processors are, which are no devices of the topology.
    pub(super) roots: Vec<(NodeId, VertexId)>,
    pub(super) places: IdVec<VertexId, Option<Position>>,
    pub(super) facts: Option<ShapeFacts>,
    pub(super) router: Mutex<Router>,
}

impl Topology {
    /// Begins a topology of this name.
    pub fn builder(name: impl Into<String>) -> TopologyBuilder {
        TopologyBuilder {
            name: name.into(),
            graph: DiGraph::new(),
            devices: IdVec::new(),
            links: IdVec::new(),
            nodes: IdVec::new(),
            names: FxHashMap::default(),
            devices_forward: false,
            roots: Vec::new(),
            places: IdVec::new(),
            facts: None,
            mistake: None,
        }
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The devices, node by node.
    pub fn devices(&self) -> &IdVec<DeviceId, Device> {
        &self.devices
    }

    /// The directed links.
    pub fn links(&self) -> &IdVec<LinkId, Link> {
        &self.links
    }

    /// The graph itself; a vertex's index is its [`VertexId`], an edge's its [`LinkId`].
    pub fn graph(&self) -> &DiGraph<Vertex, LinkId> {
        &self.graph
    }

    /// The vertex of a device.
    pub fn vertex_of(&self, device: DeviceId) -> VertexId {
        self.devices[device].vertex
    }

    /// What stands at a vertex.
    pub fn vertex(&self, vertex: VertexId) -> &Vertex {
        &self.graph[NodeIndex::new(vertex.index())]
    }

    /// The name of what stands at a vertex.
    pub fn vertex_name(&self, vertex: VertexId) -> &str {
        match self.vertex(vertex) {
            Vertex::Device(device) => &self.devices[*device].name,
            Vertex::Switch { name } => name,
        }
    }

    /// The device called `name`.
    pub fn device_named(&self, name: &str) -> Option<DeviceId> {
        self.devices.enumerate().find(|(_, device)| device.name == name).map(|(id, _)| id)
    }

    /// How many nodes the devices sit in.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// The devices of a node, in order.
    pub fn node_devices(&self, node: NodeId) -> &[DeviceId] {
        &self.nodes[node]
    }

    /// Whether traffic may pass through devices (as on a ring or torus) or only through switches.
    pub fn devices_forward(&self) -> bool {
        self.devices_forward
    }

    /// The links from one device to another: fewest hops, then least latency, then most bandwidth.
    ///
    /// Among equal next hops the lowest dimension of a torus or mesh goes first; what is then still
    /// equal is chosen by a hash of `(from, to, flow)` and the vertex (ECMP), so the same flow takes
    /// the same route in every run. Empty when both ends are the same device. Memoised.
    pub fn route(&self, from: DeviceId, to: DeviceId, flow: u64) -> Route {
        let mut router = self.router.lock().expect("no panic while a route is sought");
        router.route(self, from, to, flow)
    }

    /// All the routes among which [`route`](Self::route) chooses. Memoised.
    pub fn ways(&self, from: DeviceId, to: DeviceId) -> Arc<Ways> {
        self.router.lock().expect("no panic while a route is sought").ways(self, from, to)
    }
}

/// Why a topology could not be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopologyError {
    /// There is nothing to run on.
    NoDevices,
    /// Two vertices have one name.
    DuplicateName {
        /// The name given twice.
        name: String,
    },
    /// A link begins and ends at the same vertex.
    Loop {
        /// The vertex's name.
        name: String,
    },
    /// No route leads from one device to another.
    Unreachable {
        /// The device from which …
        from: String,
        /// … this one cannot be reached.
        to: String,
        /// Whether a way through other devices exists.
        through_devices: bool,
    },
}

impl fmt::Display for TopologyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TopologyError::NoDevices => f.write_str("the topology has no devices"),
            TopologyError::DuplicateName { name } => write!(f, "two vertices are called `{name}`"),
            TopologyError::Loop { name } => write!(f, "a link leads from `{name}` to itself"),
            TopologyError::Unreachable { from, to, through_devices: false } => {
                write!(f, "no links lead from `{from}` to `{to}`")
            }
            TopologyError::Unreachable { from, to, through_devices: true } => {
                write!(f, "`{to}` is reached from `{from}` only through other devices, which do not forward")
            }
        }
    }
}

impl std::error::Error for TopologyError {}

/// Adds vertices and links one by one; [`build`](Self::build) checks the whole.
#[derive(Debug)]
pub struct TopologyBuilder {
    name: String,
    graph: DiGraph<Vertex, LinkId>,
    devices: IdVec<DeviceId, Device>,
    links: IdVec<LinkId, Link>,
    nodes: IdVec<NodeId, Vec<DeviceId>>,
    names: FxHashMap<String, VertexId>,
    devices_forward: bool,
    roots: Vec<(NodeId, VertexId)>,
    places: IdVec<VertexId, Option<Position>>,
    facts: Option<ShapeFacts>,
    mistake: Option<TopologyError>,
}

impl TopologyBuilder {
    /// Adds a machine for devices to sit in.
    pub fn add_node(&mut self) -> NodeId {
        self.nodes.push(Vec::new())
    }

    /// Adds a device that sits in `node`.
    pub fn add_device(&mut self, name: impl Into<String>, spec: &Arc<DeviceSpec>, node: NodeId) -> VertexId {
        let name = name.into();
        let device = DeviceId::from_index(self.devices.len());
        let vertex = self.add_vertex(&name, Vertex::Device(device));
        self.devices.push(Device { name, spec: Arc::clone(spec), node, vertex });
        self.nodes[node].push(device);
        vertex
    }

    /// Adds a switch: anything that only forwards.
    pub fn add_switch(&mut self, name: impl Into<String>) -> VertexId {
        let name = name.into();
        self.add_vertex(&name.clone(), Vertex::Switch { name })
    }

    /// Joins two vertices by a link in each direction.
    pub fn connect(&mut self, a: VertexId, b: VertexId, link: LinkSpec) -> &mut Self {
        self.connect_one_way(a, b, link).connect_one_way(b, a, link)
    }

    /// Joins two vertices in each direction along a dimension of a torus or mesh.
    pub fn connect_along(&mut self, dimension: u8, a: VertexId, b: VertexId, link: LinkSpec) -> &mut Self {
        self.add_link(a, b, link, Some(dimension));
        self.add_link(b, a, link, Some(dimension));
        self
    }

    /// Adds a link from one vertex to another, and none back.
    pub fn connect_one_way(&mut self, from: VertexId, to: VertexId, link: LinkSpec) -> &mut Self {
        self.add_link(from, to, link, None);
        self
    }

    /// Lets traffic pass through devices, as on a ring or torus.
    pub fn devices_forward(&mut self) -> &mut Self {
        self.devices_forward = true;
        self
    }

    /// Says that a node's processors are at a switch, the root of its PCIe tree.
    pub fn processors_at(&mut self, node: NodeId, root: VertexId) -> &mut Self {
        self.roots.push((node, root));
        self
    }

    /// Says where a vertex is drawn; vertices without a place are laid out by level.
    pub fn place(&mut self, vertex: VertexId, x: f64, y: f64) -> &mut Self {
        self.places[vertex] = Some(Position { x, y });
        self
    }

    /// Hands over what is known of the whole by closed form, so that it need not be searched for.
    pub fn facts(&mut self, facts: ShapeFacts) -> &mut Self {
        self.facts = Some(facts);
        self
    }

    /// The vertex called `name`.
    pub fn vertex_named(&self, name: &str) -> Option<VertexId> {
        self.names.get(name).copied()
    }

    /// Checks that there are devices, that names are unique and that every device reaches every
    /// other.
    pub fn build(self) -> Result<Topology, TopologyError> {
        if let Some(mistake) = self.mistake {
            return Err(mistake);
        }
        if self.devices.is_empty() {
            return Err(TopologyError::NoDevices);
        }
        let vertices = self.graph.node_count();
        let topology = Topology {
            name: self.name,
            graph: self.graph,
            devices: self.devices,
            links: self.links,
            nodes: self.nodes,
            devices_forward: self.devices_forward,
            leaves_from: DeviceId(u32::MAX),
            roots: self.roots,
            places: self.places,
            facts: self.facts,
            router: Mutex::new(Router::new(vertices)),
        };
        match topology.first_unreachable() {
            None => Ok(topology),
            Some((from, to, through_devices)) => Err(TopologyError::Unreachable {
                from: topology.devices[from].name.clone(),
                to: topology.devices[to].name.clone(),
                through_devices,
            }),
        }
    }

    fn add_vertex(&mut self, name: &str, vertex: Vertex) -> VertexId {
        let id = VertexId::from_index(self.graph.add_node(vertex).index());
        self.places.push(None);
        if self.names.insert(name.to_owned(), id).is_some() {
            self.note(TopologyError::DuplicateName { name: name.to_owned() });
        }
        id
    }

    fn add_link(&mut self, from: VertexId, to: VertexId, link: LinkSpec, dimension: Option<u8>) {
        if from == to {
            let name = self.vertex_name(from);
            self.note(TopologyError::Loop { name });
            return;
        }
        let id = self.links.push(Link {
            from,
            to,
            bandwidth: link.bandwidth,
            latency: link.latency,
            class: link.class,
            dimension,
        });
        let edge = self.graph.add_edge(NodeIndex::new(from.index()), NodeIndex::new(to.index()), id);
        debug_assert_eq!(edge.index(), id.index());
    }

    fn vertex_name(&self, vertex: VertexId) -> String {
        match &self.graph[NodeIndex::new(vertex.index())] {
            Vertex::Device(device) => self.devices[*device].name.clone(),
            Vertex::Switch { name } => name.clone(),
        }
    }

    /// Keeps the first mistake; `build` reports it.
    fn note(&mut self, mistake: TopologyError) {
        self.mistake.get_or_insert(mistake);
    }
}
