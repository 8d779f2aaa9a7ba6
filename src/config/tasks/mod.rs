//! Workloads with `tasks:`.

pub mod file;
mod graph;
pub mod resolve;

pub use file::TasksFile;
pub use resolve::TasksScenario;
