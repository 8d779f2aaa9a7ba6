//! The clockwork of flows whose rates change at moments and are constant in between.
//!
//! What the rates are is the business of a [`Sharing`]; when flows end follows from them here. All
//! flows of a path are served alike, so a path counts what it has served to a flow of weight 1 since
//! it came into use, and a flow ends when that count has risen by its bytes over its weight: a
//! change of rate touches a path, not its flows. (The virtual time of Parekh and Gallager,
//! "A Generalized Processor Sharing Approach to Flow Control", IEEE/ACM ToN 1(3), 1993.)
//!
//! Counts are whole numbers, so nothing is lost however often rates change. A flow's bytes have left
//! at the first picosecond at which all of them have been served; they arrive after the latencies of
//! its route.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::engine::{EventClass, EventHandle, EventQueue};
use crate::ids::{FlowId, IdVec, LinkId};
use crate::network::paths::{PathId, Paths};
use crate::network::rates::{Rate, Service, Weight};
use crate::network::{Alone, Flow, LinkTable, NetworkModel};
use crate::units::{Bandwidth, Bytes, SimDuration, SimTime};

/// How paths share links.
pub trait Sharing {
    /// Sets the level of every path that the changes reach, and names the paths in use of which the
    /// weight or the level has changed.
    fn share(&mut self, paths: &mut Paths, changed: &mut Vec<PathId>);

    /// The weight with which a flow enters, of the weight that it asks for.
    fn weight(&self, asked: f64) -> Weight {
        Weight::of(asked)
    }
}

/// Flows in motion.
#[derive(Debug)]
pub struct Clockwork<S> {
    sharing: S,
    now: SimTime,
    paths: Paths,
    /// By path: the flows on it.
    moving: IdVec<PathId, Moving>,
    latency: IdVec<LinkId, SimDuration>,
    flows: IdVec<FlowId, FlowState>,
    free: Vec<FlowId>,
    /// By route, the flows that wait for their turn behind one that is moving.
    turns: FxHashMap<Arc<[LinkId]>, VecDeque<FlowId>>,
    events: EventQueue<Event>,
    /// Bytes of flows whose last byte has left, by link.
    carried: IdVec<LinkId, u128>,
    /// Paths to look at after sharing; kept for its memory.
    changed: Vec<PathId>,
}

/// The flows on a path whose last byte has not left.
#[derive(Debug, Default)]
struct Moving {
    /// The rate of a flow of weight 1 ...
    level: Rate,
    /// ... since when ...
    since: SimTime,
    /// ... and what such a flow had been served until then.
    served: Service,
    /// The count at which each flow ends.
    ends: BinaryHeap<Reverse<(Service, FlowId)>>,
    next_end: Option<EventHandle>,
}

#[derive(Debug)]
struct FlowState {
    bytes: Bytes,
    weight: Weight,
    latency: SimDuration,
    /// Whether others wait until it has left.
    in_turn: bool,
    /// While it is moving: its path and the count at which it ends.
    moving: Option<(PathId, Service)>,
}

#[derive(Debug)]
enum Event {
    /// The last byte of the next flow of this path leaves.
    Left(PathId),
    /// The last byte of a flow arrives.
    Arrived(FlowId),
}

impl<S: Sharing> Clockwork<S> {
    /// No flow yet.
    pub fn new(sharing: S, links: &LinkTable) -> Self {
        Clockwork {
            sharing,
            now: SimTime::ZERO,
            paths: Paths::new(links.iter().map(|link| Rate::of(link.bandwidth))),
            moving: IdVec::new(),
            latency: links.iter().map(|link| link.latency).collect(),
            flows: IdVec::new(),
            free: Vec::new(),
            turns: FxHashMap::default(),
            events: EventQueue::new(),
            carried: IdVec::filled(0, links.len()),
            changed: Vec::new(),
        }
    }

    /// The rate of a flow, in bytes per second; nothing before its first byte can leave and after its
    /// last has left.
    pub fn rate(&mut self, flow: FlowId) -> f64 {
        self.share();
        let state = &self.flows[flow];
        state.moving.map_or(0.0, |(path, _)| self.moving[path].level.times(state.weight).bytes_per_second())
    }

