//! Task graphs against shared vectors, real workflows and the door.

use trainyard::ids::{Id, TaskId};
use trainyard::rng::Seed;
use trainyard::tasks::costs::Speeds;
use trainyard::tasks::graph::{Data, Payload, Work};
use trainyard::tasks::readers::wfformat;
use trainyard::tasks::scheduling::ranks::{RankScale, upward};
use trainyard::tasks::scheduling::{Progress, TaskSchedulerSpec, TaskView};
use trainyard::tasks::{Bounds, Communication, Costs, Task, TaskGraph};
use trainyard::units::{Bytes, PICOS_PER_SECOND, SimDuration};

/// The shared vectors; nothing, with a message, where they are absent.
fn vectors() -> Option<serde_json::Value> {
    match std::fs::read_to_string("../shared/vectors/scheduling.json") {
        Ok(text) => Some(serde_json::from_str(&text).expect("vectors are JSON")),
        Err(_) => {
            eprintln!("skipped: ../shared/vectors/scheduling.json is absent");
            None
        }
    }
}

fn numbers(row: &serde_json::Value) -> Vec<u64> {
    row.as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect()
}

fn rows(table: &serde_json::Value) -> Vec<Vec<u64>> {
    table.as_array().unwrap().iter().map(numbers).collect()
}

fn seconds(count: u64) -> SimDuration {
    SimDuration::from_picos(count * PICOS_PER_SECOND)
}

struct Problem {
    graph: TaskGraph,
    costs: Costs,
}

impl Problem {
    /// Costs by task and device; edges with plain communication costs.
    fn new(costs: &[Vec<u64>], edges: &[Vec<u64>]) -> Problem {
        let task = |(at, row): (usize, &Vec<u64>)| Task {
            name: format!("T{}", at + 1),
            work: Work::Costs(row.iter().map(|&cost| Some(seconds(cost))).collect()),
            memory: Bytes::ZERO,
        };
        let edge = |row: &Vec<u64>| Data {
            from: TaskId::from_index(row[0] as usize),
            to: TaskId::from_index(row[1] as usize),
            payload: Payload::Cost(seconds(row.get(2).copied().unwrap_or(0))),
        };
        let tasks = costs.iter().enumerate().map(task).collect();
        let graph = TaskGraph::new(tasks, edges.iter().map(edge).collect()).unwrap();
        let names = vec![""; costs[0].len()];
        let costs = Costs::of_rows(&graph, &names, &Speeds::default()).unwrap();
        Problem { graph, costs }
    }

    /// Equal machines without communication.
    fn equal(times: &[u64], edges: &[Vec<u64>], machines: usize) -> Problem {
        let rows: Vec<Vec<u64>> = times.iter().map(|&time| vec![time; machines]).collect();
        Problem::new(&rows, edges)
    }

    /// The makespan in whole seconds of what a scheduler, as YAML names it, plans.
    fn makespan(&self, scheduler: &str) -> u64 {
        let scheduler: TaskSchedulerSpec = serde_json::from_str(scheduler).unwrap();
        self.see(|view| scheduler.plan(view).makespan().picos()) / PICOS_PER_SECOND
    }

    fn see<T>(&self, look: impl Fn(&TaskView) -> T) -> T {
        let progress = Progress::none(self.graph.len(), self.costs.devices().len());
        look(&TaskView {
            graph: &self.graph,
            costs: &self.costs,
            communication: &Communication::plain(),
            progress: &progress,
            seed: Seed(1),
        })
    }
}

