//! When packets move.
//!
//! Flows that start at one moment enter in an order of what they are, not of when they were named, so
//! that nothing depends on identities. Ties between events are broken by class and then by order of
//! scheduling, which follows from that.

use std::sync::Arc;

use crate::engine::{EventClass, EventQueue};
use crate::hardware::{Topology, Vertex};
use crate::ids::{FlowId, IdVec, LinkId};
use crate::network::packet::dcqcn::RateControl;
use crate::network::packet::port::{Next, OnItsWay, Port};
use crate::network::packet::source::{Doing, FlowState};
use crate::network::packet::{Congestion, Packet, Recovery, Routing};
use crate::network::{Counters, Flow, LinkTable, NetworkModel};
use crate::units::{Bandwidth, Bytes, SimDuration, SimTime};

/// Packets in motion.
#[derive(Debug)]
pub struct PacketNetwork {
    spec: Packet,
    now: SimTime,
    pub(super) ports: IdVec<LinkId, Port>,
    /// By link: which buffer is at its end.
    buffer_of: IdVec<LinkId, u32>,
    /// Bytes in each buffer.
    pub(super) buffers: Vec<u64>,
    /// By link: its place in the order along which routes climb.
    order: IdVec<LinkId, u64>,
    topology: Option<Arc<Topology>>,
    pub(super) flows: IdVec<FlowId, FlowState>,
    free: Vec<FlowId>,
    /// Flows that have not ended.
    alive: usize,
    /// Flows that start at this moment.
    entering: Vec<FlowId>,
    entered: u64,
    events: EventQueue<Event>,
    /// Flows that have ended at this moment.
    ended: Vec<FlowId>,
    counters: Counters,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    /// A link has sent its packet and others wait.
    Free(LinkId),
    /// A packet arrives.
    Arrived(LinkId),
    /// The switch behind a link wants a class of it paused, or not any more.
    Pause(LinkId, u8, bool),
    /// A source that paced itself may go on.
    Ready(FlowId),
    /// A source is told of a marked packet.
    Notified(FlowId),
    /// A source is asked for a packet again.
    AskedBack(FlowId, u32),
    /// A source has heard nothing for long.
    Silence(FlowId),
    /// A flow without a byte to move has paid its latency.
    Empty(FlowId),
}