    fn come_to(&mut self, now: SimTime) {
        if now == self.now {
            return;
        }
        assert!(
            now > self.now,
            "the network is at {} ps and cannot go back to {} ps",
            self.now.picos(),
            now.picos()
        );
        self.share();
        if let Some(next) = self.events.peek_time() {
            assert!(
                now <= next,
                "the network changes at {} ps, but was told to come to {} ps",
                next.picos(),
                now.picos()
            );
        }
        self.now = now;
    }

    /// Finds the rates anew, if anything that they depend on has changed.
    fn share(&mut self) {
        if !self.paths.have_changed() {
            return;
        }
        let mut changed = std::mem::take(&mut self.changed);
        self.sharing.share(&mut self.paths, &mut changed);
        for path in changed.drain(..) {
            let level = self.paths[path].level;
            let moving = &mut self.moving[path];
            moving.come_to(self.now);
            moving.level = level;
            if let Some(outdated) = moving.next_end.take() {
                self.events.cancel(outdated);
            }
            if let Some(end) = moving.next_end_at() {
                moving.next_end = Some(self.events.schedule(end, EventClass::Finish, Event::Left(path)));
            }
        }
        self.changed = changed;
        self.paths.settle();
    }

    fn new_flow(&mut self, state: FlowState) -> FlowId {
        match self.free.pop() {
            Some(id) => {
                self.flows[id] = state;
                id
            }
            None => self.flows.push(state),
        }
    }

    fn join(&mut self, id: FlowId, route: &Arc<[LinkId]>) {
        let FlowState { bytes, weight, .. } = self.flows[id];
        let path = self.paths.join(route, weight);
        while self.moving.len() < self.paths.end() {
            self.moving.push(Moving::default());
        }
        let moving = &mut self.moving[path];
        if moving.ends.is_empty() {
            *moving = Moving { since: self.now, ends: std::mem::take(&mut moving.ends), ..Moving::default() };
        }
        moving.come_to(self.now);
        let end = moving.served.and(Service::of(bytes.get(), weight));
        moving.ends.push(Reverse((end, id)));
        self.flows[id].moving = Some((path, end));
    }

    /// Takes off a path the flows whose last byte leaves now.
    fn leave(&mut self, path: PathId, finished: &mut Vec<FlowId>) {
        let moving = &mut self.moving[path];
        moving.next_end = None;
        moving.come_to(self.now);
        let mut next_in_turn = None;
        while let Some(id) = moving.next_ended() {
            let flow = &mut self.flows[id];
            flow.moving = None;
            self.paths.leave(path, flow.weight);
            let route = &self.paths[path].route;
            for &link in route.iter() {
                self.carried[link] += u128::from(flow.bytes.get());
            }
            if flow.in_turn {
                next_in_turn = Some(route.clone());
            }
            if flow.latency == SimDuration::ZERO {
                finished.push(id);
            } else {
                self.events.schedule(self.now + flow.latency, EventClass::Finish, Event::Arrived(id));
            }
        }
        if let Some(route) = next_in_turn {
            self.next_in_turn(&route);
        }
    }

    /// Lets the next of those go that wait for their turn on a route.
    fn next_in_turn(&mut self, route: &Arc<[LinkId]>) {
        match self.turns.get_mut(route).and_then(VecDeque::pop_front) {
            Some(next) => self.join(next, route),
            None => {
                self.turns.remove(route);
            }
        }
    }

    fn enter(&mut self, now: SimTime, flow: &Flow, in_turn: bool) -> FlowId {
        self.come_to(now);
        let weight = self.sharing.weight(flow.weight);
        let latency = flow.route.iter().map(|&link| self.latency[link]).sum();
        let state = FlowState { bytes: flow.bytes, weight, latency, in_turn, moving: None };
        let id = self.new_flow(state);
        if flow.route.is_empty() || flow.bytes == Bytes::ZERO {
            self.events.schedule(now + latency, EventClass::Finish, Event::Arrived(id));
        } else if !in_turn {
            self.join(id, &flow.route);
        } else if let Some(waiting) = self.turns.get_mut(&flow.route) {
            waiting.push_back(id);
        } else {
            self.turns.insert(flow.route.clone(), VecDeque::new());
            self.join(id, &flow.route);
        }
        id
    }
}

