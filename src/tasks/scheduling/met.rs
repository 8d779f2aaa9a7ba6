//! Minimum execution time: each task where it runs fastest, however long the queue.
//!
//! Braun et al., JPDC 61(6), 2001, section 4.

use serde::{Deserialize, Serialize};

use crate::tasks::scheduling::arrival::in_order_of_arrival;
use crate::tasks::scheduling::{Fit, Plan, TaskScheduler, TaskView};

/// Gives each task, in order of arrival, to the device with the least execution time for it,
/// regardless of when that device is available.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Met {}

impl TaskScheduler for Met {
    fn plan(&self, view: &TaskView) -> Plan {
        in_order_of_arrival(
            view,
            |_| (),
            |draft, task| draft.best_by(task, Fit::Append, |slot| slot.finish.since(slot.start)),
        )
    }
}
