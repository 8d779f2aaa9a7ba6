//! Batch mode: of all tasks that could be placed, the heuristic picks which goes next.
//!
//! Maheswaran et al., "Dynamic Mapping of a Class of Independent Tasks onto Heterogeneous Computing
//! Systems", JPDC 59(2), 1999, section 3.3. The papers' meta-task of independent tasks is, in a graph,
//! the set of tasks whose predecessors have all been placed; completion times include the data's way.

use crate::ids::TaskId;
use crate::tasks::scheduling::{Draft, Fit, Slot};

/// Every ready task with the slot in which it finishes first.
pub(super) fn earliest_finishes<'a>(draft: &'a Draft) -> impl Iterator<Item = (TaskId, Slot)> + 'a {
    draft.ready().iter().map(|&task| (task, draft.earliest_finish(task, Fit::Append)))
}
