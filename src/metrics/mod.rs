//! Numbers folded from spans, and nothing but spans.
//!
//! It does not know how the spans came about: the same folds serve training, tasks and serving.

mod breakdown;
mod experts;
mod memory;
pub mod statistics;
mod traffic;
mod training;

pub use breakdown::{Breakdown, Part};
pub use experts::ExpertUse;
pub use memory::{MemoryPeak, MemoryTimeline};
pub use statistics::Interval;
pub use traffic::Traffic;
pub use training::{ShownStep, StepRouting, TrainingRecord, TrainingRecorder};
