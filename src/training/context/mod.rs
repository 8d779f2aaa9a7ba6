//! How the ranks that share a sequence attend to each other's tokens.
//!
//! Everything else in a layer works on a token alone, so that a rank of a context group goes through the whole
//! model with the tokens that it holds ([`Tokens`](crate::parallel::Tokens)). A scheme says which these are and
//! what travels where attention is; [`lower`](crate::training::lower) makes exchanges and kernels of it, and
//! [`numeric`](crate::numeric) computes the same attention as on one device.
//!
//! To add one, write its file and list it here.

mod ring;
mod ulysses;

use crate::parallel::TokenOrder;
use crate::registry;

registry! {
    /// `context_scheme:` of a training workload.
    pub enum ContextSpec: ContextScheme {
        /// keys and values go round a ring under blockwise attention (Liu et al.), balanced zigzag
        "ring" => Ring(ring::Ring),
        /// all-to-alls from parts of the sequence to parts of the heads and back (Jacobs et al.)
        "ulysses" => Ulysses(ulysses::Ulysses),
    }
}

/// Says which tokens ranks hold, and how they meet.
pub trait ContextScheme {
    /// How the tokens of a sequence are dealt to the ranks.
    fn order(&self) -> TokenOrder;

    /// What travels.
    fn travels(&self) -> Travels;
}

/// What travels between the ranks of a context group where attention is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Travels {
    /// Keys and values, from rank to rank around a ring, and their gradients after them. Ranks differ in what
    /// their tokens see in each round.
    KeysAround,
    /// Queries, keys and values of all heads for some tokens become those of some heads for all tokens, in one
    /// all-to-all, and the results go back in another. All ranks do the same.
    HeadsAcross,
}
