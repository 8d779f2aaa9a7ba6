//! Workloads with `preparation:`.

pub mod file;
pub mod resolve;

pub use file::PreparationFile;
pub use resolve::PreparationScenario;
