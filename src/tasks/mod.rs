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
//! - [`bounds`]: before what no schedule can end;
//! - [`costs`]: how long each task keeps each device, and how long data travels;
//! - [`estimates`]: what of that is known beforehand;
//! - [`generate`], [`readers`]: where graphs come from;
//! - [`machine`]: the devices, and what joins them;
//! - [`scheduling`]: which device does which task, in which order;
//! - [`mechanism`]: the run, with [`transport`] of data and the [`store`] of what is where;
//! - [`values`]: what tasks compute, if they do, and [`factor`], which does;
//! - [`outcome`]: what came of it.

pub mod bounds;
pub mod costs;
pub mod estimates;
pub mod factor;
pub mod generate;
pub mod graph;
pub mod machine;
pub mod mechanism;
pub mod outcome;
pub mod readers;
pub mod scheduling;
pub mod store;
#[cfg(test)]
pub(crate) mod support;
#[cfg(test)]
mod tests;
pub mod transport;
pub mod values;

pub use bounds::Bounds;
pub use costs::{Communication, Costs};
pub use graph::{GraphError, Payload, Task, TaskGraph};
pub use machine::Machine;
pub use mechanism::{TaskFailure, TaskPlan, run};
pub use outcome::TaskOutcome;
