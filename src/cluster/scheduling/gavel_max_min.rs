//! Max-min fairness over heterogeneous devices, as in Gavel.
//!
//! Narayanan et al., "Heterogeneity-Aware Cluster Scheduling Policies for Deep Learning Workloads",
//! OSDI 2020: the policy of section 4.1 with the scale factors of section 4.2, and the round-based
//! mechanism of section 5.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use microlp::{ComparisonOp, OptimizationDirection, Problem, SolveOutcome, Variable};
use serde::{Deserialize, Serialize};

use crate::cluster::scheduling::ClusterScheduler;
use crate::cluster::{ClusterAction, ClusterView, Free, KindId};
use crate::ids::{Id, JobId};
use crate::units::{PICOS_PER_SECOND, SimDuration, SimTime};

/// Every job gets as equal a part as possible of what it would do with an equal share of each kind of
/// device; time on kinds is dealt out in rounds.
///
/// A linear program says what fraction X of time each job should spend on each kind; it is solved anew
/// at the first round after a job has come or gone. In a round, (job, kind) pairs go in order of
/// X divided by the fraction of rounds since then that the job has spent on the kind (pairs that have
/// had none first, by X; equals by arrival), each taken if the kind has enough devices left. What is
/// left then goes to the jobs without a place in order of arrival, each on the kind that suits it
/// best: the paper leaves it open, and an idle device helps nobody. Between rounds nothing changes,
/// except that a round begins at once when nothing runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GavelMaxMin {
    /// How long a round is.
    pub round: SimDuration,
    #[serde(skip)]
    round_ends: SimTime,
    #[serde(skip)]
    solved_for: BTreeSet<JobId>,
    #[serde(skip)]
    wanted: BTreeMap<(JobId, KindId), f64>,
    #[serde(skip)]
    rounds: u32,
    #[serde(skip)]
    received: BTreeMap<(JobId, KindId), u32>,
}

/// Six minutes, as in the paper's experiments.
impl Default for GavelMaxMin {
    fn default() -> Self {
        GavelMaxMin {
            round: SimDuration::from_picos(360 * PICOS_PER_SECOND),
            round_ends: SimTime::ZERO,
            solved_for: BTreeSet::new(),
            wanted: BTreeMap::new(),
            rounds: 0,
            received: BTreeMap::new(),
        }
    }
}

impl ClusterScheduler for GavelMaxMin {
    fn decide(&mut self, view: &ClusterView) -> Vec<ClusterAction> {
        if view.pending.is_empty() && view.running.is_empty() {
            return Vec::new();
        }
        if view.now < self.round_ends && !view.running.is_empty() {
            return vec![ClusterAction::Wake { at: self.round_ends }];
        }
        let active: BTreeSet<JobId> = view.pending.union(view.running).copied().collect();
        if active != self.solved_for {
            self.solve(view, &active);
            self.solved_for = active;
        }
        let mut actions = self.deal_round(view);
        self.round_ends = view.now + self.round;
        actions.push(ClusterAction::Wake { at: self.round_ends });
        actions
    }

    fn admits(&self) -> Result<(), String> {
        match self.round {
            SimDuration::ZERO => Err("`round` is longer than nothing".into()),
            _ => Ok(()),
        }
    }
}

impl GavelMaxMin {
    /// What fraction of time each job should spend on each kind.
    fn solve(&mut self, view: &ClusterView, active: &BTreeSet<JobId>) {
        let everything = Free::all(view.machine);
        let kinds: Vec<KindId> = view.machine.kinds().collect();
        let speed = |job: JobId, kind: KindId| {
            let able = view.jobs[job].kinds.contains(&kind);
            let gang = able.then(|| view.placed_on(job, view.jobs[job].demand.devices, kind, &everything));
            gang.flatten().map_or(0.0, |gang| view.speed(job, &gang))
        };
        let speeds: Vec<Vec<f64>> =
            active.iter().map(|&job| kinds.iter().map(|&kind| speed(job, kind)).collect()).collect();
        let question = MaxMin {
            speeds: &speeds,
            scales: active.iter().map(|&job| f64::from(view.jobs[job].demand.pieces())).collect(),
            weights: active.iter().map(|&job| view.jobs[job].weight).collect(),
            workers: kinds.iter().map(|&kind| f64::from(view.machine.devices_of(kind))).collect(),
        };
        self.wanted.clear();
        for (&job, fractions) in active.iter().zip(question.solve().fractions) {
            self.wanted.extend(kinds.iter().map(|&kind| ((job, kind), fractions[kind.index()])));
        }
        self.received.clear();
        self.rounds = 0;
    }

