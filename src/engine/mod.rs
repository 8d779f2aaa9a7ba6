//! An event queue that never runs backward and never leaves a tie to chance.
//!
//! Events leave earliest first. Equal times leave by [`EventClass`], then in the order in which they
//! were scheduled, so a run depends on nothing but its input. The queue is generic over its events:
//! it knows nothing of machines or neural networks, and it never looks at the wall clock.
//!
//! [`EventQueue`] is the one to use. [`HeapQueue`] promises the same with the plainest means; tests
//! hold the two against each other and `benches/events.rs` measures one beside the other.

mod heap;
mod slab;
#[cfg(test)]
mod tests;
mod wheel;

pub use heap::HeapQueue;
pub use wheel::EventQueue;

use crate::units::SimTime;

/// Decides between events at one moment: the class listed first leaves first.
///
/// What ends makes room before anything new is decided: a finished operation frees its device and a
/// credit its buffer before the arrivals of that moment are seen; decisions see all of them; what was
/// decided then starts; statistics look at the moment when it is over. An event scheduled *at* the
/// present moment still leaves by its class among those that have not left yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EventClass {
    /// Something that was running ends.
    Finish,
    /// A buffer credit or an acknowledgement comes back.
    Credit,
    /// A packet, a request or a job arrives.
    Arrival,
    /// A policy is asked.
    Decision,
    /// Something begins.
    Start,
    /// Samples are taken.
    Statistics,
}

impl EventClass {
    /// Every class, in the order in which they leave.
    pub const ALL: [EventClass; 6] = [
        EventClass::Finish,
        EventClass::Credit,
        EventClass::Arrival,
        EventClass::Decision,
        EventClass::Start,
        EventClass::Statistics,
    ];
}

/// By which a scheduled event can be cancelled. Handles of events that have left are harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventHandle {
    at: SimTime,
    index: u32,
    generation: u32,
}

impl EventHandle {
    /// When the event was to happen.
    pub const fn at(self) -> SimTime {
        self.at
    }
}

/// An event that is earlier than the present is a mistake of whoever schedules it.
#[track_caller]
fn assert_not_past(at: SimTime, class: EventClass, now: SimTime) {
    assert!(
        at >= now,
        "a {class:?} event was scheduled at {at} ({} ps), but it is already {now} ({} ps)",
        at.picos(),
        now.picos()
    );
}
