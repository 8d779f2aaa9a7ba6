//! The door as a user meets it: exit codes, what is written, and that runs repeat byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn trainyard(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trainyard"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap()))
        .collect()
}

#[test]
fn two_runs_write_the_same_bytes() {
    let run = || {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().to_str().unwrap().to_owned();
        let steps = ["--set", "training.steps=3", "--set", "training.evaluate_every=2"];
        let output = trainyard(&[&["run", "workloads/gpt_3d.yaml", "--out", &out], &steps[..]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (files(folder.path()), output.stdout)
    };
    let (first, second) = (run(), run());
    let names: Vec<&str> = first.0.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "breakdown.svg",
            "links.svg",
            "loss.svg",
            "memory.svg",
            "report.html",
            "summary.json",
            "timeline.svg",
            "trace.json",
            "waterfall.svg"
        ]
    );
    assert!(first == second, "two runs differ");
}

#[test]
fn the_summary_has_the_keys_that_scripts_rely_on() {
    let steps = ["--set", "training.steps=2", "--format", "json", "--no-report"];
    let output = trainyard(&[&["run", "workloads/gpt_3d.yaml"], &steps[..]].concat());
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys = [
        "simulated_time_s",
        "step_time_s",
        "step_cycles",
        "tokens_per_second",
        "tokens_per_second_per_device",
        "tflops_per_device",
        "mfu",
        "hfu",
        "breakdown_s",
        "memory_peak_bytes",
        "losses",
        "bytes_moved",
        "events",
    ];
    for key in keys {
        assert!(!summary[key].is_null(), "{key} is missing");
    }
    let parts = summary["breakdown_s"].as_object().unwrap();
    let sum: f64 = parts.values().map(|part| part.as_f64().unwrap()).sum();
    let step = summary["step_time_s"].as_f64().unwrap();
    assert!((sum - step).abs() < 1e-12, "the parts sum to {sum}, the step takes {step}");
}

#[test]
fn the_trace_is_json_with_named_tracks_and_arrows() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    trainyard(&["run", "workloads/gpt_3d.yaml", "--set", "training.steps=1", "--out", out]);
    let trace: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path().join("trace.json")).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let count = |phase: &str| events.iter().filter(|event| event["ph"] == phase).count();
    // 2 replicas × 2 tensor ranks × 4 micro-batches, forward and backward.
    assert_eq!((count("s"), count("f")), (32, 32));
    assert!(count("X") > 100 && count("C") > 8);
    let named = |name: &str| events.iter().any(|event| event["ph"] == "M" && event["args"]["name"] == name);
    assert!(named("rank 7") && named("compute") && named("links"));
}

#[test]
fn wrong_input_is_code_2_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    let wrong: [&[&str]; 5] = [
        &["run", "workloads/gpt_4d.yaml", "--out", out],
        &["run", "workloads/gpt_3d.yaml", "--set", "parallel.tensor=3", "--out", out],
        &["run", "workloads/gpt_3d.yaml", "--set", "steps", "--out", out],
        &["collective", "all-reduced"],
        &["frobnicate"],
    ];
    for arguments in wrong {
        let output = trainyard(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none(), "something was written");
}

/// A learning rate of 1e30 blows the weights up; the run stops and names the step and the layer.
#[test]
fn a_loss_that_is_no_number_stops_the_run() {
    let rate = "training.optimizer.adamw.learning_rate=1.0e30";
    let output = trainyard(&["run", "workloads/gpt_3d.yaml", "--no-report", "--set", rate]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("not a number at step") && errors.contains("layer"), "{errors}");
}

#[test]
fn what_cannot_be_written_is_code_3() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    fs::write(&blocked, "in the way").unwrap();
    let out = blocked.to_str().unwrap();
    let output = trainyard(&["run", "workloads/gpt_3d.yaml", "--set", "training.steps=1", "--out", out]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write"));
}
