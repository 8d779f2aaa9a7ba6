//! What a training run keeps from step to step: weights, gradients, optimiser state, losses.

use std::collections::BTreeMap;

use crate::hardware::Precision;
use crate::ids::{IdVec, Rank, SlotId};
use crate::model::{Parameter, Piece};
use crate::numeric::initial;
use crate::numeric::values::Values;
use crate::rng::Seed;
use crate::trace::MemoryUse;
use crate::training::TrainingPlan;
use crate::training::compression::Scheme;
use crate::units::Bytes;

/// Every slot of a run, and which parameters they belong to.
#[derive(Debug, Clone)]
pub struct State {
    slots: IdVec<SlotId, Slot>,
    parameters: IdVec<Rank, BTreeMap<Piece, Vec<ParameterSlots>>>,
    losses: IdVec<Rank, Option<SlotId>>,
}

/// A place that keeps numbers for the whole run.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    /// Whose memory.
    pub rank: Rank,
    /// How many numbers.
    pub elements: u64,
    /// Memory on the simulated device.
    pub bytes: Bytes,
    /// What for.
    pub usage: MemoryUse,
}

/// The slots of one parameter's shard.
#[derive(Debug, Clone)]
pub struct ParameterSlots {
    /// Which parameter.
    pub parameter: Parameter,
    /// Which copy of the model it belongs to.
    pub copy: u32,
    /// How many numbers the shard has.
    pub elements: u64,
    /// The numbers themselves; nothing where replicas share them and gather them for each use.
    pub weight: Option<SlotId>,
    /// Their gradient; nothing where it lives for a micro-batch and replicas share what is kept.
    pub gradient: Option<SlotId>,
    /// The optimiser's moments, none to two: of this replica's share where replicas share.
    pub moments: Vec<SlotId>,
    /// The last average and its velocity, where replicas meet through an outer optimiser.
    pub outer: Option<[SlotId; 2]>,
    /// What a server keeps besides, where this is a server's.
    pub served: Option<Served>,
    /// What gradient compression has not sent yet.
    pub error: Option<SlotId>,
    /// The right factor of low-rank compression.
    pub factor: Option<SlotId>,
    /// This replica's share, where replicas share.
    pub share: Option<Share>,
}

/// What one of several replicas holds for all: its piece of a parameter's shard, the last one filled
/// up with zeros.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// How many numbers.
    pub elements: u64,
    /// The numbers that the optimiser steps.
    pub weight: SlotId,
    /// Their gradient, where it is kept from micro-batch to micro-batch.
    pub gradient: Option<SlotId>,
}

/// What a parameter server keeps besides weights and moments.
#[derive(Debug, Clone)]
pub struct Served {
    /// How often the parameter has been stepped.
    pub count: SlotId,
    /// What each worker got last, where gradients are compensated for their delay.
    pub backups: Vec<SlotId>,
}

impl ParameterSlots {
    /// The numbers that the optimiser steps.
    pub fn stepped(&self) -> SlotId {
        match self.share {
            Some(share) => share.weight,
            None => self.weight.expect("a parameter is held whole or shared"),
        }
    }
}

/// Bytes that a parameter takes, by use.
///
/// In f32 everything takes four bytes. In 16 bits the weights take two, and the gradients and the
/// optimiser's master copy and moments four each, as Megatron-LM keeps them (its distributed-optimizer
/// guide counts 18 bytes a parameter with Adam).
#[derive(Debug, Clone, Copy)]
pub struct ParameterBytes {
    weight: u64,
    gradient: u64,
    moment: u64,
    master: u64,
}

