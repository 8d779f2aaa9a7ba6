//! Runs held against what can be said without running.

mod exact;
mod failures;
mod laws;
mod mechanism;
mod numeric;
