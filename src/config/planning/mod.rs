//! Workloads with `plan:`.

pub mod file;
pub mod resolve;

pub use file::PlanFile;
pub use resolve::PlanScenario;
