//! Whatever the scheduler and the placement: every job runs to its end once, no device is over its
//! capacity, gangs are whole, and the same seed gives the same run.

use proptest::prelude::*;

use crate::cluster::outcome::Ended;
use crate::cluster::placement::PlacementSpec;
use crate::cluster::scheduling::ClusterSchedulerSpec;
use crate::cluster::support::{job, machine, plan, ran, s};
use crate::cluster::{Checkpoint, ClusterOutcome, ClusterPlan, Demand, Failures, Job};
use crate::ids::{IdVec, JobId};
use crate::units::SimDuration;

fn some_jobs() -> impl Strategy<Value = Vec<Job>> {
    let one = (0_u64..60, 1_u64..50, 1_u32..=7, 0_u16..4, prop::bool::ANY);
    prop::collection::vec(one, 1..25).prop_map(|rows| {
        let mut all: Vec<Job> = rows
            .into_iter()
            .map(|(arrival, seconds, devices, share, one_node)| {
                let demand = match share {
                    0 => Demand { share: 300, ..Demand::devices(1) },
                    _ => Demand { one_node: one_node && devices <= 4, ..Demand::devices(devices) },
                };
                Job { demand, user: (devices % 3).to_string(), ..job(arrival, seconds, devices) }
            })
            .collect();
        all.sort_by_key(|job| job.arrival);
        all
    })
}

fn plan_of(jobs: &[Job], scheduler: &str, placement: &str, failing: bool) -> ClusterPlan {
    let jobs: IdVec<JobId, Job> = jobs.iter().cloned().collect();
    let mut plan = plan(machine(&[4, 2, 1]), jobs, &format!("\"{scheduler}\""));
    plan.placement = PlacementSpec::from_name(placement).unwrap();
    plan.checkpoint = Checkpoint { save: s(1), restore: s(2), interval: failing.then(|| s(5)) };
    plan.failures = failing.then(|| Failures { mtbf: s(300), repair: s(20) });
    plan
}

/// On each device, what stays hold at any moment and outages never exceed the whole.
fn check_capacity(plan: &ClusterPlan, outcome: &ClusterOutcome) {
    let mut changes: Vec<(u32, u64, i64)> = Vec::new();
    for stay in &outcome.stays {
        let share = i64::from(plan.jobs[stay.job].demand.share);
        for device in &stay.devices {
            changes.push((device.0, stay.start.picos(), share));
            changes.push((device.0, stay.end.picos(), -share));
        }
    }
    for outage in &outcome.outages {
        changes.push((outage.device.0, outage.start.picos(), 1000));
        changes.push((outage.device.0, outage.end.picos(), -1000));
    }
    changes.sort_unstable();
    let mut held = 0;
    for (device, at, change) in changes {
        held += change;
        assert!((0..=1000).contains(&held), "device {device} holds {held} thousandths at {at} ps");
    }
}

fn check_jobs(plan: &ClusterPlan, outcome: &ClusterOutcome) {
    for (id, job) in plan.jobs.enumerate() {
        let record = &outcome.jobs[id];
        let stays: Vec<_> = outcome.stays.iter().filter(|stay| stay.job == id).collect();
        assert_eq!(stays.iter().filter(|stay| stay.ended == Ended::Finished).count(), 1, "{id}");
        assert!(
            stays.iter().all(|stay| stay.devices.len() as u32 == job.demand.devices),
            "{id}: a part of a gang"
        );
        assert!(!job.demand.one_node || stays.iter().all(|stay| stay.nodes.len() == 1));
        assert!(stays.windows(2).all(|pair| pair[0].end <= pair[1].start), "{id} is in two places");
        assert_eq!(stays[0].start, record.start);
        assert!(record.start >= job.arrival);
        let held = stays.iter().fold(s(0), |held, stay| held + stay.end.since(stay.start));
        assert_eq!(held, record.held);
        let breaks = stays.iter().filter(|stay| stay.ended != Ended::Finished).count() as u32;
        assert_eq!(breaks, record.preemptions + record.failures);
        if plan.failures.is_none() {
            // What it held is its work and its waiting for checkpoints, to the picosecond.
            assert_eq!(record.held, job.work + record.overhead, "{id}");
        } else {
            // What a failure cost is rounded to a picosecond.
            let rounded = SimDuration::from_picos(u64::from(record.failures));
            assert!(record.held + rounded >= job.work + record.lost + record.overhead, "{id}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_run_keeps_its_jobs_and_its_devices(jobs in some_jobs(), failing in prop::bool::ANY) {
        for scheduler in ClusterSchedulerSpec::NAMES {
            for placement in PlacementSpec::NAMES {
                let plan = plan_of(&jobs, scheduler, placement, failing);
                let outcome = ran(&plan);
                check_capacity(&plan, &outcome);
                check_jobs(&plan, &outcome);
                let again = ran(&plan);
                prop_assert!(outcome.stays == again.stays && outcome.samples == again.samples, "{scheduler}");
            }
        }
    }
}
