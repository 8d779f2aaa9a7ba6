//! Two pipelines in opposite directions over the same ranks.
//!
//! DeepSeek-AI, "DeepSeek-V3 Technical Report", 2024, section 3.2.1, figure 5; the eight phases are
//! those of the authors' published implementation (deepseek-ai/DualPipe).

use serde::{Deserialize, Serialize};

use crate::ids::{MicroBatch, PipelineRank, Stage};
use crate::training::schedule::block::of_copy;
use crate::training::schedule::{Orders, Pass, PipelineOp, PipelineSchedule, PipelineShape};

/// Each rank holds stage `r` of one copy of the model and stage `p - 1 - r` of another; half of the
/// micro-batches enter at either end.
///
/// The authors pair the forward of one direction with the backward of the other in one kernel stream;
/// here the two follow each other, and it is their communication that overlaps.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DualPipe {}

impl PipelineSchedule for DualPipe {
    fn order(&self, shape: PipelineShape) -> Orders {
        shape.ranks().map(|rank| RankOrder::new(rank, shape).make()).collect()
    }

    fn admits(&self, shape: PipelineShape) -> Result<(), String> {
        let (p, m) = (shape.ranks, shape.micro_batches);
        if !p.is_multiple_of(2) {
            return Err(format!("two directions need an even number of pipeline ranks, not {p}"));
        }
        if !m.is_multiple_of(2) || m < 2 * p {
            let least = (2 * p).max(m.next_multiple_of(2));
            return Err(format!(
                "two directions need an even number of micro-batches, at least two for each pipeline rank: \
                 {least} would do, {m} does not"
            ));
        }
        Ok(())
    }

    fn copies(&self) -> u32 {
        2
    }

    fn home(&self, shape: PipelineShape, copy: u32, stage: Stage) -> PipelineRank {
        PipelineRank(if copy == 0 { stage.0 } else { shape.ranks - 1 - stage.0 })
    }
}

/// Whether a rank in the second half sees direction 0 as the authors' phase 1: phases are counted
/// from the nearer end.
struct RankOrder {
    shape: PipelineShape,
    rank: PipelineRank,
    /// Which copy the phase 0 of this rank is.
    nearer: u32,
    /// How far the rank is from the nearer end.
    depth: u32,
    forwards: [Vec<MicroBatch>; 2],
    inputs: [Vec<MicroBatch>; 2],
    put_off: std::collections::VecDeque<PipelineOp>,
    order: Vec<PipelineOp>,
}

impl RankOrder {
    fn new(rank: PipelineRank, shape: PipelineShape) -> Self {
        let far = rank.0 >= shape.ranks / 2;
        let nearer = u32::from(far);
        // Taken from the end, so in reverse.
        let queue = |phase: u32| -> Vec<MicroBatch> {
            let mut all: Vec<_> = of_copy(shape, 2, phase ^ nearer).collect();
            all.reverse();
            all
        };
        RankOrder {
            shape,
            rank,
            nearer,
            depth: if far { shape.ranks - 1 - rank.0 } else { rank.0 },
            forwards: [queue(0), queue(1)],
            inputs: [queue(0), queue(1)],
            put_off: std::collections::VecDeque::new(),
            order: Vec::new(),
        }
    }

    fn make(mut self) -> Vec<PipelineOp> {
        let (half, depth) = (self.shape.ranks / 2, self.depth);
        // 1: forwards of the nearer direction.
        self.repeat((half - depth - 1) * 2, |rank| rank.forward(0));
        // 2: forwards of both directions.
        self.repeat(depth + 1, |rank| {
            rank.forward(0);
            rank.forward(1);
        });
        // 3: backward with split, and forward, of the farther direction.
        self.repeat(half - depth - 1, |rank| {
            rank.backward(1, true);
            rank.weight();
            rank.forward(1);
        });
        // 4, the main phase: forward and backward of both directions in turn.
        self.repeat(self.shape.micro_batches / 2 - self.shape.ranks + depth + 1, |rank| {
            rank.forward(0);
            rank.backward(1, false);
            rank.forward(1);
            rank.backward(0, false);
        });
        // 5: the farther direction still goes forward.
        self.repeat(half - depth - 1, |rank| {
            rank.backward(1, false);
            rank.forward(1);
            rank.backward(0, false);
        });
        self.drain(half);
        self.order
    }

    /// Phases 6 to 8: backwards, from half-way on with their weight gradients put off.
    fn drain(&mut self, half: u32) {
        let depth = self.depth;
        let mut split = false;
        for turn in 0..=depth {
            split |= turn == depth.div_ceil(2) && depth % 2 == 1;
            self.backward(1, split);
            split |= turn == depth.div_ceil(2) && depth.is_multiple_of(2);
            self.backward(0, split);
        }
        self.repeat(half - depth - 1, |rank| {
            rank.weight();
            rank.backward(0, true);
        });
        while !self.put_off.is_empty() {
            self.weight();
        }
    }

    fn repeat(&mut self, times: u32, turn: impl Fn(&mut Self)) {
        for _ in 0..times {
            turn(self);
        }
    }

    fn stage(&self, phase: usize) -> Stage {
        let copy = phase as u32 ^ self.nearer;
        Stage(if copy == 0 { self.rank.0 } else { self.shape.ranks - 1 - self.rank.0 })
    }

    fn forward(&mut self, phase: usize) {
        let micro_batch = self.forwards[phase].pop().expect("a forward pass that is left");
        self.order.push(PipelineOp::forward(self.stage(phase), micro_batch));
    }

    fn backward(&mut self, phase: usize, split: bool) {
        let micro_batch = self.inputs[phase].pop().expect("a backward pass that is left");
        let stage = self.stage(phase);
        let pass = if split { Pass::BackwardInput } else { Pass::Backward };
        self.order.push(PipelineOp { pass, stage, micro_batch });
        if split {
            self.put_off.push_back(PipelineOp::backward_weight(stage, micro_batch));
        }
    }

    fn weight(&mut self) {
        self.order.extend(self.put_off.pop_front());
    }
}
