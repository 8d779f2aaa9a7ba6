//! How long exchanges take that stand for many groups doing the same at the same time.
//!
//! Where every rank does what its mirror images do, one of them is simulated and its exchanges take the
//! time that all mirrored groups take at once on the network. That is what a full simulation gives as
//! long as different exchanges do not meet on a link (it is exact then, and the suite holds it to the
//! full simulation); where they do, the full simulation may be slower: [`Meetings`] counts them.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::collective::Member;
use crate::collective::lone::LoneRings;
use crate::hardware::Topology;
use crate::ids::{DeviceId, FlowId, Id, LinkId, TransferId};
use crate::network::{Flow, NetworkModel};
use crate::program::{Exchange, Folded};
use crate::runtime::meetings::{LinkSet, Meetings};
use crate::units::{Bytes, SimDuration, SimTime};

/// What is known of folded exchanges: each distinct one is timed once.
#[derive(Debug, Default)]
pub(super) struct FoldedTimes {
    /// By the identity of the plan and of the groups, and the size.
    known: FxHashMap<(usize, usize, Bytes), Known>,
    /// Rings that meet no others, by their connections and the size: stages mostly have the same.
    lone: FxHashMap<(LoneRings, Bytes), Vec<SimDuration>>,
    meetings: Meetings,
    /// The network's own clock: it serves these measurements alone, one after the other.
    clock: SimTime,
}

/// The identities above stay what they are while these are held.
#[derive(Debug)]
struct Known {
    _plan: Arc<crate::collective::CommPlan>,
    _folded: Arc<Folded>,
    timed: Arc<Timed>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Timed {
    /// When each simulated member's part ends, from the moment when the last member came.
    pub(super) ends: Vec<SimDuration>,
    /// What all groups together moved.
    pub(super) moved: Bytes,
    /// Which links all groups together use.
    pub(super) links: LinkSet,
}

impl FoldedTimes {
    /// How long a folded exchange takes.
    pub(super) fn of(
        &mut self,
        exchange: &Exchange,
        folded: &Folded,
        topology: &Topology,
        network: &mut dyn NetworkModel,
    ) -> Arc<Timed> {
        let shared = exchange.folded.as_ref().expect("a folded exchange");
        let identity = (Arc::as_ptr(&exchange.plan) as usize, Arc::as_ptr(shared) as usize, exchange.bytes);
        if let Some(known) = self.known.get(&identity) {
            return known.timed.clone();
        }
        let (groups, links) = contending(exchange, &folded.groups, topology);
        let lone = if groups.len() == 1 { self.lone(exchange, groups[0], topology, network) } else { None };
        let all_ends = lone.unwrap_or_else(|| {
            let mut timing = Timing::new(exchange, &groups, topology, self.clock);
            self.clock = timing.run(network);
            timing.ends
        });
        let launch = folded.groups[0].iter().map(|&device| topology.devices()[device].spec.launch).max();
        let launch = launch.unwrap_or_default();
        let ends = folded.simulated.iter().map(|member| all_ends[member.index()] + launch);
        let plan = &exchange.plan;
        let moved = Bytes(plan.carried(exchange.bytes) * folded.groups.len() as u64);
        let links = self.meetings.know(links, topology.links().len());
        let timed = Arc::new(Timed { ends: ends.collect(), moved, links });
        let known = Known { _plan: plan.clone(), _folded: shared.clone(), timed: timed.clone() };
        self.known.insert(identity, known);
        timed
    }

    /// An exchange goes on until `end`; whether another that is under way uses a link of its own.
    pub(super) fn goes_on(&mut self, timed: &Timed, now: SimTime, end: SimTime) -> bool {
        self.meetings.begin(timed.links, now, end)
    }

