//! What happened to packets: nothing is dropped, marked or paused in silence.

use serde::Serialize;

use crate::ids::LinkId;

/// Counts over a network's life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Packets that sources have sent, those sent again included.
    pub packets: u64,
    /// Packets (or flits) that have crossed a link, summed over links.
    pub hops: u64,
    /// Packets marked by a queue that was longer than it should be (ECN).
    pub marked_packets: u64,
    /// Congestion notifications that sources have heeded.
    pub notifications: u64,
    /// Times that a switch asked a neighbour to pause (PFC).
    pub pauses: u64,
    /// Packets that found no room.
    pub dropped_packets: u64,
    /// Their bytes.
    pub dropped_bytes: u64,
    /// Bytes that sources have sent again.
    pub resent_bytes: u64,
    /// The most bytes that have waited for one link.
    pub longest_queue_bytes: u64,
    /// Which link that was.
    pub longest_queue: Option<LinkId>,
}

impl Counters {
    /// Remembers a queue, if none was longer.
    pub(super) fn see_queue(&mut self, link: LinkId, bytes: u64) {
        if bytes > self.longest_queue_bytes {
            (self.longest_queue_bytes, self.longest_queue) = (bytes, Some(link));
        }
    }

    /// Both together: of two networks, or of two stretches of time.
    pub fn and(self, other: Counters) -> Counters {
        let longest = if other.longest_queue_bytes > self.longest_queue_bytes { other } else { self };
        Counters {
            packets: self.packets + other.packets,
            hops: self.hops + other.hops,
            marked_packets: self.marked_packets + other.marked_packets,
            notifications: self.notifications + other.notifications,
            pauses: self.pauses + other.pauses,
            dropped_packets: self.dropped_packets + other.dropped_packets,
            dropped_bytes: self.dropped_bytes + other.dropped_bytes,
            resent_bytes: self.resent_bytes + other.resent_bytes,
            longest_queue_bytes: longest.longest_queue_bytes,
            longest_queue: longest.longest_queue,
        }
    }
}
