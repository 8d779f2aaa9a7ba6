//! Rings of which no two connections share a link, message by message.
//!
//! A message then waits for its data and for those before it on its connection, and for nothing else: it
//! leaves when both are there, takes α + n/β, and what was given is passed on. That is what a
//! [network model](crate::network) says of the same transfers, to the picosecond (the suite holds it so);
//! but no rates need be found, and a message is one event. Where messages would share a connection
//! there is no answer, and the network is asked.

use crate::collective::plan::stretched;
use crate::collective::{CommPlan, Rings};
use crate::engine::{EventClass, EventQueue};
use crate::hardware::Topology;
use crate::ids::{DeviceId, IdVec, LinkId};
use crate::network::{Alone, NetworkModel};
use crate::units::{Bytes, SimDuration, SimTime};

/// The connections of rings, none of which shares a link with another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LoneRings {
    rings: Rings,
    /// Ring after ring, from each place to the next.
    connections: Vec<Connection>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Connection {
    way: Alone,
    /// The share of the bandwidth that payload gets, bit by bit.
    efficiency: u64,
}

impl LoneRings {
    /// The connections of a plan among these devices, if it has rings and they do not meet.
    pub fn of(
        plan: &CommPlan,
        group: &[DeviceId],
        topology: &Topology,
        network: &dyn NetworkModel,
    ) -> Option<Self> {
        let rings = plan.rings()?;
        let mut taken: IdVec<LinkId, bool> = IdVec::filled(false, topology.links().len());
        let mut connections = Vec::with_capacity(rings.channels() * rings.places());
        for channel in 0..rings.channels() {
            for place in 0..rings.places() {
                let (from, to) = rings.ends(channel, place);
                let route = topology.route(group[from.index()], group[to.index()], channel as u64);
                if route.iter().any(|&link| std::mem::replace(&mut taken[link], true)) {
                    return None;
                }
                let way = network.alone(&route)?;
                connections.push(Connection { way, efficiency: plan.efficiency(&route, topology).to_bits() });
            }
        }
        Some(LoneRings { rings: rings.clone(), connections })
    }

    /// When each member's last transfer of a buffer of `whole` bytes has arrived, from the moment when the
    /// first ones leave; nothing where messages share a connection.
    pub fn ends(&self, plan: &CommPlan, whole: Bytes) -> Option<Vec<SimDuration>> {
        if self.rings.rounds() == 0 {
            return Some(vec![SimDuration::ZERO; self.rings.places()]);
        }
        let mut going = Going::new(self, plan, whole)?;
        going.run()?;
        let mut ends = vec![SimDuration::ZERO; self.rings.places()];
        for (at, state) in going.states.iter().enumerate() {
            let (from, to) = self.rings.ends(at / self.rings.places(), at % self.rings.places());
            for member in [from, to] {
                let end = &mut ends[member.index()];
                *end = (*end).max(state.last.since(SimTime::ZERO));
            }
        }
        Some(ends)
    }
}

/// Messages on their way.
struct Going<'r> {
    rings: &'r Rings,
    /// Each event is the arrival of the next message of a connection: they arrive in the order in which
    /// they left.
    events: EventQueue<u32>,
    states: Vec<State>,
    /// How long each chunk takes to leave, by ring and owner, for every kind of connection.
    leaving: Vec<SimDuration>,
}

/// Where a connection is.
#[derive(Debug, Clone, Copy)]
struct State {
    /// When the message before has left.
    free: SimTime,
    /// When the last message arrived.
    last: SimTime,
    latency: SimDuration,
    /// Where the times of its kind and ring begin.
    times: u32,
    /// The connection that passes on what this one brings.
    next: u32,
    /// The next message: in which round, whose piece, which chunk.
    round: u32,
    owner: u32,
    chunk: u32,
}

impl<'r> Going<'r> {
    fn new(lone: &'r LoneRings, plan: &CommPlan, whole: Bytes) -> Option<Self> {
        let rings = &lone.rings;
        let (n, chunks) = (rings.places(), rings.chunks());
        let of_ring = n * chunks as usize;
        // Connections mostly are of one kind, or two.
        let kind = |connection: &Connection| (connection.way.rate, connection.efficiency);
        let mut kinds: Vec<&Connection> = Vec::new();
        let mut states = Vec::with_capacity(lone.connections.len());
        for (at, connection) in lone.connections.iter().enumerate() {
            let (channel, place) = (at / n, at % n);
            let known = kinds.iter().position(|known| kind(known) == kind(connection));
            let known = known.unwrap_or_else(|| {
                kinds.push(connection);
                kinds.len() - 1
            });
            states.push(State {
                free: SimTime::ZERO,
                last: SimTime::ZERO,
                latency: connection.way.latency,
                times: ((known * rings.channels() + channel) * of_ring) as u32,
                next: (channel * n + (place + 1) % n) as u32,
                round: 0,
                owner: rings.owner(place, 0) as u32,
                chunk: 0,
            });
        }
        let mut leaving = Vec::with_capacity(kinds.len() * rings.channels() * of_ring);
        for of_kind in kinds {
            for channel in 0..rings.channels() {
                for (owner, chunk) in (0..n).flat_map(|owner| (0..chunks).map(move |chunk| (owner, chunk))) {
                    let range = plan.range(rings.piece(channel, owner, chunk), 1, whole.get());
                    let payload = Bytes(range.end - range.start);
                    // What has no bytes waits for nobody.
                    let bytes = stretched(payload, f64::from_bits(of_kind.efficiency));
                    leaving.push(of_kind.way.leaves_after(bytes).filter(|_| bytes > Bytes::ZERO)?);
                }
            }
        }
        Some(Going { rings, events: EventQueue::new(), states, leaving })
    }

    fn run(&mut self) -> Option<()> {
        for chunk in 0..self.rings.chunks() {
            for at in 0..self.states.len() {
                debug_assert_eq!(self.states[at].chunk, chunk);
                self.leave(at, SimTime::ZERO)?;
            }
        }
        let rounds = self.rings.rounds() as u32;
        while let Some((now, at)) = self.events.pop() {
            let state = &mut self.states[at as usize];
            state.last = now;
            let next = state.next as usize;
            if self.states[next].round < rounds {
                self.leave(next, now)?;
            }
        }
        Some(())
    }

    /// The next message of a connection is there.
    #[inline]
    fn leave(&mut self, at: usize, now: SimTime) -> Option<()> {
        let chunks = self.rings.chunks();
        let state = &mut self.states[at];
        if chunks == 1 && state.free > now {
            // Whole pieces do not wait for each other: two would share the connection.
            return None;
        }
        let takes = self.leaving[state.times as usize + (state.owner * chunks + state.chunk) as usize];
        state.free = state.free.max(now) + takes;
        let arrives = state.free + state.latency;
        state.chunk += 1;
        if state.chunk == chunks {
            state.chunk = 0;
            state.round += 1;
            state.owner = state.owner.checked_sub(1).unwrap_or(self.rings.places() as u32 - 1);
        }
        self.events.schedule(arrives, EventClass::Finish, at as u32);
        Some(())
    }
}
