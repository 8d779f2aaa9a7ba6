//! From the ideal to the step as it was.
//!
//! The ideal is the model's flops (Megatron's formula) at the peak of all devices together. Then one cause
//! after the other is let in, always in this order, and the step is run again: what a cause adds is what
//! it adds to those before it. Another order would divide what several share (a collective that is hidden
//! behind slow kernels) in another way; the sum is the same.
//!
//! 1. model flops at peak;
//! 2. kernels below peak, and what they do beside the model's flops: the mean over ranks of their forward and
//!    backward passes as the compute model has them;
//! 3. recomputation and 4. the optimiser: the means of theirs;
//! 5. uneven ranks: the busiest rank instead of the mean;
//! 6. the bubble: the program run with a network that takes no time, so that ranks wait for each other's
//!    work alone;
//! 7. hosts that launch kernels one by one;
//! 8. tensor, context, expert, pipeline and data communication, each let in on top of those before;
//! 9. stragglers, jitter and links that carry less, each on top of those before.
//!
//! A cause can make a step shorter (Graham's anomalies: another order at a shared link, say); its length is
//! negative then.

use std::collections::BTreeMap;

use crate::ids::Rank;
use crate::trace::{Activity, Lane, Listener, Span};
use crate::training::TrainingFailure;
use crate::training::why::{Again, Disturbed, Otherwise};
use crate::units::{PICOS_PER_SECOND, SimDuration};

/// What makes a step longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The model's flops at the devices' peak.
    Ideal,
    /// Kernels that do not reach the peak, or do what the model's flops do not count.
    Kernels,
    /// Activations that are computed again.
    Recompute,
    /// The optimiser.
    Optimizer,
    /// Ranks that have more to do than others.
    Uneven,
    /// Ranks that wait for the work of others.
    Bubble,
    /// Hosts that launch kernels.
    Hosts,
    /// Communication of an axis, as an activity.
    Communication(Activity),
    /// Ranks that are slow.
    Stragglers,
    /// Kernels that take now longer, now shorter.
    Jitter,
    /// Links that carry less than they should.
    Links,
}

impl Cause {
    /// A short key.
    pub fn key(self) -> &'static str {
        match self {
            Cause::Ideal => "ideal",
            Cause::Kernels => "kernels",
            Cause::Recompute => "recompute",
            Cause::Optimizer => "optimizer",
            Cause::Uneven => "uneven_ranks",
            Cause::Bubble => "bubble",
            Cause::Hosts => "host_launches",
            Cause::Communication(Activity::TensorComm) => "tensor",
            Cause::Communication(Activity::ContextComm) => "context",
            Cause::Communication(Activity::ExpertComm) => "expert",
            Cause::Communication(Activity::PipelineComm) => "pipeline",
            Cause::Communication(Activity::DataComm) => "data",
            Cause::Communication(Activity::HostComm) => "host_copies",
            Cause::Communication(_) => "other_communication",
            Cause::Stragglers => "stragglers",
            Cause::Jitter => "jitter",
            Cause::Links => "links",
        }
    }

    /// The name a reader sees.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Ideal => "model flops at peak",
            Cause::Kernels => "kernels below peak",
            Cause::Recompute => "recomputation",
            Cause::Optimizer => "optimizer",
            Cause::Uneven => "uneven ranks",
            Cause::Bubble => "bubble",
            Cause::Hosts => "host launches",
            Cause::Communication(activity) => activity.name(),
            Cause::Stragglers => "stragglers",
            Cause::Jitter => "jitter",
            Cause::Links => "degraded links",
        }
    }
}

/// What a cause adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fall {
    /// Which.
    pub cause: Cause,
    /// How much, in picoseconds; negative where it makes the step shorter.
    pub picos: i64,
}

impl Fall {
    /// How much, in seconds.
    pub fn seconds(self) -> f64 {
        self.picos as f64 / PICOS_PER_SECOND as f64
    }
}

/// In which order communication is let in.
const COMMUNICATION: [Activity; 6] = [
    Activity::TensorComm,
    Activity::ContextComm,
    Activity::ExpertComm,
    Activity::PipelineComm,
    Activity::DataComm,
    Activity::HostComm,
];

