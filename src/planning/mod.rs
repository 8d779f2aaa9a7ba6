//! Many runs: every combination of some settings ([`variation`]), and the best of many plans ([`search`]).
//!
//! A search knows training plans and nothing of the files that they came from: the door makes
//! [`Candidate`]s of a space, and a workload file of the one that is best.

pub mod bound;
pub mod failures;
pub mod goal;
pub mod report;
pub mod search;
pub mod variation;

pub use goal::{Goal, Limits, Objective, Worth};
pub use search::{Candidate, Fate, Observer, Search, Simulated, search};
pub use variation::{Variation, combinations};
