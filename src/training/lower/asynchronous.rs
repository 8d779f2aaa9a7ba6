//! The program of a whole run with parameter servers: every worker's steps, one after the other, and what
//! they push and pull. Which worker's gradient a server takes next is decided by when it arrives.

use std::collections::BTreeMap;

use crate::ids::{BufferId, MicroBatch, OpId, Rank, Stage, StepIndex};
use crate::model::Piece;
use crate::program::{Formula, OpLabel, OptimizerRule, Part, Program};
use crate::trace::{Activity, MemoryUse, Stream};
use crate::training::TrainingPlan;
use crate::training::lower::{Cell, Deadlock, Lowering, kernels};
use crate::training::schedule::PipelineOp;
use crate::training::state::{ParameterBytes, State};
use crate::training::sync::ParameterServer;
use crate::units::Bytes;

/// What ops of a worker's step are called: steps of all workers count on.
pub fn turn(iteration: u32, worker: u32, workers: u32) -> MicroBatch {
    MicroBatch(iteration * workers + worker)
}

/// Ops that send weights to a worker, and that step by its gradient: [`turn`] says whose.
pub const PULL: &str = "pull weights";
/// See [`PULL`].
pub const APPLY: &str = "apply gradients";

/// The program of all steps of a plan whose sync has servers.
///
/// # Errors
/// When the schedule's orders wait for each other in a circle.
pub fn lower_asynchronous(
    plan: &TrainingPlan,
    state: &State,
    server: &ParameterServer,
) -> Result<Program, Deadlock> {
    let mut lowering = Lowering::new(plan, state, StepIndex(0));
    let mut run = Run { lowering: &mut lowering, server, applied: BTreeMap::new() };
    for iteration in 0..plan.steps {
        for worker in 0..plan.mesh.data {
            run.iteration(iteration, worker);
        }
    }
    Ok(lowering.emitter.build())
}

struct Run<'r, 'a> {
    lowering: &'r mut Lowering<'a>,
    server: &'r ParameterServer,
    /// The ops that apply what a worker pushed in an iteration.
    applied: BTreeMap<(u32, u32), Vec<OpId>>,
}

/// Pieces that come and go together, and the rank that keeps them.
struct Parcel {
    server: Rank,
    pieces: Vec<Piece>,
}

impl Run<'_, '_> {
    /// One step of one worker: pull, forward and backward, push; the servers apply.
    fn iteration(&mut self, iteration: u32, worker: u32) {
        let cell = self.lowering.cell(worker, Stage(0), MicroBatch(0), 0);
        let label = turn(iteration, worker, self.lowering.plan.mesh.data);
        for parcel in self.parcels() {
            if iteration > 0 {
                self.pull(iteration, worker, &cell, &parcel, label);
            }
        }
        self.compute(iteration, &cell, label);
        let mut applied = Vec::new();
        for parcel in self.parcels() {
            let landed = self.push(&cell, &parcel, label);
            applied.push(self.apply(worker, &parcel, &landed, label));
        }
        self.applied.insert((iteration, worker), applied);
    }

    /// What travels together: every server's pieces, or every piece alone, last pieces first.
    fn parcels(&self) -> Vec<Parcel> {
        let plan = self.lowering.plan;
        let keeper =
            |piece: &Piece| plan.server_of(&self.lowering.pieces, *piece).expect("a plan with servers");
        let pieces =
            self.lowering.pieces.iter().rev().filter(|&&piece| !plan.model.parameters(piece).is_empty());
        if self.server.lock_free {
            return pieces.map(|&piece| Parcel { server: keeper(&piece), pieces: vec![piece] }).collect();
        }
        let mut by_server: BTreeMap<Rank, Vec<Piece>> = BTreeMap::new();
        pieces.for_each(|piece| by_server.entry(keeper(piece)).or_default().push(*piece));
        by_server.into_iter().map(|(server, pieces)| Parcel { server, pieces }).collect()
    }

