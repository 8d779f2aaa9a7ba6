//! Replicas step one model that servers keep, each when it gets there.
//!
//! Dean et al., "Large Scale Distributed Deep Networks", NeurIPS 2012, section 4.1 (Downpour SGD, with a
//! push and a pull after every step); Ho et al., "More Effective Distributed ML via a Stale Synchronous
//! Parallel Parameter Server", NeurIPS 2013, section 3 (bounded staleness); Zheng et al., "Asynchronous
//! Stochastic Gradient Descent with Delay Compensation", ICML 2017, algorithm 2; Recht et al., "Hogwild!",
//! NeurIPS 2011 (no lock, here piece by piece).

use serde::{Deserialize, Serialize};

use crate::ids::StepIndex;
use crate::training::sync::{GradientSync, SyncAction};

/// A worker pulls the weights, computes a gradient and pushes it; the server steps by what arrives, in the
/// order in which it arrives. How stale gradients are comes out of the simulated time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ParameterServer {
    /// Servers that keep the pieces of the model by turns, on the devices after those of the workers.
    pub servers: u32,
    /// How many steps a worker may be ahead of the slowest; 0 is in step, nothing is no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staleness: Option<u32>,
    /// λ of delay compensation; nothing is none. Zheng et al. take 0.04 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compensation: Option<f32>,
    /// Whether every piece of the model comes and goes by itself, so that a worker may see some pieces
    /// before and others after another's step.
    pub lock_free: bool,
}

impl Default for ParameterServer {
    fn default() -> Self {
        ParameterServer { servers: 1, staleness: None, compensation: None, lock_free: false }
    }
}

impl GradientSync for ParameterServer {
    fn action(&self, _step: StepIndex) -> SyncAction {
        SyncAction::Nothing
    }
    fn server(&self) -> Option<&ParameterServer> {
        Some(self)
    }
}
