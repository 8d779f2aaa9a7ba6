//! The plain twin of the event queue: a binary heap of keys.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use rustc_hash::FxHashSet;

use crate::engine::{EventClass, EventHandle, Key};
use crate::units::SimTime;

/// The same promises as [`EventQueue`](crate::engine::EventQueue), kept by comparing keys.
///
/// It is what tests and benchmarks hold the faster queue against.
#[derive(Debug)]
pub struct HeapQueue<E> {
    now: SimTime,
    heap: BinaryHeap<Entry<E>>,
    /// Keys of the events that wait.
    waiting: FxHashSet<Key>,
    scheduled: u64,
    processed: u64,
}

impl<E> Default for HeapQueue<E> {
    fn default() -> Self {
        HeapQueue::new()
    }
}

impl<E> HeapQueue<E> {
    /// An empty queue at time zero.
    pub fn new() -> Self {
        HeapQueue {
            now: SimTime::ZERO,
            heap: BinaryHeap::new(),
            waiting: FxHashSet::default(),
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
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
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
        self.heap.push(Entry { at, key, event });
        self.waiting.insert(key);
        EventHandle { at, key }
    }

    /// Takes back an event; whether it had not left yet.
    pub fn cancel(&mut self, handle: EventHandle) -> bool {
        self.waiting.remove(&handle.key)
    }

    /// The time of the next event.
    pub fn peek_time(&mut self) -> Option<SimTime> {
        while let Some(entry) = self.heap.peek() {
            if self.waiting.contains(&entry.key) {
                return Some(entry.at);
            }
            self.heap.pop();
        }
        None
    }

    /// The next event; it is now its time.
    pub fn pop(&mut self) -> Option<(SimTime, E)> {
        while let Some(entry) = self.heap.pop() {
            if self.waiting.remove(&entry.key) {
                self.now = entry.at;
                self.processed += 1;
                return Some((entry.at, entry.event));
            }
        }
        None
    }
}

#[derive(Debug)]
struct Entry<E> {
    at: SimTime,
    key: Key,
    event: E,
}

/// `BinaryHeap` gives the greatest first, so the earliest is the greatest.
impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.key).cmp(&(self.at, self.key))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<E> Eq for Entry<E> {}
