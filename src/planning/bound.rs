//! What a plan's step takes at least, and how much memory: without simulating it.
//!
//! Both are exact lower bounds of what the simulation finds:
//! - a rank's kernels run one after the other, so a step takes no less than all kernels of its busiest rank;
//!   and where each rank has one stage, its first forward pass waits for those of the stages before, and its
//!   last backward pass is followed by theirs.
//! - a rank keeps its weights, gradients and optimiser state, and the activations of every micro-batch
//!   between its forward and its backward pass.

use crate::compute::ComputeModel;
use crate::ids::{Id, IdVec, PipelineRank, Rank, Stage};
use crate::trace::MemoryUse;
use crate::training::TrainingPlan;
use crate::training::partition::{PieceCost, piece_costs};
use crate::training::recompute::Recompute;
use crate::training::schedule::Pass;
use crate::training::state::State;
use crate::units::{Bytes, SimDuration, SimTime};

/// What a step takes at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Time.
    pub step: SimDuration,
    /// Memory of the rank that needs most.
    pub memory: Need,
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
type Key = (String, u32, u64, bool, Recompute);

impl Costs {
    fn of(&mut self, plan: &TrainingPlan, compute: &dyn ComputeModel) -> &[PieceCost] {
        // Where some blocks of a stage are computed again and others are not, none is taken to be.
        let recompute = match plan.recompute {
            Recompute::Blocks(_) => Recompute::None,
            other => other,
        };
        let device = plan.topology.devices()[plan.placement[Rank(0)]].spec.name.clone();
        let key = (device, plan.mesh.tensor, plan.micro_batch, plan.sequence_parallel, plan.recompute);
        let at = self.known.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
            let mut costs = piece_costs(&TrainingPlan { recompute, ..plan.clone() }, compute);
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

/// What a plan's step takes at least.
pub fn bound(plan: &TrainingPlan, compute: &dyn ComputeModel, costs: &mut Costs) -> Bound {
    let pieces = costs.of(plan, compute);
    let stages: IdVec<Stage, PieceCost> =
        plan.stages.iter().map(|held| pieces[held.clone()].iter().fold(PieceCost::default(), sum)).collect();
    Bound { step: least_time(plan, &stages), memory: least_memory(plan, &stages) }
}

fn sum(total: PieceCost, piece: &PieceCost) -> PieceCost {
    let mut total = total;
    total.forward.0 += piece.forward.0;
    total.backward.0 += piece.backward.0;
    total.kept += piece.kept;
    total
}

fn least_time(plan: &TrainingPlan, stages: &IdVec<Stage, PieceCost>) -> SimDuration {
    let clock = plan.topology.devices()[plan.placement[Rank(0)]].spec.clock;
    let orders = plan.schedule.order(plan.shape());
    let splits = orders.iter().flatten().any(|op| op.pass == Pass::BackwardWeight);
    let one_stage = plan.schedule.stages_per_rank() == 1 && plan.schedule.copies() == 1 && !splits;
    let cycles = |cost: &PieceCost| cost.forward.0 + cost.backward.0;
    let of_rank = |(rank, order): (PipelineRank, &Vec<crate::training::schedule::PipelineOp>)| {
        let forwards = order.iter().filter(|op| op.pass == Pass::Forward);
        let busy: u64 = forwards.map(|op| cycles(&stages[op.stage])).sum();
        let before: u64 = stages.iter().take(rank.index()).map(cycles).sum();
        busy + if one_stage { before } else { 0 }
    };
    let most = orders.enumerate().map(of_rank).max().unwrap_or(0);
    clock.after(SimTime::ZERO, crate::units::Cycles(most)).since(SimTime::ZERO)
}

fn least_memory(plan: &TrainingPlan, stages: &IdVec<Stage, PieceCost>) -> Need {
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
    needs.iter().copied().max_by_key(Need::total).unwrap_or_default()
}
