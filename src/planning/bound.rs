//! What a plan's step takes at least, and how much memory: without simulating it.
//!
//! Both are exact lower bounds of what the simulation finds:
//! - a rank's kernels run one after the other, so a step takes no less than all kernels of its busiest rank;
//!   and where each rank has one stage, its first forward pass waits for those of the stages before, and its
//!   last backward pass is followed by theirs.
//! - a rank keeps its weights, gradients and optimiser state, and the activations of every micro-batch
//!   between its forward and its backward pass.

use std::sync::Arc;

use crate::compute::ComputeModel;
use crate::hardware::DeviceSpec;
use crate::ids::{DeviceId, Id, IdVec, PipelineRank, Rank, Stage};
use crate::parallel::Coordinates;
use crate::trace::MemoryUse;
use crate::training::TrainingPlan;
use crate::training::partition::{PieceCost, piece_costs};
use crate::training::recompute::Recompute;
use crate::training::schedule::{Pass, PipelineOp};
use crate::training::state::State;
use crate::units::{Bytes, Cycles, SimDuration, SimTime};

/// What a step takes at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Time.
    pub step: SimDuration,
    /// Memory of the rank that has least room to spare, or lacks most.
    pub memory: Need,
    /// What that rank's device has.
    pub capacity: Bytes,
}

impl Bound {
    /// Whether every rank has room for what it needs at least.
    pub fn may_fit(&self) -> bool {
        self.memory.total() <= self.capacity
    }
}

/// What a rank's memory has to hold at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Need {
    /// Weights.
    pub parameters: Bytes,
    /// Gradients.
    pub gradients: Bytes,
    /// Optimiser state, with master weights.
    pub optimizer: Bytes,
    /// Activations kept for backward passes.
    pub activations: Bytes,
}

impl Need {
    /// In all.
    pub fn total(&self) -> Bytes {
        self.parameters + self.gradients + self.optimizer + self.activations
    }
}

/// Piece costs of plans that differ in nothing that they depend on, once.
#[derive(Debug, Default)]
pub struct Costs {
    known: Vec<(Key, Vec<PieceCost>)>,
}

/// What the cost of a piece depends on, within one search.
type Key = ([u32; 2], u64, [bool; 2], Recompute, Arc<DeviceSpec>);

impl Costs {
    /// What each piece costs on a device of the plan.
    fn of(&mut self, plan: &TrainingPlan, device: DeviceId, compute: &dyn ComputeModel) -> &[PieceCost] {
        // Where some blocks of a stage are computed again and others are not, none is taken to be.
        let recompute = match plan.recompute {
            Recompute::Blocks(_) => Recompute::None,
            other => other,
        };
        // Two devices may share a name and differ: the whole description decides.
        let spec = plan.topology.devices()[device].spec.clone();
        let mesh = [plan.mesh.context, plan.mesh.tensor];
        let ways = [plan.sequence_parallel, plan.tensor_overlap];
        let key = (mesh, plan.micro_batch, ways, plan.recompute, spec);
        let at = self.known.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
            // The first rank's device is what pieces are costed on.
            let placement = IdVec::filled(device, plan.placement.len());
            let mut costs = piece_costs(&TrainingPlan { recompute, placement, ..plan.clone() }, compute);
            if recompute != plan.recompute {
                // What they keep is no bound then.
                costs.iter_mut().for_each(|cost| cost.kept = Bytes::ZERO);
            }
            self.known.push((key, costs));
            self.known.len() - 1
        });
        &self.known[at].1
    }
}

/// What the stages of a plan cost on each kind of device that it is on.
struct StageCosts {
    /// The kinds, each with a row of stages.
    kinds: Vec<(Arc<DeviceSpec>, IdVec<Stage, PieceCost>)>,
}

impl StageCosts {
    fn of(plan: &TrainingPlan, compute: &dyn ComputeModel, costs: &mut Costs) -> Self {
        let mut kinds: Vec<(Arc<DeviceSpec>, IdVec<Stage, PieceCost>)> = Vec::new();
        for &device in plan.placement.iter() {
            let spec = &plan.topology.devices()[device].spec;
            if kinds.iter().any(|(known, _)| one_kind(known, spec)) {
                continue;
            }
            let pieces = costs.of(plan, device, compute);
            let stage =
                |held: &std::ops::Range<usize>| pieces[held.clone()].iter().fold(PieceCost::default(), sum);
            kinds.push((spec.clone(), plan.stages.iter().map(stage).collect()));
        }
        StageCosts { kinds }
    }