impl PacketNetwork {
    /// Nothing on its way.
    pub fn new(spec: &Packet, links: &LinkTable) -> Self {
        let topology = links.topology().cloned();
        let ends = |link: LinkId| topology.as_ref().map_or(link.0, |topology| topology.links()[link].to.0);
        let buffer_of: IdVec<LinkId, u32> = links.ids().map(ends).collect();
        let buffers = buffer_of.iter().map(|&at| at as usize + 1).max().unwrap_or(0);
        let usual = spec.mtu.get() as u32;
        PacketNetwork {
            spec: spec.clone(),
            now: SimTime::ZERO,
            ports: links.iter().map(|link| Port::new(link.bandwidth, link.latency, usual)).collect(),
            buffer_of,
            buffers: vec![0; buffers],
            order: links.order(),
            topology,
            flows: IdVec::new(),
            free: Vec::new(),
            alive: 0,
            entering: Vec::new(),
            entered: 0,
            events: EventQueue::new(),
            ended: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// The rate at which a source may send at present: its link's unless it was told of congestion.
    pub fn rate(&self, flow: FlowId) -> Bandwidth {
        let state = &self.flows[flow];
        let line = self.ports[state.first_link()].bytes_per_second();
        Bandwidth::per_second(state.control.as_ref().map_or(line, |control| control.rate()))
    }

    fn come_to(&mut self, now: SimTime) {
        assert!(now >= self.now, "the network is at {} and cannot go back to {now}", self.now);
        if now > self.now {
            self.enter();
            self.let_pass(now);
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
    }

    /// What happens before `now` when no flow is left to wait for it: late notifications, pauses that
    /// end. Nobody is told, so that nobody waits for it.
    fn let_pass(&mut self, now: SimTime) {
        while self.alive == 0 && self.events.peek_time().is_some_and(|at| at < now) {
            let (at, event) = self.events.pop().expect("an event that was just seen");
            self.now = at;
            self.happen(event);
        }
    }

    /// Lets the flows of this moment send, in an order that does not depend on who named them first.
    fn enter(&mut self) {
        if self.entering.is_empty() {
            return;
        }
        let mut entering = std::mem::take(&mut self.entering);
        entering.sort_by(|&a, &b| {
            let (a, b) = (&self.flows[a].flow, &self.flows[b].flow);
            (&a.route, a.bytes).cmp(&(&b.route, b.bytes)).then(a.weight.total_cmp(&b.weight))
        });
        for id in entering.drain(..) {
            self.entered += 1;
            self.flows[id].rank = self.entered;
            if self.flows[id].packets == 0 {
                let at = self.flows[id].began + self.flows[id].latency;
                self.flows[id].events += 1;
                self.events.schedule(at, EventClass::Finish, Event::Empty(id));
            } else {
                self.flows[id].ways = self.ways_of(id);
                self.want_turn(id);
            }
        }
        self.entering = entering;
    }

    /// The routes among which the packets of a flow may choose, where there are several.
    fn ways_of(&self, id: FlowId) -> Option<(Arc<crate::hardware::Ways>, crate::ids::VertexId)> {
        if self.spec.routing == Routing::Ecmp && self.spec.seed == 0 {
            return None;
        }
        let topology = self.topology.as_ref()?;
        let route = &self.flows[id].flow.route;
        let (first, last) = (route.first()?, route.last()?);
        let (from, to) = (topology.links()[*first].from, topology.links()[*last].to);
        let (Vertex::Device(from), Vertex::Device(target)) = (topology.vertex(from), topology.vertex(to))
        else {
            return None;
        };
        let ways = topology.ways(*from, *target);
        // A flow may be sent by another way than the best; then it knows why.
        let takes_one = ways.onward(topology.links()[*first].from).contains(first);
        (takes_one && ways.have_choices()).then_some((ways, to))
    }

    fn want_turn(&mut self, id: FlowId) {
        let state = &mut self.flows[id];
        state.doing = Doing::Waiting;
        let (link, tag, rank) = (state.first_link(), state.tag, state.rank);
        self.ports[link].turns.want(tag, rank, id);
        self.go_on(link);
    }

    /// Lets a link send what is next, if it is free and there is something.
    fn go_on(&mut self, link: LinkId) {
        loop {
            let port = &mut self.ports[link];
            let Some(free) = port.free_at() else { return };
            if !port.has_next() {
                return;
            }
            if free > self.now {
                if port.wake.is_none() {
                    port.wake = Some(self.events.schedule(free, EventClass::Finish, Event::Free(link)));
                }
                return;
            }
            match port.take_next() {
                Some(Next::Passing(packet)) => self.pass_on(link, packet),
                Some(Next::From(id)) => self.send_from(id),
                None => return,
            }
        }
    }

    /// Sends a packet that waited in a switch; its room becomes free as it begins to leave.
    fn pass_on(&mut self, link: LinkId, packet: OnItsWay) {
        let via = packet.came_by;
        let buffer = self.buffer_of[via] as usize;
        self.buffers[buffer] -= u64::from(packet.bytes);
        if self.spec.pfc {
            let left = self.ports[via].release(packet.came_in, packet.bytes);
            let asked = self.ports[via].asked & 1 << packet.came_in != 0;
            let hysteresis = 2 * self.spec.mtu.get();
            if asked && left <= self.most_held(buffer).saturating_sub(hysteresis) {
                self.ask_to_pause(via, packet.came_in, false);
            }
        }
        self.launch(link, packet);
    }

    fn launch(&mut self, link: LinkId, packet: OnItsWay) {
        let arrives = self.ports[link].send(self.now, packet);
        self.counters.hops += 1;
        let event = self.events.schedule(arrives, EventClass::Arrival, Event::Arrived(link));
        self.ports[link].arrival = Some(event);
    }

    /// Sends the next packet of a flow that starts here.
    fn send_from(&mut self, id: FlowId) {
        let mtu = self.spec.mtu;
        let state = &mut self.flows[id];
        if state.ended || state.next >= state.packets {
            state.doing = Doing::Resting;
            return self.forget_if_gone(id);
        }
        let number = state.next;
        let bytes = state.bytes_of(number, mtu);
        let first = state.first_link();
        state.next += 1;
        state.on_its_way += 1;
        if number < state.fresh {
            self.counters.resent_bytes += u64::from(bytes);
        }
        state.fresh = state.fresh.max(state.next);
        self.counters.packets += 1;
        let packet =
            OnItsWay { flow: id, number, bytes, hop: 0, class: 0, marked: false, came_by: first, came_in: 0 };
        state.tag = state.tag.after(bytes, state.flow.weight);
        self.launch(first, packet);
        self.after_sending(id, bytes);
    }

    fn after_sending(&mut self, id: FlowId, bytes: u32) {
        let spec = &self.spec.dcqcn;
        let state = &mut self.flows[id];
        if let Some(control) = &mut state.control {
            control.come_to(self.now, spec);
            control.sent(u64::from(bytes), spec);
            state.ahead = f64::from(bytes);
            state.ahead_at = self.now;
        }
        if state.next >= state.packets {
            state.doing = Doing::Resting;
        } else if state.control.as_ref().is_none_or(|control| control.is_free()) {
            self.want_turn_later(id);
        } else {
            self.pace(id);
        }
    }

    /// Wants another turn without trying to send at once: the link has just been taken.
    fn want_turn_later(&mut self, id: FlowId) {
        let state = &mut self.flows[id];
        state.doing = Doing::Waiting;
        let (link, tag, rank) = (state.first_link(), state.tag, state.rank);
        self.ports[link].turns.want(tag, rank, id);
    }

    /// Waits until the rate allows for what was sent, or changes.
    fn pace(&mut self, id: FlowId) {
        let state = &mut self.flows[id];
        let control = state.control.as_ref().expect("a source that was told to slow down");
        let wait = SimDuration::from_seconds(state.ahead / control.rate());
        let at = (self.now + wait).min(control.next_step().max(self.now));
        state.doing = Doing::Pacing;
        state.events += 1;
        self.events.schedule(at, EventClass::Start, Event::Ready(id));
    }

    /// Lets what a source is ahead shrink at the rate that it has had until now.
    fn fall_back(&mut self, id: FlowId) {
        let state = &mut self.flows[id];
        let rate = state.control.as_ref().map_or(f64::INFINITY, |control| control.rate());
        let passed = self.now.since(state.ahead_at).seconds();
        // A picosecond's worth is rounding.
        let left = state.ahead - rate * passed;
        state.ahead = if left <= rate * 1e-12 { 0.0 } else { left };
        state.ahead_at = self.now;
    }

    fn ready(&mut self, id: FlowId) {
        self.fall_back(id);
        let state = &mut self.flows[id];
        if state.ended {
            state.doing = Doing::Resting;
            return self.forget_if_gone(id);
        }
        let control = state.control.as_mut().expect("a source that was told to slow down");
        control.come_to(self.now, &self.spec.dcqcn);
        if state.ahead <= 0.0 || control.is_free() {
            self.want_turn(id);
        } else {
            self.pace(id);
        }
    }

    fn notified(&mut self, id: FlowId) {
        if self.flows[id].ended {
            return;
        }
        self.counters.notifications += 1;
        self.fall_back(id);
        let state = &mut self.flows[id];
        let line = self.ports[state.flow.route[0]].bytes_per_second();
        if line > 0.0 {
            let control = state.control.get_or_insert_with(|| Box::new(RateControl::new(line)));
            control.notified(self.now, &self.spec.dcqcn);
        }
    }

    fn arrived(&mut self, link: LinkId) {
        let port = &mut self.ports[link];
        let mut packet = port.flying.pop_front().expect("a packet on this link");
        if port.flying.is_empty() {
            port.arrival = None;
        }
        packet.hop += 1;
        let Some(next) = self.next_link(link, &packet) else { return self.deliver(packet) };
        let buffer = self.buffer_of[link] as usize;
        let bytes = u64::from(packet.bytes);
        if !self.spec.pfc && self.buffers[buffer] + bytes > self.spec.buffer.get() {
            return self.drop(packet);
        }
        (packet.came_by, packet.came_in) = (link, packet.class);
        self.buffers[buffer] += bytes;
        if self.spec.pfc {
            let held = self.ports[link].hold(packet.class, packet.bytes);
            let asked = self.ports[link].asked & 1 << packet.class != 0;
            if !asked && held > self.most_held(buffer) {
                self.ask_to_pause(link, packet.class, true);
            }
        }
        if self.order[next] <= self.order[link] {
            packet.class = Port::next_class(packet.class);
        }
        if !packet.marked && self.marks(next) {
            packet.marked = true;
            self.counters.marked_packets += 1;
        }
        self.ports[next].queue(packet);
        self.counters.see_queue(next, self.ports[next].waiting);
        self.go_on(next);
    }

    /// The next link of a packet that came by `link`; none at its target.
    fn next_link(&self, link: LinkId, packet: &OnItsWay) -> Option<LinkId> {
        let state = &self.flows[packet.flow];
        let Some((ways, target)) = &state.ways else {
            return state.flow.route.get(usize::from(packet.hop)).copied();
        };
        let at = self.topology.as_ref().expect("ways are a topology's").links()[link].to;
        if at == *target {
            return None;
        }
        let choices = ways.onward(at);
        let sprayed = match self.spec.routing {
            Routing::Ecmp => 0,
            Routing::Spray | Routing::Adaptive => u64::from(packet.number) + 1,
        };
        let drawn = draw(self.spec.seed, state.rank << 32 | u64::from(at.0), sprayed);
        let chosen = (drawn % choices.len() as u64) as usize;
        if self.spec.routing != Routing::Adaptive {
            return Some(choices[chosen]);
        }
        // Of equally short queues the first from the one drawn on.
        let around = (0..choices.len()).map(|step| choices[(chosen + step) % choices.len()]);
        around.min_by_key(|&link| self.backlog(link))
    }

    /// How long a packet that is queued now would wait for its first byte to leave.
    fn backlog(&self, link: LinkId) -> u64 {
        let port = &self.ports[link];
        let busy = port.free_at().map_or(u64::MAX / 2, |free| free.picos().saturating_sub(self.now.picos()));
        let rate = port.bytes_per_second();
        busy.saturating_add((port.waiting as f64 / rate.max(1.0) * 1e12) as u64)
    }

    /// Whether a packet that is queued for a link is marked.
    fn marks(&self, link: LinkId) -> bool {
        let (found, ecn) = (self.ports[link].waiting, &self.spec.ecn);
        if found <= ecn.kmin.get() {
            return false;
        }
        if found >= ecn.kmax.get() {
            return true;
        }
        let share = (found - ecn.kmin.get()) as f64 / (ecn.kmax.get() - ecn.kmin.get()) as f64 * ecn.pmax;
        let drawn =
            draw(self.spec.seed, u64::from(link.0), (self.ports[link].sent << 20) | (found % (1 << 20)));
        (drawn >> 11) as f64 / (1_u64 << 53) as f64 <= share
    }

    /// How much may wait in a buffer of what came by one link, before that link is paused: a share of
    /// what is free (Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet
    /// Switches", IEEE/ACM ToN 6(2), 1998), and two packets however full it is, so that every class can
    /// go on.
    fn most_held(&self, buffer: usize) -> u64 {
        let free = self.spec.buffer.get().saturating_sub(self.buffers[buffer]);
        ((free as f64 * self.spec.pfc_share) as u64).max(2 * self.spec.mtu.get())
    }

    fn ask_to_pause(&mut self, link: LinkId, class: u8, on: bool) {
        let port = &mut self.ports[link];
        port.asked ^= 1 << class;
        self.counters.pauses += u64::from(on);
        let heard = self.now + port.latency;
        self.events.schedule(heard, EventClass::Credit, Event::Pause(link, class, on));
    }

    fn deliver(&mut self, packet: OnItsWay) {
        let id = packet.flow;
        let (lossy, back) = (!self.spec.pfc, self.flows[id].latency);
        let state = &mut self.flows[id];
        state.on_its_way -= 1;
        if packet.marked && self.spec.congestion == Congestion::Dcqcn && !state.ended {
            let interval = self.spec.dcqcn.notification_interval;
            if state.notified.is_none_or(|last| self.now >= last + interval) {
                state.notified = Some(self.now);
                state.events += 1;
                self.events.schedule(self.now + back, EventClass::Credit, Event::Notified(id));
            }
        }
        let state = &mut self.flows[id];
        if !lossy || self.spec.recovery == Recovery::None {
            state.delivered += u64::from(packet.bytes);
        } else if packet.number == state.expected {
            state.expected += 1;
            state.asked_back = false;
            state.delivered += u64::from(packet.bytes);
        } else if packet.number > state.expected && !state.asked_back {
            state.asked_back = true;
            state.events += 1;
            let asked = Event::AskedBack(id, state.expected);
            self.events.schedule(self.now + back, EventClass::Credit, asked);
        }
        self.after_leaving(id);
    }

    fn drop(&mut self, packet: OnItsWay) {
        self.counters.dropped_packets += 1;
        self.counters.dropped_bytes += u64::from(packet.bytes);
        let state = &mut self.flows[packet.flow];
        state.on_its_way -= 1;
        state.dropped += u64::from(packet.bytes);
        self.after_leaving(packet.flow);
    }

    /// A packet of a flow is not on its way any more.
    fn after_leaving(&mut self, id: FlowId) {
        let repairs = !self.spec.pfc && self.spec.recovery == Recovery::GoBackN;
        let state = &mut self.flows[id];
        if state.ended {
            return self.forget_if_gone(id);
        }
        let lost = if repairs { 0 } else { state.dropped };
        if state.delivered + lost == state.flow.bytes.get() {
            state.ended = true;
            self.alive -= 1;
            self.ended.push(id);
        } else if repairs && state.on_its_way == 0 && state.doing == Doing::Resting {
            state.events += 1;
            self.events.schedule(self.now + self.spec.timeout, EventClass::Decision, Event::Silence(id));
        }
    }

    /// Goes back to a packet.
    fn go_back(&mut self, id: FlowId, number: u32) {
        let state = &mut self.flows[id];
        if state.ended || number >= state.next {
            return;
        }
        state.next = number;
        if state.doing == Doing::Resting {
            self.want_turn(id);
        }
    }

    fn silence(&mut self, id: FlowId) {
        let state = &self.flows[id];
        if state.on_its_way == 0 && state.doing == Doing::Resting {
            self.go_back(id, state.expected);
        }
    }

    /// Its identity may be given out again once it was reported and nothing names it.
    fn forget_if_gone(&mut self, id: FlowId) {
        if self.flows[id].is_gone() && !self.ended.contains(&id) {
            self.free.push(id);
        }
    }

    fn happen(&mut self, event: Event) {
        let of = match event {
            Event::Ready(id)
            | Event::Notified(id)
            | Event::AskedBack(id, _)
            | Event::Silence(id)
            | Event::Empty(id) => Some(id),
            Event::Free(_) | Event::Arrived(_) | Event::Pause(..) => None,
        };
        if let Some(id) = of {
            self.flows[id].events -= 1;
        }
        match event {
            Event::Free(link) => {
                self.ports[link].wake = None;
                self.go_on(link);
            }
            Event::Arrived(link) => self.arrived(link),
            Event::Pause(link, class, on) => {
                self.ports[link].pause(class, on);
                if !on {
                    self.go_on(link);
                }
            }
            Event::Ready(id) => self.ready(id),
            Event::Notified(id) => self.notified(id),
            Event::AskedBack(id, number) => self.go_back(id, number),
            Event::Silence(id) => self.silence(id),
            Event::Empty(id) => {
                self.flows[id].ended = true;
                self.alive -= 1;
                self.ended.push(id);
            }
        }
        if let Some(id) = of
            && !matches!(event, Event::Ready(_))
        {
            self.forget_if_gone(id);
        }
    }
}

impl NetworkModel for PacketNetwork {
    fn start(&mut self, now: SimTime, flow: Flow) -> FlowId {
        self.come_to(now);
        let latency = flow.route.iter().map(|&link| self.ports[link].latency).sum();
        let flow = if flow.route.is_empty() { Flow { bytes: Bytes::ZERO, ..flow } } else { flow };
        let state = FlowState::new(flow, now, latency, self.spec.mtu);
        let id = match self.free.pop() {
            Some(id) => {
                self.flows[id] = state;
                id
            }
            None => self.flows.push(state),
        };
        self.alive += 1;
        self.entering.push(id);
        id
    }

    fn next_change(&mut self) -> Option<SimTime> {
        self.enter();
        if self.alive == 0 { None } else { self.events.peek_time() }
    }

    fn advance(&mut self, now: SimTime, finished: &mut Vec<FlowId>) {
        self.come_to(now);
        self.enter();
        while self.events.peek_time() == Some(now) {
            let (_, event) = self.events.pop().expect("an event of this moment");
            self.happen(event);
        }
        self.ended.sort_unstable();
        let ended = std::mem::take(&mut self.ended);
        for &id in &ended {
            if self.flows[id].is_gone() {
                self.free.push(id);
            }
        }
        finished.extend_from_slice(&ended);
    }

    fn set_bandwidth(&mut self, now: SimTime, link: LinkId, bandwidth: Option<Bandwidth>) {
        self.come_to(now);
        let port = &mut self.ports[link];
        let changed = port.change_rate(now, bandwidth);
        if let Some(wake) = port.wake.take() {
            self.events.cancel(wake);
        }
        if let Some(arrives) = changed {
            if let Some(arrival) = port.arrival.take() {
                self.events.cancel(arrival);
            }
            port.arrival =
                arrives.map(|at| self.events.schedule(at, EventClass::Arrival, Event::Arrived(link)));
        }
        self.go_on(link);
    }

    fn carried(&self) -> IdVec<LinkId, f64> {
        self.ports.iter().map(|port| port.carried(self.now)).collect()
    }

    fn counters(&self) -> Option<Counters> {
        Some(self.counters)
    }
}

/// A number that depends on all three and on nothing else (SplitMix64's finaliser; Steele, Lea and Flood,
/// OOPSLA 2014).
fn draw(seed: u64, what: u64, which: u64) -> u64 {
    let mut drawn = seed ^ 0x9e37_79b9_7f4a_7c15;
    for word in [what, which] {
        drawn = drawn.wrapping_add(word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        drawn ^= drawn >> 31;
    }
    drawn
}
