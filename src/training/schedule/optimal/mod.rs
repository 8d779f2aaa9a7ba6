//! The shortest order there is, for small shapes, and how much longer others are.
//!
//! Passes take whole units and messages a fixed lag; see [`search`] for how the order is found. Qi et al., "Zero
//! Bubble Pipeline Parallelism", ICLR 2024, section 3.2 and appendix G, find such orders by an integer program and
//! note that it takes long beyond small shapes; so here: shapes whose search does not end are refused.

mod jobs;
mod search;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::ids::{IdVec, PipelineRank, Stage};
use crate::training::schedule::optimal::jobs::{Jobs, Rules};
use crate::training::schedule::optimal::search::{Found, Search};
use crate::training::schedule::{Orders, PipelineSchedule, PipelineShape, ScheduleSpec};

/// What passes take, in units of one's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PassCosts {
    /// A forward pass (F).
    pub forward: u32,
    /// The gradient of a stage's input (B).
    pub backward_input: u32,
    /// The gradient of a stage's weights (W); a whole backward pass is B and W.
    pub backward_weight: u32,
    /// From the end of a pass until its result has reached the neighbour.
    pub send: u32,
}

impl Default for PassCosts {
    /// All passes alike, as in the figures of the papers; messages take no time.
    fn default() -> Self {
        PassCosts { forward: 1, backward_input: 1, backward_weight: 1, send: 0 }
    }
}

/// The shortest order of F, B and W through stages that are placed as another schedule places them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Optimal {
    /// What passes take.
    pub costs: PassCosts,
    /// Whether weight gradients may be put off (B and W), or backward passes are done whole.
    pub split: bool,
    /// How many micro-batches a rank may hold; as many as it likes unless given. With one stage a rank only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<u32>,
    /// The schedule whose stages are ordered: its stages a rank, its copies, its places.
    pub stages_of: Box<ScheduleSpec>,
}

impl Default for Optimal {
    fn default() -> Self {
        let stages_of = ScheduleSpec::from_name("one_f_one_b").expect("a listed schedule");
        Optimal { costs: PassCosts::default(), split: true, held: None, stages_of: Box::new(stages_of) }
    }
}

/// The most passes of a step that are searched, over all ranks.
pub const MOST_PASSES: usize = 768;
/// The most nodes of a search.
const MOST_NODES: u64 = 20_000;

impl PipelineSchedule for Optimal {
    fn order(&self, shape: PipelineShape) -> Orders {
        self.searched(shape).expect("a shape that was admitted").orders.clone()
    }

    fn admits(&self, shape: PipelineShape) -> Result<(), String> {
        let stages = &self.stages_of;
        if matches!(**stages, ScheduleSpec::Optimal(_)) || stages.stashing().is_some() {
            return Err(format!("`stages_of` names a schedule that is emptied, not `{}`", stages.name()));
        }
        if self.held.is_some() && (stages.stages_per_rank() > 1 || stages.copies() > 1) {
            return Err("`held` is for one stage a rank: what several hold together is not searched".into());
        }
        if self.held == Some(0) {
            return Err("a rank that may hold nothing cannot go forward: `held` is at least 1".into());
        }
        if self.costs.forward == 0 || self.costs.backward_input == 0 {
            return Err("forward and backward passes take at least one unit".into());
        }
        if !matches!(**stages, ScheduleSpec::Custom(_)) {
            stages.admits(shape)?;
        }
        let searched = self.searched(shape)?;
        if searched.length > searched.bound {
            return Err(format!(
                "the search for the shortest order of {} micro-batches on {} ranks does not end within {MOST_NODES} \
                 nodes: it found {} units, and none is below {}; use a smaller shape, or other costs",
                shape.micro_batches, shape.ranks, searched.length, searched.bound
            ));
        }
        Ok(())
    }

    fn stages_per_rank(&self) -> u32 {
        self.stages_of.stages_per_rank()
    }

    fn copies(&self) -> u32 {
        self.stages_of.copies()
    }

    fn home(&self, shape: PipelineShape, copy: u32, stage: Stage) -> PipelineRank {
        self.stages_of.home(shape, copy, stage)
    }
}

