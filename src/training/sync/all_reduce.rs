//! Gradients are summed over replicas in every step, so that all stay one model.
//!
//! Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", VLDB 2020,
//! section 3.2: buckets are reduced as soon as their last gradient is ready, under the backward pass.

use serde::{Deserialize, Serialize};

use crate::ids::StepIndex;
use crate::training::sync::{GradientSync, SyncAction};

/// Gradient all-reduce, bucketed and overlapped with the backward pass.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllReduce {}

impl GradientSync for AllReduce {
    fn action(&self, _step: StepIndex) -> SyncAction {
        SyncAction::ReduceGradients
    }
}
