//! HEFT: heterogeneous earliest finish time.
//!
//! Topcuoglu, Hariri and Wu, "Performance-Effective and Low-Complexity Task Scheduling for
//! Heterogeneous Computing", IEEE TPDS 13(3), 2002, section 4.1.

use serde::{Deserialize, Serialize};

use crate::tasks::scheduling::draft::{decreasing, place_all};
use crate::tasks::scheduling::ranks::{RankScale, upward};
use crate::tasks::scheduling::{Draft, Fit, Plan, TaskScheduler, TaskView};

/// Tasks in decreasing order of upward rank, each to the device on which it finishes first, in the
/// earliest gap that holds it (insertion). The paper breaks ties of rank at random; here the task
/// first in the graph's topological order goes first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Heft {}

impl TaskScheduler for Heft {
    fn plan(&self, view: &TaskView) -> Plan {
        let rank = upward(view, RankScale::of(view));
        let mut draft = Draft::new(*view);
        place_all(&mut draft, decreasing(view.open(), |task| rank[task]), Fit::Insert);
        draft.finish()
    }
}
