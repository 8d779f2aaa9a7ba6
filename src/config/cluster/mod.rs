//! Workloads with `cluster:`.

pub mod file;
pub mod resolve;

pub use file::ClusterFile;
pub use resolve::ClusterScenario;
