//! The machine that programs run on, from one step to the next.

use std::collections::BTreeSet;

use crate::compute::{ComputeModel, KernelCost};
use crate::hardware::Topology;
use crate::ids::{DeviceId, IdVec, KernelId, LinkId, OpId, Rank};
use crate::network::NetworkModel;
use crate::program::Program;
use crate::runtime::critical::CriticalPath;
use crate::runtime::folded::FoldedTimes;
use crate::runtime::memory::Memory;
use crate::runtime::step::Step;
use crate::runtime::{Interpreter, Stall};
use crate::trace::{Activity, Listener};
use crate::units::{Bandwidth, SimDuration, SimTime};

/// Devices that ranks are placed on, the network between them, and the time that has passed.
pub struct Machine<'a> {
    pub(super) topology: &'a Topology,
    pub(super) placement: IdVec<Rank, DeviceId>,
    pub(super) compute: &'a dyn ComputeModel,
    pub(super) network: Box<dyn NetworkModel + 'a>,
    pub(super) memory: Memory,
    /// How many times longer than its device's model says a rank's kernels take.
    slowdown: IdVec<Rank, f64>,
    /// By op of the next program, how many times longer than that; empty where all take as long.
    jitter: IdVec<OpId, f64>,
    /// What links will carry, the next change last.
    link_changes: Vec<LinkChange>,
    /// Links that are down.
    down: BTreeSet<LinkId>,
    pub(super) folded: FoldedTimes,
    pub(super) dispatch: Dispatch,
    pub(super) supposition: Supposition,
    now: SimTime,
}

/// A link carries more or less from a moment on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkChange {
    /// From when on.
    pub at: SimTime,
    /// Which link.
    pub link: LinkId,
    /// How much; nothing while it is down.
    pub bandwidth: Option<Bandwidth>,
}

/// What is supposed to be otherwise than it is: for questions of what if. The program still does
/// everything in its order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Supposition {
    /// Ops of these activities take no time.
    pub instant: Activities,
    /// Pipeline stages never wait for what their neighbours send them.
    pub stages_never_wait: bool,
}

/// Some of the activities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Activities(u32);

impl Activities {
    /// None of them.
    pub const NONE: Activities = Activities(0);

    /// Those of which something holds.
    pub fn that(holds: impl Fn(Activity) -> bool) -> Self {
        let bits = Activity::ALL.into_iter().filter(|&activity| holds(activity));
        Activities(bits.map(|activity| 1 << activity as u32).sum())
    }

    /// Whether it is one of them.
    pub fn contains(self, activity: Activity) -> bool {
        self.0 & 1 << activity as u32 != 0
    }
}

/// What a rank's host takes to hand work to its device. It does so in the order of the program, without
/// waiting for the device: work that takes longer than its handing over hides it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Dispatch {
    /// For each kernel.
    pub kernel: SimDuration,
    /// For each part in an exchange.
    pub exchange: SimDuration,
    /// For a program, before its first kernel.
    pub step: SimDuration,
}

/// How a program ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// When it began.
    pub start: SimTime,
    /// When its last op ended.
    pub end: SimTime,
    /// Events processed: ops and transfers ended.
    pub events: u64,
}

impl Outcome {
    /// How long it took.
    pub fn duration(&self) -> SimDuration {
        self.end.since(self.start)
    }
}

impl<'a> Machine<'a> {
    /// A machine at time zero, with rank `r` on device `placement[r]`.
    pub fn new(
        topology: &'a Topology,
        placement: IdVec<Rank, DeviceId>,
        compute: &'a dyn ComputeModel,
        network: Box<dyn NetworkModel + 'a>,
    ) -> Self {
        let ranks = placement.len();
        Machine {
            topology,
            placement,
            compute,
            network,
            memory: Memory::new(ranks),
            slowdown: IdVec::filled(1.0, ranks),
            jitter: IdVec::new(),
            link_changes: Vec::new(),
            down: BTreeSet::new(),
            folded: FoldedTimes::default(),
            dispatch: Dispatch::default(),
            supposition: Supposition::default(),
            now: SimTime::ZERO,
        }
    }

    /// The time that has passed.
    pub fn now(&self) -> SimTime {
        self.now
    }

    /// Lets time pass with nothing done (a pause for a checkpoint, a wait for input).
    pub fn wait(&mut self, length: SimDuration) {
        self.now += length;
    }