impl ParameterBytes {
    /// The widths of a plan's precision. Eager software in f16 leaves gradients as autograd makes them;
    /// bf16 needs them summed in f32 (Megatron-LM, `--accumulate-allreduce-grads-in-fp32`).
    pub fn of(plan: &TrainingPlan) -> Self {
        match plan.precision {
            Precision::F16 if plan.software.is_eager() => {
                ParameterBytes { weight: 2, gradient: 2, moment: 4, master: 4 }
            }
            Precision::F64 => ParameterBytes { weight: 8, gradient: 8, moment: 8, master: 0 },
            Precision::F32 | Precision::Tf32 => {
                ParameterBytes { weight: 4, gradient: 4, moment: 4, master: 0 }
            }
            _ => ParameterBytes { weight: 2, gradient: 4, moment: 4, master: 4 },
        }
    }

    /// Bytes of one gradient number, as it is kept and exchanged.
    pub fn gradient(self) -> u64 {
        self.gradient
    }

    /// Bytes of one parameter in a checkpoint: what is stepped and the moments, without gradients and without
    /// narrow copies that can be made again.
    pub fn kept(self, moments: u64) -> u64 {
        self.master.max(self.weight) + moments * self.moment
    }

    /// Bytes of one weight as it is kept and exchanged.
    pub fn weight(self) -> u64 {
        self.weight
    }
}

/// Rows, columns and rank of a parameter's shard where low-rank compression sends factors of it: a matrix
/// that is larger than they are.
pub(super) fn low_rank_of(plan: &TrainingPlan, parameter: &Parameter) -> Option<(u64, u64, u64)> {
    let Scheme::LowRank { rank } = plan.compression.scheme() else { return None };
    let (rows, columns) = parameter.shard_shape(u64::from(plan.mesh.tensor), u64::from(plan.expert));
    let rank = u64::from(rank).min(rows).min(columns);
    (rank * (rows + columns) < rows * columns).then_some((rows, columns, rank))
}

impl State {
    /// The slots of a plan: each rank holds its shard of every stage that it is home to.
    pub fn new(plan: &TrainingPlan) -> State {
        let pieces = plan.model.pieces();
        let ranks = plan.placement.len();
        let mut state = State {
            slots: IdVec::new(),
            parameters: IdVec::filled(BTreeMap::new(), ranks),
            losses: IdVec::filled(None, ranks),
        };
        for (replica, copy) in plan.simulated_copies() {
            for (stage, held) in plan.stages.enumerate() {
                for rank in plan.simulated(&plan.cell_ranks(replica, copy, stage)) {
                    for &piece in &pieces[held.clone()] {
                        let parameters = plan.model.parameters(piece).into_iter();
                        let slots =
                            parameters.map(|parameter| state.add(plan, rank, copy, parameter)).collect();
                        state.parameters[rank].insert(piece, slots);
                    }
                    if stage == plan.last_stage() {
                        let slot = Slot { rank, elements: 1, bytes: Bytes(4), usage: MemoryUse::Buffers };
                        state.losses[rank] = Some(state.slots.push(slot));
                    }
                }
            }
        }
        for &piece in &pieces {
            if let (Some(server), Some(rank)) = (plan.sync.server(), plan.server_of(&pieces, piece)) {
                let copies = if server.compensation.is_some() { plan.mesh.data } else { 0 };
                let parameters = plan.model.parameters(piece).into_iter();
                let slots =
                    parameters.map(|parameter| state.add_served(plan, rank, copies, parameter)).collect();
                state.parameters[rank].insert(piece, slots);
            }
        }
        state
    }

    /// What a server keeps of a parameter.
    fn add_served(
        &mut self,
        plan: &TrainingPlan,
        rank: Rank,
        copies: u32,
        parameter: Parameter,
    ) -> ParameterSlots {
        let elements = parameter.elements();
        let widths = ParameterBytes::of(plan);
        let mut slot = |elements: u64, bytes: u64, usage| {
            self.slots.push(Slot { rank, elements, bytes: Bytes(elements * bytes), usage })
        };
        let weight = slot(elements, widths.weight + widths.master, MemoryUse::Parameters);
        let moments =
            (0..plan.moments()).map(|_| slot(elements, widths.moment, MemoryUse::Optimizer)).collect();
        let count = slot(1, 4, MemoryUse::Buffers);
        let backups = (0..copies).map(|_| slot(elements, widths.weight, MemoryUse::Buffers)).collect();
        ParameterSlots {
            parameter,
            copy: 0,
            elements,
            weight: Some(weight),
            gradient: None,
            moments,
            outer: None,
            served: Some(Served { count, backups }),
            error: None,
            factor: None,
            share: None,
        }
    }