impl<S: Sharing> NetworkModel for Clockwork<S> {
    fn start(&mut self, now: SimTime, flow: Flow) -> FlowId {
        self.enter(now, &flow, false)
    }

    fn start_in_turn(&mut self, now: SimTime, flow: Flow) -> FlowId {
        self.enter(now, &flow, true)
    }

    fn alone(&self, route: &[LinkId]) -> Option<Alone> {
        let rate = route.iter().map(|&link| self.paths.capacity(link)).min()?;
        let latency = route.iter().map(|&link| self.latency[link]).sum();
        (rate > Rate::ZERO).then_some(Alone { rate, latency })
    }

    fn next_change(&mut self) -> Option<SimTime> {
        self.share();
        self.events.peek_time()
    }

    fn advance(&mut self, now: SimTime, finished: &mut Vec<FlowId>) {
        self.come_to(now);
        let first = finished.len();
        while self.events.peek_time() == Some(now) {
            match self.events.pop() {
                Some((_, Event::Left(path))) => self.leave(path, finished),
                Some((_, Event::Arrived(id))) => finished.push(id),
                None => {}
            }
        }
        finished[first..].sort_unstable();
        self.free.extend_from_slice(&finished[first..]);
    }

    fn set_bandwidth(&mut self, now: SimTime, link: LinkId, bandwidth: Option<Bandwidth>) {
        self.come_to(now);
        self.paths.set_capacity(link, Rate::of(bandwidth));
    }

    fn reroute(&mut self, now: SimTime, id: FlowId, route: &Arc<[LinkId]>) -> Option<Bytes> {
        self.come_to(now);
        let FlowState { bytes, weight, in_turn, moving: Some((path, end)), .. } = self.flows[id] else {
            return None;
        };
        let moving = &mut self.moving[path];
        moving.come_to(now);
        // Whole bytes: one of which a part has left goes again.
        let left = moving.served.bytes_until(end, weight).ceil().clamp(1.0, bytes.as_f64()) as u64;
        moving.ends.retain(|Reverse(other)| *other != (end, id));
        if let Some(outdated) = moving.next_end.take() {
            self.events.cancel(outdated);
        }
        self.paths.leave(path, weight);
        for &link in self.paths[path].route.iter() {
            self.carried[link] += u128::from(bytes.get() - left);
        }
        let latency = route.iter().map(|&link| self.latency[link]).sum();
        self.flows[id] = FlowState { bytes: Bytes(left), weight, latency, in_turn: false, moving: None };
        self.join(id, route);
        if in_turn {
            // Those behind it have the old way to themselves.
            let old = self.paths[path].route.clone();
            self.next_in_turn(&old);
        }
        Some(Bytes(left))
    }

    fn carried(&self) -> IdVec<LinkId, f64> {
        let mut carried: IdVec<LinkId, f64> = self.carried.iter().map(|&bytes| bytes as f64).collect();
        for flow in self.flows.iter() {
            let Some((path, end)) = flow.moving else { continue };
            let moving = &self.moving[path];
            let served = moving.served.after(moving.level, self.now.since(moving.since));
            let left = flow.bytes.as_f64() - served.bytes_until(end, flow.weight);
            for &link in self.paths[path].route.iter() {
                carried[link] += left;
            }
        }
        carried
    }
}

impl Moving {
    fn come_to(&mut self, now: SimTime) {
        self.served = self.served.after(self.level, now.since(self.since));
        self.since = now;
    }

    /// When the next flow ends at the present rate.
    fn next_end_at(&self) -> Option<SimTime> {
        let Reverse((end, _)) = self.ends.peek()?;
        let length = self.served.until(*end, self.level)?;
        self.since.picos().checked_add(length.picos()).map(SimTime::from_picos)
    }

    /// The next flow, if it has been served.
    fn next_ended(&mut self) -> Option<FlowId> {
        let Reverse((end, id)) = *self.ends.peek()?;
        if end > self.served {
            return None;
        }
        self.ends.pop();
        Some(id)
    }
}
