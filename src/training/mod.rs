//! Training: pipeline schedules, gradient sync, steps.
//!
//! A [`TrainingPlan`] is everything that decides: model, mesh, schedule, sync, algorithm. [`lower`]
//! turns it into the program of a step, the [`runtime`](crate::runtime) times it, and
//! [`numeric`](crate::numeric) computes it. [`run`] goes through the steps and tells an observer.
//!
//! Training knows nothing of serving, tasks or clusters, reads no files and draws nothing.

mod asynchronous;
pub mod compression;
pub mod disturbance;
pub mod lower;
pub mod memory;
pub mod partition;
pub mod recompute;
pub mod recovery;
pub mod routing;
mod run;
pub mod schedule;
pub mod software;
pub mod state;
pub mod sync;
pub mod why;
pub mod zero;

pub use asynchronous::Applied;
pub use recovery::{Setup, run_disturbed};
pub use run::{Observer, Silent, StepReport, TrainingFailure, TrainingOutcome, run, run_from};

use std::ops::Range;
use std::sync::Arc;

use crate::collective::{AlgorithmSpec, CollectiveKind};
use crate::hardware::{Precision, Topology};
use crate::ids::{DeviceId, Id, IdVec, MicroBatch, Rank, Stage, StepIndex};
use crate::model::{Held, Model, Parameter, Piece};
use crate::numeric::optimizer::OptimizerSpec;
use crate::parallel::{Axis, Coordinates, Mesh};
use crate::rng::Seed;
use crate::training::compression::{CompressionSpec, Scheme};
use crate::training::recompute::Recompute;
use crate::training::schedule::{PipelineShape, ScheduleSpec};
use crate::training::software::SoftwareSpec;
use crate::training::sync::SyncSpec;
use crate::training::zero::Zero;
use crate::units::{Bytes, FlopRate, SimTime};

/// Everything that decides how a model is trained.
#[derive(Debug, Clone)]
pub struct TrainingPlan {
    /// The network.
    pub model: Model,
    /// The machine.
    pub topology: Arc<Topology>,
    /// How many ranks each axis has.
    pub mesh: Mesh,
    /// Ranks of the data axis, neighbours, that divide the experts of each layer among them.
    pub expert: u32,
    /// Which device each rank is on.
    pub placement: IdVec<Rank, DeviceId>,
    /// Which pieces of the model each stage holds.
    pub stages: IdVec<Stage, Range<usize>>,
    /// Samples of a micro-batch.
    pub micro_batch: u64,
    /// Micro-batches that each replica works through in a step.
    pub micro_batches: u32,
    /// Optimiser steps.
    pub steps: u32,
    /// What numbers are kept and multiplied in.
    pub precision: Precision,
    /// The order of passes.
    pub schedule: ScheduleSpec,
    /// What replicas exchange.
    pub sync: SyncSpec,
    /// What of a gradient is sent.
    pub compression: CompressionSpec,
    /// Least size of a gradient bucket.
    pub bucket: Bytes,
    /// Whether tensor ranks also split the rows of what they hold in common (Korthikanti et al. 2022).
    pub sequence_parallel: bool,
    /// What replicas hold together.
    pub zero: Zero,
    /// Which activations are computed again instead of kept.
    pub recompute: Recompute,
    /// Which kernels are run, and how fast the host hands them over.
    pub software: SoftwareSpec,
    /// Whether ranks that do the same at the same time are simulated once: one replica and one tensor
    /// rank stand for all. For runs that are only timed, on devices of one kind.
    pub folded: bool,
    /// How collectives are carried out.
    pub algorithm: AlgorithmSpec,
    /// How weights are stepped.
    pub optimizer: OptimizerSpec,
    /// Greatest global gradient norm.
    pub clip: Option<f32>,
    /// When each sample of the data is there, in the order in which they are trained on; nothing where all
    /// are from the start.
    pub input: Option<Arc<[SimTime]>>,
    /// What is only assumed is drawn from it.
    pub seed: Seed,
}

impl TrainingPlan {
    /// What the schedule needs to know.
    pub fn shape(&self) -> PipelineShape {
        PipelineShape { ranks: self.mesh.pipeline, micro_batches: self.micro_batches }
    }

    /// The last stage.
    pub fn last_stage(&self) -> Stage {
        Stage::from_index(self.stages.len() - 1)
    }

