//! The best of many plans: bounded one by one, simulated where the bound leaves a chance.
//!
//! Plans on the same number of the same devices differ in the time of a step alone: the quickest of them is
//! the best by every measure, and the others cannot be on the front. So each such group is searched by branch
//! and bound, quickest bound first, and the front is made of the groups' bests. What is found is what
//! simulating all would find.

use crate::compute::ComputeSpec;
use crate::ids::Rank;
use crate::metrics::{Breakdown, MemoryTimeline, TrainingRecorder};
use crate::network::{NetworkSpec, links_of};
use crate::planning::bound::{Bound, Costs, bound};
use crate::planning::goal::{Goal, Worth};
use crate::training::state::State;
use crate::training::{self, TrainingPlan};
use crate::units::{Bytes, SimDuration};

/// A plan that may be the best.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Plans of one group are on as many of the same devices.
    pub group: usize,
    /// What makes it different, for the reader.
    pub settings: Vec<String>,
    /// The plan, of one step.
    pub plan: TrainingPlan,
}

/// How a plan did when it was simulated.
#[derive(Debug, Clone)]
pub struct Simulated {
    /// What it is worth.
    pub worth: Worth,
    /// A step.
    pub step: SimDuration,
    /// Where its time went.
    pub breakdown: Breakdown,
    /// The fullest moment of the rank that has least room to spare, or lacks most.
    pub memory: Bytes,
    /// What that rank's device has.
    pub capacity: Bytes,
    /// Model flops over the devices' peak.
    pub mfu: Option<f64>,
}

/// What became of a plan.
#[derive(Debug, Clone)]
pub enum Fate {
    /// It cannot fit: what a rank needs at least is more than its device has.
    TooLarge(Bound),
    /// It cannot be quicker than one that was simulated.
    Bounded(Bound),
    /// It was simulated and does not fit.
    Overflows(Box<Simulated>),
    /// It was simulated, and fits.
    Fits(Box<Simulated>),
    /// It cannot be run.
    Fails(String),
}

/// What came of a search: a fate for each candidate.
#[derive(Debug, Clone)]
pub struct Search {
    /// By candidate.
    pub fates: Vec<Fate>,
    /// The quickest of each group that fits, quickest first by the goal; those beyond a limit last.
    pub best_of_groups: Vec<usize>,
    /// The one to take: the first of them within all limits.
    pub best: Option<usize>,
    /// Those of them that no other beats in everything: time, dollars, devices.
    pub front: Vec<usize>,
}

/// Hears of a search as it goes.
pub trait Observer {
    /// `done` of all candidates have a fate.
    fn progress(&mut self, done: usize, simulated: usize);
}

/// Searches.
pub fn search(
    candidates: &[Candidate],
    goal: &Goal,
    compute: &ComputeSpec,
    network: &NetworkSpec,
    prunes: bool,
    observer: &mut dyn Observer,
) -> Search {
    let mut costs = Costs::default();
    let bounds: Vec<Bound> =
        candidates.iter().map(|candidate| bound(&candidate.plan, &**compute, &mut costs)).collect();
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by_key(|&at| (candidates[at].group, bounds[at].step, at));
    let mut fates: Vec<Option<Fate>> = vec![None; candidates.len()];
    let mut quickest: Vec<Option<(SimDuration, usize)>> = Vec::new();
    let (mut done, mut simulated) = (0, 0);
    for at in order {
        let Candidate { group, plan, .. } = &candidates[at];
        quickest.resize(quickest.len().max(group + 1), None);
        let beaten = quickest[*group].is_some_and(|(step, _)| bounds[at].step >= step);
        let fate = if !bounds[at].may_fit() && prunes {
            Fate::TooLarge(bounds[at])
        } else if beaten && prunes {
            Fate::Bounded(bounds[at])
        } else {
            simulated += 1;
            simulate(plan, goal, compute, network)
        };
        if let Fate::Fits(found) = &fate
            && quickest[*group].is_none_or(|known| (found.step, at) < known)
        {
            quickest[*group] = Some((found.step, at));
        }
        fates[at] = Some(fate);
        done += 1;
        observer.progress(done, simulated);
    }
    let fates: Vec<Fate> = fates.into_iter().map(|fate| fate.expect("every candidate has a fate")).collect();
    let best_of_groups: Vec<usize> = quickest.into_iter().flatten().map(|(_, at)| at).collect();
    choose(fates, best_of_groups, goal)
}

fn choose(fates: Vec<Fate>, mut best_of_groups: Vec<usize>, goal: &Goal) -> Search {
    let worth = |at: usize| match &fates[at] {
        Fate::Fits(found) => found.worth,
        _ => unreachable!("the best of a group fits"),
    };
    let key = |at: usize| {
        let (first, second) = goal.rank(&worth(at));
        (goal.exceeded(&worth(at)).is_some(), first, second)
    };
    best_of_groups.sort_by(|&a, &b| {
        let (a_out, a_first, a_second) = key(a);
        let (b_out, b_first, b_second) = key(b);
        a_out
            .cmp(&b_out)
            .then(a_first.total_cmp(&b_first))
            .then(a_second.total_cmp(&b_second))
            .then(a.cmp(&b))
    });
    let best = best_of_groups.first().copied().filter(|&at| goal.exceeded(&worth(at)).is_none());
    let dominated = |at: usize| best_of_groups.iter().any(|&other| worth(at).is_dominated_by(&worth(other)));
    let mut front: Vec<usize> = best_of_groups.iter().copied().filter(|&at| !dominated(at)).collect();
    front.sort_by(|&a, &b| worth(a).days.total_cmp(&worth(b).days).then(a.cmp(&b)));
    Search { best_of_groups, best, front, fates }
}

/// The fullest moment of the rank that has least room to spare, and what its device has.
fn tightest(plan: &TrainingPlan, memory: &MemoryTimeline) -> (Bytes, Bytes) {
    let of_rank = |rank: Rank| {
        let device = plan.placement[rank];
        (memory.peak(rank).total, plan.topology.devices()[device].spec.memory.capacity)
    };
    let room = |(needed, has): (Bytes, Bytes)| i128::from(has.get()) - i128::from(needed.get());
    plan.simulated_ranks().map(of_rank).min_by_key(|&rank| room(rank)).expect("a plan has ranks")
}

/// Simulates a step.
fn simulate(plan: &TrainingPlan, goal: &Goal, compute: &ComputeSpec, network: &NetworkSpec) -> Fate {
    let state = State::new(plan);
    let mut recorder = TrainingRecorder::new(plan.simulated_ranks().collect(), plan.steps, 0, |_| {});
    let network = network.model(&links_of(&plan.topology));
    if let Err(failure) = training::run(plan, &state, &**compute, network, None, &mut recorder) {
        return Fate::Fails(failure.to_string());
    }
    let record = recorder.finish();
    let breakdown = record.typical_step(plan.steps_differ());
    let step = breakdown.step();
    let (memory, capacity) = tightest(plan, record.memory.as_ref().expect("a finished record"));
    let peak: Option<f64> = plan
        .placement
        .iter()
        .map(|&device| plan.topology.devices()[device].spec.peak(plan.precision).map(|rate| rate.get()))
        .sum();
    let flops = plan.model.step_flops(plan.global_batch());
    let found = Box::new(Simulated {
        worth: goal.worth(plan, step.seconds()),
        step,
        breakdown,
        memory,
        capacity,
        mfu: peak.map(|peak| flops / step.seconds() / peak),
    });
    if memory > capacity { Fate::Overflows(found) } else { Fate::Fits(found) }
}
