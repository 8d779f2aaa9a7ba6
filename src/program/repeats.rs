//! Passes that repeat an earlier one with a micro-batch of their own.
//!
//! The pass that is repeated is a pattern: ops and buffers in a row, and edges that lead from earlier ops of
//! the same micro-batch. What repeats it has as many, so an identity of one is that of the other
//! and a distance, which is kept for each pattern and micro-batch.

use crate::ids::{BufferId, Id, MicroBatch, OpId};

/// A pass that others repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatternId(pub(super) u32);

/// No pattern.
const NONE: u32 = u32::MAX;

/// Which ops repeat which.
#[derive(Debug, Clone, Default)]
pub(super) struct Repeats {
    /// By op, the one that it repeats, or itself; empty while none repeats another.
    like: Vec<u32>,
    /// By buffer, the pattern that it belongs to, if any.
    pattern_of: Vec<u32>,
    /// How far the buffers of each pass are from the pattern's own.
    distances: Distances,
    /// How many buffers ops that repeat others have.
    buffers: u32,
}

impl Repeats {
    /// The op that `op` repeats, or itself.
    pub(super) fn like(&self, op: OpId) -> OpId {
        self.like.get(op.index()).map_or(op, |&like| OpId(like))
    }

    /// How many buffers ops that repeat others have.
    pub(super) fn buffers(&self) -> usize {
        self.buffers as usize
    }

    /// What a buffer of a pattern is to the pass of another micro-batch; one that belongs to no pattern is
    /// the same to all. `after` is where the identities of these buffers begin.
    pub(super) fn buffer(&self, buffer: BufferId, pass: MicroBatch, after: usize) -> BufferId {
        match self.pattern_of.get(buffer.index()) {
            None | Some(&NONE) => buffer,
            Some(&pattern) => {
                let distance = self.distances.of(pattern, pass);
                BufferId(buffer.0.wrapping_add(distance).wrapping_add(after as u32))
            }
        }
    }
}

/// By pattern and micro-batch: what is to be added to an identity, around the end of numbers.
#[derive(Debug, Clone, Default)]
struct Distances(Vec<Vec<u32>>);

impl Distances {
    fn of(&self, pattern: u32, pass: MicroBatch) -> u32 {
        self.0[pattern as usize][pass.0 as usize]
    }

    fn set(&mut self, pattern: u32, pass: MicroBatch, distance: u32) {
        let patterns = self.0.len().max(pattern as usize + 1);
        self.0.resize(patterns, Vec::new());
        let passes = &mut self.0[pattern as usize];
        passes.resize(passes.len().max(pass.0 as usize + 1), 0);
        passes[pass.0 as usize] = distance;
    }
}

/// An edge of a pattern.
#[derive(Debug, Clone, Copy)]
struct Edge {
    earlier: u32,
    /// The pattern that the earlier op belongs to.
    from: u32,
    later: u32,
}

#[derive(Debug)]
struct Pattern {
    ops: std::ops::Range<u32>,
    buffers: std::ops::Range<u32>,
    edges: Vec<Edge>,
}

/// Where a program was when a pattern began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) ops: usize,
    pub(super) buffers: usize,
    pub(super) edges: usize,
}

/// Patterns while a program is built.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    patterns: Vec<Pattern>,
    /// By op, the pattern that it belongs to.
    of_op: Vec<u32>,
    /// How far the ops of each pass are from the pattern's own.
    distances: Distances,
    repeats: Repeats,
}

impl Patterns {
    /// What lies between `begin` and `end` is a pattern; `edges` are those of its ops.
    ///
    /// # Panics
    /// When it waits for an op that belongs to no pattern.
    pub(super) fn add(&mut self, begin: Mark, end: Mark, edges: &[(u32, u32)]) -> PatternId {
        let id = self.patterns.len() as u32;
        self.of_op.resize(begin.ops, NONE);
        self.of_op.resize(end.ops, id);
        self.repeats.pattern_of.resize(begin.buffers, NONE);
        self.repeats.pattern_of.resize(end.buffers, id);
        let edges = edges.iter().map(|&(earlier, later)| {
            let from = self.of_op[earlier as usize];
            assert!(
                from != NONE,
                "a pass that is repeated waits for passes that are, not for {}",
                OpId(earlier)
            );
            Edge { earlier, from, later }
        });
        let edges = edges.collect();
        let [ops, buffers] = [begin.ops..end.ops, begin.buffers..end.buffers]
            .map(|range| range.start as u32..range.end as u32);
        self.patterns.push(Pattern { ops, buffers, edges });
        PatternId(id)
    }

    /// The ops of a pattern.
    pub(super) fn ops(&self, PatternId(id): PatternId) -> std::ops::Range<u32> {
        self.patterns[id as usize].ops.clone()
    }

    /// A pattern is repeated by ops from `first` on, with these edges.
    pub(super) fn repeat(
        &mut self,
        PatternId(id): PatternId,
        pass: MicroBatch,
        first: usize,
        edges: &mut Vec<(u32, u32)>,
    ) {
        let Patterns { patterns, distances, repeats, .. } = self;
        let Pattern { ops, buffers, edges: own } = &patterns[id as usize];
        let distance = first as u32 - ops.start;
        distances.set(id, pass, distance);
        for edge in own {
            edges.push((edge.earlier + distances.of(edge.from, pass), edge.later + distance));
        }
        repeats.distances.set(id, pass, repeats.buffers.wrapping_sub(buffers.start));
        repeats.buffers += buffers.end - buffers.start;
        let before = repeats.like.len() as u32;
        repeats.like.extend(before..first as u32);
        repeats.like.extend(ops.clone());
    }

    /// What a program of `ops` ops keeps of it.
    pub(super) fn finish(self, ops: usize) -> Repeats {
        let mut repeats = self.repeats;
        if repeats.like.is_empty() {
            return Repeats::default();
        }
        let before = repeats.like.len() as u32;
        repeats.like.extend(before..ops as u32);
        repeats
    }
}
