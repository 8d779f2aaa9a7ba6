//! Task graphs on devices of many kinds: divide, execute, gather, adjust.
//!
//! A [`TaskGraph`] says what has to be done and what hands data to what; [`Costs`] and
//! [`Communication`] say how long a machine needs for each part. A [scheduler](scheduling) sees
//! estimates of both and answers with a plan, or decides while the graph runs.
//!
//! Times here are exact: what the literature calls a cost of 14 is 14 s in whole picoseconds, and
//! means are compared as whole numbers, so a tie is a tie on every machine.
//!
//! The room knows nothing of neural networks, training, serving or preparation, reads no files (what
//! it parses is handed to it as text) and draws nothing.
//!
//! - [`graph`]: tasks and the data between them;
//! - [`costs`]: how long each task keeps each device, and how long data travels;
//! - [`scheduling`]: which device does which task, in which order.

pub mod costs;
pub mod graph;
pub mod scheduling;
#[cfg(test)]
pub(crate) mod support;

pub use costs::{Communication, Costs};
pub use graph::{GraphError, Payload, Task, TaskGraph};
