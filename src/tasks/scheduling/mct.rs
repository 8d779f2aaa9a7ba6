//! Minimum completion time: each task where it is done first.
//!
//! Braun et al., JPDC 61(6), 2001, section 4.

use serde::{Deserialize, Serialize};

use crate::tasks::scheduling::arrival::in_order_of_arrival;
use crate::tasks::scheduling::{Fit, Plan, TaskScheduler, TaskView};

/// Gives each task, in order of arrival, to the device with the least expected completion time.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mct {}

impl TaskScheduler for Mct {
    fn plan(&self, view: &TaskView) -> Plan {
        in_order_of_arrival(view, |_| (), |draft, task| draft.earliest_finish(task, Fit::Append))
    }
}
