//! Longest processing time first.
//!
//! Graham, "Bounds on Multiprocessing Timing Anomalies", SIAM J. Appl. Math. 17(2), 1969: on m equal
//! machines at most 4/3 − 1/(3m) times the optimum. On machines of different speeds each task goes
//! where it is done first (Gonzalez, Ibarra and Sahni, "Bounds for LPT Schedules on Uniform
//! Processors", SIAM J. Comput. 6(1), 1977), which on equal machines is the first that is free.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use crate::tasks::scheduling::arrival::in_order_of_arrival;
use crate::tasks::scheduling::ranks::RankScale;
use crate::tasks::scheduling::{Fit, Plan, TaskScheduler, TaskView};

/// Of the tasks that arrive together, the one with the longest mean time goes first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lpt {}

impl TaskScheduler for Lpt {
    fn plan(&self, view: &TaskView) -> Plan {
        let scale = RankScale::of(view);
        let longest_first = |task| Reverse(scale.mean_cost(view, task));
        in_order_of_arrival(view, longest_first, |draft, task| draft.earliest_finish(task, Fit::Append))
    }
}
