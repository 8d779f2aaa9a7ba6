//! How many blocks a device has memory for beside its weights.

use crate::hardware::Precision;
use crate::model::Decoder;
use crate::units::Bytes;

/// How a model is spread over the devices of a replica, and in which formats.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// The model.
    pub decoder: Decoder,
    /// Ranks that share every matrix of a stage.
    pub tensor: u64,
    /// Stages that share the layers.
    pub stages: u64,
    /// Format of weights and activations.
    pub precision: Precision,
    /// Format of keys and values.
    pub kv_precision: Precision,
}

/// What does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// Weights of the fullest device.
    pub weights: Bytes,
    /// Memory that it has for weights and blocks.
    pub memory: Bytes,
}

impl Layout {
    /// Weights of each device of the fullest stage.
    pub fn weights(&self) -> Bytes {
        self.weights_of_stages().max().unwrap_or_default()
    }

    fn weights_of_stages(&self) -> impl Iterator<Item = Bytes> {
        self.decoder.shard(self.tensor, self.stages).into_iter().map(|count| self.precision.bytes_of(count))
    }

    /// Blocks of `block` tokens that there is room for in `memory` bytes of each device. Every stage keeps
    /// its layers of every block, so the fullest stage decides.
    ///
    /// # Errors
    /// When not even the weights fit, or no block beside them.
    pub fn blocks(&self, memory: Bytes, block: u32) -> Result<u64, Misfit> {
        let of_block = self
            .decoder
            .kv_bytes_per_token_and_rank(self.tensor, self.stages, self.kv_precision)
            .get()
            .saturating_mul(u64::from(block));
        let left = memory.get().saturating_sub(self.weights().get());
        match left.checked_div(of_block) {
            Some(blocks @ 1..) => Ok(blocks),
            _ => Err(Misfit { weights: self.weights(), memory }),
        }
    }

    /// The fewest tensor ranks, a power of two that divides the query heads, with which so many tokens
    /// fit; nothing when no number does.
    pub fn tensor_that_fits(&self, memory: Bytes, block: u32, tokens: u64) -> Option<u64> {
        let all = std::iter::successors(Some(1), |tensor| Some(tensor * 2));
        all.take_while(|&tensor| tensor <= self.decoder.heads)
            .filter(|tensor| self.decoder.heads.is_multiple_of(*tensor))
            .find(|&tensor| {
                let blocks = Layout { tensor, ..self.clone() }.blocks(memory, block);
                blocks.is_ok_and(|blocks| blocks.saturating_mul(u64::from(block)) >= tokens)
            })
    }
}
