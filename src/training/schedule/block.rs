//! Schedules made by repeating a building block.
//!
//! Qi et al., "Pipeline Parallelism with Controllable Memory", NeurIPS 2024, section 2: place the
//! passes of one micro-batch; repeat them every interval; drop the gaps. Weight passes are not placed
//! but fill what is idle, as in Qi et al., "Zero Bubble Pipeline Parallelism", ICLR 2024, section 3.1.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::ids::{Id, IdVec, MicroBatch, PipelineRank, Stage};
use crate::training::schedule::{Orders, Pass, PipelineOp, PipelineShape};

/// When F and B of one micro-batch begin, in units of one pass, on which rank.
pub(super) struct BuildingBlock {
    interval: u64,
    stages: u32,
    passes: Vec<(u64, PipelineRank, Pass, Stage)>,
}

impl BuildingBlock {
    /// Places F through every stage, then B through every stage in reverse, each `gap` of it after the
    /// pass before, or in the next place that its rank has free in every repetition. All passes take
    /// one unit and W needs as many places again, so that a rank of `c` stages repeats every `3c` units.
    pub(super) fn of(
        stages: u32,
        per_rank: u32,
        home: impl Fn(Stage) -> PipelineRank,
        gap: impl Fn(Pass, Stage) -> u64,
    ) -> Self {
        let interval = 3 * u64::from(per_rank);
        let mut block = BuildingBlock { interval, stages, passes: Vec::new() };
        let mut taken = BTreeSet::new();
        let mut last: Option<(u64, PipelineRank)> = None;
        let there = (0..stages).map(|stage| (Pass::Forward, Stage(stage)));
        let back = (0..stages).rev().map(|stage| (Pass::BackwardInput, Stage(stage)));
        for (pass, stage) in there.chain(back) {
            let rank = home(stage);
            let from = match last {
                None => 0,
                // What stays on its rank goes on at once.
                Some((at, on)) if on == rank => at + 1,
                Some((at, _)) => at + gap(pass, stage),
            };
            let at = (from..from + interval)
                .find(|at| taken.insert((rank, at % interval)))
                .expect("a rank has more places than passes");
            block.passes.push((at, rank, pass, stage));
            last = Some((at, rank));
        }
        block
    }

    /// Repeats the block for every micro-batch and runs it: each rank does its next F or B when it is
    /// ready and a forward pass does not make it hold more than `most` activations; otherwise the
    /// oldest W that is left.
    pub(super) fn repeat(&self, shape: PipelineShape, most: usize) -> Orders {
        let mut run = Run {
            placed: self.placed(shape),
            last: Stage(self.stages - 1),
            most,
            ends: BTreeMap::new(),
            put_off: IdVec::filled(VecDeque::new(), shape.ranks as usize),
            held: IdVec::filled(0, shape.ranks as usize),
        };
        let mut orders: Orders = IdVec::filled(Vec::new(), shape.ranks as usize);
        for now in 0.. {
            let ops: Vec<_> = shape.ranks().filter_map(|rank| Some((rank, run.next(rank, now)?))).collect();
            for &(rank, op) in &ops {
                run.ends.insert(op, now + 1);
                orders[rank].push(op);
            }
            if run.is_done() {
                break;
            }
        }
        orders
    }

    /// The F and B of each rank in the order in which the repeated block comes to them.
    fn placed(&self, shape: PipelineShape) -> IdVec<PipelineRank, VecDeque<PipelineOp>> {
        let mut timed: IdVec<PipelineRank, Vec<(u64, PipelineOp)>> =
            IdVec::filled(Vec::new(), shape.ranks as usize);
        for micro_batch in shape.micro_batches() {
            let start = micro_batch.index() as u64 * self.interval;
            for &(at, rank, pass, stage) in &self.passes {
                timed[rank].push((start + at, PipelineOp { pass, stage, micro_batch }));
            }
        }
        let ordered = |mut passes: Vec<(u64, PipelineOp)>| {
            passes.sort_unstable();
            passes.into_iter().map(|(_, op)| op).collect()
        };
        timed.into_iter().map(ordered).collect()
    }
}

/// Ranks at work, a unit of time a pass.
struct Run {
    placed: IdVec<PipelineRank, VecDeque<PipelineOp>>,
    last: Stage,
    most: usize,
    ends: BTreeMap<PipelineOp, u64>,
    put_off: IdVec<PipelineRank, VecDeque<PipelineOp>>,
    held: IdVec<PipelineRank, usize>,
}

impl Run {
    /// What a rank begins now, if anything.
    fn next(&mut self, rank: PipelineRank, now: u64) -> Option<PipelineOp> {
        let op = self.placed[rank].front().copied();
        if let Some(op) = op.filter(|&op| self.is_ready(rank, op, now)) {
            self.placed[rank].pop_front();
            match op.pass {
                Pass::Forward => self.held[rank] += 1,
                _ => {
                    self.put_off[rank].push_back(PipelineOp::backward_weight(op.stage, op.micro_batch));
                }
            }
            return Some(op);
        }
        let weight = self.put_off[rank].pop_front()?;
        self.held[rank] -= 1;
        Some(weight)
    }

    fn is_ready(&self, rank: PipelineRank, op: PipelineOp, now: u64) -> bool {
        let (stage, micro_batch) = (op.stage, op.micro_batch);
        let needs = match op.pass {
            Pass::Forward if stage.0 == 0 => None,
            Pass::Forward => Some(PipelineOp::forward(Stage(stage.0 - 1), micro_batch)),
            _ if stage == self.last => Some(PipelineOp::forward(stage, micro_batch)),
            _ => Some(PipelineOp::backward_input(Stage(stage.0 + 1), micro_batch)),
        };
        let there = needs.is_none_or(|needs| self.ends.get(&needs).is_some_and(|&end| end <= now));
        there && (op.pass != Pass::Forward || self.held[rank] < self.most)
    }

    fn is_done(&self) -> bool {
        self.placed.iter().all(VecDeque::is_empty) && self.put_off.iter().all(VecDeque::is_empty)
    }
}

/// The micro-batches of a copy of the model, when they are dealt out in equal runs.
pub(super) fn of_copy(shape: PipelineShape, copies: u32, copy: u32) -> impl Iterator<Item = MicroBatch> {
    let share = shape.micro_batches / copies;
    (copy * share..(copy + 1) * share).map(MicroBatch)
}
