//! The event queue: a hierarchical timing wheel over all 64 bits of time.
//!
//! Time is read as digits of six bits. An event waits on the level of the highest digit in which its
//! time differs from the present, in the slot which that digit names: the nearer, the finer. The
//! first occupied slot of the lowest occupied level holds the earliest event; to come to it, the
//! present moves to that event's time and its slot is dealt out again, each event to a lower level
//! than before, until those of the one moment lie in their classes' lists and leave from there. So an
//! event is moved at most eleven times, in practice about three, and never compared with another.
//!
//! Nothing is sorted, yet ties keep their order: events of one time always wait in one slot, and
//! slots are filled and dealt out first in, first out.
//!
//! Six bits were the fastest of the digits tried (one bit, which is the radix heap of the second paper,
//! and three to six), at 100, 10⁴ and 10⁶ events alike: `benches/events.rs`.
//!
//! Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987; moving the present to the
//! earliest time instead of the slot's first tick is the radix heap of Ahuja, Mehlhorn, Orlin and
//! Tarjan, "Faster Algorithms for the Shortest Path Problem", JACM 37(2), 1990.

use std::collections::VecDeque;

use rustc_hash::FxHashSet;

use crate::engine::slots::{Chunks, Entry, Slot};
use crate::engine::{EventClass, EventHandle, Key};
use crate::units::SimTime;

/// Bits of a digit of time.
const DIGIT: u32 = 6;
/// Slots of a level: one per value of its digit. A level's occupied slots fit in one `u64`.
const SLOTS: usize = 1 << DIGIT;
/// Digits of 64 bits.
const LEVELS: usize = u64::BITS.div_ceil(DIGIT) as usize;

/// Earliest first; equal times leave by class, then in order of scheduling.
///
/// Events are moved about as they wait, so they should be small: an index or a few words.
///
/// ```
/// use trainyard::engine::{EventClass, EventQueue};
/// use trainyard::units::SimTime;
///
/// let mut queue = EventQueue::new();
/// let noon = SimTime::from_picos(12);
/// queue.schedule(noon, EventClass::Start, "lunch");
/// let phone = queue.schedule(noon, EventClass::Arrival, "call");
/// queue.schedule(noon, EventClass::Finish, "work");
/// assert!(queue.cancel(phone));
/// assert_eq!(queue.pop(), Some((noon, "work")));
/// assert_eq!(queue.pop(), Some((noon, "lunch")));
/// assert_eq!(queue.pop(), None);
/// ```
#[derive(Debug)]
pub struct EventQueue<E> {
    now: SimTime,
    /// The events of this moment, by class, in order of scheduling.
    moment: [VecDeque<Entry<E>>; EventClass::ALL.len()],
    /// How many of them have not been cancelled.
    moment_live: usize,
    /// Everything later than now.
    levels: Box<[Level<E>; LEVELS]>,
    /// Bit `l` is set while level `l` has an occupied slot.
    occupied: u32,
    chunks: Chunks<E>,
    /// Cancelled events whose entries have not come up yet.
    cancelled: FxHashSet<Key>,
    live: usize,
    scheduled: u64,
    processed: u64,
}

impl<E> Default for EventQueue<E> {
    fn default() -> Self {
        EventQueue::new()
    }
}

impl<E> EventQueue<E> {
    /// An empty queue at time zero.
    pub fn new() -> Self {
        EventQueue {
            now: SimTime::ZERO,
            moment: Default::default(),
            moment_live: 0,
            levels: Box::new([const { Level::EMPTY }; LEVELS]),
            occupied: 0,
            chunks: Chunks::new(),
            cancelled: FxHashSet::default(),
            live: 0,
            scheduled: 0,
            processed: 0,
        }
    }

    /// The time of the event that left last.
    pub fn now(&self) -> SimTime {
        self.now
    }

    /// How many events wait.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// How many events have left by [`pop`](Self::pop).
    pub fn processed(&self) -> u64 {
        self.processed
    }

    /// Lets `event` happen at `at`.
    ///
    /// # Panics
    /// When `at` is before [`now`](Self::now).
    #[track_caller]
    pub fn schedule(&mut self, at: SimTime, class: EventClass, event: E) -> EventHandle {
        let key = Key::next(&mut self.scheduled, at, class, self.now);
        self.place(Entry { at, key, event });
        self.live += 1;
        EventHandle { at, key }
    }

    /// Takes back an event; whether it had not left yet.
    pub fn cancel(&mut self, handle: EventHandle) -> bool {
        let EventHandle { at, key } = handle;
        if at < self.now {
            return false;
        }
        match self.position(at) {
            None => {
                let waiting = &self.moment[key.class()];
                if waiting.binary_search_by_key(&key, |entry| entry.key).is_err() {
                    return false;
                }
                self.moment_live -= 1;
            }
            Some((level, slot)) => self.levels[level].slots[slot].note_cancelled(at),
        }
        self.cancelled.insert(key);
        self.live -= 1;
        // Entries of cancelled events are left to come up by themselves, unless they are the most.
        if self.cancelled.len() > self.live + SLOTS {
            self.sweep();
        }
        true
    }

