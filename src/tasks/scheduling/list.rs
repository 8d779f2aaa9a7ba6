//! List scheduling: a device that is free takes the first task of the list that is ready.
//!
//! Graham, "Bounds for Certain Multiprocessing Anomalies", Bell System Technical Journal 45(9), 1966,
//! and "Bounds on Multiprocessing Timing Anomalies", SIAM J. Appl. Math. 17(2), 1969: on m equal
//! machines at most 2 − 1/m times the optimum, and more machines, shorter tasks or fewer constraints
//! can all make it slower.

use serde::{Deserialize, Serialize};

use crate::ids::{DeviceId, Id, IdVec, TaskId};
use crate::tasks::TaskGraph;
use crate::tasks::scheduling::{Draft, Fit, Plan, Slot, TaskScheduler, TaskView};
use crate::units::SimTime;

/// Whenever a device is free, it scans the list and takes the first task that is ready and that it
/// can do; the device with the lowest number scans first. Data travels after a task is taken.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct List {
    /// Names of tasks in the order of the list; those that are not named follow as the graph has them.
    pub order: Vec<String>,
}

impl TaskScheduler for List {
    fn plan(&self, view: &TaskView) -> Plan {
        let position = self.positions(view.graph);
        let mut draft = Draft::new(*view);
        while !draft.ready().is_empty() {
            let (task, slot) = next(&draft, &position);
            draft.place(task, slot);
        }
        draft.finish()
    }

    fn admits(&self, graph: &TaskGraph, _devices: usize) -> Result<(), String> {
        for (at, name) in self.order.iter().enumerate() {
            if graph.named(name).is_none() {
                return Err(format!("the list names the task `{name}`, which the graph does not have"));
            }
            if self.order[..at].contains(name) {
                return Err(format!("the list names the task `{name}` twice"));
            }
        }
        Ok(())
    }
}

impl List {
    fn positions(&self, graph: &TaskGraph) -> IdVec<TaskId, usize> {
        let unnamed = |task: TaskId| self.order.len() + task.index();
        let mut position: IdVec<TaskId, usize> = graph.ids().map(unnamed).collect();
        for (at, name) in self.order.iter().enumerate() {
            position[graph.named(name).expect("`admits` was asked")] = at;
        }
        position
    }
}

/// The earliest moment at which a free device and a ready task meet: the lowest such device takes the
/// first such task of the list.
fn next(draft: &Draft, position: &IdVec<TaskId, usize>) -> (TaskId, Slot) {
    let meet = |task: TaskId, slot: &Slot| draft.free(slot.device).max(draft.arrival(task));
    let pairs =
        draft.ready().iter().flat_map(|&task| draft.fits(task, Fit::Append).map(move |slot| (task, slot)));
    let key = |(task, slot): &(TaskId, Slot)| -> (SimTime, DeviceId, usize) {
        (meet(*task, slot), slot.device, position[*task])
    };
    pairs.min_by_key(key).expect("a ready task and a live device that can do it")
}
