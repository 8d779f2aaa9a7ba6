//! An event queue that never runs backward and never leaves a tie to chance.
//!
//! Events leave earliest first. Equal times leave by [`EventClass`], then in the order in which they
//! were scheduled, so a run depends on nothing but its input. The queue is generic over its events:
//! it knows nothing of machines or neural networks, and it never looks at the wall clock.
//!
//! [`EventQueue`] is the one to use. [`HeapQueue`] promises the same with the plainest means; tests
//! hold the two against each other and `benches/events.rs` measures one beside the other.

mod heap;
mod slots;
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

/// By which a scheduled event can be cancelled, once. The handle of an event that has left is harmless.
#[derive(Debug, PartialEq, Eq)]
pub struct EventHandle {
    at: SimTime,
    key: Key,
}

impl EventHandle {
    /// When the event happens.
    pub const fn at(&self) -> SimTime {
        self.at
    }
}

/// What orders the events of one moment: three bits of class above a sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key(u64);

impl Key {
    const CLASS_SHIFT: u32 = 61;

    /// The key of the next event to be scheduled.
    ///
    /// # Panics
    /// When `at` is before `now`: a mistake of whoever schedules the event.
    #[inline]
    #[track_caller]
    fn next(scheduled: &mut u64, at: SimTime, class: EventClass, now: SimTime) -> Key {
        assert!(
            at >= now,
            "a {class:?} event was scheduled at {} ps, but it is already {} ps",
            at.picos(),
            now.picos()
        );
        let key = Key((class as u64) << Self::CLASS_SHIFT | *scheduled);
        *scheduled += 1;
        key
    }

    /// The position of the class in [`EventClass::ALL`].
    #[inline]
    const fn class(self) -> usize {
        (self.0 >> Self::CLASS_SHIFT) as usize
    }
}