#[test]
fn heft_and_cpop_give_the_ranks_and_makespans_of_the_shared_vectors() {
    let Some(vectors) = vectors() else { return };
    let case = &vectors["topcuoglu2002"];
    let problem = Problem::new(&rows(&case["cost"]), &rows(&case["edges"]));
    let ranks: Vec<f64> = problem.see(|view| {
        let scale = RankScale::of(view);
        upward(view, scale).iter().map(|&rank| scale.seconds(rank)).collect()
    });
    for (rank, expected) in ranks.iter().zip(case["rank_u"].as_array().unwrap()) {
        assert!((rank - expected.as_f64().unwrap()).abs() < 5e-4, "{ranks:?}");
    }
    for (name, expected) in case["makespan"].as_object().unwrap() {
        let name = format!("\"{}\"", name.to_lowercase());
        assert_eq!(Some(problem.makespan(&name)), expected.as_u64(), "{name}");
    }
    let bounds = Bounds::of(&problem.graph, &problem.costs, &Communication::plain());
    assert_eq!(Some(bounds.critical_path.picos() / PICOS_PER_SECOND), case["cp_min"].as_u64());
    assert_eq!(bounds.sequential.map(|alone| alone.picos() / PICOS_PER_SECOND), case["seq_best"].as_u64());
}

#[test]
fn list_scheduling_gives_grahams_anomalies_of_the_shared_vectors() {
    let Some(vectors) = vectors() else { return };
    let case = &vectors["graham_anomaly"];
    let (times, edges) = (numbers(&case["times"]), rows(&case["prec"]));
    let expected = |key: &str| case["makespan"][key].as_u64().unwrap();
    let list = |times: &[u64], edges: &[Vec<u64>], machines| {
        Problem::equal(times, edges, machines).makespan("\"list\"")
    };
    assert_eq!(list(&times, &edges, 3), expected("m3"));
    assert_eq!(list(&times, &edges, 4), expected("m4"));
    let shorter: Vec<u64> = times.iter().map(|time| time - 1).collect();
    assert_eq!(list(&shorter, &edges, 3), expected("m3_times_minus_1"));
    let fewer: Vec<Vec<u64>> =
        edges.iter().filter(|edge| ![[3, 4], [3, 5]].contains(&[edge[0], edge[1]])).cloned().collect();
    assert_eq!(list(&times, &fewer, 3), expected("m3_drop_4to5_4to6"));
    let order = r#"{"list": {"order": ["T1", "T2", "T4", "T5", "T6", "T3", "T9", "T7", "T8"]}}"#;
    let other = Problem::equal(&times, &edges, 3).makespan(order);
    assert_eq!(other, expected("m3_list_T1,T2,T4,T5,T6,T3,T9,T7,T8"));
}

#[test]
fn lpt_and_the_search_give_the_bounds_of_the_shared_vectors() {
    let Some(vectors) = vectors() else { return };
    for (machines, case) in [(2, &vectors["lpt_tight"]["m2"]), (3, &vectors["lpt_tight"]["m3"])] {
        let problem = Problem::equal(&numbers(&case["jobs"]), &[], machines);
        assert_eq!(Some(problem.makespan("\"lpt\"")), case["lpt"].as_u64());
        assert_eq!(Some(problem.makespan("\"exact\"")), case["opt"].as_u64());
    }
}

#[test]
fn batch_heuristics_give_the_makespans_of_the_shared_vectors() {
    let Some(vectors) = vectors() else { return };
    for case in vectors["independent_heterogeneous"].as_array().unwrap() {
        let problem = Problem::new(&rows(&case["etc"]), &[]);
        let names = [
            ("minmin", "min_min"),
            ("maxmin", "max_min"),
            ("sufferage", "sufferage"),
            ("mct", "mct"),
            ("met", "met"),
            ("opt", "exact"),
        ];
        for (key, name) in names {
            assert_eq!(Some(problem.makespan(&format!("\"{name}\""))), case[key].as_u64(), "{name}");
        }
    }
}

