//! Immediate mode: each task is placed the moment it arrives, and not moved afterwards.
//!
//! Braun et al. (JPDC 61(6), 2001) and Maheswaran et al. (JPDC 59(2), 1999) describe OLB, MET and MCT
//! for independent tasks. In a graph a task arrives when the last task it waits for finishes; tasks
//! that arrive together are taken in the graph's order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::ids::TaskId;
use crate::tasks::scheduling::{Draft, Plan, Slot, TaskView};

/// Places tasks in the order in which they arrive, those that arrive together by `key` and then in
/// order of identity, each where `choose` says.
pub(super) fn in_order_of_arrival<K: Ord + Copy>(
    view: &TaskView,
    key: impl Fn(TaskId) -> K,
    mut choose: impl FnMut(&Draft, TaskId) -> Slot,
) -> Plan {
    let mut draft = Draft::new(*view);
    let mut waiting: BinaryHeap<_> =
        draft.ready().iter().map(|&task| Reverse((draft.arrival(task), key(task), task))).collect();
    while let Some(Reverse((_, _, task))) = waiting.pop() {
        let slot = choose(&draft, task);
        draft.place(task, slot);
        // A successor may be reached by several edges; the last one makes it ready, once.
        let mut freed: Vec<TaskId> = view.graph.outputs(task).map(|(_, data)| data.to).collect();
        freed.sort_unstable();
        freed.dedup();
        freed.retain(|task| draft.ready().binary_search(task).is_ok());
        waiting.extend(freed.into_iter().map(|task| Reverse((draft.arrival(task), key(task), task))));
    }
    draft.finish()
}
