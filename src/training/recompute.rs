//! Which activations are computed again in the backward pass instead of kept from the forward pass.
//!
//! Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016; Korthikanti et al., "Reducing
//! Activation Recomputation in Large Transformer Models", MLSys 2023, section 5.

use serde::{Deserialize, Serialize};

/// `recompute:` of a training workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recompute {
    /// Everything is kept.
    #[default]
    None,
    /// The core of attention is computed again: its output and what its softmax keeps.
    Selective,
    /// Only the input of each block is kept.
    Full,
    /// As `full` for the first blocks of each stage, and none for the others (Megatron-LM's
    /// `--recompute-method block`).
    Blocks(u32),
}

impl Recompute {
    /// Whether the `index`-th block of a stage keeps its input alone.
    pub fn repeats_block(self, index: u32) -> bool {
        match self {
            Recompute::None | Recompute::Selective => false,
            Recompute::Full => true,
            Recompute::Blocks(blocks) => index < blocks,
        }
    }
}
