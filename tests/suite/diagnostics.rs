//! What is said of wrong input: every mistake at once, each in place, each with what would do.

use trainyard::config::{self, Override};

/// The main workload with some text exchanged.
fn mistakes(exchange: &[(&str, &str)]) -> String {
    let mut text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/workloads/gpt_3d.yaml")).unwrap();
    for (from, to) in exchange {
        assert!(text.contains(from), "the workload says {from:?}");
        text = text.replacen(from, to, 1);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.yaml");
    std::fs::write(&path, text).unwrap();
    match config::load(&path, &[]) {
        Ok(_) => String::new(),
        Err(mistakes) => mistakes.render(),
    }
}

#[track_caller]
fn says(rendered: &str, sentences: &[&str]) {
    for sentence in sentences {
        assert!(rendered.contains(sentence), "{sentence:?} is not in:\n{rendered}");
    }
}

#[test]
fn the_main_workload_is_right() {
    assert_eq!(mistakes(&[]), "");
}

#[test]
fn an_unknown_key_names_the_nearest() {
    let rendered = mistakes(&[("micro_batch: 2", "mirco_batch: 2")]);
    says(&rendered, &["unknown key `mirco_batch`", "did you mean `micro_batch`?", "w.yaml:10:3"]);
}

#[test]
fn an_unknown_name_names_the_nearest() {
    let rendered = mistakes(&[("schedule: one_f_one_b", "schedule: one_f_1b")]);
    says(&rendered, &["there is no `one_f_1b`", "did you mean `one_f_one_b`?"]);
    let rendered = mistakes(&[("topology: hgx_h100_2x8", "topology: hgx_h100_2x9")]);
    says(&rendered, &["there is no topology `hgx_h100_2x9`", "did you mean `hgx_h100_2x8`?"]);
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let rendered = mistakes(&[
        ("micro_batch: 2", "mirco_batch: 2"),
        ("pipeline: 2", "pipelines: 2"),
        ("steps: 200", "steps: many"),
    ]);
    says(&rendered, &["mirco_batch", "pipelines", "`training.steps`", "3 mistakes"]);
    let rendered = mistakes(&[("heads: 4", "heads: 3"), ("global_batch: 16", "global_batch: 15")]);
    says(&rendered, &["3 heads do not divide", "15 does not divide among 2 replicas"]);
}

#[test]
fn what_does_not_fit_together_says_what_would() {
    let rendered = mistakes(&[("tensor: 2", "tensor: 8")]);
    says(&rendered, &["8 tensor ranks do not divide 4 heads", "these would: 1, 2, 4"]);
    let rendered = mistakes(&[("data: 2", "data: 16")]);
    says(&rendered, &["= 64 ranks, but `hgx_h100_2x8` has 16 devices"]);
    let rendered = mistakes(&[("pipeline: 2", "pipeline: 3")]);
    says(&rendered, &["4 layers do not divide into 3 pipeline stages", "1, 2, 4"]);
    let rendered = mistakes(&[("data: cicero", "data: {path: nowhere.txt}")]);
    says(&rendered, &["there is no file `nowhere.txt`"]);
    let rendered = mistakes(&[("data: cicero", "data: wine")]);
    says(&rendered, &["this model cannot learn from this data"]);
}

#[test]
fn quantities_say_their_units() {
    let inline = "topology: {name: t, device: h100_sxm, shape: {ring: {devices: 8, link: {class: nvlink, \
                  bandwidth: -5 GB/s, latency: 1 us}}}}";
    let rendered = mistakes(&[("topology: hgx_h100_2x8", inline)]);
    says(&rendered, &["cannot be negative"]);
    let rendered = mistakes(&[("bucket: 256 KiB", "bucket: 25 MBs")]);
    says(&rendered, &["`MBs` is not a unit of a number of bytes"]);
}

#[test]
fn what_is_no_yaml_is_refused_in_place() {
    says(&mistakes(&[("data: cicero", "data: [cicero")]), &["this is not YAML"]);
    says(&mistakes(&[("  steps", "\tsteps")]), &["this is not YAML", "-->"]);
    says(&mistakes(&[("seed: 1", "seed: 1\nseed: 2")]), &["duplicate"]);
    let bomb = "a: &a [x, x]\nb: &b [*a, *a]\nseed: 1";
    says(&mistakes(&[("seed: 1", bomb)]), &["anchors are not read here"]);
    let deep = format!("x: {}", "[".repeat(10_000));
    says(&mistakes(&[("seed: 1", &deep)]), &["recursion limit exceeded"]);
}

/// A device that no link reaches is shown where it is named.
#[test]
fn an_unreachable_device_is_named() {
    let machine = "topology: {name: t, devices: [{name: a, device: h100_sxm, node: x}, {name: b, device: \
                   h100_sxm, node: x}, {name: c, device: h100_sxm, node: y}], links: [{between: [a, b], class: \
                   nvlink, bandwidth: 100 GB/s, latency: 1 us}]}";
    let rendered = mistakes(&[("topology: hgx_h100_2x8", machine)]);
    says(&rendered, &["no links lead from `a` to `c`", "add a link under `links`"]);
}

/// A hundred megabytes are no workload: they are refused before they are read.
#[test]
fn a_huge_file_is_refused_unread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.yaml");
    std::fs::File::create(&path).unwrap().set_len(100 << 20).unwrap();
    let rendered = config::load(&path, &[]).unwrap_err().render();
    says(&rendered, &["cannot be read: it has 104857600 bytes", "at most 16777216"]);
}

#[test]
fn changes_are_shown_where_they_were_made() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/workloads/gpt_3d.yaml");
    let change: Override = "training.steps=many".parse().unwrap();
    let rendered = config::load(path.as_ref(), &[change]).unwrap_err().render();
    says(&rendered, &["command line", "--set training.steps=many"]);
    let change: Override = "parallel.tensor=3".parse().unwrap();
    let rendered = config::load(path.as_ref(), &[change]).unwrap_err().render();
    says(&rendered, &["--set parallel.tensor=3", "3 tensor ranks do not divide 4 heads"]);
}

proptest::proptest! {
    /// Any bytes give a scenario or a diagnosis, never a panic.
    #[test]
    fn any_text_is_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let source = config::Source { name: "any".into(), text };
        let _ = config::resolve(source, &[]).map_err(|m| m.render());
    }

    /// A workload with some characters exchanged too.
    #[test]
    fn any_mutation_is_read_or_refused(
        edits in proptest::collection::vec((0_usize..900, proptest::char::range(' ', '~')), 1..6),
    ) {
        let text =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/workloads/gpt_3d.yaml")).unwrap();
        let mut characters: Vec<char> = text.chars().collect();
        for (at, character) in edits {
            let length = characters.len();
            characters[at % length] = character;
        }
        let source = config::Source { name: "any".into(), text: characters.into_iter().collect() };
        let _ = config::resolve(source, &[]).map_err(|m| m.render());
    }
}
