//! What holds for every scheduler: each task runs exactly once and after what it waits for, a device does
//! one thing at a time and nothing that it cannot do, and nothing ends before the lower bound.

use std::collections::BTreeMap;

use crate::ids::{DeviceId, TaskId};
use crate::tasks::outcome::{Ended, Stay};
use crate::tasks::scheduling::TaskSchedulerSpec;
use crate::tasks::support::{arabnejad, on_small_machine, topcuoglu};
use crate::tasks::values::NoValues;
use crate::tasks::{Bounds, TaskOutcome, TaskPlan, run};
use crate::units::SimTime;

/// Checks a run against every law.
pub(super) fn check(plan: &TaskPlan, outcome: &TaskOutcome, about: &str) {
    let graph = &plan.graph;
    let mut done: BTreeMap<TaskId, Stay> = BTreeMap::new();
    for stay in &outcome.stays {
        let took = stay.end.since(stay.start);
        let time = plan.truth.time(stay.task, stay.device).unwrap_or_else(|| panic!("{about}: not able"));
        match stay.ended {
            Ended::Aborted => assert!(took <= time, "{about}"),
            Ended::Done | Ended::Lost => assert_eq!(took, time, "{about}: {}", stay.task),
        }
        if stay.ended == Ended::Done {
            assert!(done.insert(stay.task, *stay).is_none(), "{about}: {} runs twice", stay.task);
        } else {
            let failed = outcome.failures.iter().any(|&(device, at)| device == stay.device && at >= stay.end);
            assert!(failed, "{about}: {} is lost though its device lives", stay.task);
        }
    }
    assert_eq!(done.len(), graph.len(), "{about}: every task is done");
    for task in graph.ids() {
        for (_, data) in graph.inputs(task) {
            // What was lost with a device was done a first time before.
            let first =
                outcome.stays.iter().filter(|stay| stay.task == data.from && stay.ended != Ended::Aborted);
            let made = first.map(|stay| stay.end).min().expect("it was done");
            assert!(made <= done[&task].start, "{about}: {task} starts before its input");
        }
    }
    one_at_a_time(outcome, about);
    let bounds = Bounds::of(graph, &plan.truth, &plan.machine.communication);
    assert!(outcome.makespan >= SimTime::ZERO + bounds.best(), "{about}: ends before the lower bound");
}

fn one_at_a_time(outcome: &TaskOutcome, about: &str) {
    let mut lanes: BTreeMap<DeviceId, Vec<&Stay>> = BTreeMap::new();
    for stay in &outcome.stays {
        lanes.entry(stay.device).or_default().push(stay);
    }
    for (device, mut stays) in lanes {
        stays.sort_by_key(|stay| (stay.start, stay.end));
        for pair in stays.windows(2) {
            assert!(pair[0].end <= pair[1].start, "{about}: {device} does two things at once");
        }
        if let Some(&(_, failed)) = outcome.failures.iter().find(|(failed, _)| *failed == device) {
            assert!(stays.iter().all(|stay| stay.end <= failed), "{about}: {device} works though it failed");
        }
    }
}

#[test]
fn every_scheduler_keeps_the_laws_on_a_machine_with_a_network() {
    for name in TaskSchedulerSpec::NAMES {
        for generator in ["layered", "fork_join", "fft", "cholesky", "lu"] {
            let mut plan = on_small_machine(generator, name, 3);
            if let TaskSchedulerSpec::Exact(_) = plan.scheduler {
                if generator != "layered" {
                    continue;
                }
                plan.scheduler = serde_json::from_str(r#"{"exact": {"nodes": 2000}}"#).unwrap();
            }
            let outcome = run(&plan, &mut NoValues).unwrap();
            check(&plan, &outcome, &format!("{name} on {generator}"));
            assert_eq!(outcome, run(&plan, &mut NoValues).unwrap(), "{name} on {generator}: same seed");
        }
    }
}

/// Without contention and with exact estimates a run is what was planned.
#[test]
fn plans_come_true_where_nothing_surprises() {
    for problem in [topcuoglu(), arabnejad()] {
        for name in TaskSchedulerSpec::NAMES {
            let plan = problem.task_plan(name);
            let outcome = run(&plan, &mut NoValues).unwrap();
            check(&plan, &outcome, name);
            if *name != "work_stealing" {
                assert_eq!(outcome.planned, Some(outcome.makespan), "{name}");
            }
        }
    }
}

#[test]
fn noise_changes_the_plan_and_not_the_laws() {
    for name in TaskSchedulerSpec::NAMES.iter().filter(|name| **name != "exact") {
        let mut plan = on_small_machine("layered", name, 5);
        plan.estimates = crate::tasks::estimates::Noisy::default().of(&plan.truth, plan.seed);
        let outcome = run(&plan, &mut NoValues).unwrap();
        check(&plan, &outcome, name);
    }
}
