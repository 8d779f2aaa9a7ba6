//! How replicas stay one model: what they exchange in a step, and when.
//!
//! A sync is a pure function of the step's index and the gradient buckets. It knows nothing of time
//! or topologies: [`lower`](crate::training::lower) turns its exchanges into collectives.
//!
//! To add one, write its file and list it here.

mod all_reduce;
mod parameter_averaging;

use crate::ids::StepIndex;
use crate::registry;

registry! {
    /// `sync:` of a training workload.
    pub enum SyncSpec: GradientSync {
        /// gradients summed in buckets, overlapped with the backward pass
        "all_reduce" => AllReduce(all_reduce::AllReduce),
        /// replicas step alone, and average their weights now and then
        "parameter_averaging" => ParameterAveraging(parameter_averaging::ParameterAveraging),
    }
}

/// What replicas exchange in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncAction {
    /// Sum the gradients before the optimiser, bucket by bucket as they become ready.
    ReduceGradients,
    /// Step each replica on its own gradient.
    Nothing,
    /// Step each replica on its own gradient, then average the parameters.
    AverageParameters,
}

/// Decides what replicas exchange.
pub trait GradientSync {
    /// What is exchanged in a step.
    fn action(&self, step: StepIndex) -> SyncAction;
}
