//! The machine that programs run on, from one step to the next.

use crate::compute::{ComputeModel, KernelCost};
use crate::hardware::Topology;
use crate::ids::{DeviceId, IdVec, KernelId, Rank};
use crate::network::NetworkModel;
use crate::program::Program;
use crate::runtime::folded::FoldedTimes;
use crate::runtime::memory::Memory;
use crate::runtime::step::Step;
use crate::runtime::{Interpreter, Stall};
use crate::trace::Listener;
use crate::units::{SimDuration, SimTime};

/// Devices that ranks are placed on, the network between them, and the time that has passed.
pub struct Machine<'a> {
    pub(super) topology: &'a Topology,
    pub(super) placement: IdVec<Rank, DeviceId>,
    pub(super) compute: &'a dyn ComputeModel,
    pub(super) network: Box<dyn NetworkModel + 'a>,
    pub(super) memory: Memory,
    /// How many times longer than its device's model says a rank's kernels take.
    pub(super) slowdown: IdVec<Rank, f64>,
    pub(super) folded: FoldedTimes,
    pub(super) dispatch: Dispatch,
    now: SimTime,
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
            folded: FoldedTimes::default(),
            dispatch: Dispatch::default(),
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
