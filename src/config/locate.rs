//! Finds what is named: workloads, topologies, devices, texts.
//!
//! A name is looked for beside the file that names it, then in the working folder, then among the
//! copies that the program carries, so that it runs anywhere and a file of your own comes first.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use include_dir::{Dir, include_dir};

use crate::config::KeyPath;
use crate::config::diagnostic::{Diagnostics, Source};
use crate::config::marked::Locations;
use crate::config::read::{did_you_mean, read};
use crate::hardware::{DeviceNotFound, DeviceSpec, Topology, TopologySpec};

static TOPOLOGIES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/topologies");
static WORKLOADS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/workloads");

/// The largest YAML file that is read: a thousand times the largest workload that comes with
/// trainyard. A larger one is some other file.
const LARGEST_FILE: u64 = 16 << 20;
/// The largest text that a model is trained on here; it is held in memory.
const LARGEST_TEXT: u64 = 1 << 30;

/// A name and what it is.
pub type Entry = (String, String);

/// Topologies that can be named.
pub fn topologies() -> Vec<Entry> {
    entries(&TOPOLOGIES, Path::new("topologies"))
}

/// Devices that can be named.
pub fn devices() -> Vec<Entry> {
    let devices = TOPOLOGIES.get_dir("devices").expect("the devices are carried along");
    entries(devices, Path::new("topologies/devices"))
}

/// Workloads that can be named.
pub fn workloads() -> Vec<Entry> {
    entries(&WORKLOADS, Path::new("workloads"))
}

/// Every file of a carried folder and of the same folder here, with its first comment line.
fn entries(carried: &Dir<'_>, here: &Path) -> Vec<Entry> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for file in carried.files() {
        note(&mut found, file.path(), file.contents_utf8().unwrap_or_default());
    }
    for file in fs::read_dir(here).into_iter().flatten().flatten() {
        if let Ok(text) = fs::read_to_string(file.path()) {
            note(&mut found, &file.path(), &text);
        }
    }
    found.into_iter().collect()
}

fn note(found: &mut BTreeMap<String, String>, path: &Path, text: &str) {
    if path.extension().is_some_and(|ending| ending == "yaml")
        && let Some(name) = path.file_stem()
    {
        let first = text.lines().next().unwrap_or_default();
        let what = first.strip_prefix('#').unwrap_or_default().trim();
        found.insert(name.to_string_lossy().into_owned(), what.to_owned());
    }
}

/// A workload file, by path or by name.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn workload(path: &Path) -> Result<Source, Diagnostics> {
    let carried = |name: &str| carried_text(&WORKLOADS, name);
    find(path, Path::new("workloads"), Path::new(""), carried, &workloads(), "workload")
}

/// A topology by path or by name, seen from the file that names it.
///
/// # Errors
/// Every mistake in finding, reading and building it.
pub fn topology(name: &str, named_in: &Source) -> Result<Topology, Diagnostics> {
    let beside = Path::new(&named_in.name).parent().unwrap_or(Path::new(""));
    let carried = |name: &str| carried_text(&TOPOLOGIES, name);
    let source = find(Path::new(name), Path::new("topologies"), beside, carried, &topologies(), "topology")?;
    let (spec, locations) = read::<TopologySpec>(source, &[])?;
    build_topology(&spec, &locations, &KeyPath::top())
}

/// What a file names as seen from the working folder: its path where it lies beside the file, else its name.
pub fn from_here(name: &str, named_in: &Source) -> String {
    let beside = Path::new(&named_in.name).parent().unwrap_or(Path::new("")).join(name);
    if beside.is_file() { beside.to_string_lossy().into_owned() } else { name.to_owned() }
}

/// Builds a topology that is written at `path`.
///
/// # Errors
/// Every problem, where it is written.
pub fn build_topology(
    spec: &TopologySpec,
    locations: &Locations,
    path: &KeyPath,
) -> Result<Topology, Diagnostics> {
    spec.resolve(&device).map_err(|problems| {
        let mut mistakes = Diagnostics::new();
        mistakes.problems(locations, path, problems);
        mistakes
    })
}

/// A device by name or by one of its other names.
///
/// # Errors
/// When there is none of that name, or its file is wrong.
pub fn device(name: &str) -> Result<Arc<DeviceSpec>, DeviceNotFound> {
    let carried = |wanted: &str| carried_text(&TOPOLOGIES, &format!("devices/{wanted}"));
    let known = devices();
    let folder = Path::new("topologies/devices");
    let wanted =
        if known.iter().any(|(known, _)| known == name) { name.to_owned() } else { alias(name, &known) };
    let source = find(Path::new(&wanted), folder, Path::new(""), carried, &known, "device")
        .map_err(|mistakes| not_found(&mistakes))?;
    let (spec, _) = read::<DeviceSpec>(source, &[]).map_err(|mistakes| not_found(&mistakes))?;
    Ok(Arc::new(spec))
}

