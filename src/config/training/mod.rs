//! Workloads with `training:`.

pub mod file;
pub mod resolve;

pub use file::TrainingFile;
pub use resolve::{LoadedData, TrainingScenario};
