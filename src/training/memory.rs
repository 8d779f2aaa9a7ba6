//! How full memory gets in a step, when, and with what: asked before and after a run, and of plans that
//! might fit where one does not.

use std::collections::BTreeMap;

use crate::ids::{Rank, StepIndex};
use crate::network::links_of;
use crate::runtime::Machine;
use crate::trace::{Activity, Label, Lane, Listener, MemoryChange, MemoryUse, Span};
use crate::training::lower::lower;
use crate::training::routing::Supposed;
use crate::training::state::State;
use crate::training::{Setup, TrainingFailure};
use crate::units::{Bytes, SimDuration, SimTime};

/// The rank that has least room to spare, or lacks most.
#[derive(Debug, Clone)]
pub struct Tightest {
    /// Which.
    pub rank: Rank,
    /// Its device.
    pub device: String,
    /// What that has.
    pub capacity: Bytes,
    /// When it is fullest, seen from the step's start.
    pub at: SimDuration,
    /// What the rank does then.
    pub during: Option<(Activity, Label)>,
    /// What its memory is full of, in the order of [`MemoryUse::ALL`].
    pub by_use: [Bytes; MemoryUse::ALL.len()],
    /// How long the step is.
    pub step: SimDuration,
}

impl Tightest {
    /// What it needs.
    pub fn needed(&self) -> Bytes {
        self.by_use.iter().copied().sum()
    }

    /// Whether its device has that.
    pub fn fits(&self) -> bool {
        self.needed() <= self.capacity
    }
}

/// Runs one step, timed only and undisturbed, and looks for the rank with the least room to spare.
///
/// # Errors
/// As [`run`](crate::training::run).
pub fn tightest(setup: &Setup) -> Result<Tightest, TrainingFailure> {
    let plan = setup.plan;
    let state = State::new(plan);
    let program = lower(plan, &state, StepIndex(0)).map_err(TrainingFailure::Deadlock)?;
    let network = setup.network.model(&links_of(&plan.topology));
    let mut machine = Machine::new(&plan.topology, plan.placement.clone(), setup.compute, network);
    machine.hand_over(plan.software.dispatch());
    let mut peaks = Peaks::default();
    let ran = machine
        .run(&program, &mut Supposed::of(plan, StepIndex(0)), &mut peaks)
        .map_err(TrainingFailure::Stall)?;
    let device = |rank: Rank| &plan.topology.devices()[plan.placement[rank]];
    let room = |rank: Rank, peak: &Peak| {
        i128::from(device(rank).spec.memory.capacity.get()) - i128::from(peak.total().get())
    };
    let (&rank, peak) =
        peaks.ranks.iter().min_by_key(|&(&rank, peak)| (room(rank, peak), rank)).expect("a rank that works");
    Ok(Tightest {
        rank,
        device: device(rank).name.clone(),
        capacity: device(rank).spec.memory.capacity,
        at: peak.at.since(SimTime::ZERO),
        during: peak.during.clone(),
        by_use: peak.by_use,
        step: ran.duration(),
    })
}

/// The fullest moment of each rank.
#[derive(Default)]
struct Peaks {
    ranks: BTreeMap<Rank, Peak>,
}

#[derive(Default)]
struct Peak {
    now: [Bytes; MemoryUse::ALL.len()],
    by_use: [Bytes; MemoryUse::ALL.len()],
    at: SimTime,
    during: Option<(Activity, Label)>,
}

impl Peak {
    fn total(&self) -> Bytes {
        self.by_use.iter().copied().sum()
    }
}

impl Listener for Peaks {
    /// An op is told when it has ended: the one that was going on at the fullest moment comes after it.
    fn span(&mut self, span: Span) {
        if let Lane::Rank(rank, _) = span.lane
            && let Some(peak) = self.ranks.get_mut(&rank)
            && span.start <= peak.at
            && peak.at <= span.end
            && (span.activity.is_compute() || peak.during.is_none())
        {
            peak.during = Some((span.activity, span.label));
        }
    }

    fn memory(&mut self, change: MemoryChange) {
        let peak = self.ranks.entry(change.rank).or_default();
        peak.now[change.usage as usize] = change.now;
        if peak.now.iter().copied().sum::<Bytes>() > peak.total() {
            peak.by_use = peak.now;
            peak.at = change.at;
            peak.during = None;
        }
    }
}
