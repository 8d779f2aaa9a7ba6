//! What the ops mean: the real numbers of training, on one core.
//!
//! Layers forward and backward for the part that one rank holds, optimisers, data, and the interpreter
//! that computes a program while the runtime times it. The network is really trained; nothing here is
//! modelled.
//!
//! This room does not know of time, devices or schedules. Its results depend only on its inputs and on
//! the machine's instruction set. [`values`] holds every number of a run; `formulas` says what each
//! instruction computes; [`optimizer`] how weights are stepped; [`batches`] where samples come from.

pub mod batches;
mod formulas;
pub mod initial;
pub mod layers;
mod low_rank;
pub mod matmul;
pub mod optimizer;
mod packing;
mod payload;
mod races;
pub mod real;
mod rounding;
mod routed;
mod scaling;
#[cfg(test)]
mod support;
pub mod values;