/// What a search found.
#[derive(Debug)]
struct Searched {
    orders: Orders,
    length: u64,
    /// None is shorter; the length itself where that is proven.
    bound: u64,
}

/// Everything that a search depends on.
type Question = (String, (u32, u32), PassCosts, bool, Option<u32>);

/// What has been searched in this process: a schedule is asked for its order more than once.
static KNOWN: Mutex<BTreeMap<Question, Arc<Searched>>> = Mutex::new(BTreeMap::new());

impl Optimal {
    fn searched(&self, shape: PipelineShape) -> Result<Arc<Searched>, String> {
        let rules = Rules { costs: self.costs, split: self.split, held: self.held };
        let jobs = Jobs::of(&**self.stages_of, shape, rules);
        if jobs.passes() > MOST_PASSES {
            return Err(format!(
                "the shortest order is searched for up to {MOST_PASSES} passes of a step; {} micro-batches on {} ranks \
                 are {}",
                shape.micro_batches,
                shape.ranks,
                jobs.passes()
            ));
        }
        let stages = serde_json::to_string(&self.stages_of).expect("a schedule is plain data");
        let question = (stages, (shape.ranks, shape.micro_batches), self.costs, self.split, self.held);
        let mut known = KNOWN.lock().expect("no search has panicked");
        if let Some(searched) = known.get(&question) {
            return Ok(searched.clone());
        }
        let searched = Arc::new(search(&self.stages_of, shape, &jobs));
        known.insert(question, searched.clone());
        Ok(searched)
    }
}

/// Starts from the shortest of the known orders that keep the rules.
fn search(stages: &ScheduleSpec, shape: PipelineShape, jobs: &Jobs) -> Searched {
    let names = ["one_f_one_b", "zb_h1", "zb_h2", "gpipe"];
    let mut known: Vec<ScheduleSpec> =
        names.iter().filter_map(|name| ScheduleSpec::from_name(name)).collect();
    known.push(stages.clone());
    let known = known.iter().filter(|schedule| schedule.admits(shape).is_ok());
    let orders = known.map(|schedule| schedule.order(shape));
    let timed = orders.filter_map(|orders| Some((jobs.length(&orders)?, orders)));
    let best = timed.min_by_key(|(length, _)| *length);
    let length = best.as_ref().map_or(u64::MAX, |(length, _)| *length);
    let Found { length, bound, sequence } = Search::run(jobs, length, MOST_NODES);
    let orders = match best {
        Some((_, orders)) if sequence.is_empty() => orders,
        _ => {
            let mut orders: Orders = IdVec::filled(Vec::new(), jobs.ranks);
            for &(class, k) in &sequence {
                orders[PipelineRank(jobs.classes[class].rank as u32)].push(jobs.op(class, k));
            }
            orders
        }
    };
    Searched { orders, length, bound }
}

/// How long a schedule takes beside the shortest order of the same passes on the same ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// What the schedule takes, in units of a pass: F, B and W each one.
    pub length: u64,
    /// What the shortest order takes; where the search did not end, no order takes less than this.
    pub optimum: u64,
    /// Whether the search ended.
    pub proven: bool,
}

impl Gap {
    /// The gap of a schedule in a shape, when all passes take equally long and messages no time; nothing where
    /// the pipeline is never emptied or the shape is too large to search.
    pub fn of(schedule: &ScheduleSpec, shape: PipelineShape) -> Option<Gap> {
        if schedule.stashing().is_some() || shape.ranks == 1 || schedule.admits(shape).is_err() {
            return None;
        }
        let costs = PassCosts::default();
        let mut best = Optimal::default();
        if schedule.stages_per_rank() > 1 || schedule.copies() > 1 {
            best.stages_of = match schedule {
                ScheduleSpec::Optimal(optimal) => optimal.stages_of.clone(),
                other => Box::new(other.clone()),
            };
        }
        let best = best.searched(shape).ok()?;
        let jobs = Jobs::of(&**schedule, shape, Rules { costs, split: true, held: None });
        let length = jobs.length(&schedule.order(shape))?;
        Some(Gap { length, optimum: best.bound, proven: best.bound == best.length })
    }

    /// By what share of the optimum the schedule is longer.
    pub fn share(self) -> f64 {
        self.length as f64 / self.optimum as f64 - 1.0
    }
}
