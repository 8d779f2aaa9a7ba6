//! Shortest routes between devices, with deterministic ECMP among equals.
//!
//! A route has the fewest hops, among those the least latency, among those the widest bottleneck.
//! It is found by a search from both ends that meets in the middle, so in a hierarchy (fat tree,
//! rails) it touches the few switches above the two devices and never the whole graph; no all-pairs
//! table is kept. Devices do not forward unless the topology says that they do.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use petgraph::Direction;
use petgraph::graph::NodeIndex;
use petgraph::visit::EdgeRef;
use rustc_hash::FxHashMap;

use crate::hardware::topology::{Topology, Vertex};
use crate::ids::{DeviceId, Id, LinkId, VertexId};

/// The links crossed, in order.
pub type Route = Arc<[LinkId]>;

/// Every best way from one device to another: at each vertex on one of them, the links that lead on.
///
/// A packet that takes any of them at each vertex takes a best route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ways {
    onward: BTreeMap<VertexId, Box<[LinkId]>>,
}

impl Ways {
    /// The links that lead on from a vertex, in order; none at the target and off the ways.
    pub fn onward(&self, at: VertexId) -> &[LinkId] {
        self.onward.get(&at).map_or(&[], |links| links)
    }

    /// Whether there is more than one route.
    pub fn have_choices(&self) -> bool {
        self.onward.values().any(|links| links.len() > 1)
    }
}

/// Routes kept before the memory is cleared: about 100 MB of six-hop routes.
const REMEMBERED: usize = 1 << 20;

/// Finds routes and remembers them.
#[derive(Debug)]
pub(super) struct Router {
    /// Where only one route is best, whatever the flow.
    single: FxHashMap<(DeviceId, DeviceId), Route>,
    by_flow: FxHashMap<(DeviceId, DeviceId, u64), Route>,
    ways: FxHashMap<(DeviceId, DeviceId), Arc<Ways>>,
    search: Search,
}

impl Router {
    pub(super) fn new(vertices: usize) -> Self {
        Router {
            single: FxHashMap::default(),
            by_flow: FxHashMap::default(),
            ways: FxHashMap::default(),
            search: Search::new(vertices),
        }
    }

    pub(super) fn route(&mut self, topology: &Topology, from: DeviceId, to: DeviceId, flow: u64) -> Route {
        if let Some(route) = self.single.get(&(from, to)).or_else(|| self.by_flow.get(&(from, to, flow))) {
            return Arc::clone(route);
        }
        let (source, target) = self.search(topology, from, to);
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

    pub(super) fn ways(&mut self, topology: &Topology, from: DeviceId, to: DeviceId) -> Arc<Ways> {
        if let Some(ways) = self.ways.get(&(from, to)) {
            return Arc::clone(ways);
        }
        let (source, target) = self.search(topology, from, to);
        let ways = Arc::new(self.search.ways(topology, source, target));
        if self.ways.len() >= REMEMBERED / 16 {
            self.ways.clear();
        }
        self.ways.insert((from, to), Arc::clone(&ways));
        ways
    }

    fn search(&mut self, topology: &Topology, from: DeviceId, to: DeviceId) -> (VertexId, VertexId) {
        let (source, target) = (topology.vertex_of(from), topology.vertex_of(to));
        let found = self.search.run(topology, source, target);
        assert!(
            found,
            "no route from {} to {}, though the builder checked that there is one",
            topology.vertex_name(source),
            topology.vertex_name(target)
        );
        (source, target)
    }
}

/// What remains from a vertex to the target along the best ways on.
#[derive(Debug, Clone)]
struct Onward {
    /// The search that found it.
    search: u32,
    picos: u64,
    width: f64,
    /// The links that begin the best ways.
    links: Vec<LinkId>,
}

impl Onward {
    const NOTHING: Onward = Onward { search: 0, picos: 0, width: f64::INFINITY, links: Vec::new() };

    /// Starts again with nothing on the way, as the target has.
    fn reset(&mut self, search: u32) {
        self.search = search;
        self.picos = 0;
        self.width = f64::INFINITY;
        self.links.clear();
    }

    /// Learns that `link` leads on, after which `picos` and `width` remain.
    fn learn(&mut self, search: u32, link: LinkId, picos: u64, width: f64) {
        let known = self.search == search;
        let better = !known || picos < self.picos || (picos == self.picos && width > self.width);
        if better {
            self.reset(search);
            (self.picos, self.width) = (picos, width);
        }
        if better || (picos == self.picos && width == self.width) {
            self.links.push(link);
        }
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
    /// By vertex.
    onward: Vec<Onward>,
}

impl Search {
    fn new(vertices: usize) -> Self {
        Search {
            number: 0,
            ahead: Wave::new(Direction::Outgoing, vertices),
            back: Wave::new(Direction::Incoming, vertices),
            onward: vec![Onward::NOTHING; vertices],
        }
    }

