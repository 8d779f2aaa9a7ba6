//! Cases from papers and shared vectors, followed by hand.

use std::sync::Arc;

use crate::cluster::machine::Host;
use crate::cluster::scheduling::gavel_max_min::MaxMin;
use crate::cluster::speed::{Goodput, Speed, SpeedTable};
use crate::cluster::support::{ends, job, jobs, machine, plan, ran, starts};
use crate::cluster::{Demand, Job, KindId, Machine};

/// Five gangs on eight devices: (arrival, seconds, devices).
const GANGS: [(u64, u64, u32); 5] = [(0, 10, 4), (1, 5, 8), (2, 20, 4), (3, 6, 4), (4, 3, 2)];

/// The job for the whole machine waits for the first and everybody waits behind it.
#[test]
fn strict_fifo_lets_nobody_overtake() {
    let outcome = ran(&plan(machine(&[8]), jobs(&GANGS), r#""fifo""#));
    assert_eq!(starts(&outcome), [0, 10, 15, 15, 21]);
}

/// At 4 s the 3 s job is the shortest and fits beside the first; at 10 s the 5 s job is.
#[test]
fn strict_sjf_starts_the_shortest_that_waits() {
    let outcome = ran(&plan(machine(&[8]), jobs(&GANGS), r#""sjf""#));
    assert_eq!(starts(&outcome), [0, 10, 15, 15, 4]);
}

/// Without strictness job 2 starts beside job 0 at 2 s; job 1 needs all eight devices and waits until 22 s.
/// Before that 3 (6 s) starts at 10 s when 0 ends and 4 (3 s) at 16 s when 3 ends.
#[test]
fn fifo_that_is_not_strict_starts_whoever_fits() {
    let outcome = ran(&plan(machine(&[8]), jobs(&GANGS), r#"{"fifo": {"strict": false}}"#));
    assert_eq!(starts(&outcome), [0, 22, 2, 10, 16]);
}

/// Job 1 is reserved the machine at 10 s. Job 3 ends by then (3 + 6 ≤ 10) and starts at once; job 2 (20 s) does not,
/// nor does job 4 when job 3 has ended (9 + 3 > 10).
#[test]
fn easy_backfill_starts_what_does_not_delay_the_first() {
    let outcome = ran(&plan(machine(&[8]), jobs(&GANGS), r#""easy_backfill""#));
    assert_eq!(starts(&outcome), [0, 10, 15, 3, 15]);
}

/// The first in the queue wants 6 of 8 devices and can have them at 10 s, when 2 are left over: a long job
/// on 2 devices may take those, a second one may not.
#[test]
fn easy_backfill_gives_away_what_is_extra_at_the_shadow_time_once() {
    let all = [(0, 10, 4), (1, 5, 6), (2, 100, 2), (3, 100, 2)];
    let outcome = ran(&plan(machine(&[8]), jobs(&all), r#""easy_backfill""#));
    assert_eq!(starts(&outcome), [0, 10, 2, 15]);
}

/// At 1 s job 1 (5 s left) stops job 0 (9 s left). At 6 s the order is 4 (3 s), 3 (6 s), 0 (9 s), 2 (20 s): 4
/// and 3 take six devices, 0 does not fit. At 9 s job 0 goes on until 18 s; 2 starts when 3 ends at 12 s.
#[test]
fn srtf_stops_those_with_more_left() {
    let outcome = ran(&plan(machine(&[8]), jobs(&GANGS), r#""srtf""#));
    assert_eq!(starts(&outcome), [0, 1, 12, 6, 6]);
    assert_eq!(ends(&outcome), [18, 6, 32, 12, 9]);
    assert_eq!(outcome.jobs.as_slice()[0].preemptions, 1);
}

/// At 3 s job 1 (equal remainder, 5 s) does not stop job 0.
#[test]
fn srtf_leaves_what_runs_at_equal_remainders() {
    let outcome = ran(&plan(machine(&[1]), jobs(&[(0, 8, 1), (3, 5, 1)]), r#""srtf""#));
    assert_eq!(starts(&outcome), [0, 8]);
}

/// One device, threshold 4 device-seconds. Job 0 runs to 4 s and falls to the second queue; job 1 (arrived at 1 s)
/// then runs 4 s and falls behind it; 0 goes on for its last 2 s, then 1 for its last 1 s.
#[test]
fn las_serves_the_queue_of_the_young_first() {
    let las = r#"{"las": {"thresholds": [4.0]}}"#;
    let outcome = ran(&plan(machine(&[1]), jobs(&[(0, 6, 1), (1, 5, 1)]), las));
    assert_eq!(starts(&outcome), [0, 4]);
    assert_eq!(ends(&outcome), [10, 11]);
}

/// Service is devices × time: with two devices each the threshold of 4 is reached after 2 s.
#[test]
fn las_counts_devices_times_time() {
    let las = r#"{"las": {"thresholds": [4.0]}}"#;
    let outcome = ran(&plan(machine(&[2]), jobs(&[(0, 6, 2), (1, 5, 2)]), las));
    assert_eq!(starts(&outcome), [0, 2]);
}

/// Job 0 falls at 4 s and would wait until the stream of young jobs (one of 4 s every 4 s) ends at 24 s.
/// With a knob of 2 it returns after 8 s of waiting, at 12 s, to the end of the first queue.
#[test]
fn las_promotes_who_has_waited_long() {
    let mut all = vec![(0, 6, 1)];
    all.extend((1..=5).map(|young| (4 * young, 4, 1)));
    let without = ran(&plan(machine(&[1]), jobs(&all), r#"{"las": {"thresholds": [4.0]}}"#));
    let with = ran(&plan(machine(&[1]), jobs(&all), r#"{"las": {"thresholds": [4.0], "promote": 2.0}}"#));
    assert_eq!(ends(&without)[0], 26);
    assert!(ends(&with)[0] < 26, "it ends at {}", ends(&with)[0]);
}

/// Two equal jobs on one device: after its first quantum a job has had more than the other and is stopped; when
/// both have had the same, what runs stays. So job 0 runs at 0, 3, 4 and 7 s, job 1 at 1, 2, 5 and 6 s.
#[test]
fn continuous_las_shares_a_device_by_quanta() {
    let las = r#"{"las": {"priority": "continuous", "quantum": "1 s"}}"#;
    let outcome = ran(&plan(machine(&[1]), jobs(&[(0, 4, 1), (0, 4, 1)]), las));
    assert_eq!(starts(&outcome), [0, 1]);
    assert_eq!(ends(&outcome), [8, 7]);
}

/// The example of the DRF paper (section 4.1): 9 CPUs and 18 GB, tasks of (1 CPU, 4 GB) and (3 CPU, 1 GB); A runs
/// three and B two tasks, with a dominant share of 2/3 each.
#[test]
fn drf_divides_as_in_its_paper() {
    let mut machine = Machine::new("paper");
    machine.add_node("node", "cpu", 0, Host { cpu_milli: 9000, memory_mib: 18 });
    let task = |user: &str, cpu_milli, memory_mib| Job {
        user: user.into(),
        demand: Demand { cpu_milli, memory_mib, ..Demand::devices(0) },
        ..job(0, 100, 0)
    };
    let all = (0..10).flat_map(|_| [task("a", 1000, 4), task("b", 3000, 1)]).collect();
    let outcome = ran(&plan(machine, all, r#""drf""#));
    let at_once = |parity: usize| {
        let users = outcome.jobs.iter().skip(parity).step_by(2);
        users.filter(|job| job.start.picos() == 0).count()
    };
    assert_eq!((at_once(0), at_once(1)), (3, 2));
}

/// Two jobs, three kinds: least normalised throughput 48/31 (shared vectors, recomputed by hand: both
/// jobs spend all their time on the two faster kinds, 2a + (1 − a) : 11/12 = 3(1 − a') + 2a' : 5/3).
#[test]
fn gavels_program_gives_the_known_allocation() {
    let speeds = [vec![2.0, 1.0, 0.5], vec![3.0, 2.0, 1.0]];
    let question =
        MaxMin { speeds: &speeds, scales: vec![1.0; 2], weights: vec![1.0; 2], workers: vec![1.0, 2.0, 3.0] };
    let answer = question.solve();
    assert!((answer.objective - 48.0 / 31.0).abs() < 1e-9, "{answer:?}");
    let expected = [[13.0 / 31.0, 18.0 / 31.0, 0.0], [18.0 / 31.0, 13.0 / 31.0, 0.0]];
    for (row, expected) in answer.fractions.iter().zip(expected) {
        for (fraction, expected) in row.iter().zip(expected) {
            assert!((fraction - expected).abs() < 1e-9, "{answer:?}");
        }
    }
}

/// One fast and one slow device, two equal jobs that are twice as fast on the fast one: each gets the fast
/// one for half the rounds. 300 s of work at speed 2 and 1 in turns of 10 s: 1.5 a second on average, so 200 s.
#[test]
fn gavel_takes_turns_on_the_fast_device() {
    let mut machine = Machine::new("two kinds");
    machine.add_node("fast", "fast", 1, Host::PLENTY);
    machine.add_node("slow", "slow", 1, Host::PLENTY);
    let by_kind: crate::ids::IdVec<KindId, f64> = [2.0, 1.0].into_iter().collect();
    let table = Arc::new(SpeedTable { together: by_kind.clone(), apart: by_kind });
    let job =
        || Job { kinds: vec![KindId(0), KindId(1)], speed: Speed::Table(table.clone()), ..job(0, 300, 1) };
    let all = [job(), job()].into_iter().collect();
    let outcome = ran(&plan(machine, all, r#"{"gavel_max_min": {"round": "10 s"}}"#));
    assert_eq!(ends(&outcome), [200, 200]);
}

/// An elastic job alone grows, at most doubling at each interval, and is done sooner than on one device.
#[test]
fn goodput_adaptive_lets_a_lone_job_grow() {
    let goodput = Goodput::default();
    let elastic = Job { speed: Speed::Goodput(Arc::new(goodput.clone())), ..job(0, 3600, 1) };
    let all = std::iter::once(elastic).collect();
    let outcome = ran(&plan(machine(&[8, 8]), all, r#""goodput_adaptive""#));
    let sizes: Vec<usize> = outcome.stays.iter().map(|stay| stay.devices.len()).collect();
    assert!(sizes.windows(2).all(|pair| pair[0] < pair[1] && pair[1] <= 2 * pair[0]), "{sizes:?}");
    assert!(*sizes.last().unwrap() >= 8, "{sizes:?}");
    // Never faster than on the best number of devices from the start.
    let best = (1..=16).map(|n| goodput.speed(n, u32::from(n > 8) + 1)).fold(0.0, f64::max);
    let seconds = outcome.jobs.as_slice()[0].finish.seconds();
    assert!(seconds < 3600.0 && seconds >= 3600.0 / best, "{seconds}");
}

/// At the batch that the user asked for efficiency is 1 and goodput is throughput; a larger one is worth less:
/// with φ = 1000 and M₀ = 128, a batch of 1000 has an efficiency of 1128/2000.
#[test]
fn goodput_is_throughput_times_efficiency() {
    let goodput = Goodput::default();
    let seconds = |batch: f64| 0.02 + 0.0005 * batch;
    assert!((goodput.of(1, 1, 128.0) - 128.0 / seconds(128.0)).abs() < 1e-9);
    assert!((goodput.of(1, 1, 1000.0) - 1000.0 / seconds(1000.0) * 0.564).abs() < 1e-9);
}