    /// Makes a rank's kernels take `factor` times as long from the next program on.
    pub fn slow_down(&mut self, rank: Rank, factor: f64) {
        assert!(factor > 0.0 && factor.is_finite(), "a slowdown is a positive factor, not {factor}");
        self.slowdown[rank] = factor;
    }

    /// Makes each op of the next program take as many times longer besides; none for none.
    pub fn jitter(&mut self, by_op: IdVec<OpId, f64>) {
        self.jitter = by_op;
    }

    /// Links that will carry more or less. Changes of the past happen when the next program begins.
    pub fn links_will_change(&mut self, mut changes: Vec<LinkChange>) {
        // Of several changes at one moment the one given last stands.
        changes.reverse();
        changes.sort_by_key(|change| std::cmp::Reverse(change.at));
        self.link_changes = changes;
    }

    /// Supposes something of the programs to come.
    pub fn suppose(&mut self, supposition: Supposition) {
        self.supposition = supposition;
    }

    /// What hosts take to hand work over from the next program on.
    pub fn hand_over(&mut self, dispatch: Dispatch) {
        self.dispatch = dispatch;
    }

    /// Runs a program from now to the end of its last op.
    ///
    /// # Errors
    /// A [`Stall`] when ops wait for each other or for a link that is down; it names them.
    pub fn run(
        &mut self,
        program: &Program,
        interpreter: &mut dyn Interpreter,
        listener: &mut dyn Listener,
    ) -> Result<Outcome, Stall> {
        assert_eq!(program.ranks(), self.placement.len(), "a program is run by as many ranks as it is for");
        let start = self.now;
        let outcome = Step::new(self, program, interpreter, listener, start).run()?;
        self.now = outcome.end;
        Ok(outcome)
    }

    /// Runs a program as [`run`](Self::run) does, and tells which chain of ops decided how long it took.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn explain(
        &mut self,
        program: &Program,
        interpreter: &mut dyn Interpreter,
        listener: &mut dyn Listener,
    ) -> Result<(Outcome, CriticalPath), Stall> {
        let start = self.now;
        let (outcome, path) = Step::new(self, program, interpreter, listener, start).explained()?;
        self.now = outcome.end;
        Ok((outcome, path))
    }

    /// How many times longer than its device's model says an op of a rank takes.
    pub(super) fn slowdown_of(&self, rank: Rank, op: OpId) -> f64 {
        let jitter = if self.jitter.is_empty() { 1.0 } else { self.jitter[op] };
        self.slowdown[rank] * jitter
    }

    /// When a link next carries more or less.
    pub(super) fn next_link_change(&self) -> Option<SimTime> {
        self.link_changes.last().map(|change| change.at)
    }

    /// Lets the network know of the changes until now.
    pub(super) fn change_links(&mut self, now: SimTime) {
        while let Some(change) = self.link_changes.pop_if(|change| change.at <= now) {
            self.network.set_bandwidth(now, change.link, change.bandwidth);
            if change.bandwidth.is_none() {
                self.down.insert(change.link);
            } else {
                self.down.remove(&change.link);
            }
        }
    }

    /// The links that are down, by their ends.
    pub(super) fn links_down(&self) -> Vec<String> {
        let name = |link: &LinkId| {
            let link = &self.topology.links()[*link];
            format!("{} to {}", self.topology.vertex_name(link.from), self.topology.vertex_name(link.to))
        };
        self.down.iter().map(name).collect()
    }

    /// What each kernel of the program costs on each rank's device. Ranks on devices of one kind share
    /// a row.
    pub(super) fn costs(&self, program: &Program) -> Costs {
        let mut kinds: Vec<*const crate::hardware::DeviceSpec> = Vec::new();
        let mut rows = Vec::new();
        let of_rank = self.placement.iter().map(|&device| {
            let spec = &self.topology.devices()[device].spec;
            let known = kinds.iter().position(|kind| std::ptr::eq(*kind, &raw const **spec));
            known.unwrap_or_else(|| {
                kinds.push(&raw const **spec);
                rows.push(program.kernels().iter().map(|kernel| self.compute.cost(kernel, spec)).collect());
                rows.len() - 1
            })
        });
        let of_rank = of_rank.collect();
        Costs { of_rank, rows }
    }
}

/// What each kernel costs on each rank's device.
pub(super) struct Costs {
    of_rank: IdVec<Rank, usize>,
    rows: Vec<IdVec<KernelId, KernelCost>>,
}

impl Costs {
    pub(super) fn of(&self, rank: Rank, kernel: KernelId) -> &KernelCost {
        &self.rows[self.of_rank[rank]][kernel]
    }
}
