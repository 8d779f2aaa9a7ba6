//! The picture of the house holds: imports go down, and on a floor to the left.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The floors from the ground up, the rooms of each from left to right (see `src/lib.rs`).
const FLOORS: [&[&str]; 9] = [
    &["units", "ids", "rng", "registry"],
    &["engine", "trace"],
    &["hardware", "model", "parallel"],
    &["compute", "network", "collective"],
    &["program", "runtime", "numeric"],
    &["training", "preparation", "tasks", "serving", "cluster"],
    &["metrics", "report"],
    &["planning", "validation"],
    &["config", "cli"],
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// Every source file with its room and its text.
fn rooms() -> Vec<(PathBuf, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let room = |path: &Path| {
        let inside = path.strip_prefix(&root).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        first.trim_end_matches(".rs").to_owned()
    };
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path.clone(), room(&path), text)
        })
        .filter(|(_, room, _)| room != "lib" && room != "main")
        .collect()
}

/// Code without comments and strings, so that prose may name any room.
fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"))
}

/// Rooms named as `crate::room` or `crate::{room, …}`.
fn imported(line: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        rooms.push(name);
    }
    rooms.retain(|room| !room.is_empty());
    rooms
}

#[test]
fn imports_go_down_and_to_the_left() {
    let places: BTreeMap<&str, (usize, usize)> = FLOORS
        .iter()
        .enumerate()
        .flat_map(|(floor, rooms)| rooms.iter().enumerate().map(move |(at, room)| (*room, (floor, at))))
        .collect();
    // Floor 5: the trades do not know each other, except that `cluster` uses the others.
    let strangers = ["training", "preparation", "tasks", "serving"];
    let mut broken = Vec::new();
    for (path, room, text) in rooms() {
        let Some(&here) = places.get(room.as_str()) else {
            broken.push(format!("{} is in no room of the house", path.display()));
            continue;
        };
        for line in code_lines(&text) {
            for target in imported(line) {
                let Some(&there) = places.get(target.as_str()) else { continue };
                let unknown = strangers.contains(&room.as_str()) && strangers.contains(&target.as_str());
                if target != room && (there > here || unknown) {
                    broken.push(format!("{}: `{}` reaches up to {target}", path.display(), line.trim()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Some crates have one home, so that the rest of the house does not depend on them.
#[test]
fn some_crates_have_one_home() {
    let homes = [
        ("serde_yaml::", &["config"][..], ""),
        ("saphyr_parser::", &["config"][..], ""),
        ("clap::", &["cli"][..], ""),
        ("plotters::", &["report"][..], "figure"),
        ("gemm::", &["numeric"][..], "matmul"),
        ("nalgebra::", &["numeric"][..], "svd"),
        ("safetensors::", &["config"][..], "checkpoint"),
        ("SystemTime", &["cli"][..], ""),
        ("Instant", &["cli"][..], ""),
    ];
    let mut broken = Vec::new();
    for (path, room, text) in rooms() {
        for (name, allowed, place) in homes {
            let at_home = allowed.contains(&room.as_str()) && path.to_string_lossy().contains(place);
            let names_it = code_lines(&text).any(|line| {
                line.match_indices(name).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                })
            });
            if names_it && !at_home {
                broken.push(format!("{} names {name}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Only the door and the report's writer touch files.
#[test]
fn only_the_door_and_the_writer_touch_files() {
    let mut broken = Vec::new();
    for (path, room, text) in rooms() {
        let writer = room == "report" && path.ends_with("writer.rs");
        // Tests, at the end of a file or in one of their own, may touch what they check.
        let code = if path.ends_with("tests.rs") { "" } else { text.split("#[cfg(test)]").next().unwrap() };
        let touches = code_lines(code).any(|line| line.contains("std::fs") || line.contains("File::"));
        if touches && !writer && room != "config" && room != "cli" {
            broken.push(path.display().to_string());
        }
    }
    assert!(broken.is_empty(), "these touch files: {}", broken.join(", "));
}
