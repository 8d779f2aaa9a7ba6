//! EASY: whoever does not delay the first in the queue may overtake it.
//!
//! Lifka, "The ANL/IBM SP Scheduling System", JSSPP 1995; Mu'alem and Feitelson, "Utilization,
//! Predictability, Workloads, and User Runtime Estimates in Scheduling the IBM SP2 with Backfilling",
//! IEEE TPDS 12(6), 2001, section 2.

use serde::{Deserialize, Serialize};

use crate::cluster::scheduling::ClusterScheduler;
use crate::cluster::view::Draft;
use crate::cluster::{ClusterAction, ClusterView, Free, Gang};
use crate::ids::JobId;
use crate::units::SimTime;

/// First in, first out, with a reservation for the first job that does not fit.
///
/// By the users' estimates the job can start at its *shadow time*. A later job that fits now starts if
/// it ends by then, or if the first still fits at the shadow time beside it (it takes *extra* devices).
/// A job that has outlived its estimate is thought to go on for as long as it has run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EasyBackfill {}

impl ClusterScheduler for EasyBackfill {
    fn decide(&mut self, view: &ClusterView) -> Vec<ClusterAction> {
        let mut draft = view.draft();
        let mut ends: Vec<(SimTime, JobId, Gang)> =
            view.running.iter().map(|&job| running(view, job)).collect();
        let mut queue = view.pending.iter().copied();
        let head = loop {
            let Some(job) = queue.next() else { return draft.actions() };
            match view.placed(job, view.jobs[job].demand.devices, draft.free()) {
                Some(gang) => {
                    ends.push((estimated_end(view, job, &gang), job, gang.clone()));
                    draft.start_on(job, gang);
                }
                None => break job,
            }
        };
        let (shadow, mut then) = reservation(view, &draft, head, ends);
        for job in queue {
            if draft.is_full() {
                break;
            }
            let Some(gang) = view.placed(job, view.jobs[job].demand.devices, draft.free()) else { continue };
            if estimated_end(view, job, &gang) > shadow {
                let mut beside = then.clone();
                beside.take(view.machine, &gang, &view.jobs[job].demand);
                if view.placed(head, view.jobs[head].demand.devices, &beside).is_none() {
                    continue;
                }
                then = beside;
            }
            draft.start_on(job, gang);
        }
        draft.actions()
    }
}

/// When the head can start by the estimates, and what is free then.
fn reservation(
    view: &ClusterView,
    draft: &Draft,
    head: JobId,
    mut ends: Vec<(SimTime, JobId, Gang)>,
) -> (SimTime, Free) {
    ends.sort_by_key(|(end, job, _)| (*end, *job));
    let mut free = draft.free().clone();
    for (end, job, gang) in &ends {
        free.give(view.machine, gang, &view.jobs[*job].demand_of(gang.size()));
        if view.placed(head, view.jobs[head].demand.devices, &free).is_some() {
            return (*end, free);
        }
    }
    // Devices are out of service: nobody can say when the head starts, so nobody delays it.
    (SimTime::MAX, free)
}

fn running(view: &ClusterView, job: JobId) -> (SimTime, JobId, Gang) {
    let run = view.run(job).expect("a running job");
    (view.estimated_end(job).unwrap_or(SimTime::MAX), job, run.gang.clone())
}

/// When a job would end by its estimate if it started now.
fn estimated_end(view: &ClusterView, job: JobId, gang: &Gang) -> SimTime {
    let length = view.length(view.estimated_remaining(job), view.speed(job, gang));
    length
        .and_then(|length| view.now.picos().checked_add(length.picos()))
        .map_or(SimTime::MAX, SimTime::from_picos)
}
