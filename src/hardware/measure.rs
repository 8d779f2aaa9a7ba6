//! What a topology comes to: counts, diameter, bisection bandwidth, who reaches whom, where to draw.

use std::collections::{BTreeMap, VecDeque};

use petgraph::Direction;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::NodeIndex;
use petgraph::visit::NodeFiltered;
use serde::Serialize;

use crate::hardware::device::DeviceKind;
use crate::hardware::link::LinkClass;
use crate::hardware::max_flow::MaxFlow;
use crate::hardware::topology::{Position, Topology, Vertex};
use crate::ids::{DeviceId, Id, IdVec, VertexId};
use crate::units::Bandwidth;

/// Up to how many devices every way to part them in halves is tried.
const EXHAUSTIVE: usize = 12;
/// Pairs of devices whose routes are counted exactly; of larger machines an even sample is taken.
const PAIRS: usize = 10_000;

/// A topology in numbers, for tables.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    /// The topology's name.
    pub name: String,
    /// Nodes the devices sit in.
    pub nodes: usize,
    /// Devices by kind.
    pub devices: BTreeMap<DeviceKind, usize>,
    /// Devices by the name of their spec.
    pub specs: BTreeMap<String, usize>,
    /// Switches, network cards and routers.
    pub switches: usize,
    /// Directed links by class.
    pub links: BTreeMap<LinkClass, usize>,
    /// Least bandwidth in one direction between two halves of the devices.
    pub bisection_bytes_per_second: f64,
    /// Whether that is exact; otherwise it is the least of the cuts tried, an upper bound.
    pub bisection_exact: bool,
    /// The most hops of any route.
    pub diameter: usize,
    /// How many routes have so many hops: of all ordered pairs of devices, or of an even sample.
    pub hops: BTreeMap<usize, usize>,
}

impl Topology {
    /// The topology in numbers.
    pub fn describe(&self) -> Description {
        let mut devices = BTreeMap::new();
        let mut specs = BTreeMap::new();
        for device in self.devices() {
            *devices.entry(device.spec.kind).or_default() += 1;
            *specs.entry(device.spec.name.clone()).or_default() += 1;
        }
        let mut links = BTreeMap::new();
        for link in self.links() {
            *links.entry(link.class).or_default() += 1;
        }
        let (bisection, bisection_exact) = self.bisection();
        Description {
            name: self.name().to_owned(),
            nodes: self.node_count(),
            switches: self.graph().node_count() - self.devices().len(),
            devices,
            specs,
            links,
            bisection_bytes_per_second: bisection,
            bisection_exact,
            diameter: self.diameter(),
            hops: self.hops(),
        }
    }

    /// The least bandwidth, in one direction, over the ways to part the devices in two halves (whose
    /// sizes differ by at most one).
    ///
    /// Finding it is NP-hard, so it is exact where the shape has a closed form and up to 12 devices;
    /// otherwise it is that of the cut between the first and the second half of the devices, an
    /// upper bound. Of a single device it is the bandwidth of nothing, so `None`.
    pub fn bisection_bandwidth(&self) -> Option<Bandwidth> {
        let (bandwidth, _) = self.bisection();
        (bandwidth > 0.0).then(|| Bandwidth::per_second(bandwidth))
    }

    /// The most hops of any route between two devices.
    pub fn diameter(&self) -> usize {
        if let Some(facts) = &self.facts {
            return facts.diameter as usize;
        }
        self.devices.ids().map(|from| self.farthest(from)).max().unwrap_or(0)
    }

    /// Where each vertex is drawn: where its shape put it, or by level: devices below in their
    /// order, each switch above the middle of what it joins.
    pub fn positions(&self) -> IdVec<VertexId, Position> {
        let by_level = self.by_level();
        let placed = self.places.enumerate();
        placed.map(|(vertex, place)| place.unwrap_or(by_level[vertex])).collect()
    }

    /// The exact diameter by searching from every device.
    #[cfg(test)]
    pub(super) fn searched_diameter(&self) -> usize {
        self.devices.ids().map(|from| self.farthest(from)).max().unwrap_or(0)
    }

    /// Bytes per second and whether that is exact.
    fn bisection(&self) -> (f64, bool) {
        match self.facts.as_ref().and_then(|facts| facts.bisection) {
            Some(bandwidth) => (bandwidth.get(), true),
            None => self.searched_bisection(),
        }
    }