    /// Which copy of the model a micro-batch goes through.
    pub fn copy_of(&self, micro_batch: MicroBatch) -> u32 {
        micro_batch.0 / (self.micro_batches / self.schedule.copies()).max(1)
    }

    /// Whether a rank is simulated itself, and not by another that does the same at the same time.
    pub fn simulates(&self, rank: Rank) -> bool {
        let at = self.mesh.coordinates(rank);
        !self.folded || (at.data, at.context, at.tensor) == (0, 0, 0)
    }

    /// Those of a group that are simulated.
    pub fn simulated(&self, group: &[Rank]) -> Vec<Rank> {
        group.iter().copied().filter(|&rank| self.simulates(rank)).collect()
    }

    /// Every rank that is simulated.
    pub fn simulated_ranks(&self) -> impl Iterator<Item = Rank> + '_ {
        let step = if self.folded { self.mesh.data * self.mesh.context * self.mesh.tensor } else { 1 };
        (0..self.mesh.ranks()).step_by(step as usize).map(Rank)
    }

    /// When every sample of a step is there. Samples that are trained on once more are there already.
    pub fn input_ready(&self, step: StepIndex) -> SimTime {
        let Some(ready) = &self.input else { return SimTime::ZERO };
        let samples = self.global_batch() as usize;
        let first = step.0 as usize * samples;
        let needed = ready.get(first.min(ready.len())..(first + samples).min(ready.len()));
        needed.into_iter().flatten().copied().max().unwrap_or(SimTime::ZERO)
    }

    /// Whether steps are of different kinds, so that their mean says more than their median.
    pub fn steps_differ(&self) -> bool {
        self.sync.period() > 1 || self.input.is_some()
    }

    /// The ranks of parameter servers, after those of the mesh.
    pub fn server_ranks(&self) -> impl Iterator<Item = Rank> + '_ {
        (self.mesh.ranks()..self.placement.len() as u32).map(Rank)
    }

    /// The server that keeps a piece of the model, where there are servers: by turns.
    pub fn server_of(&self, pieces: &[Piece], piece: Piece) -> Option<Rank> {
        let servers = self.sync.server()?.servers;
        let at = pieces.iter().position(|&other| other == piece).expect("a piece of the model");
        Some(Rank(self.mesh.ranks() + at as u32 % servers))
    }

    /// Replicas that are simulated.
    pub fn simulated_replicas(&self) -> u32 {
        if self.folded { 1 } else { self.mesh.data }
    }

    /// How many ranks each simulated one stands for.
    pub fn ranks_of_each(&self) -> u32 {
        if self.folded { self.mesh.ranks() / self.mesh.pipeline } else { 1 }
    }

    /// The groups that do at the same time what a group with a simulated rank does, that group first:
    /// what it becomes when data, context and tensor coordinates are shifted.
    pub fn mirrored(&self, group: &[Rank]) -> Vec<Vec<Rank>> {
        let mesh = self.mesh;
        let mut taken = vec![false; mesh.ranks() as usize];
        let mut groups = Vec::new();
        for shift in 0..mesh.data * mesh.context * mesh.tensor {
            let by = mesh.coordinates(Rank(shift));
            let shifted = |&rank: &Rank| {
                let at = mesh.coordinates(rank);
                mesh.rank(Coordinates {
                    data: (at.data + by.data) % mesh.data,
                    pipeline: at.pipeline,
                    context: (at.context + by.context) % mesh.context,
                    tensor: (at.tensor + by.tensor) % mesh.tensor,
                })
            };
            let other: Vec<Rank> = group.iter().map(shifted).collect();
            if other.iter().any(|rank| taken[rank.index()]) {
                continue;
            }
            other.iter().for_each(|rank| taken[rank.index()] = true);
            groups.push(other);
        }
        groups
    }

    /// The tensor ranks that hold a stage of a copy in a replica.
    pub fn cell_ranks(&self, replica: u32, copy: u32, stage: Stage) -> Vec<Rank> {
        let pipeline = self.schedule.home(self.shape(), copy, stage).0;
        let first = self.mesh.rank(Coordinates { data: replica, pipeline, context: 0, tensor: 0 });
        self.mesh.group(first, Axis::Tensor)
    }

    /// Models that are kept equal: copies in all replicas.
    pub fn replicas(&self) -> u32 {
        self.mesh.data * self.schedule.copies()
    }

    /// Every (replica, copy of the model), replicas first.
    pub fn copies(&self) -> impl Iterator<Item = (u32, u32)> + use<> {
        self.copies_of(self.mesh.data)
    }

    /// Those of them that are simulated.
    pub fn simulated_copies(&self) -> impl Iterator<Item = (u32, u32)> + use<> {
        self.copies_of(self.simulated_replicas())
    }

    fn copies_of(&self, replicas: u32) -> impl Iterator<Item = (u32, u32)> + use<> {
        let copies = self.schedule.copies();
        (0..replicas).flat_map(move |replica| (0..copies).map(move |copy| (replica, copy)))
    }

    /// Samples of a step, over all replicas.
    pub fn global_batch(&self) -> u64 {
        self.micro_batch * u64::from(self.micro_batches) * u64::from(self.mesh.data)
    }

    /// Replicas that share what they hold.
    pub fn sharers(&self) -> u32 {
        if self.zero.shares() { self.zero.group.unwrap_or(self.mesh.data) } else { 1 }
    }

    /// Replicas that share a parameter: of experts only those that hold the same ones.
    pub fn sharers_of(&self, of_experts: bool) -> u32 {
        if of_experts && self.expert > 1 && self.zero.shares() {
            self.mesh.data / self.expert
        } else {
            self.sharers()
        }
    }

    /// The ranks that share a parameter with `rank`, in order.
    pub fn sharing_group_of(&self, rank: Rank, of_experts: bool) -> Vec<Rank> {
        if !of_experts || self.expert == 1 {
            return self.sharing_group(rank);
        }
        let at = (self.mesh.coordinates(rank).data % self.expert) as usize;
        self.mesh.group(rank, Axis::Data).into_iter().skip(at).step_by(self.expert as usize).collect()
    }

    /// Which share of a parameter is a rank's.
    pub fn share_of(&self, rank: Rank, of_experts: bool) -> u32 {
        let data = self.mesh.coordinates(rank).data;
        if of_experts && self.expert > 1 { data / self.expert } else { data % self.sharers() }
    }

    /// The ranks that hold together all experts of a layer, `rank` among them: neighbours along the data axis
    /// (Rajbhandari et al., "DeepSpeed-MoE", ICML 2022, section 5.2; Megatron-Core likewise).
    pub fn expert_group(&self, rank: Rank) -> Vec<Rank> {
        let size = self.expert as usize;
        let at = self.mesh.coordinates(rank).data as usize / size * size;
        self.mesh.group(rank, Axis::Data)[at..at + size].to_vec()
    }

    /// Which part of each parameter a rank holds.
    pub fn held(&self, rank: Rank) -> Held {
        let at = self.mesh.coordinates(rank);
        Held {
            tensor: u64::from(at.tensor),
            tensors: u64::from(self.mesh.tensor),
            expert: u64::from(at.data % self.expert),
            experts: u64::from(self.expert),
        }
    }

    /// How many numbers of a parameter each rank holds.
    pub fn held_elements(&self, parameter: &Parameter) -> u64 {
        parameter.shard_elements(u64::from(self.mesh.tensor), u64::from(self.expert))
    }

    /// Whether the gradient of a parameter that tensor ranks hold whole is the sum of what each has seen: of its
    /// own rows only, or of its own part of the experts.
    pub fn sums_over_tensor(&self, parameter: &Parameter) -> bool {
        self.mesh.tensor > 1 && parameter.is_replicated() && (self.splits_rows() || parameter.seen_in_part)
    }

    /// Whether there is any such parameter.
    pub fn sums_some_over_tensor(&self) -> bool {
        self.splits_rows() || (self.mesh.tensor > 1 && self.model.experts().is_some())
    }

    /// The ranks that share with `rank`, in order.
    pub fn sharing_group(&self, rank: Rank) -> Vec<Rank> {
        let sharers = self.sharers() as usize;
        let at = self.mesh.coordinates(rank).data as usize / sharers * sharers;
        self.mesh.group(rank, Axis::Data)[at..at + sharers].to_vec()
    }

    /// The ranks that hold the same share as `rank`, one of each sharing group.
    pub fn same_share(&self, rank: Rank) -> Vec<Rank> {
        let sharers = self.sharers() as usize;
        let at = self.mesh.coordinates(rank).data as usize % sharers;
        self.mesh.group(rank, Axis::Data).into_iter().skip(at).step_by(sharers).collect()
    }

    /// The collectives of a step, and along which axis.
    pub fn collectives(&self) -> Vec<(Axis, CollectiveKind)> {
        use CollectiveKind::{AllGather, AllReduce, AllToAll, ReduceScatter};
        let along =
            |axis, kinds: &[CollectiveKind]| kinds.iter().map(|&kind| (axis, kind)).collect::<Vec<_>>();
        let data: &[CollectiveKind] = match self.compression.scheme() {
            _ if self.mesh.data == 1 => &[],
            _ if self.zero.shares() && self.sharers() == self.mesh.data => &[ReduceScatter, AllGather],
            _ if self.zero.shares() => &[ReduceScatter, AllGather, AllReduce],
            Scheme::Largest { .. } | Scheme::Sign => &[AllGather],
            Scheme::Narrow { .. } => &[AllToAll, AllGather],
            Scheme::Whole | Scheme::Random { .. } | Scheme::LowRank { .. } => &[AllReduce],
        };
        let tensor: &[CollectiveKind] = match self.splits_rows() {
            _ if self.mesh.tensor == 1 => &[],
            true => &[AllReduce, AllGather, ReduceScatter],
            false => &[AllReduce],
        };
        [along(Axis::Data, data), along(Axis::Tensor, tensor)].concat()
    }

    /// Whether the rows between the tensor-parallel regions are split.
    pub fn splits_rows(&self) -> bool {
        self.sequence_parallel && self.mesh.tensor > 1
    }

    /// Tokens of a step, over all replicas.
    pub fn tokens_per_step(&self) -> u64 {
        self.global_batch() * self.model.tokens_per_sample()
    }

    /// Flops of a step as the hardware does them: the model's, and what is computed again.
    pub fn hardware_flops(&self) -> f64 {
        let model = self.model.step_flops(self.global_batch());
        let Some(gpt) = self.model.gpt() else { return model };
        let samples = self.global_batch();
        let pieces = self.model.pieces();
        let again = match self.recompute {
            Recompute::Selective => gpt.attention_flops(samples) * gpt.layers as f64,
            _ => {
                let blocks = |held: &Range<usize>| {
                    let held = pieces[held.clone()].iter();
                    let blocks = held.filter_map(|piece| match piece {
                        Piece::Block(layer) => Some(*layer),
                        _ => None,
                    });
                    let repeated = blocks.zip(0..).filter(|(_, at)| self.recompute.repeats_block(*at));
                    repeated.map(|(layer, _)| gpt.block_flops(samples, layer)).sum::<f64>()
                };
                self.stages.iter().map(blocks).sum()
            }
        };
        model + again
    }

    /// The devices' peaks together, in the run's precision; nothing where one has none.
    pub fn peak(&self) -> Option<FlopRate> {
        let peak = |rank: Rank| self.topology.devices()[self.placement[rank]].spec.peak(self.precision);
        let sum = self.mesh.all().map(|rank| peak(rank).map(FlopRate::get)).sum::<Option<f64>>();
        sum.map(FlopRate::per_second)
    }

    /// How many moments the optimiser keeps.
    pub fn moments(&self) -> usize {
        self.optimizer.moments()
    }
}

