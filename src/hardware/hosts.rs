//! The processors beside accelerators: those of a topology, or one added to each node that has none.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use petgraph::graph::NodeIndex;

use crate::hardware::device::{DeviceKind, DeviceSpec};
use crate::hardware::link::{Link, LinkClass, LinkSpec};
use crate::hardware::route::Router;
use crate::hardware::topology::{Device, Topology, Vertex};
use crate::ids::{DeviceId, Id, IdVec, NodeId, VertexId};
use crate::units::SimDuration;

/// A topology with a processor for every device.
#[derive(Debug)]
pub struct Hosted {
    /// The same devices and links, with the same identities, and those that were added.
    pub topology: Topology,
    /// The processor beside each device.
    pub host_of: IdVec<DeviceId, DeviceId>,
    /// How many processors were added.
    pub added: usize,
}

impl Topology {
    /// The same machine with a processor beside every device. Where a node has processors, the one with the
    /// shortest route serves a device. Where it has none, `cpu` is added: to the root of its PCIe tree where the
    /// topology shows one, else at the end of each device's own host link.
    ///
    /// # Errors
    /// When a device is neither below a root nor has a host link in its description.
    pub fn with_hosts(&self, cpu: &Arc<DeviceSpec>) -> Result<Hosted, String> {
        let mut more = self.copied();
        let mut added: BTreeMap<NodeId, DeviceId> = BTreeMap::new();
        for (node, devices) in self.nodes.enumerate() {
            if devices.iter().any(|&device| self.devices[device].spec.kind == DeviceKind::Cpu) {
                continue;
            }
            let name = format!("host{}", node.index());
            let host = more.add_leaf(&name, cpu, node);
            added.insert(node, host);
            let roots: Vec<VertexId> =
                self.roots.iter().filter(|(of, _)| *of == node).map(|&(_, root)| root).collect();
            // A processor reaches its memory as fast as that is.
            let bus = LinkSpec {
                class: LinkClass::Other,
                bandwidth: cpu.memory.bandwidth,
                latency: SimDuration::ZERO,
            };
            let vertex = more.devices[host].vertex;
            for &root in &roots {
                more.join(vertex, root, bus);
            }
            for &device in devices.iter().filter(|_| roots.is_empty()) {
                let Device { spec, vertex: at, .. } = &self.devices[device];
                let link = spec.host.ok_or_else(|| {
                    format!(
                        "`{}` has no `host` link in its description, and its node has no processor",
                        spec.name
                    )
                })?;
                more.join(*at, vertex, link);
            }
        }
        let host_of = |(id, device): (DeviceId, &Device)| {
            let beside = &more.nodes[device.node];
            let processors =
                beside.iter().copied().filter(|&other| more.devices[other].spec.kind == DeviceKind::Cpu);
            let near =
                |&other: &DeviceId| (if other == id { 0 } else { more.route(id, other, 0).len() }, other);
            added.get(&device.node).copied().or_else(|| processors.min_by_key(near)).unwrap_or(id)
        };
        let host_of = self.devices.enumerate().map(host_of).collect();
        Ok(Hosted { topology: more, host_of, added: added.len() })
    }

    fn copied(&self) -> Topology {
        Topology {
            name: self.name.clone(),
            graph: self.graph.clone(),
            devices: self.devices.clone(),
            links: self.links.clone(),
            nodes: self.nodes.clone(),
            devices_forward: self.devices_forward,
            leaves_from: self.leaves_from,
            roots: self.roots.clone(),
            places: self.places.clone(),
            facts: None,
            router: Mutex::new(Router::new(self.graph.node_count())),
        }
    }

    /// Adds a device that nothing passes through.
    fn add_leaf(&mut self, name: &str, spec: &Arc<DeviceSpec>, node: NodeId) -> DeviceId {
        let device = DeviceId::from_index(self.devices.len());
        self.leaves_from = self.leaves_from.min(device);
        let vertex = VertexId::from_index(self.graph.add_node(Vertex::Device(device)).index());
        self.places.push(None);
        self.devices.push(Device { name: name.to_owned(), spec: Arc::clone(spec), node, vertex });
        self.nodes[node].push(device);
        self.router = Mutex::new(Router::new(self.graph.node_count()));
        device
    }

    /// Adds a link each way.
    fn join(&mut self, a: VertexId, b: VertexId, link: LinkSpec) {
        for (from, to) in [(a, b), (b, a)] {
            let LinkSpec { class, bandwidth, latency } = link;
            let id = self.links.push(Link { from, to, bandwidth, latency, class, dimension: None });
            self.graph.add_edge(NodeIndex::new(from.index()), NodeIndex::new(to.index()), id);
        }
    }
}