    /// Finds the best ways on from every vertex on a route of fewest hops; false when the target
    /// cannot be reached.
    fn run(&mut self, topology: &Topology, source: VertexId, target: VertexId) -> bool {
        let (source, target) = (NodeIndex::new(source.index()), NodeIndex::new(target.index()));
        self.number = self.number.checked_add(1).expect("fewer than 2^32 searches");
        self.ahead.begin(self.number, source);
        self.back.begin(self.number, target);
        self.onward[target.index()].reset(self.number);
        if !self.meet(topology, source, target) {
            return false;
        }
        self.look_back(topology);
        self.look_ahead(topology);
        true
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

    /// From the target through the backward wave: each vertex tells those one level farther of the
    /// way through it. Only links that the wave has walked are looked at, so a spine with thousands
    /// of leaves costs no more than the few links it was reached by.
    fn look_back(&mut self, topology: &Topology) {
        for level in 0..self.back.depth() {
            for &vertex in &self.back.levels[level as usize] {
                for edge in topology.graph.edges_directed(vertex, Direction::Incoming) {
                    if self.back.level_of(self.number, edge.source()) == Some(level + 1) {
                        tell(&mut self.onward, topology, self.number, *edge.weight());
                    }
                }
            }
        }
    }

    /// Through the forward wave to the source: each vertex asks those one level nearer to where the
    /// waves met whether they know a way on.
    fn look_ahead(&mut self, topology: &Topology) {
        for level in (0..self.ahead.depth()).rev() {
            for &vertex in &self.ahead.levels[level as usize] {
                for edge in topology.graph.edges_directed(vertex, Direction::Outgoing) {
                    let next_level = self.ahead.level_of(self.number, edge.target()) == Some(level + 1);
                    if next_level && self.onward[edge.target().index()].search == self.number {
                        tell(&mut self.onward, topology, self.number, *edge.weight());
                    }
                }
            }
        }
    }

    /// Follows the best ways from source to target; says also whether there was any choice.
    fn walk(
        &self,
        topology: &Topology,
        source: VertexId,
        target: VertexId,
        seed: u64,
    ) -> (Vec<LinkId>, bool) {
        let mut at = source;
        let mut links = Vec::new();
        let mut choices = false;
        while at != target {
            let equals = self.equals(topology, at);
            choices |= equals.len() > 1;
            let chosen = equals[(mix(seed ^ at.index() as u64) % equals.len() as u64) as usize];
            links.push(chosen);
            at = topology.links[chosen].to;
        }
        (links, choices)
    }

    /// The links on from a vertex among which a flow may choose: a lower dimension goes first, links
    /// without one come last.
    fn equals(&self, topology: &Topology, at: VertexId) -> Vec<LinkId> {
        let dimension = |link: &LinkId| topology.links[*link].dimension.map_or(u16::MAX, u16::from);
        let ways = &self.onward[at.index()].links;
        let lowest = ways.iter().map(dimension).min().expect("a way on from a vertex that was reached");
        let mut equals: Vec<LinkId> = ways.iter().copied().filter(|link| dimension(link) == lowest).collect();
        equals.sort_unstable();
        equals
    }

    fn ways(&self, topology: &Topology, source: VertexId, target: VertexId) -> Ways {
        let mut onward = BTreeMap::new();
        let mut open = vec![source];
        while let Some(at) = open.pop() {
            if at == target || onward.contains_key(&at) {
                continue;
            }
            let equals = self.equals(topology, at);
            open.extend(equals.iter().map(|&link| topology.links[link].to));
            onward.insert(at, equals.into());
        }
        Ways { onward }
    }
}

/// Tells the vertex where `link` begins of the way on over it.
fn tell(onward: &mut [Onward], topology: &Topology, search: u32, link: LinkId) {
    let ends = &topology.links[link];
    let next = &onward[ends.to.index()];
    let picos = next.picos + ends.latency.picos();
    let width = next.width.min(ends.bandwidth.get());
    onward[ends.from.index()].learn(search, link, picos, width);
}

impl Topology {
    /// A route without these links: of the fewest hops, among those the least latency; nothing where there is
    /// none. For links that are down, which are few and not often.
    pub fn route_around(&self, from: DeviceId, to: DeviceId, down: &BTreeSet<LinkId>) -> Option<Route> {
        let ends = [from, to].map(|device| NodeIndex::new(self.vertex_of(device).index()));
        let mut nearest: BTreeMap<NodeIndex, (u32, u64)> = BTreeMap::from([(ends[0], (0, 0))]);
        let mut came_by: BTreeMap<NodeIndex, LinkId> = BTreeMap::new();
        let mut open = BinaryHeap::from([Reverse((0_u32, 0_u64, ends[0]))]);
        while let Some(Reverse((hops, picos, at))) = open.pop() {
            let passable = at == ends[0] || self.forwards(at);
            if nearest[&at] != (hops, picos) || !passable {
                continue;
            }
            let mut edges: Vec<(LinkId, NodeIndex)> =
                self.graph.edges(at).map(|edge| (*edge.weight(), edge.target())).collect();
            edges.sort_unstable();
            for (link, next) in edges.into_iter().filter(|(link, _)| !down.contains(link)) {
                let merit = (hops + 1, picos + self.links[link].latency.picos());
                if nearest.get(&next).is_none_or(|&known| merit < known) {
                    nearest.insert(next, merit);
                    came_by.insert(next, link);
                    open.push(Reverse((merit.0, merit.1, next)));
                }
            }
        }
        let mut links = Vec::new();
        let mut at = ends[1];
        while at != ends[0] {
            let link = *came_by.get(&at)?;
            links.push(link);
            at = NodeIndex::new(self.links[link].from.index());
        }
        links.reverse();
        Some(links.into())
    }

