//! Which pieces of a model each pipeline stage holds.
//!
//! By cost: contiguous pieces, so that the slowest stage is as quick as it can be, found exactly by dynamic
//! programming (Narayanan et al., "PipeDream: Generalized Pipeline Parallelism for DNN Training", SOSP
//! 2019, section 3.1, for one machine to a stage; the linear partition problem).

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::compute::ComputeModel;
use crate::ids::{BufferId, DeviceId, IdVec, Rank, Stage, StepIndex};
use crate::model::{Model, Piece};
use crate::parallel::Mesh;
use crate::trace::Activity;
use crate::training::TrainingPlan;
use crate::training::lower::lower;
use crate::training::schedule::ScheduleSpec;
use crate::training::state::State;
use crate::training::sync::SyncSpec;
use crate::training::zero::Zero;
use crate::units::{Bytes, Cycles};

/// `partition:` of a training workload.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partition {
    /// As many layers on every stage.
    #[default]
    Even,
    /// So that the slowest stage is as quick as it can be.
    ByCost,
    /// These many layers on the stages, one after the other. What comes before the layers is with the
    /// first, what comes behind with the last.
    Layers(Vec<u32>),
}

/// The pieces of a model from these many layers a stage.
///
/// # Errors
/// When they are not as many stages, or not as many layers, as there are; the text says which.
pub fn explicit_stages(
    model: &Model,
    layers: &[u32],
    stages: u32,
) -> Result<IdVec<Stage, Range<usize>>, String> {
    let pieces = model.pieces();
    let is_layer = |piece: &Piece| matches!(piece, Piece::Block(_) | Piece::Dense(_));
    let all = pieces.iter().filter(|piece| is_layer(piece)).count();
    let listed: u64 = layers.iter().map(|&count| u64::from(count)).sum();
    if layers.len() != stages as usize {
        return Err(format!("{} numbers of layers for {stages} stages", layers.len()));
    }
    if listed != all as u64 {
        return Err(format!("the stages hold {listed} layers, the model has {all}"));
    }
    if let Some(empty) = layers.iter().position(|&count| count == 0) {
        return Err(format!("stage {empty} holds no layer"));
    }
    let first = pieces.iter().position(is_layer).unwrap_or(0);
    let mut start = 0;
    let mut end = first;
    let mut held = IdVec::new();
    for (at, &count) in layers.iter().enumerate() {
        end += count as usize;
        let until = if at + 1 == layers.len() { pieces.len() } else { end };
        held.push(start..until);
        start = until;
    }
    Ok(held)
}

/// What a piece of a model costs one rank for one micro-batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PieceCost {
    /// Kernels of the forward pass.
    pub forward: Cycles,
    /// Kernels of the backward pass, with what it computes again.
    pub backward: Cycles,
    /// What the forward pass keeps for the backward pass.
    pub kept: Bytes,
}

/// What each piece of a plan's model costs one rank, in cycles of the first rank's device: kernels alone,
/// without what is exchanged.
pub fn piece_costs(plan: &TrainingPlan, compute: &dyn ComputeModel) -> Vec<PieceCost> {
    let pieces = plan.model.pieces().len() as u32;
    let mesh = Mesh { data: 1, pipeline: pieces, ..plan.mesh };
    let device = plan.placement[Rank(0)];
    // A stage for each piece, on as many ranks as it takes, all of them the same device.
    let alone = TrainingPlan {
        mesh,
        // All experts are here, and as many rows come as leave.
        expert: 1,
        placement: (0..mesh.ranks()).map(|_| device).collect::<IdVec<Rank, DeviceId>>(),
        stages: (0..pieces as usize).map(|piece| piece..piece + 1).collect(),
        micro_batches: 1,
        schedule: ScheduleSpec::from_name("gpipe").expect("a listed schedule"),
        sync: SyncSpec::from_name("all_reduce").expect("a listed sync"),
        zero: Zero::default(),
        clip: None,
        folded: true,
        ..plan.clone()
    };
    let state = State::new(&alone);
    let program = lower(&alone, &state, StepIndex(0)).expect("one micro-batch passes a pipeline");
    let spec = &plan.topology.devices()[device].spec;
    let mut costs = vec![PieceCost::default(); pieces as usize];
    // Whether a buffer is used up to the last op of its stage's forward pass, and after it.
    let mut used: IdVec<BufferId, [bool; 2]> = IdVec::filled([false; 2], program.buffers().len());
    let mut last_forward = vec![None; pieces as usize];
    for (id, op) in program.ops().enumerate() {
        if let (Some(stage), Activity::Forward) = (op.label.stage, op.activity) {
            last_forward[stage.0 as usize] = Some(id);
        }
    }
    for (id, op) in program.ops().enumerate() {
        let (Some(stage), true) = (op.label.stage, op.label.micro_batch.is_some()) else { continue };
        let (cost, forward) = (&mut costs[stage.0 as usize], op.activity == Activity::Forward);
        let cycles = if forward { &mut cost.forward } else { &mut cost.backward };
        for kernel in program.instructions(id).iter().filter_map(|instruction| instruction.kernel) {
            cycles.0 += compute.cost(&program.kernels()[kernel], spec).cycles.0;
        }
        // What is sent on is not kept for that.
        if op.activity != Activity::PipelineComm {
            let after = Some(id) > last_forward[stage.0 as usize];
            program.touched(id).for_each(|buffer| used[buffer][usize::from(after)] = true);
        }
    }
    let stage_of = |rank: Rank| mesh.coordinates(rank).pipeline as usize;
    for (id, buffer) in program.buffers().enumerate() {
        if buffer.slot.is_none() && used[id] == [true; 2] {
            costs[stage_of(buffer.rank)].kept += buffer.bytes;
        }
    }
    costs
}

