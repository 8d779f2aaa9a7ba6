//! A step of a pipeline as a job shop: passes with lengths, on ranks, after one another.
//!
//! Micro-batches are alike, so a rank may take them in order through each of its stages without losing anything:
//! whichever of two is forwarded first can be called the first. So the `k`-th pass of a *class* (forward through
//! stage 2, say) waits for the `k`-th pass of another, and an order is a sequence of classes on each rank.

use std::collections::BTreeMap;

use crate::ids::{Id, MicroBatch, PipelineRank, Stage};
use crate::training::schedule::optimal::PassCosts;
use crate::training::schedule::{Orders, Pass, PipelineOp, PipelineSchedule, PipelineShape};

/// Passes that differ in their micro-batch alone.
#[derive(Debug, Clone)]
pub(super) struct Class {
    pub(super) rank: usize,
    pub(super) pass: Pass,
    pub(super) stage: Stage,
    /// The micro-batches: from this one on, as many as `count`.
    first: u32,
    pub(super) count: usize,
    pub(super) length: u64,
    /// What each of them waits for.
    pub(super) after: Vec<After>,
}

/// The `k`-th pass of a class begins `lag` after the `k − offset`-th of another has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct After {
    pub(super) class: usize,
    pub(super) offset: usize,
    pub(super) lag: u64,
}

/// All passes of a step.
#[derive(Debug, Clone)]
pub(super) struct Jobs {
    pub(super) ranks: usize,
    /// In an order in which the `k`-th passes of all could run one after the other.
    pub(super) classes: Vec<Class>,
}

/// What is asked of a schedule besides the places of its stages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) costs: PassCosts,
    /// Whether weight gradients may be put off.
    pub(super) split: bool,
    /// How many micro-batches a rank of one stage may hold.
    pub(super) held: Option<u32>,
}

impl Jobs {
    /// The passes of a schedule's stages, wherever it has them.
    pub(super) fn of(schedule: &dyn PipelineSchedule, shape: PipelineShape, rules: Rules) -> Jobs {
        let stages = shape.ranks * schedule.stages_per_rank();
        let copies = schedule.copies();
        let PassCosts { forward, backward_input, backward_weight, send } = rules.costs;
        let whole = if rules.split { backward_input } else { backward_input + backward_weight };
        let back = if rules.split { Pass::BackwardInput } else { Pass::Backward };
        let mut jobs = Jobs { ranks: shape.ranks as usize, classes: Vec::new() };
        for copy in 0..copies {
            let count = shape.micro_batches / copies;
            let home = |stage| schedule.home(shape, copy, stage).index();
            let mut add = |pass, stage: u32, length: u32, before: Option<usize>| {
                let rank = home(Stage(stage));
                let after = before.map(|class| {
                    let lag = if jobs.classes[class].rank == rank { 0 } else { send };
                    After { class, offset: 0, lag: u64::from(lag) }
                });
                jobs.classes.push(Class {
                    rank,
                    pass,
                    stage: Stage(stage),
                    first: copy * count,
                    count: count as usize,
                    length: u64::from(length),
                    after: after.into_iter().collect(),
                });
                jobs.classes.len() - 1
            };
            let mut before = None;
            for stage in 0..stages {
                before = Some(add(Pass::Forward, stage, forward, before));
            }
            let mut backward = vec![0; stages as usize];
            for stage in (0..stages).rev() {
                before = Some(add(back, stage, whole, before));
                backward[stage as usize] = before.unwrap_or_default();
            }
            for stage in (0..stages).filter(|_| rules.split) {
                add(Pass::BackwardWeight, stage, backward_weight, Some(backward[stage as usize]));
            }
        }
        if let Some(held) = rules.held {
            jobs.hold(held as usize);
        }
        jobs
    }

    /// A forward pass waits until the rank is done with the micro-batch `held` before it.
    fn hold(&mut self, held: usize) {
        // The last class of a stage is what frees it: W, or the whole backward pass.
        let frees = self.classes.iter().enumerate().map(|(at, class)| (class.stage, at));
        let last: BTreeMap<Stage, usize> = frees.collect();
        for class in self.classes.iter_mut().filter(|class| class.pass == Pass::Forward) {
            class.after.push(After { class: last[&class.stage], offset: held, lag: 0 });
        }
    }

    /// How many passes there are.
    pub(super) fn passes(&self) -> usize {
        self.classes.iter().map(|class| class.count).sum()
    }

    /// A pass as a schedule names it.
    pub(super) fn op(&self, class: usize, k: usize) -> PipelineOp {
        let Class { pass, stage, first, .. } = self.classes[class];
        PipelineOp { pass, stage, micro_batch: MicroBatch(first + k as u32) }
    }

    /// How long these orders take, each pass by its own micro-batch; nothing where they do not end, do other
    /// passes than these, or hold too much. Where weight gradients may be put off, they need not be.
    pub(super) fn length(&self, orders: &Orders) -> Option<u64> {
        let mut ends: Vec<Vec<Option<u64>>> =
            self.classes.iter().map(|class| vec![None; class.count]).collect();
        let (mut next, mut free) = (vec![0; self.ranks], vec![0; self.ranks]);
        let mut left = self.passes();
        loop {
            let before = left;
            for rank in 0..self.ranks {
                while let Some(op) = orders[PipelineRank::from_index(rank)].get(next[rank]) {
                    let done = self.places(op)?;
                    let (class, k) = *done.first()?;
                    let Some(ready) = self.ready(class, k, &ends) else { break };
                    let works: u64 = done.iter().map(|&(class, _)| self.classes[class].length).sum();
                    free[rank] = ready.max(free[rank]) + works;
                    done.iter().for_each(|&(class, k)| ends[class][k] = Some(free[rank]));
                    next[rank] += 1;
                    left -= done.len();
                }
            }
            if left == 0 || left == before {
                return (left == 0).then(|| free.into_iter().max().unwrap_or_default());
            }
        }
    }

    /// Which of these passes an op does: one, or B and W in one.
    fn places(&self, op: &PipelineOp) -> Option<Vec<(usize, usize)>> {
        let of = |pass: Pass| {
            let within = |class: &Class| {
                let k = op.micro_batch.0.checked_sub(class.first).filter(|&k| (k as usize) < class.count);
                k.filter(|_| (class.pass, class.stage) == (pass, op.stage)).map(|k| k as usize)
            };
            self.classes.iter().enumerate().find_map(|(at, class)| Some((at, within(class)?)))
        };
        match (of(op.pass), op.pass) {
            (Some(place), _) => Some(vec![place]),
            (None, Pass::Backward) => Some(vec![of(Pass::BackwardInput)?, of(Pass::BackwardWeight)?]),
            _ => None,
        }
    }

    /// When what a pass waits for has come.
    fn ready(&self, class: usize, k: usize, ends: &[Vec<Option<u64>>]) -> Option<u64> {
        let mut start = 0;
        for after in &self.classes[class].after {
            if let Some(k) = k.checked_sub(after.offset) {
                start = start.max(ends[after.class][k]? + after.lag);
            }
        }
        Some(start)
    }
}
