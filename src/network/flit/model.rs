//! The cycle.
//!
//! At each: what has come over links is taken in, sources send, packets are given virtual channels,
//! flits are given the switch. What happens at a moment before a cycle's second half is done (a flow
//! starts, a link fails) still belongs to it, so that a flow that starts on an edge is sent on it.
//! Cycles in which nothing can move are passed over.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::hardware::{Topology, Vertex};
use crate::ids::{DeviceId, FlowId, Id, IdVec, LinkId};
use crate::network::fair::{Tag, Turns};
use crate::network::flit::Flit;
use crate::network::flit::islip::{Islip, Pointers, first_from};
use crate::network::flit::router::{Channel, ChannelSet, OnItsWay, Onward, PERIOD_BITS, bits};
use crate::network::{Counters, Flow, LinkTable, NetworkModel};
use crate::units::{Bandwidth, Bytes, Clock, Cycles, SimDuration, SimTime};

/// Cycles of the shortest hop: a virtual channel, the switch, across it, along the link.
const HOP: u64 = 4;

/// Flits in motion.
#[derive(Debug)]
pub struct FlitNetwork {
    spec: Flit,
    now: SimTime,
    clock: Clock,
    pub(super) channels: Vec<Channel>,
    /// By channel: its place in the order along which routes climb; ports of devices have none.
    order: Vec<Option<u64>>,
    /// How many classes of packets there are.
    classes: u32,
    latency: IdVec<LinkId, SimDuration>,
    /// Where devices are routers: their topology.
    direct: Option<Arc<Topology>>,
    sources: Vec<Source>,
    sending: ChannelSet,
    buffering: ChannelSet,
    flows: IdVec<FlowId, FlowState>,
    free: Vec<FlowId>,
    /// Flows that have not ended.
    alive: usize,
    entering: Vec<FlowId>,
    entered: u64,
    /// What arrives in the cycles to come, by cycle modulo its length; and how much that is.
    coming: Vec<Vec<Arrival>>,
    in_transit: usize,
    /// The cycle of which the second half is still to be done.
    open: Option<u64>,
    /// The next cycle in which anything can happen.
    next: Option<u64>,
    /// The last cycle that is done.
    done: Option<u64>,
    grant_vc: Vec<Pointers>,
    accept_vc: Pointers,
    switch: Islip,
    turn_of_vc: Vec<u32>,
    heads: Vec<(u32, u32)>,
    requests: Vec<(u32, u32)>,
    wanted: Vec<(u32, u32, u32)>,
    /// Flows without a byte to move, and when they have paid their latency.
    empty: BinaryHeap<Reverse<(SimTime, FlowId)>>,
    ended: Vec<FlowId>,
    counters: Counters,
}

#[derive(Debug, Clone, Copy)]
enum Arrival {
    Flit { channel: u32, vc: u32, flit: OnItsWay },
    Credit { channel: u32, vc: u32 },
}

/// What sends into a channel.
#[derive(Debug, Default)]
struct Source {
    turns: Turns,
    /// The packet that is being sent.
    sending: Option<Sending>,
    last_vc: u32,
}

#[derive(Debug, Clone, Copy)]
struct Sending {
    flow: FlowId,
    /// How many flits it has, and how many of them are still to be sent.
    flits: u32,
    left: u32,
    vc: u32,
}

#[derive(Debug)]
struct FlowState {
    flow: Flow,
    /// The channels crossed, in order.
    path: Arc<[u32]>,
    rank: u64,
    tag: Tag,
    unsent: Bytes,
    flits_left: u64,
}