/// Workflows as they were executed: 52 + 58 + 43 + 10 tasks.
#[test]
fn wfcommons_instances_are_read() {
    let folder = std::path::Path::new("../shared/traces/wfinstances");
    let Ok(entries) = std::fs::read_dir(folder) else {
        eprintln!("skipped: {} is absent", folder.display());
        return;
    };
    let mut tasks = 0;
    for path in entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
    {
        let text = std::fs::read_to_string(&path).unwrap();
        let reading = wfformat::read(&text).unwrap_or_else(|why| panic!("{}: {why:?}", path.display()));
        tasks += reading.graph.len();
        let path = std::fs::canonicalize(&path).unwrap();
        let graph = format!("tasks.graph={{wfformat: {}}}", path.display());
        let summary =
            summary(&["workloads/tasks_random.yaml", "--set", &graph, "--set", "tasks.speeds={gpu: 4}"]);
        assert_eq!(summary["tasks"].as_u64(), Some(reading.graph.len() as u64));
        assert!(summary["gap_to_lower_bound"].as_f64().unwrap() >= 0.0);
    }
    assert_eq!(tasks, 163);
}

fn trainyard(arguments: &[&str]) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_trainyard"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

fn summary(arguments: &[&str]) -> serde_json::Value {
    let output = trainyard(&[&["run"], arguments, &["--format", "json", "--no-report"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The papers' example through the door: HEFT 80, CPOP 86, and 73 when all is tried.
#[test]
fn the_papers_graph_takes_the_papers_time_through_the_door() {
    for (scheduler, expected) in [("heft", 80.0), ("cpop", 86.0), ("exact", 73.0)] {
        let setting = format!("tasks.scheduler={scheduler}");
        let summary = summary(&["workloads/tasks_heft.yaml", "--set", &setting]);
        assert_eq!(summary["makespan_s"], expected, "{scheduler}");
        assert_eq!(summary["simulated_time_s"], expected);
        if scheduler == "exact" {
            assert_eq!(
                (&summary["lower_bounds_s"]["best"], &summary["gap_to_lower_bound"]),
                (&73.0.into(), &0.0.into())
            );
        }
    }
}

/// Every scheduler does all tasks of the machine with CPUs, two kinds of GPU and an FPGA.
#[test]
fn every_scheduler_runs_the_mixed_machine_through_the_door() {
    for name in TaskSchedulerSpec::NAMES.iter().filter(|name| **name != "exact") {
        let setting = format!("tasks.scheduler={name}");
        let summary = summary(&["workloads/tasks_mixed.yaml", "--set", &setting]);
        let done: u64 = summary["devices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|device| device["tasks"].as_u64().unwrap())
            .sum();
        assert_eq!(Some(done), summary["tasks"].as_u64(), "{name}");
        assert!(summary["gap_to_lower_bound"].as_f64().unwrap() >= 0.0, "{name}");
    }
}

/// The factor is right under every scheduler, with two devices failing.
#[test]
fn the_cholesky_workload_computes_the_right_factor() {
    for name in ["heft", "min_min", "work_stealing", "adaptive", "random"] {
        let setting = format!("tasks.scheduler={name}");
        let summary = summary(&["workloads/tasks_cholesky.yaml", "--set", &setting]);
        assert_eq!(summary["failures"], 2, "{name}");
        assert!(summary["numeric"]["residual"].as_f64().unwrap() < 1e-14, "{name}");
    }
}

#[test]
fn two_task_runs_write_the_same_bytes() {
    let run = || {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().to_str().unwrap();
        let set = "tasks.scheduler=work_stealing";
        let output = trainyard(&["run", "workloads/tasks_random.yaml", "--set", set, "--out", out]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let named = |path: std::path::PathBuf| {
            (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap())
        };
        let mut files: Vec<(String, Vec<u8>)> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| named(entry.unwrap().path())).collect();
        files.sort();
        (files, output.stdout)
    };
    let (first, second) = (run(), run());
    let names: Vec<&str> = first.0.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["devices.svg", "gantt.svg", "report.html", "summary.json", "tasks.csv"]);
    assert!(first == second, "two runs differ");
}

/// What one scheduler proves is a bound for all: HEFT is 80 / 73 − 1 above it.
#[test]
fn a_comparison_of_schedulers_holds_all_against_the_best_bound() {
    let vary = "tasks.scheduler=heft,exact";
    let output = trainyard(&[
        "compare",
        "workloads/tasks_heft.yaml",
        "--vary",
        vary,
        "--no-report",
        "--format",
        "json",
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let compared: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let gap =
        |at: usize| compared["variants"][at]["measures"]["gap_to_lower_bound"]["mean"].as_f64().unwrap();
    assert!((gap(0) - 7.0 / 73.0).abs() < 1e-9 && gap(1).abs() < 1e-9, "{compared}");
}

/// What a workload says, and its exit code.
fn refused(tasks: &str, graph: Option<(&str, &str)>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.yaml");
    std::fs::write(&path, format!("name: w\ntasks:\n{tasks}")).unwrap();
    if let Some((name, text)) = graph {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let output = trainyard(&["run", path.to_str().unwrap(), "--no-report"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    said
}

#[track_caller]
fn says(said: &str, sentences: &[&str]) {
    for sentence in sentences {
        assert!(said.contains(sentence), "{sentence:?} is not in:\n{said}");
    }
}

#[test]
fn a_cycle_is_named_and_an_unknown_task_has_a_nearest() {
    let list = |edges: &str| {
        format!(
            "  devices: 2\n  graph:\n    list:\n      tasks: [{{name: cut, time: 1}}, {{name: sew, time: 2}}, {{name: iron, time: 1}}]\n      edges:\n{edges}"
        )
    };
    let said =
        refused(&list("        - [cut, sew, 1]\n        - [sew, iron]\n        - [iron, cut]\n"), None);
    says(&said, &["these tasks wait for one another: `cut` → `sew` → `iron` → `cut`", "w.yaml:7"]);
    let said = refused(&list("        - [cut, sow, 1]\n        - [irons, cut, 3 parsecs]\n"), None);
    says(&said, &["expected a cost such as `18`, a time such as `3 ms`, or a size such as `4 MiB`"]);
    let said = refused(&list("        - [cut, sow, 1]\n        - [irons, cut, 3 ms]\n"), None);
    says(
        &said,
        &[
            "an edge names the task `sow`, which the graph does not have",
            "did you mean `sew`?",
            "an edge names the task `irons`",
            "w.yaml:8:17",
            "2 mistakes",
        ],
    );
}

#[test]
fn all_mistakes_of_a_task_file_are_told_at_once() {
    let said = refused(
        "  devices: [a, b]\n  speeds: {c: 2}\n  estimates: {noisy: {spread: 2}}\n  failures: [{device: q, at: 1 s}]\n  \
         graph: {list: {tasks: [{name: x, costs: [1, 2]}]}}\n",
        None,
    );
    says(
        &said,
        &["no device is called `c`", "`spread` is from 0 to below 1, not 2", "there is no device `q`"],
    );
    let said = refused("  devices: 3\n  graph: {list: {tasks: [{name: x, costs: [1, 2]}]}}\n", None);
    says(&said, &["the task `x` has 2 costs for 3 devices"]);
    let said = refused("  graph: {list: {tasks: [{name: x}, {name: x, time: 1, flops: 3 GFLOP}]}}\n", None);
    says(&said, &["there is no machine", "two tasks are called `x`", "has no work", "given twice"]);
    let said = refused("  devices: 1\n  scheduler: hefd\n  graph: {list: {tasks: []}}\n", None);
    says(&said, &["there is no `hefd`", "did you mean `heft`?"]);
}

#[test]
fn malformed_graph_files_are_shown_in_place() {
    let said = refused("  devices: 2\n  graph: {dot: g.dot}\n", Some(("g.dot", "digraph {\n  a -> ;\n}\n")));
    says(&said, &["expected a node after `->`, found `;`", "g.dot:2:8"]);
    let said =
        refused("  devices: 2\n  graph: {wfformat: g.json}\n", Some(("g.json", "{\n  \"workflow\": 3}")));
    says(&said, &["this is no WfFormat 1.5", "g.json:2"]);
    let said = refused("  devices: 2\n  graph: {dot: none.dot}\n", None);
    says(&said, &["there is no file `none.dot`"]);
}
