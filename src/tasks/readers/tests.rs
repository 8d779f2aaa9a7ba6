//! Graphs as others write them, and what is said of those that are wrong.

use crate::ids::TaskId;
use crate::tasks::graph::{Payload, Work};
use crate::tasks::readers::{dot, wfformat};
use crate::units::{Bytes, Flops, SimDuration};

fn instance(tasks: &str, execution: &str) -> String {
    format!(
        r#"{{"name": "w", "schemaVersion": "1.5", "workflow": {{"specification": {{"tasks": [{tasks}],
        "files": [{{"id": "f", "sizeInBytes": 100}}, {{"id": "in", "sizeInBytes": 7}}]}},
        "execution": {{"tasks": [{execution}]}}}}}}"#
    )
}

const A: &str = r#"{"name": "a", "id": "a", "parents": [], "children": ["b"], "inputFiles": ["in"], "outputFiles": ["f"]}"#;
const B: &str = r#"{"name": "b", "id": "b", "parents": ["a"], "children": [], "inputFiles": ["f", "in"], "outputFiles": []}"#;
const RUNS: &str =
    r#"{"id": "a", "runtimeInSeconds": 1.5}, {"id": "b", "runtimeInSeconds": 2, "memoryInBytes": 4096}"#;

/// b reads f of 100 bytes, which a writes; `in` comes from outside.
#[test]
fn wfformat_hands_on_the_files_that_one_writes_and_the_other_reads() {
    let reading = wfformat::read(&instance(&format!("{A}, {B}"), RUNS)).unwrap();
    let graph = &reading.graph;
    assert_eq!(graph.task(TaskId(0)).work, Work::Reference(SimDuration::from_seconds(1.5)));
    assert_eq!(graph.task(TaskId(1)).memory, Bytes(4096));
    let edges: Vec<_> = graph.outputs(TaskId(0)).map(|(_, data)| (data.to, data.payload)).collect();
    assert_eq!(edges, [(TaskId(1), Payload::Bytes(Bytes(100)))]);
    assert_eq!(reading.notes, ["1 files that no task writes are taken to be on every device"]);
}

#[test]
fn malformed_wfformat_is_told_with_what_was_expected() {
    let said = |text: &str| {
        let mistakes = wfformat::read(text).unwrap_err();
        mistakes.iter().map(|mistake| mistake.why.clone()).collect::<Vec<_>>().join("\n")
    };
    let cases = [
        (instance(A, RUNS), "expected the id of a task among the children of `a`, found `b`"),
        (
            instance(&format!("{A}, {B}"), r#"{"id": "a", "runtimeInSeconds": 1}"#),
            "expected a runtime of `b`",
        ),
        (
            instance(&format!("{A}, {B}"), RUNS).replace("1.5\"", "1.3\""),
            "expected `schemaVersion` 1.5, found 1.3",
        ),
        (
            instance(&format!("{A}, {B}"), RUNS).replace("\"id\": \"b\", ", ""),
            "missing field `id` in `workflow",
        ),
        (instance(&format!("{A}, {B}"), RUNS).replace("\"f\"]", "\"g\"]"), "`files` has no `g`"),
        (
            instance(&format!("{}, {B}", A.replace("\"parents\": []", "\"parents\": [\"b\"]")), RUNS),
            "these tasks wait for one another: `a` → `b` → `a`",
        ),
        ("{\"workflow\": 3}".into(), "invalid type: integer `3`"),
        ("graph".into(), "this is no WfFormat 1.5: expected value"),
    ];
    for (text, expected) in cases {
        let found = said(&text);
        assert!(found.contains(expected), "{found}\n{text}");
    }
}

#[test]
fn dot_is_read_with_chains_defaults_and_subgraphs() {
    let text = r#"
        // a comment
        digraph "two words" {
            rankdir = LR; node [shape=box, time="3 ms"]; edge [bytes="1 MiB"]
            # another
            subgraph cluster_0 { a; b [time="2"] }
            a -> b -> c [label="x"];
            c [costs="1, 2.5, -", time=""] /* gives way */
        }"#;
    let mistakes = dot::read(text).unwrap_err();
    assert!(mistakes[0].why.contains("found several"), "{mistakes:?}");
    let graph = dot::read(
        &text.replace(", time=\"\"", "").replace("node [shape=box, time", "node [shape=box, label"),
    )
    .unwrap_err();
    assert!(
        graph[0].why.contains("expected `costs`, `time`, `flops` or `size` of the task `a`"),
        "{graph:?}"
    );
    let graph = dot::read(&text.replace("costs=\"1, 2.5, -\", time=\"\"", "time=7")).unwrap().graph;
    let times: Vec<Work> = graph.ids().map(|id| graph.task(id).work.clone()).collect();
    let reference =
        |seconds: f64| Work::Reference(SimDuration::from_picos((seconds * 1e12_f64).round() as u64));
    assert_eq!(times, [reference(0.003), reference(2.0), reference(7.0)]);
    assert_eq!(graph.data_len(), 2);
    assert_eq!(graph.outputs(TaskId(1)).next().unwrap().1.payload, Payload::Bytes(Bytes(1 << 20)));
}

/// daggen and SimGrid write sizes as plain numbers: flops of nodes, bytes of edges.
#[test]
fn simgrids_sizes_are_flops_and_bytes() {
    let graph =
        dot::read("digraph G { 1 [size=\"1e9\", alpha=0.2]; 2 [size=\"5\"]; 1 -> 2 [size=\"4096\"] }")
            .unwrap()
            .graph;
    assert!(matches!(graph.task(TaskId(0)).work, Work::Arithmetic { flops: Flops(1_000_000_000), .. }));
    assert_eq!(graph.outputs(TaskId(0)).next().unwrap().1.payload, Payload::Bytes(Bytes(4096)));
}

#[test]
fn malformed_dot_is_told_with_what_was_expected_and_where() {
    let cases = [
        ("graph { a -- b }", "expected `digraph`", "graph"),
        ("digraph { a -- b }", "expected `->`", "--"),
        ("digraph { a -> }", "expected a node after `->`, found `}`", "}"),
        ("digraph { a [time=] }", "expected a value for the attribute `time`, found `]`", "]"),
        ("digraph { a [time] }", "expected `=` and a value after the attribute `time`", "]"),
        ("digraph { a [time=3]", "expected a node, an edge or `}`, found the end of the text", ""),
        ("digraph { a [time=\"3 parsecs\"] }", "expected a number of seconds", "\"3 parsecs\""),
        ("digraph { a [time=1]; b [time=1]; a -> b -> a }", "`a` → `b` → `a`", "digraph"),
        ("digraph { a [time=\"3] }", "expected `\"` at the end of this text", "\""),
        ("digraph { a [time=3] } x", "expected nothing after the graph's `}`", "x"),
        ("digraph { <b> }", "expected a name, a number or a text in quotes, found `<`", "<"),
    ];
    for (text, expected, place) in cases {
        let mistakes = dot::read(text).unwrap_err();
        assert!(mistakes[0].why.contains(expected), "{mistakes:?}");
        assert_eq!(&text[mistakes[0].span.clone()], place, "{text}");
    }
}
