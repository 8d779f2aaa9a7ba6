//! The layers of a network, forward and backward, for the part of them that one rank holds.
//!
//! Pure functions over slices. Backward comes in two: the gradient of the *input* (B), which the layer
//! before waits for, and the gradient of the *weights* (W), which only the optimiser does; zero-bubble
//! schedules run the second later. Gradients of weights are added to what is there, so micro-batches
//! accumulate. Nothing is copied for a transpose.
//!
//! A layer does not know of other ranks: where tensor parallelism needs a sum or a maximum over them,
//! its work is cut there, and the collective happens between two calls.
//!
//! Letters: N rows (tokens of a micro-batch), I inputs, O outputs, H hidden, V classes, S sequence, A heads,
//! D head dimension; dx is the gradient of the loss by x.

pub mod attention;
pub mod cross_entropy;
pub mod embedding;
pub mod experts;
pub mod gelu;
pub mod layer_norm;
pub mod linear;
pub mod pointwise;
pub mod relu;
pub mod squared_error;
