//! Events per second of the engine, beside the plain loop over a `BinaryHeap`.
//!
//! The hold model: a queue holds so many events; each that leaves schedules one, an increment later.
//! (Jones, "An Empirical Comparison of Priority-Queue and Event-Set Implementations", CACM 29(4), 1986.)
//!
//! `cargo bench --bench events` prints a table of ratios and then what divan measures of each case.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::time::Instant;

use divan::Bencher;
use divan::counter::ItemsCount;

use trainyard::engine::{EventClass, EventQueue, HeapQueue};
use trainyard::rng::{RngExt, Seed, Stream};
use trainyard::units::{SimDuration, SimTime};

fn main() {
    println!("Million holds a second, one core:\n");
    println!(
        "{:>9}  {:<12}{:>8}{:>12}{:>8}{:>8}",
        "pending", "increments", "wheel", "HeapQueue", "heap", "ratio"
    );
    for pending in PENDING {
        for increments in Increments::ALL {
            let wheel = holds_per_second::<EventQueue<u64>>(pending, increments) / 1e6;
            let twin = holds_per_second::<HeapQueue<u64>>(pending, increments) / 1e6;
            let bare = holds_per_second::<BareHeap>(pending, increments) / 1e6;
            let name = increments.name();
            println!("{pending:>9}  {name:<12}{wheel:>8.1}{twin:>12.1}{bare:>8.1}{:>7.1}x", wheel / bare);
        }
    }
    println!();
    divan::main();
}

const PENDING: [usize; 3] = [100, 10_000, 1_000_000];

/// How far ahead events are scheduled.
#[derive(Debug, Clone, Copy)]
enum Increments {
    /// Exponential with a mean of 1 us: few ties.
    Exponential,
    /// The periods of a few clocks: most events share their moment with others.
    FewPeriods,
    /// One in ten 1 ms, the others 1 ns.
    Bimodal,
}

impl Increments {
    const ALL: [Increments; 3] = [Increments::Exponential, Increments::FewPeriods, Increments::Bimodal];

    const fn name(self) -> &'static str {
        match self {
            Increments::Exponential => "exponential",
            Increments::FewPeriods => "few periods",
            Increments::Bimodal => "bimodal",
        }
    }

    fn draw(self, stream: &mut Stream) -> SimDuration {
        let picos = match self {
            Increments::Exponential => (-(1.0 - stream.random::<f64>()).ln() * 1e6) as u64 + 1,
            Increments::FewPeriods => [505_000, 546_000, 1_000_000, 2_000_000][stream.random_range(0..4)],
            Increments::Bimodal if stream.random_range(0..10) == 0 => 1_000_000_000,
            Increments::Bimodal => 1_000,
        };
        SimDuration::from_picos(picos)
    }

    /// Drawn before the clock starts, and few enough to stay in the first-level cache.
    fn table(self) -> Vec<SimDuration> {
        let mut stream = Seed(1).stream("increments");
        (0..TABLE).map(|_| self.draw(&mut stream)).collect()
    }
}

const TABLE: usize = 2048;

/// What the hold model needs of a queue.
trait Queue: Default {
    fn schedule(&mut self, at: SimTime, event: u64);
    fn pop(&mut self) -> (SimTime, u64);
}

impl Queue for EventQueue<u64> {
    fn schedule(&mut self, at: SimTime, event: u64) {
        EventQueue::schedule(self, at, EventClass::Finish, event);
    }
    fn pop(&mut self) -> (SimTime, u64) {
        EventQueue::pop(self).expect("an event")
    }
}

impl Queue for HeapQueue<u64> {
    fn schedule(&mut self, at: SimTime, event: u64) {
        HeapQueue::schedule(self, at, EventClass::Finish, event);
    }
    fn pop(&mut self) -> (SimTime, u64) {
        HeapQueue::pop(self).expect("an event")
    }
}

/// The loop one would write first: time, sequence number, event; no classes, nothing to cancel.
#[derive(Default)]
struct BareHeap {
    heap: BinaryHeap<Reverse<(SimTime, u64, u64)>>,
    scheduled: u64,
}

impl Queue for BareHeap {
    fn schedule(&mut self, at: SimTime, event: u64) {
        self.heap.push(Reverse((at, self.scheduled, event)));
        self.scheduled += 1;
    }
    fn pop(&mut self) -> (SimTime, u64) {
        let Reverse((at, _, event)) = self.heap.pop().expect("an event");
        (at, event)
    }
}

/// A queue in its steady state.
struct Held<Q> {
    queue: Q,
    table: Vec<SimDuration>,
    next: usize,
}

impl<Q: Queue> Held<Q> {
    fn new(pending: usize, increments: Increments) -> Self {
        let mut held = Held { queue: Q::default(), table: increments.table(), next: 0 };
        for event in 0..pending as u64 {
            let increment = held.increment();
            held.queue.schedule(SimTime::ZERO + increment, event);
        }
        held.hold(2 * pending);
        held
    }

    fn increment(&mut self) -> SimDuration {
        self.next = (self.next + 1) % TABLE;
        self.table[self.next]
    }

    fn hold(&mut self, holds: usize) {
        for _ in 0..holds {
            let (now, event) = self.queue.pop();
            let increment = self.increment();
            self.queue.schedule(now + increment, black_box(event));
        }
    }
}

/// The best of five runs of a million holds: what the machine can do when left alone.
fn holds_per_second<Q: Queue>(pending: usize, increments: Increments) -> f64 {
    const HOLDS: usize = 1_000_000;
    let mut held = Held::<Q>::new(pending, increments);
    (0..5)
        .map(|_| {
            let start = Instant::now();
            held.hold(HOLDS);
            HOLDS as f64 / start.elapsed().as_secs_f64()
        })
        .fold(0.0, f64::max)
}

fn bench_holds<Q: Queue>(bencher: Bencher, pending: usize, increments: Increments) {
    const HOLDS: usize = 10_000;
    let mut held = Held::<Q>::new(pending, increments);
    bencher.counter(ItemsCount::new(HOLDS)).bench_local(|| held.hold(HOLDS));
}

#[divan::bench(types = [EventQueue<u64>, HeapQueue<u64>, BareHeap], args = PENDING)]
fn exponential<Q: Queue>(bencher: Bencher, pending: usize) {
    bench_holds::<Q>(bencher, pending, Increments::Exponential);
}

#[divan::bench(types = [EventQueue<u64>, HeapQueue<u64>, BareHeap], args = PENDING)]
fn few_periods<Q: Queue>(bencher: Bencher, pending: usize) {
    bench_holds::<Q>(bencher, pending, Increments::FewPeriods);
}

/// Timers that are set and taken back before they ring, beside events that do happen.
#[divan::bench(args = PENDING)]
fn schedule_and_cancel(bencher: Bencher, pending: usize) {
    const TIMERS: usize = 10_000;
    let mut held = Held::<EventQueue<u64>>::new(pending, Increments::Exponential);
    bencher.counter(ItemsCount::new(TIMERS)).bench_local(|| {
        for _ in 0..TIMERS {
            let ring = held.queue.now() + SimDuration::from_micros(10);
            let timer = held.queue.schedule(ring, EventClass::Arrival, 0);
            held.hold(1);
            held.queue.cancel(timer);
        }
    });
}
