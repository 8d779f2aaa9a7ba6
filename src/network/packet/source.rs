//! A flow: what its source has still to send, and what its target has seen of it.

use std::sync::Arc;

use crate::hardware::Ways;
use crate::ids::{LinkId, VertexId};
use crate::network::Flow;
use crate::network::fair::Tag;
use crate::network::packet::dcqcn::RateControl;
use crate::units::{Bytes, SimDuration, SimTime};

/// What a source does at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// It wants its turn on its first link.
    Waiting,
    /// It paces itself: an event will wake it.
    Pacing,
    /// It has sent everything.
    Resting,
}

/// A flow and both its ends.
#[derive(Debug)]
pub(super) struct FlowState {
    pub flow: Flow,
    pub began: SimTime,
    /// The sum of its route's latencies.
    pub latency: SimDuration,
    /// The routes among which its packets may choose, and where these end.
    pub ways: Option<(Arc<Ways>, VertexId)>,
    /// Its place among all flows, by when and what they are.
    pub rank: u64,
    pub doing: Doing,
    /// Its service at its first link.
    pub tag: Tag,
    pub packets: u32,
    /// The next packet to be sent, and the first that never was.
    pub next: u32,
    pub fresh: u32,
    /// Its rate, from the first notification on.
    pub control: Option<Box<RateControl>>,
    /// Bytes that it has sent and may not have sent yet at its rate, and as of when.
    pub ahead: f64,
    pub ahead_at: SimTime,
    /// The packet that the target waits for (go-back-N), and whether it has said so.
    pub expected: u32,
    pub asked_back: bool,
    /// Bytes that have arrived and count, and that were dropped.
    pub delivered: u64,
    pub dropped: u64,
    /// Packets between its ends.
    pub on_its_way: u32,
    /// When its target last sent a notification.
    pub notified: Option<SimTime>,
    /// Events that name it.
    pub events: u32,
    pub ended: bool,
}

impl FlowState {
    pub(super) fn new(flow: Flow, began: SimTime, latency: SimDuration, mtu: Bytes) -> Self {
        let packets = u32::try_from(flow.bytes.get().div_ceil(mtu.get())).expect("fewer than 2^32 packets");
        FlowState {
            flow,
            began,
            latency,
            ways: None,
            rank: 0,
            doing: Doing::Resting,
            tag: Tag::default(),
            packets,
            next: 0,
            fresh: 0,
            control: None,
            ahead: 0.0,
            ahead_at: began,
            expected: 0,
            asked_back: false,
            delivered: 0,
            dropped: 0,
            on_its_way: 0,
            notified: None,
            events: 0,
            ended: false,
        }
    }

    pub(super) fn first_link(&self) -> LinkId {
        self.flow.route[0]
    }

    /// The bytes of a packet.
    pub(super) fn bytes_of(&self, number: u32, mtu: Bytes) -> u32 {
        let before = u64::from(number) * mtu.get();
        (self.flow.bytes.get() - before).min(mtu.get()) as u32
    }

    /// Whether nothing names it any more.
    pub(super) fn is_gone(&self) -> bool {
        self.ended && self.events == 0 && self.on_its_way == 0 && self.doing != Doing::Waiting
    }
}