    /// What kernels take that run one after the other on a rank's device.
    fn time(
        &self,
        plan: &TrainingPlan,
        rank: Rank,
        cycles: impl Fn(&IdVec<Stage, PieceCost>) -> u64,
    ) -> SimDuration {
        let spec = &plan.topology.devices()[plan.placement[rank]].spec;
        let (_, stages) = self.kinds.iter().find(|(kind, _)| one_kind(kind, spec)).expect("a known kind");
        spec.clock.after(SimTime::ZERO, Cycles(cycles(stages))).since(SimTime::ZERO)
    }
}

/// Devices of one kind mostly share their description, which is quicker to see.
fn one_kind(a: &Arc<DeviceSpec>, b: &Arc<DeviceSpec>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

/// What a plan's step takes at least.
pub fn bound(plan: &TrainingPlan, compute: &dyn ComputeModel, costs: &mut Costs) -> Bound {
    let stages = StageCosts::of(plan, compute, costs);
    let (memory, capacity) = least_memory(plan, &stages.kinds[0].1);
    Bound { step: least_time(plan, &stages), memory, capacity }
}

fn sum(total: PieceCost, piece: &PieceCost) -> PieceCost {
    let mut total = total;
    total.forward.0 += piece.forward.0;
    total.backward.0 += piece.backward.0;
    total.kept += piece.kept;
    total
}

fn least_time(plan: &TrainingPlan, stages: &StageCosts) -> SimDuration {
    let orders = plan.schedule.order(plan.shape());
    let splits = orders.iter().flatten().any(|op| op.pass == Pass::BackwardWeight);
    let one_stage = plan.schedule.stages_per_rank() == 1 && plan.schedule.copies() == 1 && !splits;
    let cycles = |cost: &PieceCost| cost.forward.0 + cost.backward.0;
    let busy = |rank: Rank, order: &[PipelineOp]| {
        let forwards = || order.iter().filter(|op| op.pass == Pass::Forward);
        stages.time(plan, rank, |stages| forwards().map(|op| cycles(&stages[op.stage])).sum())
    };
    // Ranks in a row of the mesh do the same; where devices are of one kind, one row tells all.
    let alike = stages.kinds.len() == 1;
    let mut most = SimDuration::ZERO;
    for rank in plan.simulated_ranks() {
        let at = plan.mesh.coordinates(rank);
        if alike && (at.data, at.context, at.tensor) != (0, 0, 0) {
            continue;
        }
        let own = busy(rank, &orders[PipelineRank(at.pipeline)]);
        let before = (0..at.pipeline).filter(|_| one_stage).map(|pipeline| {
            let earlier = plan.mesh.rank(Coordinates { pipeline, ..at });
            stages.time(plan, earlier, |stages| cycles(&stages[Stage(pipeline)]))
        });
        // Each stage's time is rounded up to the picosecond, which no sum of them may gain by.
        let rounded = SimDuration::from_picos(if one_stage { u64::from(at.pipeline) } else { 0 });
        let total = own + before.sum::<SimDuration>();
        most = most.max(SimDuration::from_picos(total.picos().saturating_sub(rounded.picos())));
    }
    most
}

/// What the rank with the least room to spare needs, and what its device has. What is kept is the same on
/// every kind of device.
fn least_memory(plan: &TrainingPlan, stages: &IdVec<Stage, PieceCost>) -> (Need, Bytes) {
    let state = State::new(plan);
    let mut needs: IdVec<Rank, Need> = IdVec::filled(Need::default(), plan.placement.len());
    for slot in state.slots() {
        let need = &mut needs[slot.rank];
        match slot.usage {
            MemoryUse::Parameters => need.parameters += slot.bytes,
            MemoryUse::Gradients => need.gradients += slot.bytes,
            MemoryUse::Optimizer => need.optimizer += slot.bytes,
            MemoryUse::Activations | MemoryUse::Buffers => {}
        }
    }
    for (pipeline, order) in plan.schedule.order(plan.shape()).enumerate() {
        let (mut kept, mut most) = (Bytes::ZERO, Bytes::ZERO);
        for op in order {
            match op.pass {
                Pass::Forward => kept += stages[op.stage].kept,
                Pass::Backward | Pass::BackwardInput => kept -= stages[op.stage].kept,
                Pass::BackwardWeight => {}
            }
            most = most.max(kept);
        }
        for rank in plan.simulated_ranks() {
            if plan.mesh.coordinates(rank).pipeline as usize == pipeline.index() {
                needs[rank].activations = most;
            }
        }
    }
    let capacity = |rank: Rank| plan.topology.devices()[plan.placement[rank]].spec.memory.capacity;
    let room = |rank: Rank| i128::from(capacity(rank).get()) - i128::from(needs[rank].total().get());
    let tightest = plan.simulated_ranks().min_by_key(|&rank| (room(rank), rank)).expect("a plan has ranks");
    (needs[tightest], capacity(tightest))
}
