//! The plain twin of the event queue: a binary heap of keys.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::engine::slab::Slab;
use crate::engine::{EventClass, EventHandle, assert_not_past};
use crate::units::SimTime;

/// The same promises as [`EventQueue`](crate::engine::EventQueue), kept by comparing keys.
///
/// It is what tests and benchmarks hold the faster queue against.
#[derive(Debug, Clone)]
pub struct HeapQueue<E> {
    now: SimTime,
    /// Time, class, sequence number, slot.
    heap: BinaryHeap<Reverse<(SimTime, EventClass, u64, u32)>>,
    slab: Slab<E>,
    scheduled: u64,
    processed: u64,
    live: usize,
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
            slab: Slab::new(),
            scheduled: 0,
            processed: 0,
            live: 0,
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
        self.heap.push(Reverse((at, class, self.scheduled, index)));
        self.scheduled += 1;
        self.live += 1;
        EventHandle { at, index, generation }
    }

    /// Takes back an event that has not left yet.
    pub fn cancel(&mut self, handle: EventHandle) -> Option<E> {
        let event = self.slab.cancel(handle.index, handle.generation)?;
        self.live -= 1;
        Some(event)
    }

    /// The time of the next event.
    pub fn peek_time(&mut self) -> Option<SimTime> {
        while let Some(&Reverse((at, _, _, index))) = self.heap.peek() {
            if self.slab.is_live(index) {
                return Some(at);
            }
            self.heap.pop();
            self.slab.release(index);
        }
        None
    }

    /// The next event; it is now its time.
    pub fn pop(&mut self) -> Option<(SimTime, E)> {
        while let Some(Reverse((at, _, _, index))) = self.heap.pop() {
            if let Some(event) = self.slab.release(index) {
                self.now = at;
                self.live -= 1;
                self.processed += 1;
                return Some((at, event));
            }
        }
        None
    }
}
