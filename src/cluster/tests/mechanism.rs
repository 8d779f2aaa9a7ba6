//! Checkpoints, failures, reasons and errors, on cases followed by hand.

use crate::cluster::speed::NoProfiles;
use crate::cluster::support::{at, ends, job, jobs, machine, plan, ran, s, starts};
use crate::cluster::{Checkpoint, ClusterFailure, Demand, Failures, Job, Reason, run};
use crate::units::{PICOS_PER_SECOND, SimDuration};

/// Job 0 is stopped at 2 s with 8 s left. Its checkpoint takes 1 s, so job 1 works from 3 s to 6 s; then
/// job 0 reads its checkpoint for 2 s and works from 8 s to 16 s.
#[test]
fn preemption_costs_a_save_and_a_restore() {
    let mut plan = plan(machine(&[1]), jobs(&[(0, 10, 1), (2, 3, 1)]), r#""srtf""#);
    plan.checkpoint = Checkpoint { save: s(1), restore: s(2), interval: None };
    let outcome = ran(&plan);
    assert_eq!(starts(&outcome), [0, 2]);
    assert_eq!(ends(&outcome), [16, 6]);
    let overhead: Vec<SimDuration> = outcome.jobs.iter().map(|job| job.overhead).collect();
    assert_eq!(overhead, [s(2), s(1)]);
}

/// 10 s of work with a checkpoint of 1 s after every 4 s: after 4 s and 8 s, none at the end.
#[test]
fn regular_checkpoints_take_their_time() {
    let mut plan = plan(machine(&[1]), jobs(&[(0, 10, 1), (0, 8, 1)]), r#""fifo""#);
    plan.checkpoint = Checkpoint { save: s(1), restore: s(0), interval: Some(s(4)) };
    assert_eq!(ends(&ran(&plan)), [12, 12 + 9]);
}

/// After 7 s at speed 2 with checkpoints of 1 s after every 2 s there have been 2 + 2 + 1 s of progress, of which
/// two checkpoints have 4 s.
#[test]
fn a_failure_undoes_what_no_checkpoint_has() {
    let checkpoint = Checkpoint { save: s(1), restore: s(0), interval: Some(s(2)) };
    let done = checkpoint.work_done(s(7), 2.0);
    assert_eq!((done.at_all, done.kept), (s(10), s(8)));
}

/// With failures a job takes its work, what was undone, and waits; it ends all the same.
#[test]
fn jobs_survive_failing_devices() {
    let mut plan = plan(machine(&[2, 2]), jobs(&[(0, 1000, 2), (10, 500, 4), (20, 300, 1)]), r#""fifo""#);
    plan.failures = Some(Failures { mtbf: s(2000), repair: s(50) });
    plan.checkpoint = Checkpoint { save: s(1), restore: s(5), interval: Some(s(60)) };
    let outcome = ran(&plan);
    let failures: u32 = outcome.jobs.iter().map(|job| job.failures).sum();
    assert!(failures > 0 && !outcome.outages.is_empty());
    for (job, record) in plan.jobs.iter().zip(outcome.jobs.iter()) {
        assert!(record.held >= job.work + record.lost, "{record:?}");
    }
    let outage = outcome.outages[0];
    assert_eq!(outage.end.since(outage.start), s(50));
}

/// Mean time to failure over many devices is the one that was asked for, within five standard errors.
#[test]
fn devices_fail_as_often_as_they_should() {
    let mut plan = plan(machine(&[100]), jobs(&[(0, 100_000, 0)]), r#""fifo""#);
    plan.machine.add_node("host", "none", 0, crate::cluster::machine::Host::PLENTY);
    plan.failures = Some(Failures { mtbf: s(1000), repair: s(1) });
    let outcome = ran(&plan);
    // 100 devices for 100,000 s at one failure every 1,001 s: 9,990, with a deviation of about 100.
    let failures = outcome.outages.len() as f64;
    assert!((failures - 9990.0).abs() < 500.0, "{failures}");
}

/// Ten seconds each: job 1 waits for devices that job 0 holds; job 2 would fit, but not before job 1.
#[test]
fn waiting_is_told_by_its_reason() {
    let outcome = ran(&plan(machine(&[4]), jobs(&[(0, 10, 2), (0, 5, 4), (0, 5, 2)]), r#""fifo""#));
    let seconds = |devices: u32, reason: Reason| {
        outcome.waited.get(&(devices, reason)).copied().unwrap_or(0) / u128::from(PICOS_PER_SECOND)
    };
    // Job 1 until 10 s; job 2 until 10 s held back, then until 15 s while job 1 has everything.
    assert_eq!(
        (seconds(4, Reason::Busy), seconds(2, Reason::HeldBack), seconds(2, Reason::Busy)),
        (10, 10, 5)
    );
}

/// Two of four devices are free, but in two nodes, and the job wants them in one.
#[test]
fn a_gang_for_one_node_waits_while_devices_are_scattered() {
    let mut all = jobs(&[(0, 10, 1), (0, 10, 1), (1, 5, 2)]);
    all[crate::ids::JobId(2)].demand.one_node = true;
    let mut plan = plan(machine(&[2, 2]), all, r#""fifo""#);
    plan.placement = crate::cluster::placement::PlacementSpec::from_name("spread").unwrap();
    let outcome = ran(&plan);
    assert_eq!(starts(&outcome), [0, 0, 10]);
    assert_eq!(outcome.waited.keys().copied().collect::<Vec<_>>(), [(2, Reason::Fragmented)]);
}

#[test]
fn a_job_larger_than_the_machine_is_named() {
    let failure =
        run(&plan(machine(&[4]), jobs(&[(0, 1, 2), (0, 1, 5)]), r#""fifo""#), &NoProfiles).unwrap_err();
    let text = failure.to_string();
    assert_eq!(
        text,
        "job `0/1/5` asks for 5 devices of gpu, more than the whole of `test` (4 gpu in 1 nodes) can give"
    );
}

/// 150 days twice on one device end after 300 days, beyond the clock.
#[test]
fn a_run_beyond_the_clock_is_refused() {
    let days = 150 * 86_400;
    let failure = run(&plan(machine(&[1]), jobs(&[(0, days, 1), (0, days, 1)]), r#""fifo""#), &NoProfiles);
    assert!(matches!(failure, Err(ClusterFailure::TooLong { .. })), "{failure:?}");
}

/// Two jobs of 400/1000 fit on one device, the third takes the other.
#[test]
fn devices_are_shared_in_thousandths() {
    let part = || Job { demand: Demand { share: 400, ..Demand::devices(1) }, ..job(0, 10, 1) };
    let whole = job(0, 10, 1);
    let all = [part(), part(), part(), whole].into_iter().collect();
    let outcome = ran(&plan(machine(&[2]), all, r#""fifo""#));
    assert_eq!(starts(&outcome), [0, 0, 0, 10]);
    let places: Vec<u32> = outcome.stays.iter().map(|stay| stay.devices[0].0).collect();
    assert_eq!(places, [0, 0, 1, 0]);
    assert_eq!(outcome.jobs.as_slice()[3].finish, at(20));
}
