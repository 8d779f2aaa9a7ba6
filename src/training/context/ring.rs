//! Ring attention: each rank keeps its queries; keys and values go round.
//!
//! Liu et al., "Ring Attention with Blockwise Transformers for Near-Infinite Context", 2023, section 3: in n
//! rounds each rank attends to one block of keys while it passes that block on and gets the next one. In the
//! backward pass the gradients of keys and values go round with them, each rank adding its own.
//!
//! With M bytes of keys and values on a rank, it sends (n − 1)·M forward, and (2n − 1)·M backward: (n − 1)·M of
//! keys and values once more, and n·M of gradients, which go all the way home.

use serde::{Deserialize, Serialize};

use crate::parallel::TokenOrder;
use crate::training::context::{ContextScheme, Travels};

/// A ring.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ring {
    /// How tokens are dealt: `contiguous` leaves the causal mask unbalanced.
    pub order: TokenOrder,
}

impl ContextScheme for Ring {
    fn order(&self) -> TokenOrder {
        self.order
    }

    fn travels(&self) -> Travels {
        Travels::KeysAround
    }
}
