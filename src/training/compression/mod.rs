//! What of a gradient replicas put on the wire.
//!
//! A compression names a [`Scheme`]; [`lower`](crate::training::lower) makes exchanges of it and
//! [`numeric`](crate::numeric) really loses what it loses. What was not sent may be kept and added to the
//! next gradient (error feedback: Seide et al., "1-Bit Stochastic Gradient Descent and its Application to
//! Data-Parallel Distributed Training of Speech DNNs", Interspeech 2014; Karimireddy et al., "Error
//! Feedback Fixes SignSGD and other Gradient Compression Schemes", ICML 2019, algorithm 1).
//!
//! To add one, write its file and list it here.

mod none;
mod power_sgd;
mod quantised;
mod random_k;
mod sign;
mod top_k;

use crate::program::Format;
use crate::registry;

registry! {
    /// `compression:` of a training workload.
    pub enum CompressionSpec: GradientCompression {
        /// gradients travel whole
        "none" => None(none::None),
        /// the largest numbers of a bucket, with their places
        "top_k" => TopK(top_k::TopK),
        /// the same random places on every replica, drawn anew in each step
        "random_k" => RandomK(random_k::RandomK),
        /// one bit a number and a scale for each parameter
        "sign" => Sign(sign::Sign),
        /// eight-bit integers, a scale for each block
        "int8" => Int8(quantised::Int8),
        /// eight-bit floating point, a scale for each block
        "fp8" => Fp8(quantised::Fp8),
        /// two thin matrices for each matrix (Vogels et al.)
        "power_sgd" => PowerSgd(power_sgd::PowerSgd),
    }
}

/// Says what of a gradient travels.
pub trait GradientCompression {
    /// The scheme, with its parameters.
    fn scheme(&self) -> Scheme;

    /// Whether what was not sent is added to the next gradient.
    fn feeds_back(&self) -> bool;

    /// What is wrong with its parameters: the key, and what it may be.
    fn mistake(&self) -> Option<(&'static str, String)> {
        None
    }
}

/// What travels of a bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scheme {
    /// All of it.
    Whole,
    /// The largest of these fraction, each with its place; every replica gets those of all.
    Largest {
        /// From 0 to 1.
        fraction: f64,
    },
    /// This fraction, from places that all replicas draw alike, summed on the way.
    Random {
        /// From 0 to 1.
        fraction: f64,
    },
    /// Every number's sign and each parameter's mean magnitude; every replica gets those of all.
    Sign,
    /// All of it in a narrow format: each replica sums its piece of what all send it, and sends the sum
    /// back in the same format.
    Narrow {
        /// In which format.
        format: Format,
        /// Numbers that share a scale.
        block: u32,
    },
    /// Factors of this rank of each matrix, summed on the way; vectors whole.
    LowRank {
        /// Columns of the factors.
        rank: u32,
    },
}

/// What is wrong with a fraction of the numbers that are sent.
fn wrong_fraction(fraction: f64) -> Option<(&'static str, String)> {
    let fits = fraction > 0.0 && fraction <= 1.0;
    (!fits).then(|| ("fraction", format!("a fraction is above 0 and at most 1, not {fraction}")))
}
