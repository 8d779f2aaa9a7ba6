//! Shortest routes between devices, with deterministic ECMP among equals.
//!
//! A route has the fewest hops, among those the least latency, among those the widest bottleneck.
//! It is found by a search from both ends that meets in the middle, so in a hierarchy (fat tree,
//! rails) it touches the few switches above the two devices and never the whole graph; no all-pairs
//! table is kept. Devices do not forward unless the topology says that they do.

use std::sync::Arc;

use petgraph::Direction;
use petgraph::graph::NodeIndex;
use petgraph::visit::EdgeRef;
use rustc_hash::FxHashMap;

use crate::hardware::topology::{Topology, Vertex};
use crate::ids::{DeviceId, Id, LinkId, VertexId};

/// The links crossed, in order.
pub type Route = Arc<[LinkId]>;

/// Routes kept before the memory is cleared: about 100 MB of six-hop routes.
const REMEMBERED: usize = 1 << 20;

/// Finds routes and remembers them.
#[derive(Debug)]
pub(super) struct Router {
    /// Where only one route is best, whatever the flow.
    single: FxHashMap<(DeviceId, DeviceId), Route>,
    by_flow: FxHashMap<(DeviceId, DeviceId, u64), Route>,
    search: Search,
}

impl Router {
    pub(super) fn new(vertices: usize) -> Self {
        Router { single: FxHashMap::default(), by_flow: FxHashMap::default(), search: Search::new(vertices) }
    }

    pub(super) fn route(&mut self, topology: &Topology, from: DeviceId, to: DeviceId, flow: u64) -> Route {
        if let Some(route) = self.single.get(&(from, to)).or_else(|| self.by_flow.get(&(from, to, flow))) {
            return Arc::clone(route);
        }
        let (source, target) = (topology.vertex_of(from), topology.vertex_of(to));
        let found = self.search.run(topology, source, target);
        assert!(
            found,
            "no route from {} to {}, though the builder checked that there is one",
            topology.vertex_name(source),
            topology.vertex_name(target)
        );
        let seed = mix(mix(u64::from(from.0) << 32 | u64::from(to.0)) ^ flow);
        let (links, choices) = self.search.walk(topology, source, target, seed);
        let route: Route = links.into();
        if self.single.len() + self.by_flow.len() >= REMEMBERED {
            self.single.clear();
            self.by_flow.clear();
        }
        if choices {
            self.by_flow.insert((from, to, flow), Arc::clone(&route));
        } else {
            self.single.insert((from, to), Arc::clone(&route));
        }
        route
    }
}

/// What remains from a vertex to the target.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Remaining {
    hops: u32,
    picos: u64,
    width: f64,
}

impl Remaining {
    const NOTHING: Remaining = Remaining { hops: 0, picos: 0, width: f64::INFINITY };

    fn is_better_than(&self, other: &Remaining) -> bool {
        self.picos < other.picos || (self.picos == other.picos && self.width > other.width)
    }
}

/// A breadth-first search from one end.
#[derive(Debug)]
struct Wave {
    direction: Direction,
    /// `(search, level)` of the last search that reached the vertex.
    reached: Vec<(u32, u32)>,
    levels: Vec<Vec<NodeIndex>>,
}

impl Wave {
    fn new(direction: Direction, vertices: usize) -> Self {
        Wave { direction, reached: vec![(0, 0); vertices], levels: Vec::new() }
    }

    fn begin(&mut self, search: u32, at: NodeIndex) {
        self.levels.clear();
        self.levels.push(vec![at]);
        self.reached[at.index()] = (search, 0);
    }

    fn level_of(&self, search: u32, vertex: NodeIndex) -> Option<u32> {
        let (last, level) = self.reached[vertex.index()];
        (last == search).then_some(level)
    }

    fn depth(&self) -> u32 {
        self.levels.len() as u32 - 1
    }

    fn frontier(&self) -> &[NodeIndex] {
        &self.levels[self.levels.len() - 1]
    }

    /// Goes one level further, through vertices that forward or to the other wave's start.
    fn expand(&mut self, topology: &Topology, search: u32, other_end: NodeIndex) {
        let level = self.levels.len() as u32;
        let mut next = Vec::new();
        for &vertex in &self.levels[self.levels.len() - 1] {
            for neighbour in topology.graph.neighbors_directed(vertex, self.direction) {
                let passable = neighbour == other_end || topology.forwards(neighbour);
                if passable && self.reached[neighbour.index()].0 != search {
                    self.reached[neighbour.index()] = (search, level);
                    next.push(neighbour);
                }
            }
        }
        self.levels.push(next);
    }
}

/// The two waves and what they found, kept between searches to spare allocations.
#[derive(Debug)]
struct Search {
    number: u32,
    ahead: Wave,
    back: Wave,
    /// `(search, remaining)` of the vertices on shortest routes.
    remaining: Vec<(u32, Remaining)>,
}

