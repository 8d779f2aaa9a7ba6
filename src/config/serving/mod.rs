//! Workloads with `serving:`.

pub mod file;
pub mod resolve;

pub use file::ServingFile;
pub use resolve::ServingScenario;
