//! Max-min: the task whose soonest end is latest goes first, so that long tasks do not come last.
//!
//! Ibarra and Kim, JACM 24(2), 1977, algorithm E; Maheswaran et al., JPDC 59(2), 1999.

use serde::{Deserialize, Serialize};

use crate::tasks::scheduling::batch::earliest_finishes;
use crate::tasks::scheduling::draft::{first_max_by_key, place_ready};
use crate::tasks::scheduling::{Plan, TaskScheduler, TaskView};

/// Of the ready tasks, each with its least completion time, places the one whose is greatest.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaxMin {}

impl TaskScheduler for MaxMin {
    fn plan(&self, view: &TaskView) -> Plan {
        place_ready(*view, |draft| {
            first_max_by_key(earliest_finishes(draft), |(_, slot)| slot.finish).expect("a ready task")
        })
    }
}