impl Search {
    fn new(vertices: usize) -> Self {
        Search {
            number: 0,
            ahead: Wave::new(Direction::Outgoing, vertices),
            back: Wave::new(Direction::Incoming, vertices),
            remaining: vec![(0, Remaining::NOTHING); vertices],
        }
    }

    /// Labels every vertex on a route of fewest hops with what remains from it; false when the
    /// target cannot be reached.
    fn run(&mut self, topology: &Topology, source: VertexId, target: VertexId) -> bool {
        let (source, target) = (NodeIndex::new(source.index()), NodeIndex::new(target.index()));
        self.begin(source, target);
        if !self.meet(topology, source, target) {
            return false;
        }
        self.label_levels(topology);
        true
    }

    fn begin(&mut self, source: NodeIndex, target: NodeIndex) {
        self.number = self.number.checked_add(1).expect("fewer than 2^32 searches");
        self.ahead.begin(self.number, source);
        self.back.begin(self.number, target);
        self.remaining[target.index()] = (self.number, Remaining::NOTHING);
    }

    /// Expands the smaller frontier until the waves touch. Both waves reach only vertices that a
    /// route may use, so they first touch at the full distance, in the frontiers.
    fn meet(&mut self, topology: &Topology, source: NodeIndex, target: NodeIndex) -> bool {
        loop {
            let (search, back) = (self.number, &self.back);
            if self.ahead.frontier().iter().any(|&vertex| back.level_of(search, vertex).is_some()) {
                return true;
            }
            if self.ahead.frontier().is_empty() || self.back.frontier().is_empty() {
                return false;
            }
            if self.ahead.frontier().len() <= self.back.frontier().len() {
                self.ahead.expand(topology, search, target);
            } else {
                self.back.expand(topology, search, source);
            }
        }
    }

    /// From the target towards the source, level by level: the best that remains.
    fn label_levels(&mut self, topology: &Topology) {
        for level in 1..self.back.levels.len() {
            for at in 0..self.back.levels[level].len() {
                self.label(topology, self.back.levels[level][at], level as u32);
            }
        }
        let (ahead, back) = (self.ahead.depth(), self.back.depth());
        for level in (0..ahead).rev() {
            for at in 0..self.ahead.levels[level as usize].len() {
                let vertex = self.ahead.levels[level as usize][at];
                self.label(topology, vertex, back + ahead - level);
            }
        }
    }

    /// Labels `vertex` if some neighbour is `hops - 1` from the target.
    fn label(&mut self, topology: &Topology, vertex: NodeIndex, hops: u32) {
        let mut best: Option<Remaining> = None;
        for (_, candidate) in self.onward(topology, vertex, hops) {
            if best.is_none_or(|best| candidate.is_better_than(&best)) {
                best = Some(candidate);
            }
        }
        if let Some(best) = best {
            self.remaining[vertex.index()] = (self.number, best);
        }
    }

    /// The links from `vertex` towards the target, with what would remain if they were taken.
    fn onward<'a>(
        &'a self,
        topology: &'a Topology,
        vertex: NodeIndex,
        hops: u32,
    ) -> impl Iterator<Item = (LinkId, Remaining)> + 'a {
        topology.graph.edges_directed(vertex, Direction::Outgoing).filter_map(move |edge| {
            let (search, next) = self.remaining[edge.target().index()];
            if search != self.number || next.hops + 1 != hops {
                return None;
            }
            let link = &topology.links[*edge.weight()];
            let remaining = Remaining {
                hops,
                picos: next.picos + link.latency.picos(),
                width: next.width.min(link.bandwidth.get()),
            };
            Some((*edge.weight(), remaining))
        })
    }

    /// Follows the labels from source to target; says also whether there was any choice.
    fn walk(
        &self,
        topology: &Topology,
        source: VertexId,
        target: VertexId,
        seed: u64,
    ) -> (Vec<LinkId>, bool) {
        let (mut at, target) = (NodeIndex::new(source.index()), NodeIndex::new(target.index()));
        let mut links = Vec::new();
        let mut choices = false;
        while at != target {
            let best = self.remaining[at.index()].1;
            let mut equals: Vec<LinkId> = self
                .onward(topology, at, best.hops)
                .filter(|(_, remaining)| *remaining == best)
                .map(|(link, _)| link)
                .collect();
            // A lower dimension goes first; links without one come last.
            let rank = |link: &LinkId| topology.links[*link].dimension.map_or(u16::MAX, u16::from);
            let lowest = equals.iter().map(rank).min().expect("a labelled vertex has a way on");
            equals.retain(|link| rank(link) == lowest);
            equals.sort_unstable();
            choices |= equals.len() > 1;
            let chosen = equals[(mix(seed ^ at.index() as u64) % equals.len() as u64) as usize];
            links.push(chosen);
            at = NodeIndex::new(topology.links[chosen].to.index());
        }
        (links, choices)
    }
}

impl Topology {
    /// Whether traffic may pass through this vertex.
    pub(super) fn forwards(&self, vertex: NodeIndex) -> bool {
        self.devices_forward || matches!(self.graph[vertex], Vertex::Switch { .. })
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): every bit of the input moves
/// about half of the output's.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
