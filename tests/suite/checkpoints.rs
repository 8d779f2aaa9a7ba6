//! Trained models as files: saved whole whatever the mesh, started from, refused when they do not fit.

use std::path::Path;
use std::process::{Command, Output};

fn trainyard(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trainyard"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the program runs")
}

/// Trains the small GPT on a mesh and saves it; the losses of its steps.
fn trained(to: &Path, settings: &[&str]) -> Vec<f64> {
    let mut arguments = vec!["run", "workloads/gpt_3d.yaml", "--no-report", "--format", "json"];
    let common = [
        "training.steps=3",
        // Each replica of those that average would clip by its own norm.
        "training.gradient_clipping=null",
        "training.optimizer={sgd: {learning_rate: 0.1}}",
        "model.gpt={layers: 2, hidden: 16, heads: 2, sequence: 16, vocabulary: 256}",
        "parallel={}",
    ];
    common.iter().chain(settings).for_each(|setting| arguments.extend(["--set", setting]));
    let path = to.to_string_lossy().into_owned();
    arguments.extend(["--save", &path]);
    let output = trainyard(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    summary["losses"].as_array().unwrap().iter().map(|loss| loss.as_f64().unwrap()).collect()
}

fn numbers(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = file.tensors();
    tensors.sort_by(|(one, _), (other, _)| one.cmp(other));
    let of = |data: &[u8]| -> Vec<f32> {
        data.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
    };
    tensors.iter().flat_map(|(_, tensor)| of(tensor.data())).collect()
}

/// Everything before the numbers: names, shapes, metadata.
fn header(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[..8 + length].to_vec()
}

/// Three steps on one rank and on 2 × 2 × 2, with shared weights and with averaged ones: the same file but for the
/// rounding of sums (2⁻²⁴ of weights below 4, some dozens of times).
#[test]
fn a_checkpoint_is_the_same_for_every_mesh() {
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join("alone.safetensors");
    trained(&alone, &[]);
    let meshes = [
        vec!["parallel.data=2", "parallel.pipeline=2", "parallel.tensor=2"],
        vec!["parallel.data=2", "parallel.zero=3", "parallel.tensor=2"],
        vec!["parallel.data=2", "parallel.sync=parameter_averaging"],
    ];
    for (at, mesh) in meshes.iter().enumerate() {
        let path = folder.path().join(format!("{at}.safetensors"));
        trained(&path, mesh);
        assert_eq!(header(&path), header(&alone), "{mesh:?}");
        let worst =
            numbers(&path).iter().zip(numbers(&alone)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5, "{mesh:?}: {worst:e}");
    }
}

/// Plain SGD remembers nothing: three steps from where three others ended are the same whatever mesh takes them, and
/// begin below where those began.
#[test]
fn training_starts_from_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second, split] =
        ["first.safetensors", "second", "split"].map(|name| folder.path().join(name));
    let before = trained(&first, &[]);
    let from = format!("training.from={}", first.display());
    let after = trained(&second, &[&from]);
    assert!(after[0] < before[0] - 1e-3, "{before:?}, then {after:?}");
    let again = trained(&split, &[&from, "parallel.tensor=2", "parallel.pipeline=2"]);
    for (one, other) in after.iter().zip(&again) {
        assert!((one - other).abs() < 1e-5, "{after:?}, {again:?}");
    }
    // A folder has what `transformers` looks for, and is started from as well.
    let config = std::fs::read_to_string(second.join("config.json")).unwrap();
    assert!(config.contains("\"model_type\": \"gpt2\"") && config.contains("\"tie_word_embeddings\": false"));
    trained(&folder.path().join("third"), &[&format!("training.from={}", second.display())]);
}

#[test]
fn a_checkpoint_that_does_not_fit_is_refused_tensor_by_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small.safetensors");
    trained(&small, &[]);
    let from = format!("training.from={}", small.display());
    let refused = |settings: &[&str], parts: &[&str]| {
        let mut arguments = vec!["check", "workloads/gpt_3d.yaml"];
        settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
        let output = trainyard(&arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        parts.iter().for_each(|part| assert!(text.contains(part), "{part:?} is not in:\n{text}"));
    };
    refused(
        &[&from],
        &[
            "`transformer.wte.weight` is 256 × 16; the model's is 256 × 128",
            "more do not fit",
            "it is the checkpoint of `model: {\"gpt\":{\"layers\":2,\"hidden\":16",
        ],
    );
    let heads = "model.gpt={layers: 2, hidden: 16, heads: 4, sequence: 16, vocabulary: 256}";
    refused(&[&from, heads, "parallel={}"], &["has 2 heads, the model 4", "set `heads: 2`"]);
    refused(&["training.from=nowhere.safetensors"], &["there is no file `nowhere.safetensors`"]);
    refused(&["training.from=README.md"], &["`README.md` is not a safetensors file"]);
    refused(&[&from, "numeric=false"], &["nothing is computed (`numeric: false`)"]);
    let output =
        trainyard(&["run", "workloads/tasks_heft.yaml", "--no-report", "--save", "model.safetensors"]);
    assert_eq!(output.status.code(), Some(2));
}