    fn add(&mut self, plan: &TrainingPlan, rank: Rank, copy: u32, parameter: Parameter) -> ParameterSlots {
        let elements = plan.held_elements(&parameter);
        let widths = ParameterBytes::of(plan);
        let zero = plan.zero;
        let sharers = plan.sharers_of(parameter.of_experts);
        let (shares, piece) = (sharers > 1, elements.div_ceil(u64::from(sharers)));
        let mut slot = |elements: u64, bytes: u64, usage| {
            self.slots.push(Slot { rank, elements, bytes: Bytes(elements * bytes), usage })
        };
        let weight =
            (!zero.shares_weights() || !shares).then(|| slot(elements, widths.weight, MemoryUse::Parameters));
        let gradient = (!zero.shares_gradients() || !shares)
            .then(|| slot(elements, widths.gradient, MemoryUse::Gradients));
        let share = shares.then(|| Share {
            elements: piece,
            // Where the weights are held whole, the share is a view of them (or the master copy, which
            // is counted with the optimiser) and takes no room of its own.
            weight: slot(piece, if weight.is_none() { widths.weight } else { 0 }, MemoryUse::Parameters),
            gradient: gradient.is_none().then(|| slot(piece, widths.gradient, MemoryUse::Gradients)),
        });
        // The master copy is counted with the first moment: it is one more number the optimiser keeps.
        // Where servers step, workers keep nothing to step by.
        let moments = (0..if plan.sync.server().is_some() { 0 } else { plan.moments() })
            .map(|moment| {
                let bytes = widths.moment + if moment == 0 { widths.master } else { 0 };
                slot(if share.is_some() { piece } else { elements }, bytes, MemoryUse::Optimizer)
            })
            .collect();
        let outer = plan.sync.outer().map(|_| [(); 2].map(|()| slot(elements, 4, MemoryUse::Optimizer)));
        let compresses = plan.compression.scheme() != Scheme::Whole;
        let error = (compresses && plan.compression.feeds_back())
            .then(|| slot(elements, widths.gradient, MemoryUse::Gradients));
        let factor = low_rank_of(plan, &parameter)
            .map(|(_, columns, rank)| slot(columns * rank, widths.gradient, MemoryUse::Gradients));
        ParameterSlots {
            parameter,
            copy,
            elements,
            weight,
            gradient,
            moments,
            outer,
            served: None,
            error,
            factor,
            share,
        }
    }

    /// What every slot holds at the start: weights as the model says, all else nothing.
    pub fn initial_values(&self, plan: &TrainingPlan, seed: Seed) -> IdVec<SlotId, Vec<f32>> {
        self.values_of(plan, |parameter| initial::whole(parameter, seed))
    }

