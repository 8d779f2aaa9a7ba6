//! The suite: what no single file can check.

mod closed_forms;
mod cluster;
mod collectives;
mod conformance;
mod dependencies;
mod diagnostics;
mod disturbances;
mod door;
mod experts;
mod folding;
mod house;
mod kernels;
mod learning;
mod machines;
mod measurements;
mod plans;
mod pytorch;
mod readme;
mod runs;
mod scalesim;
mod schedules;
mod serving;
mod strategies;
mod tasks;
