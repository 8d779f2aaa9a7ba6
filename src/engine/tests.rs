//! The queue, its plain twin and a sorted map promise the same; here they are held to it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::engine::{EventClass, EventHandle, EventQueue, HeapQueue};
use crate::rng::{RngExt, Seed};
use crate::units::{SimDuration, SimTime};

const fn at(picos: u64) -> SimTime {
    SimTime::from_picos(picos)
}

#[test]
fn events_of_one_moment_leave_by_class_and_then_in_order_of_scheduling() {
    let mut queue = EventQueue::new();
    for (round, suffix) in ["first", "second"].into_iter().enumerate() {
        for class in EventClass::ALL.into_iter().rev() {
            queue.schedule(at(1_000), class, (class, suffix));
        }
        // In between, something nearer moves nothing about.
        queue.schedule(at(round as u64), EventClass::Start, (EventClass::Start, "earlier"));
    }
    assert_eq!(queue.pop(), Some((at(0), (EventClass::Start, "earlier"))));
    assert_eq!(queue.pop(), Some((at(1), (EventClass::Start, "earlier"))));
    for class in EventClass::ALL {
        assert_eq!(queue.pop(), Some((at(1_000), (class, "first"))));
        assert_eq!(queue.pop(), Some((at(1_000), (class, "second"))));
    }
    assert_eq!(queue.pop(), None);
    assert_eq!(queue.processed(), 14);
}

/// A decision that frees something at once is followed by that finish, not by the next decision.
#[test]
fn an_event_scheduled_now_leaves_by_its_class_among_those_still_waiting() {
    let mut queue = EventQueue::new();
    queue.schedule(at(7), EventClass::Decision, "decide");
    queue.schedule(at(7), EventClass::Decision, "decide again");
    assert_eq!(queue.pop(), Some((at(7), "decide")));
    queue.schedule(at(7), EventClass::Finish, "finish");
    assert_eq!(queue.pop(), Some((at(7), "finish")));
    assert_eq!(queue.pop(), Some((at(7), "decide again")));
}

#[test]
#[should_panic(expected = "a Start event was scheduled at 4 ps (4 ps), but it is already 5 ps (5 ps)")]
fn the_past_cannot_be_changed() {
    let mut queue = EventQueue::new();
    queue.schedule(at(5), EventClass::Start, ());
    queue.pop();
    queue.schedule(at(4), EventClass::Start, ());
}

#[test]
fn stale_handles_are_harmless() {
    let mut queue = EventQueue::new();
    let gone = queue.schedule(at(1), EventClass::Start, "gone");
    queue.pop();
    // The second event takes the first one's slot; the old handle must not reach it.
    let next = queue.schedule(at(1), EventClass::Start, "next");
    assert_eq!(queue.cancel(gone), None);
    assert_eq!(queue.cancel(next), Some("next"));
    assert_eq!(queue.cancel(next), None);
    assert_eq!((queue.len(), queue.peek_time(), queue.pop()), (0, None, None));
}

#[test]
fn the_next_time_is_exact_after_cancellations() {
    let mut queue = EventQueue::new();
    let [_, early, late] =
        [at(9_000_000), at(5_000_000), at(5_000_001)].map(|at| queue.schedule(at, EventClass::Start, at));
    assert_eq!(queue.peek_time(), Some(at(5_000_000)));
    queue.cancel(early);
    assert_eq!(queue.peek_time(), Some(at(5_000_001)));
    queue.cancel(late);
    assert_eq!(queue.peek_time(), Some(at(9_000_000)));
    // What is scheduled after a look at the far future may still be earlier.
    queue.schedule(at(3), EventClass::Start, at(3));
    assert_eq!(queue.pop(), Some((at(3), at(3))));
    assert_eq!(queue.pop(), Some((at(9_000_000), at(9_000_000))));
}

#[test]
fn the_end_of_time_is_a_moment_like_any_other() {
    let mut queue = EventQueue::new();
    queue.schedule(SimTime::MAX, EventClass::Statistics, 2);
    queue.schedule(SimTime::MAX, EventClass::Finish, 1);
    assert_eq!(queue.pop(), Some((SimTime::MAX, 1)));
    queue.schedule(SimTime::MAX, EventClass::Start, 3);
    assert_eq!(queue.pop(), Some((SimTime::MAX, 3)));
    assert_eq!(queue.pop(), Some((SimTime::MAX, 2)));
}

/// A timer that is set and cancelled a million times leaves no trail of dead entries behind.
#[test]
fn cancelled_events_do_not_pile_up() {
    let mut queue = EventQueue::new();
    queue.schedule(at(1 << 40), EventClass::Start, 0);
    for n in 0..100_000 {
        let timer = queue.schedule(at((1 << 30) + n), EventClass::Arrival, n);
        queue.cancel(timer);
    }
    assert_eq!(queue.len(), 1);
    assert!(queue.slots() < 200, "{} slots for one event", queue.slots());
}

