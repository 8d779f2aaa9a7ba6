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
#[should_panic(expected = "a Start event was scheduled at 4 ps, but it is already 5 ps")]
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
    let next = queue.schedule(at(1), EventClass::Start, "next");
    assert!(!queue.cancel(gone), "it has left at this very moment");
    assert!(queue.cancel(next));
    assert_eq!((queue.len(), queue.peek_time(), queue.pop()), (0, None, None));
    let long_gone = queue.schedule(at(2), EventClass::Start, "long gone");
    queue.schedule(at(3), EventClass::Start, "last");
    assert_eq!((queue.pop(), queue.pop()), (Some((at(2), "long gone")), Some((at(3), "last"))));
    assert!(!queue.cancel(long_gone));
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

/// A timer that is set and cancelled over and over leaves no trail of dead entries behind.
#[test]
fn cancelled_events_do_not_pile_up() {
    let mut queue = EventQueue::new();
    queue.schedule(at(1 << 40), EventClass::Start, 0);
    for n in 0..100_000 {
        let timer = queue.schedule(at((1 << 30) + n), EventClass::Arrival, n);
        queue.cancel(timer);
    }
    assert_eq!(queue.len(), 1);
    assert!(queue.chunks() < 100, "{} chunks for one event", queue.chunks());
    assert_eq!(queue.pop(), Some((at(1 << 40), 0)));
}

/// In the hold model each event that leaves schedules one, so a thousand events occupy a thousand
/// slots at most; chunks are made for them and for slots that keep one, 11 levels of 64, and no more.
#[test]
fn a_steady_state_allocates_nothing() {
    let mut queue = EventQueue::new();
    let mut increments = Seed(1).stream("increments");
    let mut increment = || SimDuration::from_picos(increments.random_range(0..1_000_000));
    for n in 0..1_000 {
        queue.schedule(SimTime::ZERO + increment(), EventClass::Start, n);
    }
    for _ in 0..100_000 {
        let (now, n) = queue.pop().unwrap();
        queue.schedule(now + increment(), EventClass::Start, n);
    }
    assert_eq!(queue.len(), 1_000);
    assert!(queue.chunks() <= 1_000 + 11 * 64, "{} chunks for 1000 events", queue.chunks());
}

/// Thousands of events in few slots: ties by the hundred, timers that are mostly cancelled, and a far
/// future that is looked at while nearer events are still to be scheduled.
#[test]
fn a_long_busy_run_pops_the_same_stream_as_the_heap() {
    let mut choices = Seed(7).stream("choices");
    let (mut wheel, mut heap) = (EventQueue::new(), HeapQueue::new());
    let mut timers = Vec::new();
    for event in 0..60_000_u64 {
        let length = match choices.random_range(0..10) {
            0..4 => [0, 505_000, 546_000, 1_000_000][choices.random_range(0..4)],
            4..8 => choices.random_range(0..2_000_000),
            _ => 1_000_000_000,
        };
        let (at, class) =
            (wheel.now() + SimDuration::from_picos(length), EventClass::ALL[(event % 6) as usize]);
        timers.push((wheel.schedule(at, class, event), heap.schedule(at, class, event)));
        if choices.random_range(0..3) == 0 {
            let (in_wheel, in_heap) = timers.swap_remove(choices.random_range(0..timers.len()));
            assert_eq!(wheel.cancel(in_wheel), heap.cancel(in_heap));
        }
        if choices.random_range(0..2) == 0 {
            assert_eq!(wheel.peek_time(), heap.peek_time());
            assert_eq!(wheel.pop(), heap.pop());
        }
    }
    assert!(wheel.len() > 5_000, "the run was meant to be busy, but only {} events are left", wheel.len());
    while let Some(popped) = heap.pop() {
        assert_eq!(wheel.pop(), Some(popped));
    }
    assert!(wheel.is_empty());
}

/// What a property test does with a queue.
#[derive(Debug, Clone)]
enum Step {
    /// Schedule so far after now, in this class.
    Schedule(u64, usize),
    /// Cancel by one of the handles given out so far, those of events that have left too.
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
        let mut scheduled = 0;
        let pop_all = |wheel: &mut EventQueue<usize>, heap: &mut HeapQueue<usize>, sorted: &mut Sorted| {
            let expected = sorted.events.pop_first().map(|((at, _, _), event)| (at, event));
            let popped = (wheel.pop(), heap.pop());
            (popped.0 == expected && popped.1 == expected, expected)
        };
        for step in steps {
            match step {
                Step::Schedule(length, class) => {
                    let at = wheel.now() + SimDuration::from_picos(length);
                    let (class, event) = (EventClass::ALL[class], scheduled);
                    scheduled += 1;
                    let key = (at, class, event);
                    handles.push((wheel.schedule(at, class, event), heap.schedule(at, class, event), key));
                    sorted.events.insert(key, event);
                }
                Step::Cancel(which) if !handles.is_empty() => {
                    let (in_wheel, in_heap, key) = handles.swap_remove(which.index(handles.len()));
                    let expected = sorted.events.remove(&key).is_some();
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