    /// Whether traffic may pass through this vertex.
    pub(super) fn forwards(&self, vertex: NodeIndex) -> bool {
        match self.graph[vertex] {
            Vertex::Switch { .. } => true,
            Vertex::Device(device) => self.devices_forward && device < self.leaves_from,
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hardware::link::{LinkClass, LinkSpec};
    use crate::hardware::support::device;
    use crate::hardware::topology::TopologyError;
    use crate::ids::NodeId;

    /// Up to four devices and four switches, and links between any two of them.
    type Drawn = (usize, usize, bool, Vec<(usize, usize, u64, u64)>);

    fn drawn() -> impl Strategy<Value = Drawn> {
        (2..5_usize, 0..5_usize, any::<bool>()).prop_flat_map(|(devices, switches, forward)| {
            let vertex = 0..devices + switches;
            let link = (vertex.clone(), vertex, 0..3_u64, 1..4_u64);
            (Just(devices), Just(switches), Just(forward), prop::collection::vec(link, 1..24))
        })
    }

    fn build((devices, switches, forward, links): &Drawn) -> Result<Topology, TopologyError> {
        let mut builder = Topology::builder("drawn");
        if *forward {
            builder.devices_forward();
        }
        for at in 0..*devices {
            let node = builder.add_node();
            builder.add_device(format!("device{at}"), &device(), node);
        }
        (0..*switches).for_each(|at| {
            builder.add_switch(format!("switch{at}"));
        });
        for &(from, to, nanos, width) in links.iter().filter(|(from, to, ..)| from != to) {
            let link = LinkSpec::new(LinkClass::Other, width as f64, nanos);
            builder.connect_one_way(VertexId(from as u32), VertexId(to as u32), link);
        }
        builder.build()
    }

    /// Hops, picoseconds and the inverse of the width: less is better.
    type Merit = (usize, u64, f64);

    fn merit(topology: &Topology, route: &[LinkId]) -> Merit {
        let links = || route.iter().map(|link| &topology.links[*link]);
        let width = links().map(|link| link.bandwidth.get()).fold(f64::INFINITY, f64::min);
        (route.len(), links().map(|link| link.latency.picos()).sum(), 1.0 / width)
    }

    /// The slow twin: walk every simple path and keep the best merit.
    fn best_by_walking(
        topology: &Topology,
        path: &mut Vec<LinkId>,
        at: NodeIndex,
        to: NodeIndex,
    ) -> Option<Merit> {
        if at == to {
            return Some(merit(topology, path));
        }
        let begin = path.first().map(|link| topology.links[*link].from.index());
        if begin.is_some() && !topology.forwards(at) {
            return None;
        }
        let mut best: Option<Merit> = None;
        for edge in topology.graph.edges_directed(at, Direction::Outgoing) {
            let next = edge.target();
            let seen = begin == Some(next.index())
                || path.iter().any(|link| topology.links[*link].to.index() == next.index());
            if !seen {
                path.push(*edge.weight());
                let found = best_by_walking(topology, path, next, to);
                path.pop();
                best = [best, found].into_iter().flatten().min_by(|a, b| a.partial_cmp(b).unwrap());
            }
        }
        best
    }

    /// Every route that a hash chooses is one of the ways, and following any of them leads to the target in
    /// as many steps.
    #[test]
    fn ways_are_the_routes_that_hashes_choose_among() {
        use crate::hardware::shapes::{FatTree, Shape as _, Torus};
        for torus in [false, true] {
            let mut builder = Topology::builder("ways");
            if torus {
                Torus::default().lay_out(&device(), &mut builder);
            } else {
                FatTree::default().lay_out(&device(), &mut builder);
            }
            let topology = builder.build().unwrap();
            let mut chosen = std::collections::BTreeSet::new();
            let (from, to) = (DeviceId(0), DeviceId(10));
            let ways = topology.ways(from, to);
            for flow in 0..100 {
                let route = topology.route(from, to, flow);
                for &link in route.iter() {
                    assert!(ways.onward(topology.links()[link].from).contains(&link));
                    chosen.insert(link);
                }
                assert!(ways.onward(topology.vertex_of(to)).is_empty());
            }
            let all: usize = ways.onward.values().map(|links| links.len()).sum();
            assert_eq!(chosen.len(), all, "a hundred hashes find every way");
            assert!(ways.have_choices());
        }
    }

    proptest! {
        /// A machine is refused exactly when some pair has no path; otherwise every route is as good
        /// as the best path there is.
        #[test]
        fn routes_are_as_good_as_the_best_of_all_paths(drawn in drawn()) {
            match build(&drawn) {
                Ok(topology) => {
                    for from in topology.devices().ids() {
                        for to in topology.devices().ids().filter(|to| *to != from) {
                            let ends = [from, to].map(|id| NodeIndex::new(topology.vertex_of(id).index()));
                            let best = best_by_walking(&topology, &mut Vec::new(), ends[0], ends[1]);
                            // Around nothing, and around the first link of the best, the slow twin again.
                            let around = topology.route_around(from, to, &BTreeSet::new()).unwrap();
                            prop_assert_eq!(merit(&topology, &around).0, best.unwrap().0);
                            prop_assert_eq!(merit(&topology, &around).1, best.unwrap().1);
                            let down = BTreeSet::from([around[0]]);
                            if let Some(other) = topology.route_around(from, to, &down) {
                                prop_assert!(!other.contains(&around[0]));
                                // Bandwidth does not choose among these.
                                let merits = [&other, &around].map(|route| merit(&topology, route));
                                let [of_other, of_around] = merits.map(|merit| (merit.0, merit.1));
                                prop_assert!(of_other >= of_around);
                            }
                            for flow in 0..3 {
                                let route = topology.route(from, to, flow);
                                prop_assert_eq!(Some(merit(&topology, &route)), best);
                            }
                        }
                    }
                }
                Err(TopologyError::Unreachable { from, to, .. }) => {
                    prop_assert!(!connected(&drawn, &from, &to), "{} does reach {}", from, to);
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }

    /// Whether the drawn links lead from one device to the other, by relaxing until nothing changes.
    fn connected((devices, switches, forward, links): &Drawn, from: &str, to: &str) -> bool {
        let number = |name: &str| name.trim_start_matches("device").parse::<usize>().unwrap();
        let mut reached = vec![false; devices + switches];
        reached[number(from)] = true;
        for _ in 0..devices + switches {
            for &(a, b, ..) in links {
                let leaves = a == number(from) || a >= *devices || *forward;
                reached[b] |= reached[a] && leaves;
            }
        }
        reached[number(to)]
    }

    /// Two parallel cables, one shorter: the shorter is taken; of two equally long, the wider.
    #[test]
    fn latency_decides_before_width() {
        let between = |links: [(u64, f64); 2]| {
            let mut builder = Topology::builder("pair");
            let node = builder.add_node();
            let ends = ["a", "b"].map(|name| builder.add_device(name, &device(), node));
            for (nanos, width) in links {
                builder.connect(ends[0], ends[1], LinkSpec::new(LinkClass::Other, width, nanos));
            }
            let topology = builder.build().unwrap();
            topology.route(DeviceId(0), DeviceId(1), 0)[0]
        };
        // Links 0 and 2 lead from a to b.
        assert_eq!(between([(2, 9.0), (1, 1.0)]), LinkId(2));
        assert_eq!(between([(1, 9.0), (1, 1.0)]), LinkId(0));
    }

    #[test]
    fn devices_in_the_way_are_not_passed_unless_they_forward() {
        let chain = |forward: bool| {
            let mut builder = Topology::builder("chain");
            if forward {
                builder.devices_forward();
            }
            let node = builder.add_node();
            let [a, b, c] = ["a", "b", "c"].map(|name| builder.add_device(name, &device(), node));
            let link = LinkSpec::new(LinkClass::Other, 1.0, 0);
            builder.connect(a, b, link).connect(b, c, link);
            builder.build()
        };
        assert_eq!(chain(true).unwrap().route(DeviceId(0), DeviceId(2), 0).len(), 2);
        assert_eq!(chain(true).unwrap().node_devices(NodeId(0)).len(), 3);
        let refused = chain(false).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "`c` is reached from `a` only through other devices, which do not forward"
        );
    }
}
