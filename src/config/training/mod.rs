//! Workloads with `training:`.

mod context;
pub mod disturbances;
pub mod file;
pub mod model_compression;
mod policies;
pub mod resolve;

pub use file::TrainingFile;
pub use resolve::{LoadedData, TrainingScenario};
