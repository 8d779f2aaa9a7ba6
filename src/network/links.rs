//! The links of a network as its models see them.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;

use petgraph::Direction;
use petgraph::graph::NodeIndex;

use crate::hardware::{Topology, Vertex};
use crate::ids::{Id, IdVec, LinkId, VertexId};
use crate::units::{Bandwidth, SimDuration};

/// What a network model knows of a link.
#[derive(Debug, Clone, Copy)]
pub struct LinkState {
    /// Bytes per second; nothing while the link is down.
    pub bandwidth: Option<Bandwidth>,
    /// How long the first byte takes from end to end.
    pub latency: SimDuration,
}

/// The links of a network, by identity, and the topology that they are of, if they are of any.
///
/// Without a topology links are bare: what joins them is that routes cross one after the other.
#[derive(Debug, Clone, Default)]
pub struct LinkTable {
    links: IdVec<LinkId, LinkState>,
    topology: Option<Arc<Topology>>,
}

/// The links of a topology, all of them up.
pub fn links_of(topology: &Arc<Topology>) -> LinkTable {
    let state =
        |link: &crate::hardware::Link| LinkState { bandwidth: Some(link.bandwidth), latency: link.latency };
    LinkTable { links: topology.links().iter().map(state).collect(), topology: Some(Arc::clone(topology)) }
}

impl LinkTable {
    /// The topology whose links they are.
    pub fn topology(&self) -> Option<&Arc<Topology>> {
        self.topology.as_ref()
    }

    /// An order of the links that routes follow upwards as far as they can.
    ///
    /// Up a hierarchy and down again, along each dimension in one direction, and so on: where a route
    /// takes a link that stands before the one it came by, it *descends*. Packets that have descended
    /// equally often wait for each other along the order alone, so if each such class has room of
    /// its own, no circle of full buffers can form (Dally and Seitz, "Deadlock-Free Message Routing
    /// in Multiprocessor Interconnection Networks", IEEE Trans. Computers C-36(5), 1987). Routes of
    /// a tree never descend; those of a torus do so once in each dimension whose edge they cross
    /// (the dateline).
    pub fn order(&self) -> IdVec<LinkId, u64> {
        let Some(topology) = &self.topology else {
            return self.links.ids().map(|link| link.index() as u64).collect();
        };
        let levels = levels(topology);
        let of = |(id, link): (LinkId, &crate::hardware::Link)| {
            let (from, to) = (levels[link.from], levels[link.to]);
            let back = link.to < link.from;
            let phase = match link.dimension {
                // Each dimension forwards, then backwards.
                Some(dimension) => 2 * u64::from(dimension) + u64::from(back),
                None if to > from => from,
                None if to == from => 1 << 16,
                None => (1 << 17) - from,
            };
            // Backwards along a dimension the links are laid out the other way round.
            let place = if link.dimension.is_some() && back { u32::MAX - id.0 } else { id.0 };
            phase << 32 | u64::from(place)
        };
        topology.links().enumerate().map(of).collect()
    }
}

/// How many links each vertex is away from the nearest device.
fn levels(topology: &Topology) -> IdVec<VertexId, u64> {
    let graph = topology.graph();
    let mut levels = IdVec::filled(u64::MAX, graph.node_count());
    let mut open = VecDeque::new();
    for vertex in levels.ids() {
        if let Vertex::Device(_) = topology.vertex(vertex) {
            levels[vertex] = 0;
            open.push_back(vertex);
        }
    }
    while let Some(vertex) = open.pop_front() {
        for next in graph.neighbors_directed(NodeIndex::new(vertex.index()), Direction::Outgoing) {
            let next = VertexId::from_index(next.index());
            if levels[next] == u64::MAX {
                levels[next] = levels[vertex] + 1;
                open.push_back(next);
            }
        }
    }
    levels.iter().map(|&level| level.min(1 << 15)).collect()
}

impl Deref for LinkTable {
    type Target = IdVec<LinkId, LinkState>;
    fn deref(&self) -> &IdVec<LinkId, LinkState> {
        &self.links
    }
}

impl FromIterator<LinkState> for LinkTable {
    fn from_iter<It: IntoIterator<Item = LinkState>>(links: It) -> Self {
        LinkTable { links: links.into_iter().collect(), topology: None }
    }
}

impl<'a> IntoIterator for &'a LinkTable {
    type Item = &'a LinkState;
    type IntoIter = std::slice::Iter<'a, LinkState>;
    fn into_iter(self) -> Self::IntoIter {
        self.links.iter()
    }
}
