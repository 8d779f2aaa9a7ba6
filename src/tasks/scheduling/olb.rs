//! Opportunistic load balancing: keep every device busy, however slow it is.
//!
//! Braun et al., "A Comparison of Eleven Static Heuristics for Mapping a Class of Independent Tasks
//! onto Heterogeneous Distributed Computing Systems", JPDC 61(6), 2001, section 4.

use serde::{Deserialize, Serialize};

use crate::tasks::scheduling::arrival::in_order_of_arrival;
use crate::tasks::scheduling::{Fit, Plan, TaskScheduler, TaskView};

/// Gives each task, in order of arrival, to the device that is expected to be available next,
/// regardless of how long the task takes there.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Olb {}

impl TaskScheduler for Olb {
    fn plan(&self, view: &TaskView) -> Plan {
        in_order_of_arrival(
            view,
            |_| (),
            |draft, task| draft.best_by(task, Fit::Append, |slot| draft.free(slot.device)),
        )
    }
}
