//! Task graphs written down by others.
//!
//! A reader turns a text into a [`TaskGraph`], or says of every mistake where it stands and what was
//! expected there. It knows no machine.

pub mod dot;
pub mod wfformat;

use std::ops::Range;

use crate::tasks::TaskGraph;
use crate::units::{PICOS_PER_SECOND, SimDuration};

/// What came of reading a text.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The graph.
    pub graph: TaskGraph,
    /// What the reader assumed, for the user.
    pub notes: Vec<String>,
}

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The bytes at fault.
    pub span: Range<usize>,
    /// What was expected, and what was found.
    pub why: String,
}

impl Malformed {
    fn at(span: Range<usize>, why: impl Into<String>) -> Self {
        Malformed { span, why: why.into() }
    }
}

/// Plain seconds to the nearest picosecond: `17.916` is meant exactly, whatever binary makes of it.
fn exact_seconds(seconds: f64) -> SimDuration {
    SimDuration::from_picos((seconds * PICOS_PER_SECOND as f64).round() as u64)
}

#[cfg(test)]
mod tests;
