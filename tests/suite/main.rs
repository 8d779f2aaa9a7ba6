//! The suite: what no single file can check.

mod collectives;
mod diagnostics;
mod house;
mod machines;
mod measurements;
mod schedules;
