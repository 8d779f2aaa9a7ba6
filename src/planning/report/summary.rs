//! The machine interface of a plan: one JSON object, keys stable, units in the keys.

use serde::Serialize;

use crate::metrics::Part;
use crate::planning::bound::Bound;
use crate::planning::report::Planned;
use crate::planning::{Candidate, Fate, Simulated};

/// What a search came to.
#[derive(Debug, Clone, Serialize)]
pub struct PlanSummary {
    /// The workload's name.
    pub name: String,
    /// Always `plan`.
    pub kind: &'static str,
    /// Tokens to train on.
    pub tokens: f64,
    /// How many combinations there were, and what became of them.
    pub combinations: Combinations,
    /// The plan to take, where one is within all limits.
    pub best: Option<PlanRow>,
    /// The quickest plan on each choice of devices, best first by what was asked for.
    pub by_devices: Vec<PlanRow>,
    /// Those that no other beats in time, dollars and devices together, quickest first: the plan and, as
    /// plans on other devices may have the same name, what it runs on.
    pub front: Vec<String>,
    /// Others that were simulated on the best plan's devices, quickest first, and why they lose.
    pub runners_up: Vec<PlanRow>,
    /// Plans that do not fit, those that lack least first, and what they need.
    pub do_not_fit: Vec<TooLarge>,
    /// Combinations that are no plans: why, and how many.
    pub refused: Vec<(String, usize)>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// What became of all combinations.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Combinations {
    /// All of them.
    pub all: usize,
    /// No plans: something does not divide.
    pub refused: usize,
    /// Needing more memory than there is, without a simulation.
    pub too_large: usize,
    /// No quicker than one that was simulated, whatever happens.
    pub bounded: usize,
    /// Simulated.
    pub simulated: usize,
    /// Of these, found not to fit.
    pub overflowed: usize,
}

/// A plan that was simulated.
#[derive(Debug, Clone, Serialize)]
pub struct PlanRow {
    /// What makes it different.
    pub plan: String,
    /// What it runs on.
    pub hardware: String,
    /// Devices.
    pub devices: u32,
    /// A step.
    pub step_time_s: f64,
    /// Model flops over the devices' peak.
    pub mfu: Option<f64>,
    /// The fullest rank's fullest moment.
    pub memory_peak_bytes: u64,
    /// Steps to the tokens.
    pub steps: f64,
    /// To train, failures included.
    pub days: f64,
    /// Rent.
    pub dollars: Option<f64>,
    /// Expected time over the time without failures.
    pub failure_stretch: Option<f64>,
    /// Work between two checkpoints.
    pub checkpoint_interval_s: Option<f64>,
    /// Whether no other beats it in time, dollars and devices together.
    pub on_front: bool,
    /// Which limit is exceeded, or what costs it the most against the best plan.
    pub remark: String,
}

/// A plan that does not fit.
#[derive(Debug, Clone, Serialize)]
pub struct TooLarge {
    /// What makes it different.
    pub plan: String,
    /// What it would run on.
    pub hardware: String,
    /// What its fullest rank needs at least, and what of.
    pub needs_bytes: u64,
    /// What a device has.
    pub has_bytes: u64,
    /// What is lacking (at least).
    pub lacks_bytes: u64,
    /// Weights, gradients, optimiser state, activations; nothing where only the sum was simulated.
    pub of_bytes: Option<[u64; 4]>,
    /// The setting of a plan that differs in it alone and fits; its replicas are what is then left.
    pub fits_with: Option<String>,
}

/// As many runners-up and as many plans that do not fit as a reader wants to see.
const SHOWN: usize = 8;

impl PlanSummary {
    /// Sums a search up.
    pub fn new(name: &str, planned: &Planned<'_>, notes: &[String]) -> Self {
        let Planned { candidates, goal, search, groups, refused, .. } = *planned;
        let row = |at: usize, remark: String| {
            let hardware = &groups[candidates[at].group];
            row(&candidates[at], hardware, fits(planned, at), search.front.contains(&at), remark)
        };
        let count = |of: fn(&Fate) -> bool| search.fates.iter().filter(|fate| of(fate)).count();
        let refused_count: usize = refused.values().sum();
        let too_large = count(|fate| matches!(fate, Fate::TooLarge(_)));
        let bounded = count(|fate| matches!(fate, Fate::Bounded(_)));
        let beyond = |at: usize| goal.exceeded(&fits(planned, at).worth).unwrap_or_default();
        PlanSummary {
            name: name.to_owned(),
            kind: "plan",
            tokens: goal.tokens,
            combinations: Combinations {
                all: candidates.len() + refused_count,
                refused: refused_count,
                too_large,
                bounded,
                simulated: candidates.len() - too_large - bounded,
                overflowed: count(|fate| matches!(fate, Fate::Overflows(_))),
            },
            best: search.best.map(|at| row(at, String::new())),
            by_devices: search.best_of_groups.iter().map(|&at| row(at, beyond(at))).collect(),
            front: search
                .front
                .iter()
                .map(|&at| format!("{} on {}", name_of(&candidates[at]), groups[candidates[at].group]))
                .collect(),
            runners_up: runners_up(planned).into_iter().map(|(at, why)| row(at, why)).collect(),
            do_not_fit: do_not_fit(planned),
            refused: refused.iter().map(|(why, count)| (why.clone(), *count)).collect(),
            notes: notes.to_vec(),
        }
    }
}