    /// A server sends what it keeps, as it is by then: after it has applied the worker's own gradient, and
    /// not before the slowest worker has come near enough.
    fn pull(&mut self, iteration: u32, worker: u32, cell: &Cell, parcel: &Parcel, label: MicroBatch) {
        let mut after = self.applied[&(iteration - 1, worker)].clone();
        if let Some(behind) = self.server.staleness.and_then(|bound| iteration.checked_sub(bound + 1)) {
            let workers = 0..self.lowering.plan.mesh.data;
            after.extend(workers.flat_map(|other| self.applied.get(&(behind, other)).into_iter().flatten()));
        }
        let kept = self.kept(parcel, worker);
        let mut source: Vec<BufferId> = kept.iter().map(|kept| kept.weight).collect();
        if self.server.compensation.is_some() {
            source = kept.iter().map(|kept| kept.backup.expect("a copy for each worker")).collect();
            let copy = self.serve(parcel.server, "copy weights", label, |emitter| {
                for kept in &kept {
                    let elements = emitter.elements(kept.weight);
                    let kernel = kernels::elementwise(elements, 1, 1, 0, crate::hardware::Precision::F32);
                    let backup = kept.backup.expect("a copy for each worker");
                    emitter.run(parcel.server, Formula::Copy, kernel, &[kept.weight], &[backup], &[]);
                }
            });
            after.drain(..).for_each(|earlier| self.lowering.emitter.after(earlier, copy));
        }
        let worker_rank = cell.ranks[0];
        let into: Vec<BufferId> = self.worker_buffers(worker_rank, parcel, |held| held.weight);
        let width = ParameterBytes::of(self.lowering.plan).weight();
        let bytes = self.bytes(&into, width);
        let op = self.lowering.emitter.send_parts(
            Stream::Serve,
            Activity::DataComm,
            OpLabel { name: PULL, micro_batch: Some(label), ..OpLabel::default() },
            bytes,
            Part { rank: parcel.server, reads: source, writes: Vec::new() },
            Part { rank: worker_rank, reads: Vec::new(), writes: into },
        );
        after.into_iter().for_each(|earlier| self.lowering.emitter.after(earlier, op));
    }

    /// Forward and backward of a worker's batch.
    fn compute(&mut self, iteration: u32, cell: &Cell, label: MicroBatch) {
        let lowering = &mut *self.lowering;
        lowering.ahead = iteration;
        lowering.begun.remove(&cell.ranks[0]);
        lowering.zero_at_first_use(cell);
        lowering.weight_passes_left[Stage(0)] = lowering.plan.micro_batches;
        for micro_batch in (0..lowering.plan.micro_batches).map(MicroBatch) {
            lowering.forward(std::slice::from_ref(cell), PipelineOp::forward(Stage(0), micro_batch));
            lowering.backward(std::slice::from_ref(cell), PipelineOp::backward(Stage(0), micro_batch));
            lowering.weight_passes_left[Stage(0)] -= 1;
        }
        let rank = cell.ranks[0];
        let half = lowering.plan.precision == crate::hardware::Precision::F16;
        if let Some(limit) = lowering.plan.clip.or(half.then_some(f32::INFINITY)) {
            lowering.clip_alone(rank, limit);
        }
        let loss = lowering.emitter.state().loss(rank).expect("a worker gathers its loss");
        let loss = lowering.emitter.slot(loss);
        lowering.emitter.phase(Activity::Optimizer, "tell the loss");
        lowering.emitter.run(rank, Formula::Tell { turn: label.0 }, None, &[loss], &[], &[]);
        lowering.emitter.flush(&[rank]);
    }

    /// A worker sends its gradients; where they land.
    fn push(&mut self, cell: &Cell, parcel: &Parcel, label: MicroBatch) -> Vec<BufferId> {
        let rank = cell.ranks[0];
        let width = ParameterBytes::of(self.lowering.plan).gradient();
        let gradients = self.worker_buffers(rank, parcel, |held| held.gradient());
        let bytes = self.bytes(&gradients, width);
        let landed: Vec<BufferId> = gradients
            .iter()
            .map(|&gradient| {
                let elements = self.lowering.emitter.elements(gradient);
                self.lowering.emitter.bytes_buffer(parcel.server, elements, width, MemoryUse::Buffers)
            })
            .collect();
        self.lowering.emitter.send_parts(
            Stream::Data,
            Activity::DataComm,
            OpLabel { name: "push gradients", micro_batch: Some(label), ..OpLabel::default() },
            bytes,
            Part { rank, reads: gradients, writes: Vec::new() },
            Part { rank: parcel.server, reads: Vec::new(), writes: landed.clone() },
        );
        landed
    }

