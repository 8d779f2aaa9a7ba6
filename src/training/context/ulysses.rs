//! Ulysses: from parts of the sequence to parts of the heads, and back.
//!
//! Jacobs et al., "DeepSpeed Ulysses: System Optimizations for Enabling Training of Extreme Long Sequence
//! Transformer Models", 2023, section 3.1. Of a rank's queries, keys and values, and of its results on their way
//! back, (n − 1)/n go to others; backward the same in the opposite direction. Attention is as on one rank, for
//! whole sequences and an n-th of the heads, which n must divide.

use serde::{Deserialize, Serialize};

use crate::parallel::TokenOrder;
use crate::training::context::{ContextScheme, Travels};

/// All-to-alls before and after attention.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ulysses {}

impl ContextScheme for Ulysses {
    fn order(&self) -> TokenOrder {
        TokenOrder::Contiguous
    }

    fn travels(&self) -> Travels {
        Travels::HeadsAcross
    }
}
