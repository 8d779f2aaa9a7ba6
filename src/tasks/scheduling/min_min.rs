//! Min-min: the task that can be done soonest goes first.
//!
//! Ibarra and Kim, "Heuristic Algorithms for Scheduling Independent Tasks on Nonidentical Processors",
//! JACM 24(2), 1977, algorithm D; Maheswaran et al., JPDC 59(2), 1999.

use serde::{Deserialize, Serialize};

use crate::tasks::scheduling::batch::earliest_finishes;
use crate::tasks::scheduling::draft::place_ready;
use crate::tasks::scheduling::{Plan, TaskScheduler, TaskView};

/// Of the ready tasks, each with its least completion time, places the one whose is least.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MinMin {}

impl TaskScheduler for MinMin {
    fn plan(&self, view: &TaskView) -> Plan {
        place_ready(*view, |draft| {
            earliest_finishes(draft).min_by_key(|(_, slot)| slot.finish).expect("a ready task")
        })
    }
}