    /// The server steps by a gradient that has arrived.
    fn apply(&mut self, worker: u32, parcel: &Parcel, landed: &[BufferId], label: MicroBatch) -> OpId {
        let plan = self.lowering.plan;
        let kept = self.kept(parcel, worker);
        let server = parcel.server;
        let (workers, lambda) = (plan.mesh.data, self.server.compensation);
        let moments = plan.moments();
        self.serve(server, APPLY, label, |emitter| {
            for (kept, &gradient) in kept.iter().zip(landed) {
                let elements = emitter.elements(gradient);
                if let (Some(lambda), Some(backup)) = (lambda, kept.backup) {
                    let kernel = kernels::elementwise(elements, 3, 1, 4, crate::hardware::Precision::F32);
                    let reads = [kept.weight, backup];
                    emitter.run(server, Formula::Compensate { lambda }, kernel, &reads, &[], &[gradient]);
                }
                emitter.run(server, Formula::Count, None, &[], &[], &[kept.count]);
                let updates: Vec<BufferId> = [kept.weight].into_iter().chain(kept.moments.clone()).collect();
                let formula = Formula::ServerStep { rule: kept.rule, workers };
                let kernel = kernels::optimizer(elements, moments, plan.precision);
                emitter.run(server, formula, kernel, &[gradient, kept.count], &[], &updates);
            }
        })
    }

    /// An op of a server, which does what has come to it one after the other; without locks, at once.
    fn serve(
        &mut self,
        server: Rank,
        name: &'static str,
        label: MicroBatch,
        instructions: impl FnOnce(&mut super::emit::Emitter<'_>),
    ) -> OpId {
        let emitter = &mut self.lowering.emitter;
        emitter.phase(Activity::Optimizer, name);
        emitter.about(label);
        instructions(emitter);
        let stream = if self.server.lock_free { Stream::Serve } else { Stream::Arrivals };
        emitter.flush_to(server, stream)
    }

    /// What a server keeps of a parcel, with the copies that it has made for a worker.
    fn kept(&mut self, parcel: &Parcel, worker: u32) -> Vec<Kept> {
        let mut kept = Vec::new();
        for &piece in &parcel.pieces {
            let state = self.lowering.emitter.state();
            for slots in state.of(parcel.server, piece) {
                let emitter = &mut self.lowering.emitter;
                let served = slots.served.as_ref().expect("a server's parameter");
                kept.push(Kept {
                    weight: emitter.shared_slot(slots.stepped()),
                    moments: slots.moments.iter().map(|&moment| emitter.shared_slot(moment)).collect(),
                    count: emitter.shared_slot(served.count),
                    backup: served.backups.get(worker as usize).map(|&slot| emitter.slot(slot)),
                    rule: if slots.parameter.decayed { OptimizerRule::Decayed } else { OptimizerRule::Plain },
                });
            }
        }
        kept
    }

    fn worker_buffers(
        &mut self,
        rank: Rank,
        parcel: &Parcel,
        which: impl Fn(&super::emit::ParameterBuffers) -> BufferId,
    ) -> Vec<BufferId> {
        let emitter = &mut self.lowering.emitter;
        let held = parcel.pieces.iter().flat_map(|&piece| emitter.parameters(rank, piece));
        held.map(|held| which(&held)).collect()
    }

    fn bytes(&self, buffers: &[BufferId], width: u64) -> Bytes {
        Bytes(buffers.iter().map(|&buffer| self.lowering.emitter.elements(buffer)).sum::<u64>() * width)
    }
}

/// A parameter that a server keeps, as buffers.
struct Kept {
    weight: BufferId,
    moments: Vec<BufferId>,
    count: BufferId,
    backup: Option<BufferId>,
    rule: OptimizerRule,
}
