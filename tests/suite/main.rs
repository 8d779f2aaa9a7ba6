//! The suite: what no single file can check.

mod machines;