    /// The bisection without the shape's help.
    pub(super) fn searched_bisection(&self) -> (f64, bool) {
        let count = self.devices.len();
        if count < 2 {
            return (0.0, true);
        }
        if count > EXHAUSTIVE {
            let in_order: Vec<bool> = (0..count).map(|at| at < count / 2).collect();
            return (self.cut(&in_order), false);
        }
        let halves = (0..1_u32 << count).filter(|half| half.count_ones() as usize == count / 2);
        let least = halves
            .map(|half| self.cut(&(0..count).map(|at| half >> at & 1 == 1).collect::<Vec<bool>>()))
            .fold(f64::INFINITY, f64::min);
        (least, true)
    }

    /// The least cut that leaves the devices of one half on one side: how much can flow between
    /// the halves, all devices sending at once.
    fn cut(&self, first_half: &[bool]) -> f64 {
        let vertices = self.graph.node_count();
        let (source, target) = (vertices, vertices + 1);
        let mut flow = MaxFlow::new(vertices + 2);
        for link in self.links() {
            flow.add(link.from.index(), link.to.index(), link.bandwidth.get());
        }
        for (device, &first) in self.devices.iter().zip(first_half) {
            if first {
                flow.add(source, device.vertex.index(), f64::INFINITY);
            } else {
                flow.add(device.vertex.index(), target, f64::INFINITY);
            }
        }
        flow.run(source, target)
    }

    /// Hops to every vertex that a route from `from` can reach; `None` elsewhere.
    fn hops_from(&self, from: DeviceId) -> Vec<Option<u32>> {
        let start = NodeIndex::new(self.vertex_of(from).index());
        let mut hops = vec![None; self.graph.node_count()];
        hops[start.index()] = Some(0);
        let mut queue = VecDeque::from([(start, 0)]);
        while let Some((vertex, so_far)) = queue.pop_front() {
            for next in self.graph.neighbors_directed(vertex, Direction::Outgoing) {
                if hops[next.index()].is_none() {
                    hops[next.index()] = Some(so_far + 1);
                    if self.forwards(next) {
                        queue.push_back((next, so_far + 1));
                    }
                }
            }
        }
        hops
    }

    fn farthest(&self, from: DeviceId) -> usize {
        let hops = self.hops_from(from);
        let farthest = self.devices.iter().filter_map(|device| hops[device.vertex.index()]).max();
        farthest.unwrap_or(0) as usize
    }

    /// Two devices without a route between them, and whether there would be one if devices
    /// forwarded.
    pub(super) fn first_unreachable(&self) -> Option<(DeviceId, DeviceId, bool)> {
        if self.all_hang_on_one_core() {
            return None;
        }
        self.devices.ids().find_map(|from| {
            let hops = self.hops_from(from);
            let to = self.devices.ids().find(|to| hops[self.vertex_of(*to).index()].is_none())?;
            let (a, b) = (self.vertex_of(from).index(), self.vertex_of(to).index());
            let any_way =
                petgraph::algo::has_path_connecting(&self.graph, NodeIndex::new(a), NodeIndex::new(b), None);
            Some((from, to, any_way))
        })
    }

    /// Whether every device is in, or has links into and out of, one strongly connected part of
    /// what forwards: then all reach all, and nobody needs to look further.
    fn all_hang_on_one_core(&self) -> bool {
        let forwarding = NodeFiltered::from_fn(&self.graph, |vertex| self.forwards(vertex));
        let parts = kosaraju_scc(&forwarding);
        let Some(core) = parts.iter().max_by_key(|part| part.len()) else { return false };
        let mut in_core = vec![false; self.graph.node_count()];
        for vertex in core {
            in_core[vertex.index()] = true;
        }
        self.devices.iter().all(|device| {
            let vertex = NodeIndex::new(device.vertex.index());
            let touches = |direction| {
                self.graph.neighbors_directed(vertex, direction).any(|next| in_core[next.index()])
            };
            in_core[vertex.index()] || (touches(Direction::Outgoing) && touches(Direction::Incoming))
        })
    }