    /// The time of the next event.
    ///
    /// It takes constant time, except after the earliest event of a slot was cancelled: then the
    /// slot is looked through once for its next.
    pub fn peek_time(&mut self) -> Option<SimTime> {
        if self.moment_live > 0 {
            return Some(self.now);
        }
        self.first_slot().map(|(level, slot)| self.levels[level].slots[slot].earliest)
    }

    /// The next event; it is now its time.
    pub fn pop(&mut self) -> Option<(SimTime, E)> {
        let entry = self.next_entry()?;
        self.live -= 1;
        self.processed += 1;
        Some((entry.at, entry.event))
    }

    fn next_entry(&mut self) -> Option<Entry<E>> {
        if self.moment_live == 0 {
            let (level, slot) = self.first_slot()?;
            self.now = self.levels[level].slots[slot].earliest;
            // An event alone in its slot need not be dealt out.
            if let Some(alone) = self.levels[level].slots[slot].take_only() {
                self.vacate(level, slot);
                return Some(alone);
            }
            self.deal_out(level, slot);
        }
        self.moment_live -= 1;
        loop {
            let class = self.moment.iter_mut().find(|class| !class.is_empty());
            let entry = class.and_then(VecDeque::pop_front).expect("a live event of this moment");
            if self.cancelled.is_empty() || !self.cancelled.remove(&entry.key) {
                return Some(entry);
            }
        }
    }

    /// Level and slot in which an event at `at` waits; `None` for one of this moment.
    fn position(&self, at: SimTime) -> Option<(usize, usize)> {
        let differing = at.picos() ^ self.now.picos();
        if differing == 0 {
            return None;
        }
        let level = differing.ilog2() / DIGIT;
        let digit = (at.picos() >> (level * DIGIT)) as usize % SLOTS;
        Some((level as usize, digit))
    }

    /// Puts an entry behind the others of its slot, or of its class if it is of this moment.
    fn place(&mut self, entry: Entry<E>) {
        match self.position(entry.at) {
            None => {
                self.moment[entry.key.class()].push_back(entry);
                self.moment_live += 1;
            }
            Some((level, slot)) => {
                self.occupied |= 1 << level;
                let level = &mut self.levels[level];
                level.occupied |= 1 << slot;
                level.slots[slot].push(entry, &mut self.chunks);
            }
        }
    }

    /// The slot with the earliest event, its `earliest` being exact.
    fn first_slot(&mut self) -> Option<(usize, usize)> {
        while self.occupied != 0 {
            let level = self.occupied.trailing_zeros() as usize;
            let slot = self.levels[level].occupied.trailing_zeros() as usize;
            if !self.levels[level].slots[slot].earliest_cancelled {
                return Some((level, slot));
            }
            self.deal_out(level, slot);
        }
        None
    }

    /// Places the entries of a slot anew, in order, and drops those that were cancelled.
    fn deal_out(&mut self, level: usize, slot: usize) {
        let mut dealt = std::mem::replace(&mut self.levels[level].slots[slot], Slot::EMPTY);
        self.vacate(level, slot);
        while let Some(mut chunk) = dealt.take_chunk(&mut self.chunks) {
            for entry in chunk.drain(..) {
                if !dealt.any_cancelled || !self.cancelled.remove(&entry.key) {
                    self.place(entry);
                }
            }
            self.chunks.give_back(chunk);
        }
    }

    fn vacate(&mut self, level: usize, slot: usize) {
        self.levels[level].occupied &= !(1 << slot);
        if self.levels[level].occupied == 0 {
            self.occupied &= !(1 << level);
        }
    }

    /// Drops every entry of a cancelled event.
    fn sweep(&mut self) {
        for level in 0..LEVELS {
            let mut left = self.levels[level].occupied;
            while left != 0 {
                let slot = left.trailing_zeros() as usize;
                if self.levels[level].slots[slot].any_cancelled {
                    self.deal_out(level, slot);
                }
                left &= left - 1;
            }
        }
        for class in &mut self.moment {
            class.retain(|entry| !self.cancelled.remove(&entry.key));
        }
    }

    /// How many chunks of entries there is memory for.
    #[cfg(test)]
    pub(super) fn chunks(&self) -> usize {
        self.chunks.made()
    }
}

/// One digit of time.
#[derive(Debug)]
struct Level<E> {
    /// Bit `s` is set while slot `s` has entries.
    occupied: u64,
    slots: [Slot<E>; SLOTS],
}

impl<E> Level<E> {
    const EMPTY: Self = Level { occupied: 0, slots: [const { Slot::EMPTY }; SLOTS] };
}
