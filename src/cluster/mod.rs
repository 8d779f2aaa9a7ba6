//! Many jobs on one machine: who runs when, where, and at whose cost.
//!
//! A [`Job`] asks for a gang of devices and brings work; it starts when the whole gang is free and
//! not before. A [scheduler](scheduling) looks at a [`ClusterView`] and answers with
//! [`ClusterAction`]s; a [`placement`] says which free devices a gang gets. [`run()`] lets
//! events happen, applies what was decided, and stops with the decider's name when it was not legal.
//!
//! Time is whole picoseconds, so a run reaches 213 days. Jobs are numbered in order of arrival, equal
//! arrivals in the order of the trace; wherever a paper leaves a tie open, the job with the smaller
//! number goes first and the device with the smaller number is taken.
//!
//! The room knows no YAML and reads no files (what [`readers`] read is handed to them as text) and draws nothing. How fast a job runs where it was placed it is told ([`speed`]): by the trace, by a
//! table, by a goodput formula, or by [`training`](crate::training) the model there.
//!
//! - [`machine`]: nodes and devices as a cluster sees them, and what of them is free;
//! - [`job`]: what jobs ask for and bring;
//! - [`speed`]: how fast a job works on a gang, [`trained`]: found by training there;
//! - [`view`]: what a scheduler sees, and how it drafts an answer;
//! - [`scheduling`], [`placement`]: the policies;
//! - [`mechanism`]: the run;
//! - [`outcome`]: what came of it;
//! - [`readers`], [`generate`]: where jobs come from.

pub mod free;
pub mod generate;
pub mod job;
pub mod machine;
pub mod mechanism;
pub mod outcome;
pub mod placement;
pub mod readers;
pub mod scheduling;
pub mod speed;
#[cfg(test)]
pub(crate) mod support;
#[cfg(test)]
mod tests;
pub mod trained;
pub mod view;

pub use free::Free;
pub use job::{Demand, Gang, Job};
pub use machine::{KindId, Machine};
pub use mechanism::{Checkpoint, ClusterFailure, ClusterPlan, Failures, run};
pub use outcome::{ClusterOutcome, JobRecord, Reason};
pub use view::{ClusterAction, ClusterView, News};
