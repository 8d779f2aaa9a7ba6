//! Where entries wait in order of scheduling, in chunks that are used again and again.
//!
//! A slot holds from one entry to all of them, and which slots are full changes as time goes by. So
//! slots do not grow: they take chunks of one size from a common store and give them back.

use crate::engine::Key;
use crate::units::SimTime;

/// Entries of a chunk: long enough to be read as a stream (64 cost a tenth of the speed at 10⁶
/// events), short enough that a few hundred slots cost little when each holds one entry.
const CHUNK: usize = 128;
/// No chunk.
const NONE: u32 = u32::MAX;

/// An event and what orders it.
#[derive(Debug)]
pub(super) struct Entry<E> {
    pub(super) at: SimTime,
    pub(super) key: Key,
    pub(super) event: E,
}

/// Entries in order of scheduling: a list of full chunks and one that is being filled.
#[derive(Debug)]
pub(super) struct Slot<E> {
    /// The time of the earliest entry.
    pub(super) earliest: SimTime,
    /// The newest entries.
    tail: Vec<Entry<E>>,
    /// The first and the last of the full chunks before it.
    first: u32,
    last: u32,
    pub(super) any_cancelled: bool,
    /// An event of the earliest time was cancelled, so that the earliest may be another now.
    pub(super) earliest_cancelled: bool,
}

impl<E> Slot<E> {
    pub(super) const EMPTY: Self = Slot {
        earliest: SimTime::MAX,
        tail: Vec::new(),
        first: NONE,
        last: NONE,
        any_cancelled: false,
        earliest_cancelled: false,
    };

    #[inline]
    pub(super) fn push(&mut self, entry: Entry<E>, chunks: &mut Chunks<E>) {
        // An empty slot may have a tail without room, or one that `take_only` left to it.
        if self.tail.len() == self.tail.capacity() {
            let full = std::mem::replace(&mut self.tail, chunks.take_empty());
            if !full.is_empty() {
                self.append_full(full, chunks);
            }
        }
        self.earliest = self.earliest.min(entry.at);
        self.tail.push(entry);
    }

    /// The entry of a slot that has no other and none cancelled.
    #[inline]
    pub(super) fn take_only(&mut self) -> Option<Entry<E>> {
        if self.tail.len() != 1 || self.first != NONE || self.any_cancelled {
            return None;
        }
        self.earliest = SimTime::MAX;
        self.tail.pop()
    }

    /// The oldest chunk, until the slot has none.
    pub(super) fn take_chunk(&mut self, chunks: &mut Chunks<E>) -> Option<Vec<Entry<E>>> {
        if self.first != NONE {
            let (chunk, next) = chunks.take_full(self.first);
            self.first = next;
            return Some(chunk);
        }
        if self.tail.is_empty() { None } else { Some(std::mem::take(&mut self.tail)) }
    }

    /// Remembers that an event at `at` was cancelled; its entry stays until the slot is dealt out.
    pub(super) fn note_cancelled(&mut self, at: SimTime) {
        self.any_cancelled = true;
        self.earliest_cancelled |= at == self.earliest;
    }

    fn append_full(&mut self, chunk: Vec<Entry<E>>, chunks: &mut Chunks<E>) {
        let place = chunks.keep_full(chunk);
        match self.last {
            NONE => self.first = place,
            last => chunks.full[last as usize].1 = place,
        }
        self.last = place;
    }
}

/// The common store of chunks.
#[derive(Debug)]
pub(super) struct Chunks<E> {
    /// Full chunks of all slots, each with the place of the one behind it.
    full: Vec<(Vec<Entry<E>>, u32)>,
    /// Places in `full` without a chunk.
    free: Vec<u32>,
    /// Empty chunks.
    spare: Vec<Vec<Entry<E>>>,
    made: usize,
}

impl<E> Chunks<E> {
    pub(super) const fn new() -> Self {
        Chunks { full: Vec::new(), free: Vec::new(), spare: Vec::new(), made: 0 }
    }

    /// Takes back a chunk that was emptied.
    pub(super) fn give_back(&mut self, chunk: Vec<Entry<E>>) {
        debug_assert!(chunk.is_empty(), "only empty chunks come back");
        self.spare.push(chunk);
    }

    /// How many chunks there are in all.
    #[cfg(test)]
    pub(super) fn made(&self) -> usize {
        self.made
    }

    fn take_empty(&mut self) -> Vec<Entry<E>> {
        self.spare.pop().unwrap_or_else(|| {
            self.made += 1;
            Vec::with_capacity(CHUNK)
        })
    }

    fn keep_full(&mut self, chunk: Vec<Entry<E>>) -> u32 {
        if let Some(place) = self.free.pop() {
            self.full[place as usize] = (chunk, NONE);
            return place;
        }
        self.full.push((chunk, NONE));
        u32::try_from(self.full.len() - 1).expect("fewer than 2^32 chunks of events")
    }

    fn take_full(&mut self, place: u32) -> (Vec<Entry<E>>, u32) {
        self.free.push(place);
        std::mem::take(&mut self.full[place as usize])
    }
}
