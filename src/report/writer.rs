//! Writes a folder of artefacts: the only code outside the door that touches files.
//!
//! Each file is written under a name of its own and then renamed, so that a file that is there is
//! whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A file to be: its name within the folder, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artefact {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

impl Artefact {
    /// A file of text.
    pub fn text(name: impl Into<String>, text: impl Into<String>) -> Self {
        Artefact { name: name.into(), bytes: text.into().into_bytes() }
    }
}

/// What could not be written, and why.
#[derive(Debug)]
pub struct WriteError {
    path: PathBuf,
    why: io::Error,
}

impl std::fmt::Display for WriteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot write `{}`: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for WriteError {}

/// Writes the artefacts into `folder`, which is made when it is not there.
///
/// # Errors
/// Names the first path that could not be written.
pub fn write(folder: &Path, artefacts: &[Artefact]) -> Result<(), WriteError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |why| WriteError { path, why }
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    for artefact in artefacts {
        let path = folder.join(&artefact.name);
        let partial = folder.join(format!(".{}.partial", artefact.name));
        fs::write(&partial, &artefact.bytes).map_err(failed(&partial))?;
        fs::rename(&partial, &path).map_err(failed(&path))?;
    }
    Ok(())
}
