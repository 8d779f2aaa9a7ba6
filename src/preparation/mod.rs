//! Preprocessing in parallel: a corpus in, packed sequences of tokens out.

pub mod clean;
pub mod corpus;
pub mod duplicates;
pub mod packing;
pub mod tokenizer;
