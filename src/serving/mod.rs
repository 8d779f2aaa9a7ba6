//! Requests that want answers, served by replicas of a model with a paged KV cache.
//!
//! A [`Request`] arrives, a [router](routing) gives it to a replica, where it waits. A [batching
//! policy](batching) looks at its replica through a [`ServingView`] and answers with a
//! [`BatchDecision`]: who is preempted, and which tokens the next step computes. [`run()`] lets steps
//! take the time that their [cost] says, hands out tokens, applies what was decided, and stops with the
//! decider's name when it was not legal. Prefill and decode can be on different replicas; then keys and
//! values travel over the simulated network.
//!
//! Time is whole picoseconds. At one moment, steps that end and keys that arrive come first, then
//! requests, then replicas are asked, in the order in which something happened to them. Requests are
//! numbered in order of arrival, equal arrivals in the order of the trace; wherever a paper leaves a tie
//! open, the request or replica with the smaller number goes first.
//!
//! The room knows nothing of training, tasks, clusters or preparation, no YAML, reads no files (what
//! [`readers`] read is handed to them as text) and draws nothing.
//!
//! - [`request`], [`arrivals`], [`readers`]: what arrives, and where it comes from;
//! - [`kv`]: the blocks;
//! - [`view`]: what a policy sees, and how it drafts an answer;
//! - [`batching`], [`routing`]: the policies;
//! - [`memory`]: how many blocks a device has room for;
//! - [`cost`], [`priced`]: how long steps take;
//! - [`generation`]: what they compute, where there is a model with its weights;
//! - [`mechanism`]: the run;
//! - [`outcome`], [`slo`]: what came of it, and whether that is good.

pub mod arrivals;
pub mod batching;
pub mod cost;
pub mod generation;
pub mod kv;
pub mod mechanism;
pub mod memory;
pub mod outcome;
pub mod priced;
pub mod readers;
pub mod request;
pub mod routing;
pub mod slo;
#[cfg(test)]
mod tests;
pub mod view;

pub use mechanism::{Handover, Replica, Role, ServingFailure, ServingPlan, answer, run};
pub use outcome::{RequestRecord, ServingOutcome};
pub use request::Request;
pub use view::{BatchDecision, Draft, ServingView};
