//! The README tells the truth: its commands run.

use std::path::Path;
use std::process::Command;

/// Every `cargo run … -- ARGUMENTS` line of the README's code blocks.
fn commands() -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("cargo run --release -- "))
        .map(|arguments| arguments.split_whitespace().map(str::to_owned).collect())
        .collect()
}

/// Each command, shortened to a few steps, into a folder of its own.
#[test]
fn every_command_of_the_readme_runs() {
    let all = commands();
    assert!(all.len() >= 8, "the README shows its commands");
    for mut arguments in all {
        let folder = tempfile::tempdir().unwrap();
        if ["run", "compare"].contains(&arguments[0].as_str()) {
            let trades = ["/cluster_", "/tasks_", "/serving_", "/preparation_"];
            let trains =
                !arguments.iter().any(|argument| trades.iter().any(|trade| argument.contains(trade)));
            if trains {
                arguments.extend(["--set", "training.steps=2"].map(str::to_owned));
            }
            if !arguments.contains(&"--no-report".to_owned()) {
                arguments.extend(["--out".to_owned(), folder.path().display().to_string()]);
            }
        }
        let output = Command::new(env!("CARGO_BIN_EXE_trainyard"))
            .args(&arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?} fails:\n{errors}");
        assert!(!output.stdout.is_empty(), "{arguments:?} says nothing");
    }
}

/// Links to files lead somewhere.
#[test]
fn every_path_of_the_readme_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("README.md")).unwrap();
    let linked = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let named = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.starts_with("src/") || word.starts_with("tests/"));
    for path in
        linked.filter(|path| !path.starts_with("http")).chain(named.filter(|path| !path.contains("NAME")))
    {
        assert!(root.join(path).exists(), "the README names {path}");
    }
}
