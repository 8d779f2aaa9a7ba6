//! Devices fail: what was lost is done again, and nothing else.

use super::laws::check;
use crate::ids::DeviceId;
use crate::tasks::outcome::Ended;
use crate::tasks::scheduling::TaskSchedulerSpec;
use crate::tasks::support::{Problem, moment, on_small_machine};
use crate::tasks::values::NoValues;
use crate::tasks::{TaskPlan, run};
use crate::units::SimTime;

fn listed(problem: &Problem, failure: (u32, u64)) -> TaskPlan {
    let mut plan = problem.task_plan("heft");
    plan.failures = vec![(DeviceId(failure.0), moment(failure.1))];
    plan
}

/// Two chains of three tasks of 10 each, one chain on each device with data of 50 between devices. The
/// second device fails at 25 while it runs the third of its chain: what the first two made is lost with it,
/// so that all three run again on the first device, behind its own: 30 + 30.
#[test]
fn what_only_a_failed_device_had_is_made_again() {
    let edges = [(0, 1, 50), (1, 2, 50), (3, 4, 50), (4, 5, 50)];
    let problem = Problem::new(&vec![vec![10, 10]; 6], &edges);
    let plan = listed(&problem, (1, 25));
    let outcome = run(&plan, &mut NoValues).unwrap();
    check(&plan, &outcome, "two chains");
    assert_eq!(outcome.makespan, moment(60));
    let ended = |ended: Ended| outcome.stays.iter().filter(|stay| stay.ended == ended).count();
    assert_eq!([Ended::Done, Ended::Lost, Ended::Aborted].map(ended), [6, 2, 1]);
}

/// T1 on the second device (1 instead of 100) hands its data to T2, which only the first can do in time;
/// they have arrived at 4 when the device fails at 5: nothing is lost.
#[test]
fn what_has_arrived_is_not_made_again() {
    let problem = Problem::new(&[vec![100, 1], vec![10, 1000]], &[(0, 1, 3)]);
    let plan = listed(&problem, (1, 5));
    let outcome = run(&plan, &mut NoValues).unwrap();
    check(&plan, &outcome, "a copy");
    assert_eq!((outcome.makespan, outcome.stays.len()), (moment(14), 2));
    // Failing while the data are on their way, at 3, takes them along: T1 runs again on the first device.
    let plan = listed(&problem, (1, 3));
    let outcome = run(&plan, &mut NoValues).unwrap();
    check(&plan, &outcome, "on its way");
    assert_eq!(outcome.makespan, moment(3 + 100 + 10));
}

#[test]
fn every_scheduler_survives_two_failures_at_any_time() {
    for name in TaskSchedulerSpec::NAMES {
        for seed in 0..6 {
            let mut plan = on_small_machine("layered", name, seed);
            if *name == "exact" {
                plan.scheduler = serde_json::from_str(r#"{"exact": {"nodes": 300}}"#).unwrap();
            }
            let whole = run(&plan, &mut NoValues).unwrap().makespan;
            for part in 1..8 {
                let at = |share: u64| SimTime::from_picos(whole.picos() * share / 8);
                plan.failures = vec![(DeviceId(1 + part as u32 % 3), at(part)), (DeviceId(2), at(part + 2))];
                let about = format!("{name}, seed {seed}, failure at {part}/8");
                let outcome = run(&plan, &mut NoValues).unwrap_or_else(|why| panic!("{about}: {why}"));
                check(&plan, &outcome, &about);
            }
        }
    }
}
