//! Predictions held against measurements.
//!
//! Everything here is pure: rows that somebody measured come in as text or values, predictions and
//! their errors go out as values. The room reads no files and draws nothing.
//!
//! - [`summary`]: measured against predicted, and what the errors amount to;
//! - [`kernels`]: single kernels on one device;
//! - [`collectives`]: collectives among the devices of nodes;
//! - [`training`]: steps of whole runs.
//!
//! A calibrated constant belongs to a device or a class of links; nothing here may tune a row.

mod cells;
pub mod collectives;
pub mod kernels;
mod machine;
pub mod summary;
pub mod training;

pub use summary::{Comparison, Group, Note, Summary};