/// The falls from the ideal to the step as it was; causes that add nothing are left out.
pub(super) fn waterfall(again: &mut Again, actual: SimDuration) -> Result<Vec<Fall>, TrainingFailure> {
    let nothing = Otherwise { hosts: false, disturbed: Disturbed::Not, ..Otherwise::ACTUAL };
    let nothing = nothing.instant(|activity| !activity.is_compute());
    let mut busy = Busy::default();
    let waiting = again.listened(nothing, &mut busy)?;

    // Each cause with how long the step is once it has been let in.
    let mut lengths: Vec<(Cause, SimDuration)> = Vec::new();
    lengths.extend(ideal(again).map(|ideal| (Cause::Ideal, ideal)));
    lengths.push((Cause::Kernels, busy.mean(&[Kind::Passes])));
    lengths.push((Cause::Recompute, busy.mean(&[Kind::Passes, Kind::Recompute])));
    lengths.push((Cause::Optimizer, busy.mean(&Kind::ALL)));
    lengths.push((Cause::Uneven, busy.most()));
    lengths.push((Cause::Bubble, waiting));
    let mut otherwise = nothing;
    if again.has_hosts() {
        otherwise.hosts = true;
        lengths.push((Cause::Hosts, again.length(otherwise)?));
    }
    for (nth, &axis) in COMMUNICATION.iter().enumerate() {
        if again.does(|activity| activity == axis) {
            let let_in = &COMMUNICATION[..=nth];
            otherwise = otherwise.instant(|activity| !activity.is_compute() && !let_in.contains(&activity));
            lengths.push((Cause::Communication(axis), again.length(otherwise)?));
        }
    }
    for (cause, disturbed) in [(Cause::Stragglers, Disturbed::Stragglers), (Cause::Jitter, Disturbed::Jitter)]
    {
        if again.run.disturbances.slows() {
            lengths.push((cause, again.length(Otherwise { disturbed, ..otherwise })?));
        }
    }
    lengths.push((Cause::Links, actual));

    let mut before = 0;
    let mut falls = Vec::new();
    for (cause, length) in lengths {
        let length = length.picos() as i64;
        falls.push(Fall { cause, picos: length - before });
        before = length;
    }
    falls.retain(|fall| fall.picos != 0);
    Ok(falls)
}

/// The model's flops at the peak of all devices; nothing where one has no peak in this precision.
fn ideal(again: &Again) -> Option<SimDuration> {
    let plan = again.run.plan;
    let flops = plan.model.step_flops(plan.global_batch());
    Some(SimDuration::from_seconds(flops / plan.peak()?.get()))
}

/// A kind of computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Passes,
    Recompute,
    Optimizer,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Passes, Kind::Recompute, Kind::Optimizer];

    fn of(activity: Activity) -> Kind {
        match activity {
            Activity::Recompute => Kind::Recompute,
            Activity::Optimizer => Kind::Optimizer,
            _ => Kind::Passes,
        }
    }
}

/// How long each rank computes, by kind.
#[derive(Debug, Default)]
struct Busy {
    ranks: BTreeMap<Rank, [SimDuration; Kind::ALL.len()]>,
}

impl Listener for Busy {
    fn span(&mut self, span: Span) {
        if let Lane::Rank(rank, _) = span.lane
            && span.activity.is_compute()
        {
            self.ranks.entry(rank).or_default()[Kind::of(span.activity) as usize] += span.duration();
        }
    }
}

impl Busy {
    /// The mean over ranks.
    fn mean(&self, kinds: &[Kind]) -> SimDuration {
        let of_rank =
            |busy: &[SimDuration; 3]| kinds.iter().map(|&kind| busy[kind as usize].picos()).sum::<u64>();
        let total: u128 = self.ranks.values().map(|busy| u128::from(of_rank(busy))).sum();
        SimDuration::from_picos((total / self.ranks.len().max(1) as u128) as u64)
    }

    /// The busiest rank.
    fn most(&self) -> SimDuration {
        let of_rank = |busy: &[SimDuration; 3]| busy.iter().copied().sum::<SimDuration>();
        self.ranks.values().map(of_rank).max().unwrap_or_default()
    }
}
