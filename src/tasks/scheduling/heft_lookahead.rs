//! HEFT that looks at its children before it chooses a device.
//!
//! Bittencourt, Sakellariou and Madeira, "DAG Scheduling Using a Lookahead Variant of the Heterogeneous
//! Earliest Finish Time Algorithm", PDP 2010.

use serde::{Deserialize, Serialize};

use crate::ids::TaskId;
use crate::tasks::scheduling::draft::decreasing;
use crate::tasks::scheduling::ranks::{RankScale, upward};
use crate::tasks::scheduling::{Draft, Fit, Plan, Slot, TaskScheduler, TaskView};
use crate::units::SimTime;

/// HEFT's order; a task goes to the device from which the last of its children can finish first, by
/// the children's own earliest finish over all devices. Parents of a child that have not been placed
/// are not reckoned with. Among equals, and for exits, the device on which the task itself finishes
/// first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeftLookahead {}

impl TaskScheduler for HeftLookahead {
    fn plan(&self, view: &TaskView) -> Plan {
        let rank = upward(view, RankScale::of(view));
        let mut draft = Draft::new(*view);
        for task in decreasing(view.open(), |task| rank[task]) {
            let slots: Vec<Slot> = draft.fits(task, Fit::Insert).collect();
            let ahead = |slot: &Slot| (last_child(&mut draft, task, *slot), slot.finish);
            let best = slots.iter().copied().min_by_key(ahead);
            draft.place(task, best.expect("some live device can do every open task"));
        }
        draft.finish()
    }
}

/// When the last child of `task` could finish if `task` were in `slot`.
fn last_child(draft: &mut Draft, task: TaskId, slot: Slot) -> SimTime {
    draft.place(task, slot);
    let children = draft.view().graph.outputs(task).map(|(_, data)| data.to);
    let finish = children.map(|child| draft.earliest_finish(child, Fit::Insert).finish).max();
    draft.take_back(task);
    finish.unwrap_or(slot.finish)
}