/// The device that goes by another name too; the name itself where there is none.
fn alias(name: &str, known: &[Entry]) -> String {
    let answers = |entry: &&Entry| {
        let text = carried_text(&TOPOLOGIES, &format!("devices/{}", entry.0));
        let spec = text.and_then(|text| read::<DeviceSpec>(Source { name: entry.0.clone(), text }, &[]).ok());
        spec.is_some_and(|(spec, _)| spec.is_called(name))
    };
    known.iter().find(answers).map_or(name.to_owned(), |(known, _)| known.clone())
}

fn not_found(mistakes: &Diagnostics) -> DeviceNotFound {
    let first = mistakes.iter().next();
    let why = first.map_or(String::new(), |mistake| mistake.message.clone());
    let help = first.map(|mistake| mistake.help.clone()).filter(|help| !help.is_empty());
    DeviceNotFound { why, help }
}

/// The bytes of a text to learn from, seen from the file that names it.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn text(path: &Path, named_in: &Source) -> Result<Vec<u8>, String> {
    let bytes = bytes(path, named_in)?;
    match std::str::from_utf8(&bytes) {
        Ok(_) => Ok(bytes),
        Err(why) => Err(format!("`{}` is not UTF-8 text: {why}", path.display())),
    }
}

/// A file of data, whatever its bytes are, seen from the file that names it.
///
/// # Errors
/// When there is none, or it is too large.
pub fn bytes(path: &Path, named_in: &Source) -> Result<Vec<u8>, String> {
    let beside = Path::new(&named_in.name).parent().unwrap_or(Path::new(""));
    let candidates = [beside.join(path), path.to_owned()];
    let Some(path) = candidates.iter().find(|path| path.is_file()) else {
        let carried = WORKLOADS.get_file(path).map(|file| file.contents().to_vec());
        return carried.ok_or_else(|| format!("there is no file `{}`", path.display()));
    };
    let size = fs::metadata(path).map_err(|why| format!("`{}`: {why}", path.display()))?.len();
    if size > LARGEST_TEXT {
        return Err(format!("`{}` has {size} bytes; at most {LARGEST_TEXT} are read", path.display()));
    }
    fs::read(path).map_err(|why| format!("`{}`: {why}", path.display()))
}

fn carried_text(folder: &Dir<'_>, name: &str) -> Option<String> {
    let file = folder.get_file(format!("{name}.yaml"))?;
    file.contents_utf8().map(str::to_owned)
}

/// Finds a YAML file by path or name.
fn find(
    wanted: &Path,
    folder: &Path,
    beside: &Path,
    carried: impl Fn(&str) -> Option<String>,
    known: &[Entry],
    what: &str,
) -> Result<Source, Diagnostics> {
    let name = wanted.to_string_lossy();
    let file_name = format!("{name}.yaml");
    let candidates = [beside.join(wanted), wanted.to_owned(), folder.join(&file_name), folder.join(wanted)];
    if let Some(path) = candidates.iter().find(|path| path.is_file()) {
        return read_file(path);
    }
    if let Some(text) = carried(&name).or_else(|| carried(name.strip_suffix(".yaml")?)) {
        return Ok(Source { name: folder.join(&file_name).to_string_lossy().into_owned(), text });
    }
    let names: Vec<String> = known.iter().map(|(name, _)| name.clone()).collect();
    let stem = wanted.file_stem().map_or(name.clone(), |stem| stem.to_string_lossy());
    let message = if wanted.is_dir() {
        format!("`{name}` is a folder, not a {what} file")
    } else {
        format!("there is no {what} `{name}`")
    };
    Err(Diagnostics::single(message, did_you_mean(&stem, &names, "there are")))
}

fn read_file(path: &PathBuf) -> Result<Source, Diagnostics> {
    let name = path.to_string_lossy().into_owned();
    let wrong = |why: String| Diagnostics::single(format!("`{name}` cannot be read: {why}"), "");
    let size = fs::metadata(path).map_err(|why| wrong(why.to_string()))?.len();
    if size > LARGEST_FILE {
        return Err(wrong(format!("it has {size} bytes, and a file of this kind at most {LARGEST_FILE}")));
    }
    let bytes = fs::read(path).map_err(|why| wrong(why.to_string()))?;
    let text = String::from_utf8(bytes)
        .map_err(|why| wrong(format!("it is not UTF-8 text ({})", why.utf8_error())))?;
    if text.contains('\0') {
        return Err(wrong("it is not text: it holds NUL bytes".into()));
    }
    Ok(Source { name, text })
}