/// A plan's name.
pub(super) fn name_of(candidate: &Candidate) -> String {
    candidate.settings.join(", ")
}

pub(super) fn fits<'p>(planned: &Planned<'p>, at: usize) -> &'p Simulated {
    match &planned.search.fates[at] {
        Fate::Fits(found) => found,
        _ => unreachable!("a plan that fits"),
    }
}

fn row(candidate: &Candidate, hardware: &str, found: &Simulated, on_front: bool, remark: String) -> PlanRow {
    let worth = found.worth;
    PlanRow {
        plan: name_of(candidate),
        hardware: hardware.to_owned(),
        devices: worth.devices,
        step_time_s: found.step.seconds(),
        mfu: found.mfu,
        memory_peak_bytes: found.memory.get(),
        steps: worth.steps,
        days: worth.days,
        dollars: worth.dollars,
        failure_stretch: worth.interrupted.map(|interrupted| interrupted.stretch),
        checkpoint_interval_s: worth.interrupted.map(|interrupted| interrupted.interval_s),
        on_front,
        remark,
    }
}

/// The next quickest plans on the devices of the best, and what costs each of them most.
fn runners_up(planned: &Planned<'_>) -> Vec<(usize, String)> {
    let Some(&best) = planned.search.best_of_groups.first() else { return Vec::new() };
    let group = planned.candidates[best].group;
    let fits_there = |&at: &usize| {
        at != best
            && planned.candidates[at].group == group
            && matches!(planned.search.fates[at], Fate::Fits(_))
    };
    let mut others: Vec<usize> = (0..planned.candidates.len()).filter(fits_there).collect();
    others.sort_by_key(|&at| (fits(planned, at).step, at));
    others.truncate(SHOWN);
    let why = |at: usize| {
        let (found, best) = (fits(planned, at), fits(planned, best));
        let more = |part: &Part| found.breakdown.mean_seconds(*part) - best.breakdown.mean_seconds(*part);
        if found.step == best.step {
            return "as quick".to_owned();
        }
        let most = Part::ALL.into_iter().max_by(|a, b| more(a).total_cmp(&more(b))).expect("a part");
        format!("+{} {}", crate::units::SimDuration::from_seconds(more(&most).max(0.0)), most.name())
    };
    others.into_iter().map(|at| (at, why(at))).collect()
}

/// Plans that lack memory, those that lack least first, and which single change would make each fit.
fn do_not_fit(planned: &Planned<'_>) -> Vec<TooLarge> {
    let lacking = |at: usize| -> Option<Lacking> {
        let (needs, has, bound) = match &planned.search.fates[at] {
            Fate::TooLarge(bound) => (bound.memory.total(), bound.capacity, Some(*bound)),
            Fate::Overflows(found) => (found.memory, found.capacity, None),
            _ => return None,
        };
        Some(Lacking { at, needs: needs.get(), has: has.get(), bound })
    };
    let mut all: Vec<Lacking> = (0..planned.candidates.len()).filter_map(lacking).collect();
    all.sort_by_key(|lacking| (lacking.needs - lacking.has, lacking.at));
    all.truncate(SHOWN);
    let explain = |Lacking { at, needs, has, bound }: Lacking| {
        let candidate = &planned.candidates[at];
        TooLarge {
            plan: name_of(candidate),
            hardware: planned.groups[candidate.group].clone(),
            needs_bytes: needs,
            has_bytes: has,
            lacks_bytes: needs - has,
            of_bytes: bound.map(|Bound { memory, .. }| {
                [memory.parameters, memory.gradients, memory.optimizer, memory.activations]
                    .map(|part| part.get())
            }),
            fits_with: neighbour_that_fits(planned, candidate),
        }
    };
    all.into_iter().map(explain).collect()
}

/// A plan that lacks memory.
struct Lacking {
    at: usize,
    needs: u64,
    has: u64,
    bound: Option<Bound>,
}

/// The one setting of a simulated plan that fits and differs in nothing else.
fn neighbour_that_fits(planned: &Planned<'_>, candidate: &Candidate) -> Option<String> {
    let fitting = planned.candidates.iter().zip(&planned.search.fates).filter(|(other, fate)| {
        other.group == candidate.group && matches!(fate, Fate::Fits(_) | Fate::Bounded(_))
    });
    let only = |other: &Candidate| {
        // The first setting is the replicas: what is left of the devices.
        let pairs = other.settings.iter().zip(&candidate.settings).skip(1);
        let mut different = pairs.filter(|(other, own)| other != own);
        let same_length = other.settings.len() == candidate.settings.len();
        match (different.next(), different.next(), same_length) {
            (Some((other, _)), None, true) => Some(other.clone()),
            _ => None,
        }
    };
    // A bounded plan has room for what is kept at least; one that was simulated has room for all.
    let (sure, likely): (Vec<_>, Vec<_>) = fitting.partition(|(_, fate)| matches!(fate, Fate::Fits(_)));
    let first = sure.iter().find_map(|(other, _)| only(other));
    first.or_else(|| {
        likely
            .iter()
            .find_map(|(other, _)| only(other))
            .map(|setting| format!("{setting} (by what is kept at least)"))
    })
}