/// In the hold model each event that leaves schedules one: as many slots as events, for ever.
#[test]
fn a_steady_state_allocates_nothing() {
    let mut queue = EventQueue::new();
    let mut increments = Seed(1).stream("increments");
    for n in 0..1_000 {
        queue.schedule(at(increments.random_range(0..1_000_000)), EventClass::Start, n);
    }
    let mut hold = |queue: &mut EventQueue<u64>, holds| {
        for _ in 0..holds {
            let (now, n) = queue.pop().unwrap();
            let length = SimDuration::from_picos(increments.random_range(0..1_000_000));
            queue.schedule(now + length, EventClass::Start, n);
        }
        (queue.slots(), queue.chunks())
    };
    let (slots, _) = hold(&mut queue, 10_000);
    assert_eq!(slots, 1_000);
    // Every occupied slot holds a chunk of its own: 1000 events occupy at most 1000 of them.
    let (slots, chunks) = hold(&mut queue, 100_000);
    assert_eq!(slots, 1_000);
    assert!(chunks <= 1_001, "{chunks} chunks for 1000 events");
}

/// What a property test does with a queue.
#[derive(Debug, Clone)]
enum Step {
    /// Schedule so far after now, in this class.
    Schedule(u64, usize),
    /// Cancel one of the handles given out so far, stale ones too.
    Cancel(prop::sample::Index),
    Pop,
    Peek,
}

/// Lengths of time that tie, that are near and that are far.
fn lengths() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => Just(0_u64),
        3 => prop::sample::select(vec![1_u64, 63, 64, 65, 1_000, 4_096, 1_000_000]),
        2 => 0..5_000_u64,
        1 => (0..50_u32).prop_map(|bit| 1 << bit),
        1 => 0..(1_u64 << 50),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (lengths(), 0..EventClass::ALL.len()).prop_map(|(length, class)| Step::Schedule(length, class)),
        2 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        4 => Just(Step::Pop),
        1 => Just(Step::Peek),
    ];
    prop::collection::vec(step, 1..400)
}

/// The third opinion: a map sorted by what the contract sorts by.
#[derive(Default)]
struct Sorted {
    events: BTreeMap<(SimTime, EventClass, usize), usize>,
}

proptest! {
    /// Wheel, heap and sorted map pop the same events at the same times, whatever was done before.
    #[test]
    fn all_queues_pop_the_same_stream(steps in steps()) {
        let (mut wheel, mut heap, mut sorted) = (EventQueue::new(), HeapQueue::new(), Sorted::default());
        let mut handles: Vec<(EventHandle, EventHandle, (SimTime, EventClass, usize))> = Vec::new();
        let pop_all = |wheel: &mut EventQueue<usize>, heap: &mut HeapQueue<usize>, sorted: &mut Sorted| {
            let expected = sorted.events.pop_first().map(|((at, _, _), event)| (at, event));
            let popped = (wheel.pop(), heap.pop());
            (popped.0 == expected && popped.1 == expected, expected)
        };
        for step in steps {
            match step {
                Step::Schedule(length, class) => {
                    let at = wheel.now() + SimDuration::from_picos(length);
                    let (class, event) = (EventClass::ALL[class], handles.len());
                    let key = (at, class, event);
                    handles.push((wheel.schedule(at, class, event), heap.schedule(at, class, event), key));
                    sorted.events.insert(key, event);
                }
                Step::Cancel(which) if !handles.is_empty() => {
                    let (in_wheel, in_heap, key) = handles[which.index(handles.len())];
                    let expected = sorted.events.remove(&key);
                    prop_assert_eq!(wheel.cancel(in_wheel), expected);
                    prop_assert_eq!(heap.cancel(in_heap), expected);
                }
                Step::Cancel(_) => {}
                Step::Pop => {
                    let (same, expected) = pop_all(&mut wheel, &mut heap, &mut sorted);
                    prop_assert!(same, "expected {:?}", expected);
                }
                Step::Peek => {
                    let expected = sorted.events.first_key_value().map(|(&(at, _, _), _)| at);
                    prop_assert_eq!(wheel.peek_time(), expected);
                    prop_assert_eq!(heap.peek_time(), expected);
                }
            }
            prop_assert_eq!((wheel.len(), heap.len()), (sorted.events.len(), sorted.events.len()));
            prop_assert_eq!((wheel.now(), wheel.processed()), (heap.now(), heap.processed()));
        }
        while !sorted.events.is_empty() {
            let (same, expected) = pop_all(&mut wheel, &mut heap, &mut sorted);
            prop_assert!(same, "expected {:?}", expected);
        }
        prop_assert_eq!((wheel.pop(), heap.pop()), (None, None));
    }
}
