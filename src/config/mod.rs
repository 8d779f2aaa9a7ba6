//! Text in, scenario out: how YAML becomes a [`Scenario`], and what is said when it does not.
//!
//! [`file`] mirrors what may be written; [`mod@read`] reads it with every mistake at once, each shown in
//! place ([`diagnostic`], [`marked`]); [`locate`] finds what is named; [`resolve`] checks what needs
//! two facts. After it nothing returns a configuration error.
//!
//! Only this room names the YAML crates.

pub mod diagnostic;
pub mod file;
mod key_path;
pub mod locate;
pub mod marked;
pub mod read;
pub mod resolve;

pub use diagnostic::{Diagnostics, Source};
pub use file::WorkloadFile;
pub use key_path::KeyPath;
pub use marked::Locations;
pub use read::Override;
pub use resolve::Scenario;

use std::path::Path;

/// The scenario that a workload file describes, with changes.
///
/// # Errors
/// Every mistake of the file, each where it stands.
pub fn load(path: &Path, changes: &[Override]) -> Result<Scenario, Diagnostics> {
    let source = locate::workload(path)?;
    let (file, locations) = read::read::<WorkloadFile>(source, changes)?;
    resolve::resolve(file, &locations)
}

/// A workload as YAML, defaults written out.
pub fn write(file: &WorkloadFile) -> String {
    serde_yaml::to_string(file).expect("a workload is plain data")
}
