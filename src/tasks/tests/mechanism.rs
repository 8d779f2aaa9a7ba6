//! Runs worked out by hand.

use crate::ids::{DeviceId, TaskId};
use crate::tasks::graph::{Data, Payload, Task, TaskGraph, Work};
use crate::tasks::scheduling::TaskSchedulerSpec;
use crate::tasks::support::{Problem, moment, on_small_machine, small_machine, units};
use crate::tasks::values::NoValues;
use crate::tasks::{Costs, Machine, TaskFailure, TaskPlan, run};
use crate::units::{Bytes, SimDuration, SimTime};

fn with(problem: &Problem, scheduler: &str) -> TaskPlan {
    let mut plan = problem.task_plan("heft");
    plan.scheduler = serde_json::from_str(scheduler).unwrap();
    plan
}

/// Two tasks on d0 each hand 1 MB to a task that only d1 or d2 can do. Both leave d0 over its one link of
/// 1 GB/s at the same moment, 500 + 500 ns: shared, each takes 2 ms; alone it would take 1 ms.
#[test]
fn data_that_share_a_link_take_longer_than_was_thought() {
    let topology = small_machine();
    let task = |name: &str, on: usize| Task {
        name: name.into(),
        work: Work::Costs(
            (0..4).map(|device| (device == on).then(|| SimDuration::from_micros(10))).collect(),
        ),
        memory: Bytes::ZERO,
    };
    let tasks = vec![task("a", 0), task("b", 1), task("c", 2)];
    let edge = |to| Data { from: TaskId(0), to: TaskId(to), payload: Payload::Bytes(Bytes(1_000_000)) };
    let graph = TaskGraph::new(tasks, vec![edge(1), edge(2)]).unwrap();
    let mut plan = on_small_machine("layered", "heft", 1);
    let row = |task: TaskId, device: DeviceId| match &graph.task(task).work {
        Work::Costs(row) => row[device.0 as usize],
        _ => None,
    };
    let costs = Costs::from_fn(3, 4, row);
    (plan.machine, plan.estimates, plan.truth) = (Machine::of(&topology), costs.clone(), costs);
    plan.graph = graph;
    let outcome = run(&plan, &mut NoValues).unwrap();
    let us = SimDuration::from_micros;
    assert_eq!(outcome.planned, Some(SimTime::ZERO + us(10 + 1000 + 1 + 10)));
    assert_eq!(outcome.makespan, SimTime::ZERO + us(10 + 2000 + 1 + 10));
}

/// Four tasks of 2 dealt to two devices; the second device really needs 8 for each. It has done none when
/// the first, done with its own at 4, takes its second: 2 + 2 + 2 on one, 8 on the other.
#[test]
fn a_device_with_nothing_to_do_steals() {
    let problem = Problem::equal(&[2, 2, 2, 2], &[], 2);
    let mut plan = with(&problem, r#""work_stealing""#);
    plan.truth = Costs::from_fn(4, 2, |_, device| Some(units(if device.0 == 0 { 2 } else { 8 })));
    let outcome = run(&plan, &mut NoValues).unwrap();
    assert_eq!(outcome.makespan, moment(8));
    let by_first = outcome.stays.iter().filter(|stay| stay.device == DeviceId(0)).count();
    assert_eq!(by_first, 3);
    // A theft that takes 1 lets the third task of the first device end at 7 instead of 6.
    plan.scheduler = serde_json::from_str(r#"{"work_stealing": {"theft": "1 s"}}"#).unwrap();
    let outcome = run(&plan, &mut NoValues).unwrap();
    let last = outcome.stays.iter().filter(|stay| stay.device == DeviceId(0)).map(|stay| stay.end).max();
    assert_eq!(last, Some(moment(7)));
}

/// Twelve tasks of 2 on two devices, six each; the second needs 8. Planned once: 48. After it has done one
/// task (at 8, with its next two planned), the rest goes where it is done first.
#[test]
fn adaptive_plans_anew_when_a_device_is_slower_than_thought() {
    let problem = Problem::equal(&[2; 12], &[], 2);
    let slow = Costs::from_fn(12, 2, |_, device| Some(units(if device.0 == 0 { 2 } else { 8 })));
    let mut plan = with(&problem, r#""heft""#);
    plan.truth = slow.clone();
    assert_eq!(run(&plan, &mut NoValues).unwrap().makespan, moment(48));
    plan.scheduler = serde_json::from_str(r#"{"adaptive": {"observations": 1, "overhead": "0 s"}}"#).unwrap();
    let outcome = run(&plan, &mut NoValues).unwrap();
    // At 8: five tasks of the first are done or running, one of the second; six are left. A rate of 1/2 and
    // 1/8 a second together does them in 9.6 s more; whole tasks end at 20 (the first does 10, the second 2).
    assert_eq!((outcome.makespan, outcome.plans), (moment(20), 2));
    // Each pair of a task that is left and a device costs 0.1: of the seven that have not started at 8, 14
    // pairs take 1.4, while nothing new starts.
    plan.scheduler =
        serde_json::from_str(r#"{"adaptive": {"observations": 1, "overhead": "100 ms"}}"#).unwrap();
    let outcome = run(&plan, &mut NoValues).unwrap();
    assert!(outcome.thinking > SimDuration::ZERO && outcome.makespan > moment(20), "{:?}", outcome.thinking);
}

/// What T1 made is lost with the only device, so T1 would have to run again.
#[test]
fn a_device_that_nobody_can_replace_ends_the_run_with_the_tasks_name() {
    let mut plan = with(&Problem::equal(&[5, 5], &[(0, 1)], 1), r#""heft""#);
    plan.failures = vec![(DeviceId(0), moment(6))];
    let failure = run(&plan, &mut NoValues).unwrap_err();
    assert_eq!(failure, TaskFailure::NoDevice { task: "T1".into() });
}

#[test]
fn schedulers_by_name_cover_the_list_of_the_issue() {
    let wanted = [
        "round_robin",
        "random",
        "olb",
        "met",
        "mct",
        "min_min",
        "max_min",
        "sufferage",
        "lpt",
        "heft",
        "cpop",
        "peft",
        "heft_lookahead",
        "dls",
        "work_stealing",
        "adaptive",
        "exact",
    ];
    for name in wanted {
        assert!(TaskSchedulerSpec::NAMES.contains(&name), "{name}");
    }
}
