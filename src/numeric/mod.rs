//! What the ops mean: the real numbers of training, on one core.
//!
//! Pure functions over slices: layers forward and backward for the part that one rank holds, the blocks
//! of a network made of them, optimisers, data. The network is really trained; nothing here is modelled.
//!
//! This room does not know of time, devices, programs or schedules. It allocates nothing within a
//! training step, and its results depend only on its inputs and on the machine's instruction set.

pub mod layers;
pub mod matmul;
pub mod real;
#[cfg(test)]
mod support;