    fn lone(
        &mut self,
        exchange: &Exchange,
        group: &[DeviceId],
        topology: &Topology,
        network: &dyn NetworkModel,
    ) -> Option<Vec<SimDuration>> {
        let key = (LoneRings::of(&exchange.plan, group, topology, network)?, exchange.bytes);
        if let Some(ends) = self.lone.get(&key) {
            return Some(ends.clone());
        }
        let ends = key.0.ends(&exchange.plan, exchange.bytes)?;
        self.lone.insert(key, ends.clone());
        Some(ends)
    }
}

fn flow_of(exchange: &Exchange, id: TransferId, group: &[DeviceId], topology: &Topology) -> Flow {
    let transfer = &exchange.plan.transfers()[id];
    let device = |member: Member| group[member.index()];
    let route = topology.route(device(transfer.from), device(transfer.to), u64::from(transfer.channel));
    exchange.plan.flow(id, exchange.bytes, &route, topology)
}

/// The first group and those that share a link with it, or with one that does, and so on: the others
/// change nothing of its time. And the links of all groups, in no order.
fn contending<'f>(
    exchange: &Exchange,
    groups: &'f [Vec<DeviceId>],
    topology: &Topology,
) -> (Vec<&'f [DeviceId]>, Vec<LinkId>) {
    let ways = exchange.plan.ways();
    let mut on_link: FxHashMap<LinkId, Vec<usize>> = FxHashMap::default();
    let mut links_of: Vec<Vec<LinkId>> = Vec::with_capacity(groups.len());
    for (at, group) in groups.iter().enumerate() {
        let mut links: Vec<LinkId> = Vec::new();
        for &(from, to, channel) in &ways {
            links.extend(topology.route(group[from.index()], group[to.index()], u64::from(channel)).iter());
        }
        links.sort_unstable();
        links.dedup();
        links.iter().for_each(|&link| on_link.entry(link).or_default().push(at));
        links_of.push(links);
    }
    let (mut reached, mut open) = (vec![false; groups.len()], vec![0]);
    reached[0] = true;
    while let Some(at) = open.pop() {
        for link in &links_of[at] {
            for &other in &on_link[link] {
                if !std::mem::replace(&mut reached[other], true) {
                    open.push(other);
                }
            }
        }
    }
    let near = groups.iter().zip(reached).filter(|(_, reached)| *reached).map(|(group, _)| group.as_slice());
    (near.collect(), on_link.into_keys().collect())
}

/// One plan run by several groups at once.
struct Timing<'e> {
    exchange: &'e Exchange,
    groups: &'e [&'e [DeviceId]],
    topology: &'e Topology,
    began: SimTime,
    waits: Vec<Vec<u32>>,
    flows: FxHashMap<FlowId, (usize, TransferId)>,
    /// When each member of the first group has nothing left to give or get.
    ends: Vec<SimDuration>,
}

impl<'e> Timing<'e> {
    fn new(
        exchange: &'e Exchange,
        groups: &'e [&'e [DeviceId]],
        topology: &'e Topology,
        began: SimTime,
    ) -> Self {
        Timing {
            exchange,
            groups,
            topology,
            began,
            waits: vec![exchange.plan.predecessor_counts().to_vec(); groups.len()],
            flows: FxHashMap::default(),
            ends: vec![SimDuration::ZERO; groups[0].len()],
        }
    }

    /// Returns when the last transfer of any group arrived.
    fn run(&mut self, network: &mut dyn NetworkModel) -> SimTime {
        let plan = &self.exchange.plan;
        for group in 0..self.groups.len() {
            for id in plan.transfers().ids().filter(|id| plan.predecessor_counts()[id.index()] == 0) {
                self.start(group, id, self.began, network);
            }
        }
        let (mut now, mut finished) = (self.began, Vec::new());
        while let Some(change) = network.next_change() {
            now = change;
            network.advance(now, &mut finished);
            let ended: Vec<(usize, TransferId)> = finished
                .drain(..)
                .map(|flow| self.flows.remove(&flow).expect("a flow of this exchange"))
                .collect();
            for (group, id) in ended {
                self.end(group, id, now, network);
            }
        }
        assert!(self.flows.is_empty(), "a link that is down stops a folded exchange");
        now
    }

    fn start(&mut self, group: usize, id: TransferId, now: SimTime, network: &mut dyn NetworkModel) {
        let flow = flow_of(self.exchange, id, self.groups[group], self.topology);
        let flow = self.exchange.plan.send(flow, now, network);
        self.flows.insert(flow, (group, id));
    }

    fn end(&mut self, group: usize, id: TransferId, now: SimTime, network: &mut dyn NetworkModel) {
        let plan = &self.exchange.plan;
        if group == 0 {
            let transfer = &plan.transfers()[id];
            for member in [transfer.from, transfer.to] {
                self.ends[member.index()] = now.since(self.began);
            }
        }
        for next in plan.successors(id) {
            self.waits[group][next.index()] -= 1;
            if self.waits[group][next.index()] == 0 {
                self.start(group, next, now, network);
            }
        }
    }
}