    /// Who runs where for the next round.
    fn deal_round(&mut self, view: &ClusterView) -> Vec<ClusterAction> {
        let mut pairs: Vec<(f64, f64, JobId, KindId)> = Vec::new();
        for (&(job, kind), &wanted) in self.wanted.iter().filter(|(_, wanted)| **wanted > NOTHING) {
            let received = self.received.get(&(job, kind)).copied().unwrap_or(0);
            let priority = match received {
                0 => f64::INFINITY,
                received => wanted / (f64::from(received) / f64::from(self.rounds)),
            };
            pairs.push((priority, wanted, job, kind));
        }
        let by_priority = |a: &(f64, f64, JobId, KindId), b: &(f64, f64, JobId, KindId)| {
            b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1)).then(a.2.cmp(&b.2)).then(a.3.cmp(&b.3))
        };
        pairs.sort_by(by_priority);
        let pairs = pairs.into_iter().map(|(.., job, kind)| (job, kind));
        let leftover = view.pending.union(view.running).flat_map(|&job| {
            let mut kinds = view.jobs[job].kinds.clone();
            kinds.sort_by_key(|&kind| Reverse(self.wanted.get(&(job, kind)).map(|w| w.to_bits())));
            kinds.into_iter().map(move |kind| (job, kind))
        });
        let mut left = in_service(view);
        let mut chosen: BTreeMap<JobId, KindId> = BTreeMap::new();
        for (job, kind) in pairs.chain(leftover.collect::<Vec<_>>()) {
            let devices = view.jobs[job].demand.devices;
            if !chosen.contains_key(&job) && left[kind.index()] >= devices {
                left[kind.index()] -= devices;
                chosen.insert(job, kind);
            }
        }
        let mut draft = view.draft();
        for &job in view.running {
            let stays = view.run(job).map(|run| run.gang.kind) == chosen.get(&job).copied();
            if !stays {
                draft.stop(job);
            }
        }
        for (&job, &kind) in &chosen {
            if draft.runs(job) {
                continue;
            }
            if let Some(gang) = view.placed_on(job, view.jobs[job].demand.devices, kind, draft.free()) {
                draft.start_on(job, gang);
            } else {
                // Its devices are scattered, or out of service: it stays where it was if it can.
                draft.keep(job);
            }
        }
        self.rounds += 1;
        for (&job, &kind) in &chosen {
            if draft.runs(job) {
                *self.received.entry((job, kind)).or_default() += 1;
            }
        }
        draft.actions()
    }
}

/// Devices of each kind that nobody uses or that running jobs hold.
fn in_service(view: &ClusterView) -> Vec<u32> {
    let mut left: Vec<u32> = view.machine.kinds().map(|kind| view.free.whole_of(kind)).collect();
    for run in view.running.iter().filter_map(|&job| view.run(job)) {
        left[run.gang.kind.index()] += run.gang.size();
    }
    left
}

/// Below this a fraction is the solver's rounding.
const NOTHING: f64 = 1e-9;

/// The question that the linear program answers.
#[derive(Debug, Clone)]
pub struct MaxMin<'a> {
    /// By job and kind: how fast the job is there (0: not at all).
    pub speeds: &'a [Vec<f64>],
    /// By job: how many devices it takes.
    pub scales: Vec<f64>,
    /// By job: its weight.
    pub weights: Vec<f64>,
    /// By kind: how many devices there are.
    pub workers: Vec<f64>,
}

/// Its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Fractions {
    /// The least normalised throughput of a job.
    pub objective: f64,
    /// By job and kind: the fraction of time.
    pub fractions: Vec<Vec<f64>>,
}

impl MaxMin<'_> {
    /// Maximises over X the minimum over jobs m of
    ///
    /// (scale_m / w_m) · throughput(m, X) / throughput(m, X^equal), where throughput(m, X) = Σ_k T_mk X_mk,
    ///
    /// subject to Σ_k X_mk ≤ 1 for each job and Σ_m scale_m X_mk ≤ workers_k for each kind. X^equal
    /// divides a job's time among kinds in proportion to their numbers.
    pub fn solve(&self) -> Fractions {
        let mut problem = Problem::new(OptimizationDirection::Maximize);
        let least = problem.add_var(1.0, (0.0, f64::INFINITY));
        let total: f64 = self.workers.iter().sum();
        let mut variables: Vec<Vec<Option<Variable>>> = Vec::new();
        for (job, speeds) in self.speeds.iter().enumerate() {
            let equal: f64 =
                speeds.iter().zip(&self.workers).map(|(speed, workers)| speed * workers / total).sum();
            let normal = self.scales[job] / (self.weights[job] * equal);
            let row: Vec<Option<Variable>> =
                speeds.iter().map(|&speed| (speed > 0.0).then(|| problem.add_var(0.0, (0.0, 1.0)))).collect();
            let own = || row.iter().zip(speeds).filter_map(|(variable, speed)| Some(((*variable)?, *speed)));
            let throughput = own().map(|(variable, speed)| (variable, speed * normal)).chain([(least, -1.0)]);
            problem.add_constraint(throughput.collect::<Vec<_>>(), ComparisonOp::Ge, 0.0);
            problem.add_constraint(own().map(|(v, _)| (v, 1.0)).collect::<Vec<_>>(), ComparisonOp::Le, 1.0);
            variables.push(row);
        }
        for (kind, &workers) in self.workers.iter().enumerate() {
            let column =
                variables.iter().zip(&self.scales).filter_map(|(row, &scale)| Some((row[kind]?, scale)));
            problem.add_constraint(column.collect::<Vec<_>>(), ComparisonOp::Le, workers);
        }
        // No time at all is always allowed, and fractions are bounded: there is an optimum.
        let solution = match problem.solve().expect("a linear program with an optimum") {
            SolveOutcome::Solution(solution) => solution,
            SolveOutcome::Interrupted(_) => unreachable!("no limit was set"),
        };
        let fraction = |variable: &Option<Variable>| variable.map_or(0.0, |v| solution[v].clamp(0.0, 1.0));
        Fractions {
            objective: solution.objective(),
            fractions: variables.iter().map(|row| row.iter().map(fraction).collect()).collect(),
        }
    }
}
