//! Small machines and jobs for tests, in whole seconds.

use crate::cluster::machine::Host;
use crate::cluster::placement::PlacementSpec;
use crate::cluster::scheduling::ClusterSchedulerSpec;
use crate::cluster::speed::{NoProfiles, Speed};
use crate::cluster::{Checkpoint, ClusterOutcome, ClusterPlan, Demand, Job, KindId, Machine, run};
use crate::ids::{IdVec, JobId};
use crate::rng::Seed;
use crate::units::{PICOS_PER_SECOND, SimDuration, SimTime};

pub(crate) fn s(seconds: u64) -> SimDuration {
    SimDuration::from_picos(seconds * PICOS_PER_SECOND)
}

pub(crate) fn at(seconds: u64) -> SimTime {
    SimTime::ZERO + s(seconds)
}

/// Nodes with so many devices each, all of one kind.
pub(crate) fn machine(nodes: &[u32]) -> Machine {
    let mut machine = Machine::new("test");
    for (index, &devices) in nodes.iter().enumerate() {
        machine.add_node(format!("node{index}"), "gpu", devices, Host::PLENTY);
    }
    machine
}

/// A job that arrives, works and takes devices.
pub(crate) fn job(arrival: u64, seconds: u64, devices: u32) -> Job {
    Job {
        name: format!("{arrival}/{seconds}/{devices}"),
        user: "somebody".into(),
        arrival: at(arrival),
        demand: Demand::devices(devices),
        work: s(seconds),
        estimate: s(seconds),
        kinds: vec![KindId(0)],
        speed: Speed::Same,
        weight: 1.0,
    }
}

pub(crate) fn jobs(all: &[(u64, u64, u32)]) -> IdVec<JobId, Job> {
    all.iter().map(|&(arrival, seconds, devices)| job(arrival, seconds, devices)).collect()
}

pub(crate) fn scheduler(written: &str) -> ClusterSchedulerSpec {
    serde_json::from_str(written).unwrap_or_else(|why| panic!("{written}: {why}"))
}

pub(crate) fn plan(machine: Machine, jobs: IdVec<JobId, Job>, written: &str) -> ClusterPlan {
    ClusterPlan {
        machine,
        jobs,
        scheduler: scheduler(written),
        placement: PlacementSpec::from_name("packed").expect("a listed placement"),
        checkpoint: Checkpoint::default(),
        failures: None,
        seed: Seed(1),
    }
}

pub(crate) fn ran(plan: &ClusterPlan) -> ClusterOutcome {
    run(plan, &NoProfiles).unwrap_or_else(|why| panic!("{why}"))
}

/// First starts in seconds.
pub(crate) fn starts(outcome: &ClusterOutcome) -> Vec<u64> {
    outcome.jobs.iter().map(|job| job.start.picos() / PICOS_PER_SECOND).collect()
}

/// Ends in seconds.
pub(crate) fn ends(outcome: &ClusterOutcome) -> Vec<u64> {
    outcome.jobs.iter().map(|job| job.finish.picos() / PICOS_PER_SECOND).collect()
}
