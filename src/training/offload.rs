//! What of a rank's memory is kept on its host instead.
//!
//! Ren et al., "ZeRO-Offload: Democratizing Billion-Scale Model Training", USENIX ATC 2021, section 3: gradients go
//! down to the host, its processor steps the weights, and these come back up. Activations go down after the
//! forward pass and come back before the backward pass, as Rhu et al., "vDNN", MICRO 2016, section 3, do it for
//! whole layers (PyTorch: `torch.autograd.graph.save_on_cpu`).

use serde::{Deserialize, Serialize};

/// `training.offload:`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Offload {
    /// Whether the host keeps the optimiser's state and a copy of the weights to step, and steps them.
    pub optimizer: bool,
    /// Whether the host keeps what blocks save for their backward pass.
    pub activations: bool,
    /// Pieces of the model whose activations are fetched ahead of the one at work.
    pub prefetch: u32,
    /// The processor of nodes whose topology shows none, by the name of its file under `topologies/devices`.
    pub host: String,
}

impl Default for Offload {
    /// Nothing; one piece ahead; the successor of the processors in DGX A100 nodes.
    fn default() -> Self {
        Offload { optimizer: false, activations: false, prefetch: 1, host: "epyc_7763".to_owned() }
    }
}

impl Offload {
    /// Whether anything is kept on hosts.
    pub fn any(&self) -> bool {
        self.optimizer || self.activations
    }
}
