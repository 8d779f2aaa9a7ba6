//! A link: what waits for it, what is on it, and when it is next free.

use std::collections::VecDeque;

use crate::engine::EventHandle;
use crate::ids::{FlowId, LinkId};
use crate::network::fair::Turns;
use crate::units::{Bandwidth, PICOS_PER_SECOND, SimDuration, SimTime};

/// A packet on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnItsWay {
    pub flow: FlowId,
    /// Its place among the packets of its flow.
    pub number: u32,
    pub bytes: u32,
    /// How many links of its flow's route it has crossed.
    pub hop: u16,
    /// How often its route has descended: its priority.
    pub class: u8,
    pub marked: bool,
    /// The link it came by last, and its class there: whose share of the buffer it takes.
    pub came_by: LinkId,
    pub came_in: u8,
}

/// The most priorities. Pauses are kept as bits.
const CLASSES: usize = 32;

/// Bits after the point of a rate, so that fractions of bytes per second count.
const RATE_BITS: u32 = 16;

/// A moment between two picoseconds: `rest` over the rate of the link after `at`.
#[derive(Debug, Clone, Copy, Default)]
struct Moment {
    at: SimTime,
    rest: u64,
}

impl Moment {
    /// The first whole picosecond that is not before.
    fn rounded_up(self) -> SimTime {
        self.at + SimDuration::from_picos(u64::from(self.rest > 0))
    }
}

/// A directed link and the queues before it.
#[derive(Debug)]
pub(super) struct Port {
    /// Units of 2⁻¹⁶ bytes per second; 0 while it is down.
    rate: u64,
    pub latency: SimDuration,
    /// What waits in the switch or device that the link leaves, by class.
    queues: Vec<VecDeque<OnItsWay>>,
    /// Bytes in them.
    pub waiting: u64,
    /// The flows that start here.
    pub turns: Turns,
    /// Which queue goes next; the one behind the last stands for the flows that start here.
    next: usize,
    /// Classes that the switch at the end of the link does not take at present.
    paused: u32,
    /// When the last byte that was sent has left.
    free: Moment,
    /// The work left of a packet that was being sent when the link went down.
    held_back: Option<u128>,
    /// Packets whose first byte has left, in order.
    pub flying: VecDeque<OnItsWay>,
    /// Of the last of them: the event of its arrival.
    pub arrival: Option<EventHandle>,
    /// The event of being free.
    pub wake: Option<EventHandle>,
    /// Bytes that have been sent, with all of the packet that is being sent.
    pub sent: u64,
    /// At the end of the link: bytes that wait there and came by this link, by class.
    held: [u64; CLASSES],
    /// Classes that were asked to pause.
    pub asked: u32,
    /// How long a full packet takes, for speed: its bytes, picoseconds and rest.
    usual: (u32, u64, u64),
}

/// What a link sends next.
pub(super) enum Next {
    /// A packet that passes through.
    Passing(OnItsWay),
    /// A packet of a flow that starts here.
    From(FlowId),
}

impl Port {
    pub(super) fn new(bandwidth: Option<Bandwidth>, latency: SimDuration, usual: u32) -> Self {
        let mut port = Port {
            rate: 0,
            latency,
            queues: Vec::new(),
            waiting: 0,
            turns: Turns::default(),
            next: 0,
            paused: 0,
            free: Moment::default(),
            held_back: None,
            flying: VecDeque::new(),
            arrival: None,
            wake: None,
            sent: 0,
            held: [0; CLASSES],
            asked: 0,
            usual: (usual, 0, 0),
        };
        port.set_rate(bandwidth);
        port
    }

    fn set_rate(&mut self, bandwidth: Option<Bandwidth>) {
        self.rate = bandwidth.map_or(0, |rate| (rate.get() * f64::from(1 << RATE_BITS)) as u64);
        if self.rate > 0 {
            let work = work_of(self.usual.0);
            self.usual.1 = (work / u128::from(self.rate)) as u64;
            self.usual.2 = (work % u128::from(self.rate)) as u64;
        }
    }

    /// Bytes per second.
    pub(super) fn bytes_per_second(&self) -> f64 {
        self.rate as f64 / f64::from(1 << RATE_BITS)
    }

    /// When it could send; nothing while it is down.
    pub(super) fn free_at(&self) -> Option<SimTime> {
        (self.rate > 0 && self.held_back.is_none()).then(|| self.free.rounded_up())
    }

    /// Puts a packet that passes through behind the others.
    pub(super) fn queue(&mut self, packet: OnItsWay) {
        let class = usize::from(packet.class);
        while self.queues.len() <= class {
            self.queues.push(VecDeque::new());
        }
        self.queues[class].push_back(packet);
        self.waiting += u64::from(packet.bytes);
    }

    /// Whether there is anything that may be sent.
    pub(super) fn has_next(&self) -> bool {
        (!self.turns.is_empty() && !self.is_paused(0))
            || self
                .queues
                .iter()
                .enumerate()
                .any(|(class, queue)| !queue.is_empty() && !self.is_paused(class))
    }

