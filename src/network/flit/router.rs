//! A link as a router sees it: buffers at its end, credits at its beginning.

use std::collections::VecDeque;

use crate::ids::FlowId;

/// A flit on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnItsWay {
    pub flow: FlowId,
    pub bytes: u32,
    /// How many channels of its flow's path it has left behind.
    pub hop: u16,
    /// How often its route has descended.
    pub class: u8,
    pub head: bool,
    pub tail: bool,
}

/// The buffer of a virtual channel at the end of a link.
#[derive(Debug, Clone, Default)]
pub(super) struct VirtualChannel {
    pub flits: VecDeque<OnItsWay>,
    /// Where the packet at its front goes, once that is settled.
    pub onward: Option<Onward>,
}

/// A virtual channel of the next link.
#[derive(Debug, Clone, Copy)]
pub(super) struct Onward {
    pub channel: u32,
    pub vc: u32,
    /// From which cycle on flits may ask for the switch.
    pub from: u64,
}

/// Bits after the point of a cycle, for links that are slower than the clock.
pub(super) const PERIOD_BITS: u32 = 20;

/// A directed link, or the port of a device into or out of its router.
#[derive(Debug)]
pub(super) struct Channel {
    /// Cycles between two flits, in units of 2⁻²⁰; nothing while it is down.
    pub period: Option<u64>,
    /// The cycle at which the next flit may be sent, in the same units.
    pub next: u64,
    /// Cycles that it is longer than the shortest.
    pub longer: u32,
    /// At its end, by virtual channel.
    pub vcs: Vec<VirtualChannel>,
    /// Virtual channels with flits; and those of them whose packet has no way on yet.
    pub occupied: u64,
    pub heads: u64,
    /// At its beginning, by virtual channel: free places at the other end, and the most there are.
    pub credits: Vec<u32>,
    pub depth: u32,
    /// Virtual channels that a packet has taken.
    pub taken: u64,
    /// Bytes that it has carried.
    pub sent: u64,
}

impl Channel {
    pub(super) fn new(period: Option<u64>, longer: u32, vcs: u32, depth: u32) -> Self {
        Channel {
            period,
            next: 0,
            longer,
            vcs: vec![VirtualChannel::default(); vcs as usize],
            occupied: 0,
            heads: 0,
            credits: vec![depth; vcs as usize],
            depth,
            taken: 0,
            sent: 0,
        }
    }

    /// Whether it can send a flit in this cycle.
    pub(super) fn is_free(&self, cycle: u64) -> bool {
        self.period.is_some() && self.next <= cycle << PERIOD_BITS
    }

    /// The cycle from which on it can, if it is up and cannot yet.
    pub(super) fn free_from(&self, cycle: u64) -> Option<u64> {
        self.period?;
        (!self.is_free(cycle)).then(|| self.next.div_ceil(1 << PERIOD_BITS))
    }

    /// Sends a flit over a virtual channel.
    pub(super) fn send(&mut self, cycle: u64, vc: u32, flit: &OnItsWay) {
        let period = self.period.expect("a link that is up");
        // A flit that was late by less than a cycle does not put off those behind it.
        let late = (cycle << PERIOD_BITS) - self.next;
        let on_time = if late < 1 << PERIOD_BITS { self.next } else { cycle << PERIOD_BITS };
        self.next = on_time + period;
        self.credits[vc as usize] -= 1;
        self.sent += u64::from(flit.bytes);
        if flit.tail {
            self.taken &= !(1 << vc);
        }
    }

    /// A flit comes into a buffer.
    pub(super) fn keep(&mut self, vc: u32, flit: OnItsWay) {
        let buffer = &mut self.vcs[vc as usize];
        buffer.flits.push_back(flit);
        debug_assert!(buffer.flits.len() <= self.depth as usize, "a credit too many");
        self.occupied |= 1 << vc;
        if buffer.flits.len() == 1 && buffer.onward.is_none() {
            debug_assert!(flit.head, "the first flit of a packet comes first");
            self.heads |= 1 << vc;
        }
    }

    /// The flit at the front of a buffer leaves it.
    pub(super) fn let_go(&mut self, vc: u32) -> OnItsWay {
        let buffer = &mut self.vcs[vc as usize];
        let flit = buffer.flits.pop_front().expect("a flit that was granted the switch");
        if flit.tail {
            buffer.onward = None;
        }
        if buffer.flits.is_empty() {
            self.occupied &= !(1 << vc);
        } else if flit.tail {
            self.heads |= 1 << vc;
        }
        flit
    }

    /// A place has become free at the other end.
    pub(super) fn give_credit(&mut self, vc: u32) {
        self.credits[vc as usize] += 1;
        debug_assert!(self.credits[vc as usize] <= self.depth, "a credit too many");
    }
}

/// The positions of the bits that are set, from the lowest on.
pub(super) fn bits(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let lowest = (word != 0).then(|| word.trailing_zeros())?;
        word &= word - 1;
        Some(lowest)
    })
}

/// A set of channels, kept as bits so that it is gone through in order.
#[derive(Debug, Default)]
pub(super) struct ChannelSet(Vec<u64>);

impl ChannelSet {
    pub(super) fn new(channels: usize) -> Self {
        ChannelSet(vec![0; channels.div_ceil(64)])
    }

    pub(super) fn add(&mut self, channel: u32) {
        self.0[channel as usize / 64] |= 1 << (channel % 64);
    }

    pub(super) fn remove(&mut self, channel: u32) {
        self.0[channel as usize / 64] &= !(1 << (channel % 64));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let words = self.0.iter().enumerate();
        words.flat_map(|(at, &word)| bits(word).map(move |bit| at as u32 * 64 + bit))
    }
}
