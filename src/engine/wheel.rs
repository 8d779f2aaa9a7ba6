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
//! Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987; moving the present to the
//! earliest time instead of the slot's first tick is the radix heap of Ahuja, Mehlhorn, Orlin and
//! Tarjan, "Faster Algorithms for the Shortest Path Problem", JACM 37(2), 1990.

use std::collections::VecDeque;

use crate::engine::slab::Slab;
use crate::engine::{EventClass, EventHandle, assert_not_past};
use crate::units::SimTime;

/// Bits of a digit of time.
const DIGIT: u32 = 6;
/// Slots of a level: one per value of its digit. A level's occupied slots fit in one `u64`.
const SLOTS: usize = 1 << DIGIT;
/// Digits of 64 bits.
const LEVELS: usize = u64::BITS.div_ceil(DIGIT) as usize;

/// Earliest first; equal times leave by class, then in order of scheduling.
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
/// queue.cancel(phone);
/// assert_eq!(queue.pop(), Some((noon, "work")));
/// assert_eq!(queue.pop(), Some((noon, "lunch")));
/// assert_eq!(queue.pop(), None);
/// ```
#[derive(Debug, Clone)]
pub struct EventQueue<E> {
    now: SimTime,
    /// Slots of the events of this moment, by class.
    moment: [VecDeque<u32>; EventClass::ALL.len()],
    /// How many of them have not been cancelled.
    moment_live: usize,
    /// Everything later than now.
    levels: Box<[Level; LEVELS]>,
    /// Bit `l` is set while level `l` has an occupied slot.
    occupied: u32,
    chunks: Chunks,
    slab: Slab<E>,
    live: usize,
    /// Cancelled events whose entries have not come up yet.
    cancelled: usize,
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
            levels: Box::new([Level::EMPTY; LEVELS]),
            occupied: 0,
            chunks: Chunks::default(),
            slab: Slab::new(),
            live: 0,
            cancelled: 0,
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
        assert_not_past(at, class, self.now);
        let (index, generation) = self.slab.insert(event);
        self.place(Entry { at, index, class });
        self.live += 1;
        EventHandle { at, index, generation }
    }

    /// Takes back an event that has not left yet; nothing if it has.
    pub fn cancel(&mut self, handle: EventHandle) -> Option<E> {
        let event = self.slab.cancel(handle.index, handle.generation)?;
        self.live -= 1;
        self.cancelled += 1;
        match self.position(handle.at) {
            None => self.moment_live -= 1,
            Some((level, slot)) => self.levels[level].slots[slot].note_cancelled(handle.at),
        }
        // Entries of cancelled events are left to come up by themselves, unless they are the most.
        if self.cancelled > self.live + SLOTS {
            self.sweep();
        }
        Some(event)
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
        if self.moment_live == 0 {
            self.come_to_next_moment()?;
        }
        self.moment_live -= 1;
        self.live -= 1;
        self.processed += 1;
        loop {
            let class = self.moment.iter_mut().find(|class| !class.is_empty());
            let index = class.and_then(VecDeque::pop_front).expect("a live event of this moment");
            match self.slab.release(index) {
                Some(event) => return Some((self.now, event)),
                None => self.cancelled -= 1,
            }
        }
    }

    /// Moves the present to the earliest event and deals out its slot; nothing if there is none.
    fn come_to_next_moment(&mut self) -> Option<()> {
        let (level, slot) = self.first_slot()?;
        self.now = self.levels[level].slots[slot].earliest;
        self.deal_out(level, slot);
        Some(())
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
    fn place(&mut self, entry: Entry) {
        match self.position(entry.at) {
            None => {
                self.moment[entry.class as usize].push_back(entry.index);
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
        let dealt = std::mem::replace(&mut self.levels[level].slots[slot], Slot::EMPTY);
        self.levels[level].occupied &= !(1 << slot);
        if self.levels[level].occupied == 0 {
            self.occupied &= !(1 << level);
        }
        let mut chunk = dealt.first;
        while chunk != NONE {
            for at in 0..self.chunks.len(chunk) {
                let entry = self.chunks.entry(chunk, at);
                if dealt.any_cancelled && !self.slab.is_live(entry.index) {
                    self.slab.release(entry.index);
                    self.cancelled -= 1;
                } else {
                    self.place(entry);
                }
            }
            chunk = self.chunks.release(chunk);
        }
    }

    /// How many events the queue has room for without allocating.
    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.slab.len()
    }

    /// How many chunks of entries were ever in use at once.
    #[cfg(test)]
    pub(super) fn chunks(&self) -> usize {
        self.chunks.chunks.len()
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
            class.retain(|&index| {
                let live = self.slab.is_live(index);
                if !live {
                    self.slab.release(index);
                    self.cancelled -= 1;
                }
                live
            });
        }
    }
}

