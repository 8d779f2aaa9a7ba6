//! DLS: dynamic level scheduling.
//!
//! Sih and Lee, "A Compile-Time Scheduling Heuristic for Interconnection-Constrained Heterogeneous
//! Processor Architectures", IEEE TPDS 4(2), 1993.

use serde::{Deserialize, Serialize};

use crate::ids::{IdVec, TaskId};
use crate::tasks::scheduling::draft::{first_max_by_key, place_ready};
use crate::tasks::scheduling::ranks::longest_to_exit;
use crate::tasks::scheduling::{Fit, Plan, Slot, TaskScheduler, TaskView};

/// Of all pairs of a ready task and a device, the one with the greatest dynamic level goes next:
/// DL(v, p) = SL*(v) − max(DA(v, p), TF(p)) + Δ(v, p), where the static level SL* is the longest way
/// to an exit by median times and without communication, DA is when v's data is on p, TF when p is
/// free, and Δ(v, p) = E*(v) − E(v, p) how much faster than the median p is. Nothing is inserted.
///
/// An even number of devices has the lower of its two middle times as median.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dls {}

impl TaskScheduler for Dls {
    fn plan(&self, view: &TaskView) -> Plan {
        let median: IdVec<TaskId, i128> = view.graph.ids().map(|task| median(view, task)).collect();
        let level = longest_to_exit(view, |task| median[task], |_| 0);
        let dynamic_level = |task: TaskId, slot: &Slot| {
            let time = i128::from(slot.finish.since(slot.start).picos());
            level[task] - i128::from(slot.start.picos()) + median[task] - time
        };
        place_ready(*view, |draft| {
            let pairs = draft
                .ready()
                .iter()
                .flat_map(|&task| draft.fits(task, Fit::Append).map(move |slot| (task, slot)));
            first_max_by_key(pairs, |(task, slot)| dynamic_level(task, &slot)).expect("a ready task")
        })
    }
}

fn median(view: &TaskView, task: TaskId) -> i128 {
    let mut times: Vec<_> = view.able(task).map(|(_, time)| time).collect();
    times.sort_unstable();
    // A task that no live device can do has started already; its level must only exist.
    times.get(times.len().saturating_sub(1) / 2).map_or(0, |time| i128::from(time.picos()))
}
