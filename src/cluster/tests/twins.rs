//! Slow and obvious twins, and what is known to be best.

use proptest::prelude::*;

use crate::cluster::scheduling::ClusterSchedulerSpec;
use crate::cluster::support::{ends, jobs, machine, plan, ran, starts};

/// (arrival, seconds, devices), in order of arrival.
fn rows(most: u32) -> impl Strategy<Value = Vec<(u64, u64, u32)>> {
    prop::collection::vec((0_u64..40, 1_u64..30, 1..=most), 1..30).prop_map(|mut rows| {
        rows.sort_by_key(|row| row.0);
        rows
    })
}

/// Second by second: what has ended leaves, then the head of the queue starts as long as it fits.
fn fifo_by_seconds(rows: &[(u64, u64, u32)], devices: u32) -> Vec<u64> {
    let mut starts: Vec<Option<u64>> = vec![None; rows.len()];
    for now in 0.. {
        let running = |at: usize| starts[at].is_some_and(|start| start <= now && now < start + rows[at].1);
        let mut free = devices - (0..rows.len()).filter(|&at| running(at)).map(|at| rows[at].2).sum::<u32>();
        while let Some(head) = starts.iter().position(Option::is_none) {
            if rows[head].0 > now || rows[head].2 > free {
                break;
            }
            free -= rows[head].2;
            starts[head] = Some(now);
        }
        if starts.iter().all(Option::is_some) {
            break;
        }
    }
    starts.into_iter().flatten().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn strict_fifo_is_its_twin_by_seconds(rows in rows(8)) {
        let outcome = ran(&plan(machine(&[4, 4]), jobs(&rows), r#""fifo""#));
        prop_assert_eq!(starts(&outcome), fifo_by_seconds(&rows, 8));
    }

    /// With exact estimates nobody who is at the head of the queue under EASY starts later than its reservation; in
    /// particular the first job that ever has to wait starts no later than under strict FIFO.
    #[test]
    fn easy_does_not_delay_the_first_who_waits(rows in rows(8)) {
        let fifo = starts(&ran(&plan(machine(&[8]), jobs(&rows), r#""fifo""#)));
        let easy = starts(&ran(&plan(machine(&[8]), jobs(&rows), r#""easy_backfill""#)));
        if let Some(first) = (0..rows.len()).find(|&at| fifo[at] > rows[at].0) {
            prop_assert!(easy[first] <= fifo[first], "{} > {}", easy[first], fifo[first]);
        }
    }

    /// On one device shortest remaining time first has the least mean completion time there is (Schrage,
    /// "A Proof of the Optimality of the Shortest Remaining Processing Time Discipline", 1968).
    #[test]
    fn srtf_is_best_on_one_device(rows in rows(1)) {
        let total = |scheduler: &str| {
            ends(&ran(&plan(machine(&[1]), jobs(&rows), scheduler))).iter().sum::<u64>()
        };
        let best = total(r#""srtf""#);
        for name in ClusterSchedulerSpec::NAMES {
            let other = total(&format!("\"{name}\""));
            prop_assert!(best <= other, "srtf {best} s, {name} {other} s");
        }
    }
}