    /// How many routes have so many hops. Up to `PAIRS` ordered pairs are all counted; of more, the
    /// routes from an even sample of devices to an even sample of devices.
    fn hops(&self) -> BTreeMap<usize, usize> {
        let count = self.devices.len();
        let side = (PAIRS as f64).sqrt() as usize;
        let step = count.div_ceil(side).max(1);
        let mut histogram = BTreeMap::new();
        for from in (0..count).step_by(step) {
            // A step that shares no factor with the node size would be fairer still; an offset by
            // the source's number already visits every place within a node.
            for to in (0..count).step_by(step).map(|to| (to + from / step) % count) {
                if from != to {
                    let route = self.route(DeviceId::from_index(from), DeviceId::from_index(to), 0);
                    *histogram.entry(route.len()).or_default() += 1;
                }
            }
        }
        histogram
    }

    /// Devices at the bottom in their order; a switch as many levels up as it is links from the
    /// nearest device, above the middle of its neighbours one level down.
    fn by_level(&self) -> IdVec<VertexId, Position> {
        let mut places: IdVec<VertexId, Option<Position>> = IdVec::filled(None, self.graph.node_count());
        let mut level: Vec<NodeIndex> = Vec::new();
        for (at, device) in self.devices.enumerate() {
            places[device.vertex] = Some(Position { x: at.index() as f64, y: 0.0 });
            level.push(NodeIndex::new(device.vertex.index()));
        }
        let mut height = 0.0;
        while !level.is_empty() {
            height += 1.0;
            level = self.place_level_above(&level, height, &mut places);
        }
        places.into_iter().map(|place| place.unwrap_or(Position { x: 0.0, y: height })).collect()
    }

    /// Places the vertices that touch `below` and have no place yet; returns them.
    fn place_level_above(
        &self,
        below: &[NodeIndex],
        height: f64,
        places: &mut IdVec<VertexId, Option<Position>>,
    ) -> Vec<NodeIndex> {
        // Sum and count of the x of what each vertex joins; by vertex, so the order is fixed.
        let mut above: BTreeMap<NodeIndex, (f64, f64)> = BTreeMap::new();
        for &vertex in below {
            let x = places[VertexId::from_index(vertex.index())].expect("a placed level").x;
            for next in self.graph.neighbors_undirected(vertex) {
                if places[VertexId::from_index(next.index())].is_none() {
                    let (sum, count) = above.entry(next).or_default();
                    *sum += x;
                    *count += 1.0;
                }
            }
        }
        let mut wished: Vec<(f64, NodeIndex)> =
            above.iter().map(|(vertex, (sum, count))| (sum / count, *vertex)).collect();
        wished.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let xs = one_step_apart(wished.iter().map(|(x, _)| *x));
        for ((_, vertex), x) in wished.iter().zip(xs) {
            places[VertexId::from_index(vertex.index())] = Some(Position { x, y: height });
        }
        above.into_keys().collect()
    }
}

/// The places nearest to the wished ones (ascending; least squares) that are at least one step
/// apart: isotonic regression of wish − rank by pooling neighbours that would stand too close
/// (Ayer et al., Ann. Math. Statist. 26, 1955).
fn one_step_apart(wished: impl Iterator<Item = f64>) -> Vec<f64> {
    // Pools of neighbours: sum of wish − rank, and how many.
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for (rank, wish) in wished.enumerate() {
        let mut pool = (wish - rank as f64, 1);
        while let Some(last) = pools.pop_if(|last| last.0 / last.1 as f64 > pool.0 / pool.1 as f64) {
            pool = (pool.0 + last.0, pool.1 + last.1);
        }
        pools.push(pool);
    }
    let shifts = pools.iter().flat_map(|(sum, count)| std::iter::repeat_n(sum / *count as f64, *count));
    shifts.enumerate().map(|(rank, shift)| shift + rank as f64).collect()
}

impl Vertex {
    /// The device, if it is one.
    pub fn device(&self) -> Option<DeviceId> {
        match self {
            Vertex::Device(device) => Some(*device),
            Vertex::Switch { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2, 2 and 2 become 1, 2 and 3; 10 is far enough away to keep its place.
    #[test]
    fn crowded_places_spread_around_their_middle() {
        assert_eq!(one_step_apart([2.0, 2.0, 2.0, 10.0].into_iter()), [1.0, 2.0, 3.0, 10.0]);
        assert_eq!(one_step_apart([0.0, 5.0].into_iter()), [0.0, 5.0]);
    }
}