/// What is moved about instead of the event.
#[derive(Debug, Clone, Copy)]
struct Entry {
    at: SimTime,
    index: u32,
    class: EventClass,
}

/// One digit of time.
#[derive(Debug, Clone)]
struct Level {
    /// Bit `s` is set while slot `s` has entries.
    occupied: u64,
    slots: [Slot; SLOTS],
}

impl Level {
    const EMPTY: Level = Level { occupied: 0, slots: [const { Slot::EMPTY }; SLOTS] };
}

/// Entries that share a digit, in order of scheduling: a list of chunks.
#[derive(Debug, Clone)]
struct Slot {
    first: u32,
    last: u32,
    /// The time of the earliest entry.
    earliest: SimTime,
    any_cancelled: bool,
    /// An event of that time was cancelled, so that the earliest may be another now.
    earliest_cancelled: bool,
}

impl Slot {
    const EMPTY: Slot = Slot {
        first: NONE,
        last: NONE,
        earliest: SimTime::MAX,
        any_cancelled: false,
        earliest_cancelled: false,
    };

    fn push(&mut self, entry: Entry, chunks: &mut Chunks) {
        if self.last == NONE || chunks.is_full(self.last) {
            let chunk = chunks.take();
            match self.last {
                NONE => self.first = chunk,
                last => chunks.link(last, chunk),
            }
            self.last = chunk;
        }
        chunks.push(self.last, entry);
        self.earliest = self.earliest.min(entry.at);
    }

    fn note_cancelled(&mut self, at: SimTime) {
        self.any_cancelled = true;
        self.earliest_cancelled |= at == self.earliest;
    }
}

/// No chunk.
const NONE: u32 = u32::MAX;
/// Entries of a chunk: long enough to be read as a stream, short enough that 64 slots on each of a
/// few levels cost little when each holds one entry.
const CHUNK: usize = 31;

/// The chunks of all slots; those given back are used again.
#[derive(Debug, Clone, Default)]
struct Chunks {
    chunks: Vec<Chunk>,
    free: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Chunk {
    entries: [Entry; CHUNK],
    len: u32,
    next: u32,
}

impl Chunk {
    const EMPTY: Chunk = Chunk {
        entries: [Entry { at: SimTime::ZERO, index: 0, class: EventClass::Finish }; CHUNK],
        len: 0,
        next: NONE,
    };
}

impl Chunks {
    fn take(&mut self) -> u32 {
        if let Some(chunk) = self.free.pop() {
            return chunk;
        }
        self.chunks.push(Chunk::EMPTY);
        u32::try_from(self.chunks.len() - 1).expect("fewer than 2^32 chunks of events")
    }

    /// Gives a chunk back and names the one behind it.
    fn release(&mut self, chunk: u32) -> u32 {
        self.free.push(chunk);
        let released = &mut self.chunks[chunk as usize];
        released.len = 0;
        std::mem::replace(&mut released.next, NONE)
    }

    fn link(&mut self, chunk: u32, next: u32) {
        self.chunks[chunk as usize].next = next;
    }

    fn is_full(&self, chunk: u32) -> bool {
        self.len(chunk) == CHUNK
    }

    fn len(&self, chunk: u32) -> usize {
        self.chunks[chunk as usize].len as usize
    }

    fn entry(&self, chunk: u32, at: usize) -> Entry {
        self.chunks[chunk as usize].entries[at]
    }

    fn push(&mut self, chunk: u32, entry: Entry) {
        let chunk = &mut self.chunks[chunk as usize];
        chunk.entries[chunk.len as usize] = entry;
        chunk.len += 1;
    }
}