impl FlitNetwork {
    /// Nothing on its way.
    pub fn new(spec: &Flit, links: &LinkTable) -> Self {
        let fastest = links.iter().filter_map(|link| link.bandwidth).map(Bandwidth::get).fold(0.0, f64::max);
        let hertz = (fastest / spec.flit.as_f64()).round().clamp(1.0, 1e15) as u64;
        let clock = Clock::from_hertz(hertz);
        let direct = links.topology().filter(|topology| topology.devices_forward()).cloned();
        let mut channels = Vec::new();
        for link in links {
            let cycles = clock.cycles_in(link.latency).0.max(HOP) - HOP;
            let longer = u32::try_from(cycles).expect("a link of less than 2^32 cycles");
            let depth = spec.buffer + 2 * longer;
            channels.push(Channel::new(period(spec, clock, link.bandwidth), longer, spec.vcs, depth));
        }
        let mut order: Vec<Option<u64>> = links.order().iter().map(|&place| Some(place)).collect();
        let ports = direct.as_ref().map_or(0, |topology| 2 * topology.devices().len());
        for _ in 0..ports {
            channels.push(Channel::new(Some(1 << PERIOD_BITS), 0, spec.vcs, spec.buffer));
            order.push(None);
        }
        let count = channels.len();
        let longest = channels.iter().map(|channel| u64::from(channel.longer)).max().unwrap_or(0);
        let horizon = (longest + HOP + u64::from(spec.credit_delay) + 1).next_power_of_two();
        let inputs = count * spec.input_speedup as usize;
        FlitNetwork {
            now: SimTime::ZERO,
            clock,
            classes: classes(links).clamp(1, spec.vcs),
            latency: links.iter().map(|link| link.latency).collect(),
            direct,
            sources: (0..count).map(|_| Source::default()).collect(),
            sending: ChannelSet::new(count),
            buffering: ChannelSet::new(count),
            flows: IdVec::new(),
            free: Vec::new(),
            alive: 0,
            entering: Vec::new(),
            entered: 0,
            coming: (0..horizon).map(|_| Vec::new()).collect(),
            in_transit: 0,
            open: None,
            next: None,
            done: None,
            grant_vc: (0..count).map(|_| Pointers::new(spec.vcs as usize)).collect(),
            accept_vc: Pointers::new(count * spec.vcs as usize),
            switch: Islip::new(inputs, count),
            turn_of_vc: (0..inputs as u32).map(|input| input % spec.input_speedup).collect(),
            heads: Vec::new(),
            requests: Vec::new(),
            wanted: Vec::new(),
            empty: BinaryHeap::new(),
            ended: Vec::new(),
            counters: Counters::default(),
            channels,
            order,
            spec: spec.clone(),
        }
    }

