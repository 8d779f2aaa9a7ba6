//! A program that cannot go on, and what waits for what.

use std::fmt;

use crate::ids::{Id, OpId};
use crate::program::Program;
use crate::units::SimTime;

/// Ops are left and nothing will ever happen again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stall {
    /// Since when nothing happens.
    pub at: SimTime,
    /// How many ops are left.
    pub left: usize,
    /// The first op of each waiting queue, as a sentence.
    pub waiting: Vec<String>,
    /// Links that are down, by their ends.
    pub down: Vec<String>,
}

/// As many waiting ops as a reader wants to see.
const SHOWN: usize = 8;

impl Stall {
    /// Describes the heads of the waiting queues.
    pub(super) fn describe(
        program: &Program,
        at: SimTime,
        left: usize,
        heads: impl Iterator<Item = (OpId, u32)>,
    ) -> Stall {
        let sentence = |(id, pending): (OpId, u32)| {
            let op = &program.ops()[id];
            let about = op.label.micro_batch.map_or(String::new(), |mb| format!(" of {mb}"));
            let why = if pending > 0 {
                let blockers =
                    program.ops().ids().filter(|&other| program.successors(other).any(|next| next == id));
                let names: Vec<String> = blockers
                    .take(3)
                    .map(|other| {
                        format!("{} ({})", program.ops()[other].label.name, program.ops()[other].rank)
                    })
                    .collect();
                format!("waits for {}", names.join(", "))
            } else {
                "waits for the others of its exchange, or for a link that is down".to_owned()
            };
            format!(
                "{} {} `{}`{about} (op {}) {why}",
                op.rank,
                op.stream.name(),
                op.label.name,
                Id::index(id)
            )
        };
        Stall { at, left, waiting: heads.take(SHOWN).map(sentence).collect(), down: Vec::new() }
    }
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the run stalls at {}: {} ops are left and none can start", self.at, self.left)?;
        for sentence in &self.waiting {
            writeln!(f, "  {sentence}")?;
        }
        if !self.down.is_empty() {
            writeln!(f, "  down and never up again: {}", self.down.join(", "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Stall {}