    /// What is sent next: queues and sources take turns, classes too.
    pub(super) fn take_next(&mut self) -> Option<Next> {
        let places = self.queues.len() + 1;
        for step in 0..places {
            let place = (self.next + step) % places;
            let taken = match self.queues.get_mut(place) {
                Some(queue) if self.paused & 1 << place == 0 => queue.pop_front().map(Next::Passing),
                Some(_) => None,
                None if self.paused & 1 == 0 => self.turns.next().map(|(flow, _)| Next::From(flow)),
                None => None,
            };
            if let Some(taken) = taken {
                self.next = (place + 1) % places;
                if let Next::Passing(packet) = &taken {
                    self.waiting -= u64::from(packet.bytes);
                }
                return Some(taken);
            }
        }
        None
    }

    /// Begins to send a packet; when its last byte will be at the other end.
    pub(super) fn send(&mut self, now: SimTime, packet: OnItsWay) -> SimTime {
        debug_assert!(self.free_at().is_some_and(|free| free <= now), "one packet at a time");
        if self.free.rounded_up() < now {
            self.free = Moment { at: now, rest: 0 };
        }
        let (whole, rest) = if packet.bytes == self.usual.0 {
            (self.usual.1, self.usual.2)
        } else {
            let (work, rate) = (work_of(packet.bytes), u128::from(self.rate));
            ((work / rate) as u64, (work % rate) as u64)
        };
        self.free.at += SimDuration::from_picos(whole);
        self.free.rest += rest;
        if self.free.rest >= self.rate {
            self.free.rest -= self.rate;
            self.free.at += SimDuration::from_picos(1);
        }
        self.sent += u64::from(packet.bytes);
        self.flying.push_back(packet);
        self.free.rounded_up() + self.latency
    }

    /// Changes the rate. What is being sent goes on at the new one, or waits while there is none.
    /// Whether its arrival has to be scheduled anew, and for when (nothing: not yet).
    pub(super) fn change_rate(
        &mut self,
        now: SimTime,
        bandwidth: Option<Bandwidth>,
    ) -> Option<Option<SimTime>> {
        let left = match self.held_back.take() {
            Some(left) => left,
            None if self.free.rounded_up() > now && self.rate > 0 => {
                let picos = u128::from(self.free.at.picos().saturating_sub(now.picos()));
                picos * u128::from(self.rate) + u128::from(self.free.rest)
            }
            None => 0,
        };
        self.set_rate(bandwidth);
        if left == 0 {
            self.free = Moment { at: self.free.rounded_up().min(now), rest: 0 };
            return None;
        }
        if self.rate == 0 {
            self.held_back = Some(left);
            return Some(None);
        }
        let rate = u128::from(self.rate);
        self.free =
            Moment { at: now + SimDuration::from_picos((left / rate) as u64), rest: (left % rate) as u64 };
        Some(Some(self.free.rounded_up() + self.latency))
    }

    /// Bytes that have left until `now`.
    pub(super) fn carried(&self, now: SimTime) -> f64 {
        let left = match self.held_back {
            Some(left) => left as f64 / work_of(1) as f64,
            None => {
                let picos = self.free.at.picos().saturating_sub(now.picos()) as f64;
                (picos * self.rate as f64 + if picos > 0.0 { self.free.rest as f64 } else { 0.0 })
                    / work_of(1) as f64
            }
        };
        self.sent as f64 - left
    }

    /// A packet that came by this link waits at its end; how many bytes of its class do so now.
    pub(super) fn hold(&mut self, class: u8, bytes: u32) -> u64 {
        let held = &mut self.held[usize::from(class)];
        *held += u64::from(bytes);
        *held
    }

    /// A packet that came by this link waits no more; how many bytes of its class are left.
    pub(super) fn release(&mut self, class: u8, bytes: u32) -> u64 {
        let held = &mut self.held[usize::from(class)];
        *held -= u64::from(bytes);
        *held
    }

    fn is_paused(&self, class: usize) -> bool {
        self.paused & 1 << class != 0
    }

    /// A class is not taken at the other end any more, or again.
    pub(super) fn pause(&mut self, class: u8, on: bool) {
        if on {
            self.paused |= 1 << class;
        } else {
            self.paused &= !(1 << class);
        }
    }

    /// The class of a packet of `class` whose route descends once more.
    pub(super) fn next_class(class: u8) -> u8 {
        (class + 1).min(CLASSES as u8 - 1)
    }

    /// Packets that wait here, for looking at.
    #[cfg(test)]
    pub(super) fn queued(&self) -> impl Iterator<Item = &OnItsWay> {
        self.queues.iter().flatten()
    }
}

/// What a rate of 1 does in so many picoseconds.
fn work_of(bytes: u32) -> u128 {
    (u128::from(bytes) << RATE_BITS) * u128::from(PICOS_PER_SECOND)
}