/// Which pieces each of `stages` stages holds: as many blocks (or dense layers) each, the embedding
/// with the first and the head with the last, as Megatron-LM does.
///
/// # Errors
/// When the layers do not divide; the text says what would do.
pub fn even_stages(model: &Model, stages: u32) -> Result<IdVec<Stage, Range<usize>>, String> {
    let pieces = model.pieces();
    let layers: Vec<usize> = pieces
        .iter()
        .enumerate()
        .filter(|(_, piece)| matches!(piece, Piece::Block(_) | Piece::Dense(_)))
        .map(|(index, _)| index)
        .collect();
    let count = layers.len() as u32;
    if stages == 0 || count < stages || !count.is_multiple_of(stages) {
        let fits: Vec<String> =
            (1..=count).filter(|n| count.is_multiple_of(*n)).map(|n| n.to_string()).collect();
        return Err(format!(
            "{count} layers do not divide into {stages} pipeline stages; these would: {}",
            fits.join(", ")
        ));
    }
    let per_stage = (count / stages) as usize;
    let cuts: Vec<usize> = (1..stages as usize).map(|stage| layers[stage * per_stage]).collect();
    let starts = std::iter::once(0).chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain([pieces.len()]);
    Ok(starts.zip(ends).map(|(start, end)| start..end).collect())
}
