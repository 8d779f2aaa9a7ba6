//! Workloads with `serving:`.

pub mod file;
pub mod resolve;
pub mod words;

pub use file::ServingFile;
pub use resolve::ServingScenario;
pub use words::{Trained, Vocabulary, Words};