    /// What every slot holds when the weights are these (those of a checkpoint, say) and all else is
    /// nothing.
    pub fn values_of(
        &self,
        plan: &TrainingPlan,
        mut weights: impl FnMut(&Parameter) -> Vec<f32>,
    ) -> IdVec<SlotId, Vec<f32>> {
        let mut values: IdVec<SlotId, Vec<f32>> =
            self.slots.iter().map(|slot| vec![0.0; slot.elements as usize]).collect();
        for piece in plan.model.pieces() {
            for (position, parameter) in plan.model.parameters(piece).iter().enumerate() {
                let whole = weights(parameter);
                for rank in plan.placement.ids() {
                    if let Some(slots) = self.of(rank, piece).get(position) {
                        if let Some(served) = &slots.served {
                            let kept = [slots.stepped()].into_iter().chain(served.backups.iter().copied());
                            kept.for_each(|slot| values[slot].clone_from(&whole));
                            continue;
                        }
                        let held = parameter.shard(&whole, plan.held(rank));
                        if let Some(share) = slots.share {
                            let index = plan.share_of(rank, parameter.of_experts);
                            let start = (u64::from(index) * share.elements) as usize;
                            let mine = held.iter().skip(start).take(share.elements as usize);
                            let mine = mine.copied().chain(std::iter::repeat(0.0));
                            values[share.weight] = mine.take(share.elements as usize).collect();
                        }
                        if let Some([last, _]) = slots.outer {
                            values[last].clone_from(&held);
                        }
                        if let Some(factor) = slots.factor {
                            // The same on every replica, as algorithm 1 asks; any numbers do.
                            let elements = values[factor].len();
                            values[factor] = initial::factor(parameter, elements);
                        }
                        if let Some(weight) = slots.weight {
                            values[weight] = held;
                        }
                    }
                }
            }
        }
        values
    }

    /// The weights of the model that a replica trains, put together from the shards and shares of its
    /// ranks, in the order of the model's pieces: what a checkpoint holds.
    pub fn weights(&self, plan: &TrainingPlan, values: &Values, replica: u32) -> Vec<(Parameter, Vec<f32>)> {
        self.whole(plan, replica, |rank, piece, position| self.shard(plan, values, rank, piece, position))
    }

    /// The gradients that a replica has summed, put together in the same way; only where replicas do
    /// not share them.
    pub fn gradients(
        &self,
        plan: &TrainingPlan,
        values: &Values,
        replica: u32,
    ) -> Vec<(Parameter, Vec<f32>)> {
        self.whole(plan, replica, |rank, piece, position| {
            let slot = self.of(rank, piece)[position].gradient.expect("gradients that are kept whole");
            values.slot(slot).to_vec()
        })
    }

    /// Every parameter of the model with its numbers, from those of the shards of a replica's ranks.
    fn whole(
        &self,
        plan: &TrainingPlan,
        replica: u32,
        shard: impl Fn(Rank, Piece, usize) -> Vec<f32>,
    ) -> Vec<(Parameter, Vec<f32>)> {
        let pieces = plan.model.pieces();
        let mut numbers = Vec::new();
        for (stage, held) in plan.stages.enumerate() {
            // What a replica does not hold of the experts, its neighbours do.
            let first = replica / plan.expert * plan.expert;
            for &piece in &pieces[held.clone()] {
                for (position, parameter) in plan.model.parameters(piece).into_iter().enumerate() {
                    let holders =
                        if parameter.of_experts { first..first + plan.expert } else { replica..replica + 1 };
                    let ranks = holders.flat_map(|replica| plan.cell_ranks(replica, 0, stage));
                    let shards: Vec<Vec<f32>> = ranks.map(|rank| shard(rank, piece, position)).collect();
                    let whole = parameter.whole(&shards, plan.mesh.tensor as usize);
                    numbers.push((parameter, whole));
                }
            }
        }
        numbers
    }

    /// A rank's shard of a parameter, gathered from those that share it.
    fn shard(
        &self,
        plan: &TrainingPlan,
        values: &Values,
        rank: Rank,
        piece: Piece,
        position: usize,
    ) -> Vec<f32> {
        // The model is what the servers keep, not what a worker has of it.
        let rank = plan.server_of(&plan.model.pieces(), piece).unwrap_or(rank);
        let slots = &self.of(rank, piece)[position];
        if slots.share.is_none() {
            return values.slot(slots.stepped()).to_vec();
        }
        let sharers = plan.sharing_group_of(rank, slots.parameter.of_experts).into_iter();
        let mut shard: Vec<f32> =
            sharers.flat_map(|rank| values.slot(self.of(rank, piece)[position].stepped())).copied().collect();
        shard.truncate(slots.elements as usize);
        shard
    }

