//! Random: each task to a device drawn from those that can do it.

use serde::{Deserialize, Serialize};

use crate::rng::RngExt;
use crate::tasks::scheduling::arrival::in_order_of_arrival;
use crate::tasks::scheduling::{Fit, Plan, TaskScheduler, TaskView};

/// Draws a device for every task in order of arrival, all alike, from the stream `tasks/random`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Random {}

impl TaskScheduler for Random {
    fn plan(&self, view: &TaskView) -> Plan {
        let mut stream = view.seed.stream("tasks/random");
        in_order_of_arrival(
            view,
            |_| (),
            |draft, task| {
                let fits: Vec<_> = draft.fits(task, Fit::Append).collect();
                fits[stream.random_range(0..fits.len())]
            },
        )
    }
    fn draws(&self) -> bool {
        true
    }
}