/// Cuts a row of pieces into `stages` runs, none empty, so that the dearest costs least; of several such
/// cuts the one whose first stages are shortest.
///
/// # Errors
/// When there are fewer pieces than stages.
pub fn balanced(costs: &[Cycles], stages: u32) -> Result<IdVec<Stage, Range<usize>>, String> {
    let (pieces, stages) = (costs.len(), stages as usize);
    if stages == 0 || pieces < stages {
        return Err(format!("{pieces} pieces of the model do not fill {stages} pipeline stages"));
    }
    let mut before = vec![0_u64; pieces + 1];
    for (at, cost) in costs.iter().enumerate() {
        before[at + 1] = before[at] + cost.0;
    }
    // worst[s][i]: the dearest of s + 1 runs that begin with piece i; cut[s][i]: where the first ends.
    let mut worst: Vec<u64> = (0..=pieces).map(|at| before[pieces] - before[at]).collect();
    let mut cuts: Vec<Vec<usize>> = Vec::new();
    for more in 1..stages {
        let mut next = vec![u64::MAX; pieces + 1];
        let mut cut = vec![0; pieces + 1];
        for at in 0..pieces.saturating_sub(more) {
            for end in at + 1..=pieces - more {
                let dearest = worst[end].max(before[end] - before[at]);
                if dearest < next[at] {
                    (next[at], cut[at]) = (dearest, end);
                }
            }
        }
        worst = next;
        cuts.push(cut);
    }
    let mut held = IdVec::new();
    let mut start = 0;
    for cut in cuts.iter().rev() {
        held.push(start..cut[start]);
        start = cut[start];
    }
    held.push(start..pieces);
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The dearest of all cuts, one by one.
    fn exhaustive(costs: &[u64], stages: usize) -> u64 {
        if stages == 1 {
            return costs.iter().sum();
        }
        let cut = |end: usize| costs[..end].iter().sum::<u64>().max(exhaustive(&costs[end..], stages - 1));
        (1..=costs.len() + 1 - stages).map(cut).min().unwrap()
    }

    #[test]
    fn no_other_cut_has_a_cheaper_dearest_stage() {
        let rows: [&[u64]; 4] =
            [&[5, 1, 1, 1, 1, 9], &[1, 2, 3, 4, 5, 6, 7], &[0, 0, 4, 0], &[10, 1, 1, 1, 1, 1, 1, 10]];
        for row in rows {
            for stages in 1..=row.len() {
                let costs: Vec<Cycles> = row.iter().map(|&cost| Cycles(cost)).collect();
                let held = balanced(&costs, stages as u32).unwrap();
                let of = |range: &Range<usize>| row[range.clone()].iter().sum::<u64>();
                assert_eq!(
                    held.iter().map(of).max().unwrap(),
                    exhaustive(row, stages),
                    "{row:?} in {stages}"
                );
                assert_eq!(held.len(), stages);
                assert!(held.iter().all(|range| !range.is_empty()));
                assert_eq!(held.iter().map(Range::len).sum::<usize>(), row.len());
            }
        }
        assert!(balanced(&[Cycles(1)], 2).is_err());
    }

    #[test]
    fn listed_layers_take_what_is_around_them() {
        let gpt = crate::model::Gpt {
            layers: 5,
            hidden: 8,
            heads: 1,
            sequence: 4,
            vocabulary: 8,
            ffn_hidden: None,
            experts: None,
        };
        let model = Model::Gpt(gpt);
        let held = explicit_stages(&model, &[1, 3, 1], 3).unwrap();
        assert_eq!(held.iter().cloned().collect::<Vec<_>>(), [0..2, 2..5, 5..7]);
        for (layers, why) in [(vec![5], "1 numbers"), (vec![2, 2, 2], "6 layers"), (vec![0, 4, 1], "stage 0")]
        {
            assert!(explicit_stages(&model, &layers, 3).unwrap_err().contains(why));
        }
    }
}
