//! The dependency audit: every crate that is built has a licence that asks for no more than its notice.

use std::process::Command;

/// Licences that a closed product may build on, by their SPDX names.
const PERMISSIVE: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether an SPDX expression can be met with permissive licences alone: of `OR` one side must be
/// permissive, of `AND` both.
fn is_permissive(expression: &str) -> bool {
    // Crates of old write `MIT/Apache-2.0` for OR.
    let expression = expression.replace('/', " OR ").replace(['(', ')'], "");
    expression.split(" AND ").all(|all| all.split(" OR ").any(|one| PERMISSIVE.contains(&one.trim())))
}

/// What cargo knows of the crates that this machine builds, without asking the network.
fn packages() -> Vec<serde_json::Value> {
    let version = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn every_licence_is_permissive() {
    let packages = packages();
    assert!(packages.len() > 50, "{} crates are a whole tree", packages.len());
    let other: Vec<String> = packages
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(is_permissive))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert!(other.is_empty(), "these ask for more than a notice:\n{}", other.join("\n"));
}

/// An expression that offers a choice is met by one permissive side, one that asks for two needs both.
#[test]
fn expressions_are_read() {
    assert!(is_permissive("MIT OR GPL-3.0") && is_permissive("Apache-2.0/MIT"));
    assert!(!is_permissive("MIT AND GPL-3.0") && !is_permissive("GPL-3.0"));
    assert!(is_permissive("(MIT OR Apache-2.0) AND Unicode-3.0"));
}

/// What is declared is used: a crate that no source names is dead weight.
#[test]
fn every_dependency_is_used() {
    let packages = packages();
    let own = packages.iter().find(|package| package["name"] == "trainyard").unwrap();
    let mut text = String::new();
    for folder in ["src", "tests", "benches"] {
        gather(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut text);
    }
    for dependency in own["dependencies"].as_array().unwrap() {
        let name = dependency["name"].as_str().unwrap().replace('-', "_");
        assert!(text.contains(&format!("{name}::")), "no source names {name}");
    }
}

fn gather(folder: &std::path::Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, text);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}
