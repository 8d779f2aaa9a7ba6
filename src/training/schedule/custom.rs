//! An order of the user's own, checked.

use serde::{Deserialize, Serialize};

use crate::ids::{Id, IdVec, MicroBatch, PipelineRank, Stage};
use crate::training::schedule::{Orders, Pass, PipelineOp, PipelineSchedule, PipelineShape};

/// What each pipeline rank does, written out: `F0` is the forward of micro-batch 0, `D0` its backward
/// in one, `B0` and `W0` its input and weight halves. With several stages a rank, `F0.1` is through
/// the rank's second stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Custom {
    /// One line a rank, passes separated by blanks: `F0 F1 D0 D1`.
    pub order: Vec<String>,
    /// Stages that each rank holds, as in `interleaved`.
    #[serde(default = "one")]
    pub virtual_stages: u32,
}

fn one() -> u32 {
    1
}

impl Default for Custom {
    /// One rank, one micro-batch.
    fn default() -> Self {
        Custom { order: vec!["F0 D0".into()], virtual_stages: 1 }
    }
}

impl PipelineSchedule for Custom {
    fn order(&self, shape: PipelineShape) -> Orders {
        self.parse(shape).expect("an order that was admitted")
    }

    fn admits(&self, shape: PipelineShape) -> Result<(), String> {
        let orders = self.parse(shape)?;
        for (rank, order) in orders.enumerate() {
            let line = rank.index() + 1;
            for chunk in 0..self.virtual_stages {
                let stage = Stage(chunk * shape.ranks + rank.0);
                for micro_batch in shape.micro_batches() {
                    complete(order, stage, micro_batch).map_err(|why| format!("line {line}: {why}"))?;
                }
            }
        }
        no_circle(shape, &orders, self.virtual_stages * shape.ranks)
    }

    fn stages_per_rank(&self) -> u32 {
        self.virtual_stages
    }
}

impl Custom {
    fn parse(&self, shape: PipelineShape) -> Result<Orders, String> {
        if self.order.len() != shape.ranks as usize {
            return Err(format!(
                "`order` has {} lines; {} pipeline ranks need one each",
                self.order.len(),
                shape.ranks
            ));
        }
        if self.virtual_stages == 0 {
            return Err("`virtual_stages` is at least 1".into());
        }
        let line = |(rank, text): (usize, &String)| {
            let pass = |word: &str| self.pass(word, PipelineRank::from_index(rank), shape);
            text.split_whitespace()
                .map(|word| pass(word).ok_or_else(|| format!("line {}: {}", rank + 1, unknown(word))))
                .collect::<Result<Vec<_>, _>>()
        };
        self.order.iter().enumerate().map(line).collect::<Result<Vec<_>, _>>().map(IdVec::from_iter)
    }

    fn pass(&self, word: &str, rank: PipelineRank, shape: PipelineShape) -> Option<PipelineOp> {
        let mut letters = word.chars();
        let pass = match letters.next()? {
            'F' => Pass::Forward,
            'D' => Pass::Backward,
            'B' => Pass::BackwardInput,
            'W' => Pass::BackwardWeight,
            _ => return None,
        };
        let (micro_batch, chunk) = letters.as_str().split_once('.').unwrap_or((letters.as_str(), "0"));
        let (micro_batch, chunk): (u32, u32) = (micro_batch.parse().ok()?, chunk.parse().ok()?);
        let there = micro_batch < shape.micro_batches && chunk < self.virtual_stages;
        let stage = Stage(chunk * shape.ranks + rank.0);
        there.then_some(PipelineOp { pass, stage, micro_batch: MicroBatch(micro_batch) })
    }
}

fn unknown(word: &str) -> String {
    format!(
        "`{word}` is no pass of this pipeline: write F, D, B or W, the number of a micro-batch from 0 and, after a \
         dot, of the rank's stage"
    )
}

/// Each stage goes forward once and backward once, in this order.
fn complete(order: &[PipelineOp], stage: Stage, micro_batch: MicroBatch) -> Result<(), String> {
    let places = |pass| {
        let op = PipelineOp { pass, stage, micro_batch };
        order.iter().enumerate().filter(move |(_, other)| **other == op).map(|(place, _)| place)
    };
    let passes: Vec<Vec<usize>> = [Pass::Forward, Pass::Backward, Pass::BackwardInput, Pass::BackwardWeight]
        .into_iter()
        .map(|pass| places(pass).collect())
        .collect();
    match [&passes[0][..], &passes[1][..], &passes[2][..], &passes[3][..]] {
        [[f], [d], [], []] if f < d => Ok(()),
        [[f], [], [b], [w]] if f < b && b < w => Ok(()),
        _ => Err(format!(
            "{micro_batch} goes through {stage} forward once (F), then backward once (D, or B and later W)"
        )),
    }
}

/// Follows the orders as messages would; what cannot go on waits in a circle.
fn no_circle(shape: PipelineShape, orders: &Orders, stages: u32) -> Result<(), String> {
    let mut done = std::collections::BTreeSet::new();
    let mut next = vec![0; shape.ranks as usize];
    loop {
        let mut progress = false;
        for (rank, order) in orders.enumerate() {
            while let Some(op) = order.get(next[rank.index()]) {
                let comes_from = match op.pass {
                    Pass::Forward if op.stage.0 > 0 => Some((false, op.stage.0 - 1)),
                    Pass::Backward | Pass::BackwardInput if op.stage.0 + 1 < stages => {
                        Some((true, op.stage.0 + 1))
                    }
                    _ => None,
                };
                let waits =
                    comes_from.is_some_and(|(back, stage)| !done.contains(&(back, stage, op.micro_batch)));
                if waits {
                    break;
                }
                done.insert((op.pass != Pass::Forward, op.stage.0, op.micro_batch));
                next[rank.index()] += 1;
                progress = true;
            }
        }
        if !progress {
            break;
        }
    }
    let stuck =
        orders.enumerate().find_map(|(rank, order)| order.get(next[rank.index()]).map(|op| (rank, op)));
    match stuck {
        None => Ok(()),
        Some((rank, op)) => Err(format!(
            "the lines wait for each other in a circle: line {} cannot do {:?} of {}",
            rank.index() + 1,
            op.pass,
            op.micro_batch
        )),
    }
}