    /// The clock of the routers.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    fn come_to(&mut self, now: SimTime) {
        assert!(now >= self.now, "the network is at {} and cannot go back to {now}", self.now);
        if now > self.now {
            self.finish_cycle();
            // Credits that are on their way when no flow is left: nobody waits for them.
            while let Some(cycle) = self.next.filter(|&cycle| self.alive == 0 && self.edge(cycle) < now) {
                self.begin_cycle(cycle);
                self.finish_cycle();
            }
            if let Some(next) = self.next.map(|cycle| self.edge(cycle)) {
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

    /// Lets something happen in the first cycle from now on that is not over.
    fn wake(&mut self) {
        let cycle = self.clock.cycle_at_or_after(self.now).0;
        if self.open == Some(cycle) {
            return;
        }
        let cycle = self.done.map_or(cycle, |done| cycle.max(done + 1));
        self.next = Some(self.next.map_or(cycle, |next| next.min(cycle)));
    }

    /// The channels of a route: where devices are routers, from one's own port to another's.
    fn path(&self, route: &Arc<[LinkId]>) -> Arc<[u32]> {
        let Some(topology) = &self.direct else { return route.iter().map(|link| link.0).collect() };
        let port = |vertex, out: u32| match topology.vertex(vertex) {
            Vertex::Device(device) => Some(self.port_of(*device) + out),
            Vertex::Switch { .. } => None,
        };
        let links = topology.links();
        let into = route.first().and_then(|&link| port(links[link].from, 0));
        let out_of = route.last().and_then(|&link| port(links[link].to, 1));
        into.into_iter().chain(route.iter().map(|link| link.0)).chain(out_of).collect()
    }

    fn port_of(&self, device: DeviceId) -> u32 {
        self.latency.len() as u32 + 2 * device.0
    }

    /// Lets the flows of this moment send, in an order that does not depend on who named them first.
    fn enter(&mut self) {
        let mut entering = std::mem::take(&mut self.entering);
        entering.sort_by(|&a, &b| {
            let (a, b) = (&self.flows[a].flow, &self.flows[b].flow);
            (&a.route, a.bytes).cmp(&(&b.route, b.bytes)).then(a.weight.total_cmp(&b.weight))
        });
        for id in entering.drain(..) {
            self.entered += 1;
            let state = &mut self.flows[id];
            state.rank = self.entered;
            let channel = state.path[0];
            self.sources[channel as usize].turns.want(state.tag, state.rank, id);
            self.sending.add(channel);
        }
        self.entering = entering;
    }

    fn edge(&self, cycle: u64) -> SimTime {
        self.clock.edge(Cycles(cycle))
    }

    /// The first half of a cycle.
    fn begin_cycle(&mut self, cycle: u64) {
        self.next = None;
        self.take_in(cycle);
        self.open = Some(cycle);
    }

    /// The second half of the cycle that is open.
    fn finish_cycle(&mut self) {
        let Some(cycle) = self.open.take() else { return };
        self.enter();
        self.done = Some(cycle);
        let sent = self.send_from_sources(cycle);
        let given = self.give_virtual_channels(cycle);
        let crossed = self.cross_switches(cycle);
        self.next = if sent || given || crossed { Some(cycle + 1) } else { self.next_arrival(cycle) };
    }

    /// When anything can next move if nothing did in this cycle: something arrives, or a slow link is
    /// free again.
    fn next_arrival(&self, cycle: u64) -> Option<u64> {
        let horizon = self.coming.len() as u64;
        let ahead = (cycle + 1..cycle + horizon).take_while(|_| self.in_transit > 0);
        let arrives = { ahead }.find(|at| !self.coming[(at % horizon) as usize].is_empty());
        let blocked = self.sending.iter().chain(self.wanted.iter().map(|&(channel, ..)| channel));
        let frees = blocked.filter_map(|channel| self.channels[channel as usize].free_from(cycle)).min();
        arrives.into_iter().chain(frees).min()
    }

    /// The first half of a cycle: what arrives is taken in.
    fn take_in(&mut self, cycle: u64) {
        let at = (cycle % self.coming.len() as u64) as usize;
        let mut arrivals = std::mem::take(&mut self.coming[at]);
        self.in_transit -= arrivals.len();
        for arrival in arrivals.drain(..) {
            match arrival {
                Arrival::Credit { channel, vc } => self.channels[channel as usize].give_credit(vc),
                Arrival::Flit { channel, vc, flit } => {
                    if usize::from(flit.hop) + 1 == self.flows[flit.flow].path.len() {
                        self.give_back(cycle, channel, vc);
                        self.deliver(flit);
                    } else {
                        self.channels[channel as usize].keep(vc, flit);
                        self.buffering.add(channel);
                    }
                }
            }
        }
        self.coming[at] = arrivals;
    }

    fn deliver(&mut self, flit: OnItsWay) {
        let state = &mut self.flows[flit.flow];
        state.flits_left -= 1;
        if state.flits_left == 0 {
            self.ended.push(flit.flow);
        }
    }

    fn arrive(&mut self, at: u64, arrival: Arrival) {
        let horizon = self.coming.len() as u64;
        self.coming[(at % horizon) as usize].push(arrival);
        self.in_transit += 1;
    }

    /// Sends a credit back over a channel.
    fn give_back(&mut self, cycle: u64, channel: u32, vc: u32) {
        let longer = self.channels[channel as usize].longer;
        let seen = cycle + 2 + u64::from(longer) + u64::from(self.spec.credit_delay);
        self.arrive(seen, Arrival::Credit { channel, vc });
    }

    fn launch(&mut self, cycle: u64, channel: u32, vc: u32, flit: OnItsWay, across: u64) {
        let link = &mut self.channels[channel as usize];
        link.send(cycle, vc, &flit);
        let at = cycle + 2 + across + u64::from(link.longer);
        self.counters.hops += 1;
        self.arrive(at, Arrival::Flit { channel, vc, flit });
    }

    fn send_from_sources(&mut self, cycle: u64) -> bool {
        let sending = std::mem::take(&mut self.sending);
        let mut moved = false;
        let mut idle = Vec::new();
        for channel in sending.iter() {
            moved |= self.send_from(cycle, channel);
            let source = &self.sources[channel as usize];
            if source.sending.is_none() && source.turns.is_empty() {
                idle.push(channel);
            }
        }
        self.sending = sending;
        idle.into_iter().for_each(|channel| self.sending.remove(channel));
        moved
    }

    /// Sends a flit of the packet whose turn it is, if there is a virtual channel and a credit for it.
    fn send_from(&mut self, cycle: u64, channel: u32) -> bool {
        let link = &self.channels[channel as usize];
        if !link.is_free(cycle) {
            return false;
        }
        let source = &mut self.sources[channel as usize];
        let begins = source.sending.is_none();
        if begins {
            let open = !link.taken & allowed(&self.spec, self.classes, 0);
            let Some(vc) = first_from(source.last_vc + 1, bits(open)) else { return false };
            let Some((id, _)) = source.turns.next() else { return false };
            source.last_vc = vc;
            self.channels[channel as usize].taken |= 1 << vc;
            let flits = self.flows[id].unsent.get().div_ceil(self.spec.flit.get());
            let flits = flits.min(u64::from(self.spec.packet)) as u32;
            source.sending = Some(Sending { flow: id, flits, left: flits, vc });
            self.counters.packets += 1;
        }
        let Some(Sending { flow: id, flits, left, vc }) = source.sending else { return false };
        if self.channels[channel as usize].credits[vc as usize] == 0 {
            // The virtual channel is taken all the same, which is something.
            return begins;
        }
        let state = &mut self.flows[id];
        let bytes = state.unsent.get().min(self.spec.flit.get()) as u32;
        state.unsent -= Bytes(u64::from(bytes));
        state.tag = state.tag.after(bytes, state.flow.weight);
        let flit = OnItsWay { flow: id, bytes, hop: 0, class: 0, head: left == flits, tail: left == 1 };
        let source = &mut self.sources[channel as usize];
        source.sending = (left > 1).then_some(Sending { flow: id, flits, left: left - 1, vc });
        if left == 1 && state.unsent > Bytes::ZERO {
            source.turns.want(state.tag, state.rank, id);
        }
        self.launch(cycle, channel, vc, flit, 0);
        true
    }

    /// Gives packets at the front of their buffers virtual channels of their next links.
    fn give_virtual_channels(&mut self, cycle: u64) -> bool {
        self.heads.clear();
        let vcs = self.spec.vcs;
        for channel in self.buffering.iter() {
            let input = &self.channels[channel as usize];
            for vc in bits(input.heads) {
                let flit = input.vcs[vc as usize].flits.front().expect("a head");
                let next = self.flows[flit.flow].path[usize::from(flit.hop) + 1];
                self.heads.push((next, channel * vcs + vc));
            }
        }
        self.heads.sort_unstable();
        let heads = std::mem::take(&mut self.heads);
        let mut any = false;
        for asking in heads.chunk_by(|a, b| a.0 == b.0) {
            any |= self.give_virtual_channels_of(cycle, asking);
        }
        self.heads = heads;
        any
    }

    /// Gives virtual channels of one link to the packets that ask for it.
    fn give_virtual_channels_of(&mut self, cycle: u64, asking: &[(u32, u32)]) -> bool {
        let (output, vcs) = (asking[0].0, self.spec.vcs);
        let mut waiting: Vec<(u32, u64)> =
            asking.iter().map(|&(_, input)| (input, self.allowed_for(input, output))).collect();
        let mut any = false;
        for round in 0..self.spec.iterations {
            let open = !self.channels[output as usize].taken;
            let grants: Vec<(u32, u32)> = bits(open & low(vcs))
                .filter_map(|vc| {
                    let able = waiting.iter().filter(|(_, allowed)| allowed & 1 << vc != 0);
                    let start = self.grant_vc[output as usize].get(vc);
                    first_from(start, able.map(|&(input, _)| input)).map(|input| (input, vc))
                })
                .collect();
            if grants.is_empty() {
                break;
            }
            waiting.retain(|&(input, _)| {
                let offered = grants.iter().filter(|grant| grant.0 == input).map(|grant| grant.1);
                let start = self.accept_vc.get(input);
                let start = if start / vcs == output { start % vcs } else { 0 };
                let Some(vc) = first_from(start, offered) else { return true };
                if round == 0 {
                    self.grant_vc[output as usize].set(vc, input + 1);
                    self.accept_vc.set(input, output * vcs + vc + 1);
                }
                self.channels[output as usize].taken |= 1 << vc;
                let buffers = &mut self.channels[(input / vcs) as usize];
                buffers.heads &= !(1 << (input % vcs));
                let onward = Onward { channel: output, vc, from: cycle + 1 };
                buffers.vcs[(input % vcs) as usize].onward = Some(onward);
                any = true;
                false
            });
        }
        any
    }

    /// The virtual channels of `output` that the packet at the front of an input may take.
    fn allowed_for(&self, input: u32, output: u32) -> u64 {
        let (channel, vc) = (input / self.spec.vcs, input % self.spec.vcs);
        let flit = self.channels[channel as usize].vcs[vc as usize].flits.front().expect("a head");
        allowed(&self.spec, self.classes, self.next_class(channel, output, flit.class))
    }

    fn next_class(&self, from: u32, to: u32, class: u8) -> u8 {
        match (self.order[from as usize], self.order[to as usize]) {
            (Some(here), Some(there)) if there <= here => class.saturating_add(1),
            _ => class,
        }
    }

    /// Lets flits cross the switches.
    fn cross_switches(&mut self, cycle: u64) -> bool {
        self.ask_for_switches(cycle);
        let mut switch = std::mem::replace(&mut self.switch, Islip::new(0, 0));
        let mut matched = Vec::new();
        switch.allocate(&self.requests, self.spec.iterations, |output, input| matched.push((output, input)));
        self.switch = switch;
        for &(output, input) in &matched {
            let of =
                self.wanted.binary_search_by_key(&(output, input), |&(output, input, _)| (output, input));
            let (.., vc) = self.wanted[of.expect("what was asked for")];
            self.cross(cycle, input, vc);
        }
        !matched.is_empty()
    }

    /// For each input of a switch and each output, the virtual channel that asks: of those that have
    /// a flit, a credit and a free link, the next in turn.
    fn ask_for_switches(&mut self, cycle: u64) {
        self.requests.clear();
        self.wanted.clear();
        let (vcs, speedup) = (self.spec.vcs, self.spec.input_speedup);
        for channel in self.buffering.iter() {
            let buffers = &self.channels[channel as usize];
            for vc in bits(buffers.occupied & !buffers.heads) {
                let onward = buffers.vcs[vc as usize].onward.expect("a packet that has its way on");
                let output = &self.channels[onward.channel as usize];
                if onward.from > cycle || output.credits[onward.vc as usize] == 0 {
                    continue;
                }
                self.wanted.push((onward.channel, channel * speedup + vc % speedup, vc));
            }
        }
        let turn = &self.turn_of_vc;
        self.wanted.sort_unstable_by_key(|&(output, input, vc)| {
            (output, input, (vc + vcs - turn[input as usize]) % vcs)
        });
        self.wanted.dedup_by_key(|&mut (output, input, _)| (output, input));
        let free = |output: u32| self.channels[output as usize].is_free(cycle);
        let requests = self.wanted.iter().filter(|&&(output, ..)| free(output));
        self.requests.extend(requests.map(|&(output, input, _)| (output, input)));
    }

    fn cross(&mut self, cycle: u64, input: u32, vc: u32) {
        let (vcs, speedup) = (self.spec.vcs, self.spec.input_speedup);
        let channel = input / speedup;
        self.turn_of_vc[input as usize] = (vc + speedup) % vcs;
        let buffers = &mut self.channels[channel as usize];
        let onward = buffers.vcs[vc as usize].onward.expect("a packet that has its way on");
        let flit = buffers.let_go(vc);
        if buffers.occupied == 0 {
            self.buffering.remove(channel);
        }
        self.give_back(cycle, channel, vc);
        let class = self.next_class(channel, onward.channel, flit.class);
        let flit = OnItsWay { hop: flit.hop + 1, class, ..flit };
        self.launch(cycle, onward.channel, onward.vc, flit, 1);
    }
}

impl NetworkModel for FlitNetwork {
    fn start(&mut self, now: SimTime, flow: Flow) -> FlowId {
        self.come_to(now);
        let path = self.path(&flow.route);
        let empty = path.is_empty() || flow.bytes == Bytes::ZERO;
        let latency: SimDuration = flow.route.iter().map(|&link| self.latency[link]).sum();
        let state = FlowState {
            path,
            rank: 0,
            tag: Tag::default(),
            unsent: flow.bytes,
            flits_left: flow.bytes.get().div_ceil(self.spec.flit.get()),
            flow,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.flows[id] = state;
                id
            }
            None => self.flows.push(state),
        };
        self.alive += 1;
        if empty {
            self.empty.push(Reverse((now + latency, id)));
        } else {
            self.entering.push(id);
            self.wake();
        }
        id
    }

    fn next_change(&mut self) -> Option<SimTime> {
        self.finish_cycle();
        if self.alive == 0 {
            return None;
        }
        let cycle = self.next.map(|cycle| self.edge(cycle));
        let empty = self.empty.peek().map(|&Reverse((at, _))| at);
        cycle.into_iter().chain(empty).min()
    }

    fn advance(&mut self, now: SimTime, finished: &mut Vec<FlowId>) {
        self.come_to(now);
        if let Some(cycle) = self.next.filter(|&cycle| self.edge(cycle) == now) {
            self.finish_cycle();
            self.begin_cycle(cycle);
        }
        while let Some(&Reverse((_, id))) = self.empty.peek().filter(|end| end.0.0 == now) {
            self.empty.pop();
            self.ended.push(id);
        }
        self.ended.sort_unstable();
        self.alive -= self.ended.len();
        self.free.extend_from_slice(&self.ended);
        finished.append(&mut self.ended);
    }

    fn set_bandwidth(&mut self, now: SimTime, link: LinkId, bandwidth: Option<Bandwidth>) {
        self.come_to(now);
        self.channels[link.index()].period = period(&self.spec, self.clock, bandwidth);
        self.wake();
    }

    fn carried(&self) -> IdVec<LinkId, f64> {
        self.latency.ids().map(|link| self.channels[link.index()].sent as f64).collect()
    }

    fn counters(&self) -> Option<Counters> {
        Some(self.counters)
    }
}

/// How often a link can send a flit, in cycles: one a cycle at most.
fn period(spec: &Flit, clock: Clock, bandwidth: Option<Bandwidth>) -> Option<u64> {
    let cycles = spec.flit.as_f64() * clock.hertz() as f64 / bandwidth?.get();
    Some((cycles * f64::from(1 << PERIOD_BITS)).round().max(f64::from(1 << PERIOD_BITS)) as u64)
}

/// The lowest `count` bits.
fn low(count: u32) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

/// The virtual channels that a packet of a class may take: all but one for each class above it.
fn allowed(spec: &Flit, classes: u32, class: u8) -> u64 {
    let above = (classes - 1).saturating_sub(u32::from(class));
    low(spec.vcs - above.min(spec.vcs - 1))
}

/// How many times a route can descend, and once more: along a grid once for each dimension that is
/// closed; elsewhere as often as it does between an even sample of devices; of bare links nothing is
/// known but that a route crosses each once.
fn classes(links: &LinkTable) -> u32 {
    let Some(topology) = links.topology() else { return links.len().clamp(1, 8) as u32 };
    let order = links.order();
    if topology.devices_forward() {
        let mut closed = std::collections::BTreeSet::new();
        for (id, link) in topology.links().enumerate() {
            let graph = topology.graph();
            let end = petgraph::graph::NodeIndex::new(link.to.index());
            for next in graph.edges(end).map(|edge| *edge.weight()) {
                let on = &topology.links()[next];
                if on.dimension == link.dimension && on.to != link.from && order[next] <= order[id] {
                    closed.insert(link.dimension);
                }
            }
        }
        return closed.len() as u32 + 1;
    }
    let devices = topology.devices().len();
    let sample = || (0..devices).step_by(devices.div_ceil(48)).map(DeviceId::from_index);
    let pairs = sample().flat_map(|from| sample().map(move |to| (from, to)));
    let descents = pairs.map(|(from, to)| {
        let route = topology.route(from, to, 0);
        route.windows(2).filter(|pair| order[pair[1]] <= order[pair[0]]).count()
    });
    descents.max().unwrap_or(0) as u32 + 1
}
