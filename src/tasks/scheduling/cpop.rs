//! CPOP: critical path on a processor.
//!
//! Topcuoglu, Hariri and Wu, IEEE TPDS 13(3), 2002, section 4.2.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::{DeviceId, IdVec, TaskId};
use crate::tasks::scheduling::draft::{first_max_by_key, place_ready};
use crate::tasks::scheduling::ranks::{Rank, RankScale, downward, upward};
use crate::tasks::scheduling::{Fit, Plan, TaskScheduler, TaskView};
use crate::units::SimDuration;

/// A task's priority is the length of the longest way through it, rank_d + rank_u. The tasks of the
/// critical path all go to the one device that does them in the least time together (every other task,
/// and a critical one which that device cannot do, where it finishes first), with insertion; of the
/// ready tasks the one with the highest priority goes next.
///
/// The paper walks the critical path from the single entry by any successor of the same priority;
/// here it starts at the first entry of highest priority and goes to the first such successor.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cpop {}

impl TaskScheduler for Cpop {
    fn plan(&self, view: &TaskView) -> Plan {
        let scale = RankScale::of(view);
        let (up, down) = (upward(view, scale), downward(view, scale));
        let priority: IdVec<TaskId, Rank> = view.graph.ids().map(|task| up[task] + down[task]).collect();
        let path = critical_path(view, &priority);
        let device = path_device(view, &path);
        place_ready(*view, |draft| {
            let ready = draft.ready().iter().copied();
            let task = first_max_by_key(ready, |task| priority[task]).expect("a ready task");
            let together = device.filter(|_| path.contains(&task));
            let slot = together.and_then(|device| draft.fit(task, device, Fit::Insert));
            (task, slot.unwrap_or_else(|| draft.earliest_finish(task, Fit::Insert)))
        })
    }
}

fn critical_path(view: &TaskView, priority: &IdVec<TaskId, Rank>) -> BTreeSet<TaskId> {
    let entries = view.graph.ids().filter(|&task| view.graph.inputs(task).len() == 0);
    let start =
        first_max_by_key(entries, |task| priority[task]).expect("a graph without cycles has an entry");
    let onward = |task: &TaskId| {
        let next = view.graph.outputs(*task).map(|(_, data)| data.to);
        next.filter(|next| priority[*next] == priority[start]).min()
    };
    std::iter::successors(Some(start), onward).collect()
}

/// The device that does all tasks of the path that have not started in the least time; none when no
/// device can do them all.
fn path_device(view: &TaskView, path: &BTreeSet<TaskId>) -> Option<DeviceId> {
    let open = || path.iter().filter(|&&task| view.progress.settled[task].is_none());
    let alive = view.costs.devices().filter(|&device| view.progress.free[device].is_some());
    let total = |device| {
        let times: Option<Vec<_>> = open().map(|&task| view.costs.time(task, device)).collect();
        Some((times?.into_iter().sum::<SimDuration>(), device))
    };
    alive.filter_map(total).min().map(|(_, device)| device)
}