    /// What a rank has to remember to go on after a failure: weights, and what the optimiser, the sync and
    /// the compression keep; not the gradients, which every step makes anew.
    pub fn remembered(&self, rank: Rank) -> Bytes {
        let of = |slots: &ParameterSlots| {
            let weight = slots.share.filter(|_| slots.weight.is_none()).map(|share| share.weight);
            let kept = slots.weight.into_iter().chain(weight).chain(slots.moments.iter().copied());
            let kept = kept.chain(slots.outer.into_iter().flatten()).chain(slots.error).chain(slots.factor);
            kept.map(|slot| self.slots[slot].bytes).sum::<Bytes>()
        };
        self.of_rank(rank).map(of).sum()
    }

    /// The numbers of these slots laid out for another plan of the same model: weights and the optimiser's
    /// moments as the first replica has them, all else nothing.
    pub fn relaid(
        &self,
        plan: &TrainingPlan,
        numbers: &IdVec<SlotId, Vec<f32>>,
        (to, to_plan): (&State, &TrainingPlan),
    ) -> IdVec<SlotId, Vec<f32>> {
        let whole = |pick: &dyn Fn(&ParameterSlots) -> SlotId| {
            let gathered = |rank, piece: Piece, position: usize| {
                let slots = &self.of(rank, piece)[position];
                let sharers = match slots.share {
                    Some(_) => plan.sharing_group_of(rank, slots.parameter.of_experts),
                    None => vec![rank],
                };
                let pieces = sharers.into_iter().map(|rank| &numbers[pick(&self.of(rank, piece)[position])]);
                let mut shard: Vec<f32> = pieces.flatten().copied().collect();
                shard.truncate(slots.elements as usize);
                shard
            };
            self.whole(plan, 0, gathered)
        };
        let mut weights = whole(&ParameterSlots::stepped).into_iter();
        let mut values = to.values_of(to_plan, |_| weights.next().expect("a weight of the model").1);
        for moment in 0..plan.moments() {
            let mut moments = whole(&|slots| slots.moments[moment]).into_iter();
            for piece in to_plan.model.pieces() {
                for position in 0..to_plan.model.parameters(piece).len() {
                    let (parameter, whole) = moments.next().expect("a moment of each parameter");
                    for rank in to_plan.mesh.all() {
                        let Some(slots) = to.of(rank, piece).get(position) else { continue };
                        values[slots.moments[moment]] = to.held(to_plan, rank, slots, &parameter, &whole);
                    }
                }
            }
        }
        values
    }

    /// What a rank holds of a parameter's numbers: its shard, or its share of it.
    fn held(
        &self,
        plan: &TrainingPlan,
        rank: Rank,
        slots: &ParameterSlots,
        parameter: &Parameter,
        whole: &[f32],
    ) -> Vec<f32> {
        let held = parameter.shard(whole, plan.held(rank));
        let Some(share) = slots.share else { return held };
        let start = (u64::from(plan.share_of(rank, parameter.of_experts)) * share.elements) as usize;
        let mine = held.into_iter().skip(start).take(share.elements as usize);
        mine.chain(std::iter::repeat(0.0)).take(share.elements as usize).collect()
    }

    /// Every slot.
    pub fn slots(&self) -> &IdVec<SlotId, Slot> {
        &self.slots
    }

    /// The parameters of a piece on a rank.
    pub fn of(&self, rank: Rank, piece: Piece) -> &[ParameterSlots] {
        self.parameters[rank].get(&piece).map_or(&[], Vec::as_slice)
    }

    /// Every parameter of a rank, piece by piece.
    pub fn of_rank(&self, rank: Rank) -> impl Iterator<Item = &ParameterSlots> {
        self.parameters[rank].values().flatten()
    }

    /// Where a rank of the last stage gathers the step's loss.
    pub fn loss(&self, rank: Rank) -> Option<SlotId> {
        self.losses[rank]
    }
}
