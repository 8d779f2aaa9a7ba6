//! All numbers in eight bits, block by block.
//!
//! Wang et al., "ZeRO++: Extremely Efficient Collective Communication for Giant Model Training", 2023,
//! section 4.3 (an all-to-all in place of a ring, so that each number is rounded twice and not n times);
//! Dettmers, "8-Bit Approximations for Parallelism in Deep Learning", ICLR 2016.

use serde::{Deserialize, Serialize};

use crate::program::Format;
use crate::training::compression::{GradientCompression, Scheme};

/// ZeRO++ and the 8-bit optimisers (Dettmers et al. 2022) quantise in blocks of this size.
const BLOCK: u32 = 2048;

macro_rules! narrow {
    ($(#[$doc:meta])* $name:ident in $format:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            /// Numbers that share a scale.
            pub block: u32,
            /// Whether what the sender's rounding lost is kept for the next step; what is lost when the
            /// sums are rounded is not.
            pub error_feedback: bool,
        }

        impl Default for $name {
            fn default() -> Self {
                $name { block: BLOCK, error_feedback: true }
            }
        }

        impl GradientCompression for $name {
            fn scheme(&self) -> Scheme {
                Scheme::Narrow { format: $format, block: self.block }
            }
            fn feeds_back(&self) -> bool {
                self.error_feedback
            }
            fn mistake(&self) -> Option<(&'static str, String)> {
                (self.block == 0).then(|| ("block", "a block has at least one number".to_owned()))
            }
        }
    };
}

narrow!(
    /// Integers from −127 to 127 times the block's scale.
    Int8 in Format::I8
);

narrow!(
    /// E5M2 times the block's scale: range before resolution, as FP8 recipes keep gradients (Micikevicius
    /// et al., "FP8 Formats for Deep Learning", 2022, section 3).
    Fp8 in Format::E5M2
);
