//! Round robin: the next task to the next device, whatever either is like.

use serde::{Deserialize, Serialize};

use crate::tasks::scheduling::arrival::in_order_of_arrival;
use crate::tasks::scheduling::{Fit, Plan, TaskScheduler, TaskView};

/// Deals tasks out in order of arrival, one device after the other; a device that cannot do a task is
/// passed over.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoundRobin {}

impl TaskScheduler for RoundRobin {
    fn plan(&self, view: &TaskView) -> Plan {
        let devices = view.progress.free.len();
        let mut turn = 0;
        in_order_of_arrival(
            view,
            |_| (),
            |draft, task| {
                let fits: Vec<_> = draft.fits(task, Fit::Append).collect();
                let wait = |device: usize| (device + devices - turn) % devices;
                let slot = fits.into_iter().min_by_key(|slot| wait(slot.device.0 as usize));
                let slot = slot.expect("some live device can do every open task");
                turn = (slot.device.0 as usize + 1) % devices;
                slot
            },
        )
    }
}
