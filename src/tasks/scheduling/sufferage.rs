//! Sufferage: a device goes to the task that would suffer most without it.
//!
//! Maheswaran et al., "Dynamic Mapping of a Class of Independent Tasks onto Heterogeneous Computing
//! Systems", JPDC 59(2), 1999, figure 6.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{DeviceId, TaskId};
use crate::tasks::scheduling::{Draft, Fit, Plan, Slot, TaskScheduler, TaskView};
use crate::units::SimDuration;

/// In rounds: every ready task asks for the device on which it is done first; of those that ask for
/// the same one, the task with the greatest sufferage (second least minus least completion time) gets
/// it, an earlier one when they suffer equally; the others wait for the next round. A task that only
/// one device can do suffers without bound.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sufferage {}

impl TaskScheduler for Sufferage {
    fn plan(&self, view: &TaskView) -> Plan {
        let mut draft = Draft::new(*view);
        while !draft.ready().is_empty() {
            for (task, slot) in round(&draft) {
                draft.place(task, slot);
            }
        }
        draft.finish()
    }
}

/// What each device that is asked for gets in this round.
fn round(draft: &Draft) -> Vec<(TaskId, Slot)> {
    let mut granted: BTreeMap<DeviceId, (SimDuration, TaskId, Slot)> = BTreeMap::new();
    for &task in draft.ready() {
        let (sufferage, slot) = wish(draft, task);
        let better = granted.get(&slot.device).is_none_or(|(other, _, _)| sufferage > *other);
        if better {
            granted.insert(slot.device, (sufferage, task, slot));
        }
    }
    granted.into_values().map(|(_, task, slot)| (task, slot)).collect()
}

/// A task's best slot, and how much later the second best ends.
fn wish(draft: &Draft, task: TaskId) -> (SimDuration, Slot) {
    let best = draft.earliest_finish(task, Fit::Append);
    let others = draft.fits(task, Fit::Append).filter(|slot| slot.device != best.device);
    let second = others.map(|slot| slot.finish).min();
    (second.map_or(SimDuration::from_picos(u64::MAX), |second| second.since(best.finish)), best)
}
