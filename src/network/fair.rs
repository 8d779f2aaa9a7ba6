//! Flows that take turns by weight.
//!
//! Start-time fair queueing: each turn is tagged with where its flow's service stands, the least tag
//! goes next, and a flow that comes back starts from where the others are (Goyal, Vin and Cheng,
//! "Start-Time Fair Queueing", SIGCOMM 1996).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::ids::FlowId;

/// Where a flow's service stands: bytes over weight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag(u64);

/// Bits after the point of a tag.
const BITS: u32 = 12;

impl Tag {
    /// Where a flow of `weight` stands after `bytes` more.
    pub(super) fn after(self, bytes: u32, weight: f64) -> Tag {
        let served = f64::from(bytes) * f64::from(1 << BITS) / weight;
        Tag(self.0.saturating_add(served as u64))
    }
}

/// Flows that want a turn.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Ties leave in the order of `rank`, which does not depend on identities.
    waiting: BinaryHeap<Reverse<(Tag, u64, FlowId)>>,
    /// The tag of the last turn.
    now: Tag,
}

impl Turns {
    /// A flow wants a turn; its service stands at `tag`.
    pub(super) fn want(&mut self, tag: Tag, rank: u64, flow: FlowId) {
        self.waiting.push(Reverse((tag.max(self.now), rank, flow)));
    }

    /// Whose turn it is, and the tag of that turn.
    pub(super) fn next(&mut self) -> Option<(FlowId, Tag)> {
        let Reverse((tag, _, flow)) = self.waiting.pop()?;
        self.now = tag;
        Some((flow, tag))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
