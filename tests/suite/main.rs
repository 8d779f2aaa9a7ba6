//! The suite: what no single file can check.

mod collectives;
mod house;
mod machines;
mod schedules;
