//! Clusters against shared vectors and real traces.

use trainyard::cluster::job::Job;
use trainyard::cluster::machine::Host;
use trainyard::cluster::placement::PlacementSpec;
use trainyard::cluster::scheduling::ClusterSchedulerSpec;
use trainyard::cluster::scheduling::gavel_max_min::MaxMin;
use trainyard::cluster::speed::{NoProfiles, Speed};
use trainyard::cluster::{self, Checkpoint, ClusterPlan, Demand, KindId, Machine};
use trainyard::rng::Seed;
use trainyard::units::{PICOS_PER_SECOND, SimDuration, SimTime};

/// The shared vectors; nothing, with a message, where they are absent.
fn vectors() -> Option<serde_json::Value> {
    let text = std::fs::read_to_string("../shared/vectors/scheduling.json");
    match text {
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

/// Five gangs on eight devices under strict FIFO and strict SJF.
#[test]
fn gangs_start_as_in_the_shared_vectors() {
    let Some(vectors) = vectors() else { return };
    let cases = &vectors["gang_jobs_8gpu"];
    let rows: Vec<Vec<u64>> = cases["jobs_arr_dur_gpus"].as_array().unwrap().iter().map(numbers).collect();
    let seconds = |count: u64| SimDuration::from_picos(count * PICOS_PER_SECOND);
    let job = |row: &Vec<u64>| Job {
        name: String::new(),
        user: String::new(),
        arrival: SimTime::ZERO + seconds(row[0]),
        demand: Demand::devices(row[2] as u32),
        work: seconds(row[1]),
        estimate: seconds(row[1]),
        kinds: vec![KindId(0)],
        speed: Speed::Same,
        weight: 1.0,
    };
    let mut machine = Machine::new("eight");
    machine.add_node("node", "gpu", 8, Host::PLENTY);
    for (case, scheduler) in [("fifo_strict", "fifo"), ("sjf_strict", "sjf")] {
        let plan = ClusterPlan {
            machine: machine.clone(),
            jobs: rows.iter().map(job).collect(),
            scheduler: ClusterSchedulerSpec::from_name(scheduler).unwrap(),
            placement: PlacementSpec::from_name("packed").unwrap(),
            checkpoint: Checkpoint::default(),
            failures: None,
            seed: Seed(1),
        };
        let outcome = cluster::run(&plan, &NoProfiles).unwrap();
        let whole = |at: SimTime| at.picos() / PICOS_PER_SECOND;
        let starts: Vec<u64> = outcome.jobs.iter().map(|job| whole(job.start)).collect();
        assert_eq!(starts, numbers(&cases[case]["start"]), "{case}");
        let spent = outcome.jobs.iter().zip(&rows).map(|(job, row)| whole(job.finish) - row[0]);
        let mean = spent.sum::<u64>() as f64 / rows.len() as f64;
        assert_eq!(mean, cases[case]["avgJCT"].as_f64().unwrap(), "{case}");
        let makespan = outcome.jobs.iter().map(|job| whole(job.finish)).max();
        assert_eq!(makespan, cases[case]["makespan"].as_u64(), "{case}");
    }
}

/// A number written as `13/31`.
fn fraction(text: &serde_json::Value) -> f64 {
    let text = text.as_str().unwrap();
    match text.split_once('/') {
        Some((over, under)) => over.parse::<f64>().unwrap() / under.parse::<f64>().unwrap(),
        None => text.parse().unwrap(),
    }
}

/// Gavel's linear program on the cases that were solved exactly.
#[test]
fn gavels_program_gives_the_allocations_of_the_shared_vectors() {
    let Some(vectors) = vectors() else { return };
    for case in vectors["gavel_lp"].as_array().unwrap() {
        let floats = |row: &serde_json::Value| -> Vec<f64> {
            row.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
        };
        let speeds: Vec<Vec<f64>> = case["T"].as_array().unwrap().iter().map(floats).collect();
        let ones = vec![1.0; speeds.len()];
        let workers = floats(&case["workers"]);
        let answer = MaxMin { speeds: &speeds, scales: ones.clone(), weights: ones, workers }.solve();
        assert!((answer.objective - fraction(&case["maxmin_perf_objective"])).abs() < 1e-9, "{answer:?}");
        for (row, expected) in answer.fractions.iter().zip(case["alloc"].as_array().unwrap()) {
            for (found, expected) in row.iter().zip(expected.as_array().unwrap()) {
                assert!((found - fraction(expected)).abs() < 1e-9, "{answer:?}");
            }
        }
    }
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

/// A trace among those shared; nothing, with a message, where they are absent.
fn trace(path: &str) -> Option<String> {
    let path = format!("../shared/traces/{path}");
    let there = std::path::Path::new(&path).is_file();
    if !there {
        eprintln!("skipped: {path} is absent");
    }
    there.then_some(std::fs::canonicalize(&path).ok()?.to_string_lossy().into_owned())
}

/// The workloads that need no trace, each with the keys that scripts rely on; shares sum to one.
#[test]
fn cluster_workloads_run_to_their_end() {
    for name in ["gangs", "elastic", "heterogeneous", "trained"] {
        let summary = summary(&[&format!("workloads/cluster_{name}.yaml")]);
        for key in
            ["jct_s", "queueing_s", "makespan_s", "utilization", "fragmentation", "fairness", "pending_s"]
        {
            assert!(!summary[key].is_null(), "{name} lacks {key}");
        }
        let parts: f64 =
            summary["device_time"].as_object().unwrap().values().map(|v| v.as_f64().unwrap()).sum();
        assert!((parts - 1.0).abs() < 1e-9, "{name}: {parts}");
        let mean = |key: &str| summary[key]["mean"].as_f64().unwrap();
        assert!(
            mean("waiting_s") <= mean("jct_s") && mean("queueing_s") <= mean("waiting_s") + 1e-6,
            "{name}"
        );
    }
}

#[test]
fn two_cluster_runs_write_the_same_bytes() {
    let run = || {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().to_str().unwrap();
        let output = trainyard(&["run", "workloads/cluster_gangs.yaml", "--out", out]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap())
            })
            .collect();
        files.sort();
        (files, output.stdout)
    };
    let (first, second) = (run(), run());
    let names: Vec<&str> = first.0.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "devices.svg",
            "jct.svg",
            "jobs.csv",
            "pending.svg",
            "queue.svg",
            "report.html",
            "summary.json",
            "utilization.svg"
        ]
    );
    assert!(first == second, "two runs differ");
}

/// A gang within a node trains faster than one over two: a spread placement makes trained jobs later.
#[test]
fn trained_jobs_are_slower_where_they_are_spread() {
    let mean = |placement: &str| {
        let placement = format!("cluster.placement={placement}");
        let summary = summary(&["workloads/cluster_trained.yaml", "--set", &placement]);
        summary["jct_s"]["mean"].as_f64().unwrap()
    };
    assert!(mean("spread") > 1.02 * mean("topology_aware"));
}

/// What a workload of one job says, and its exit code.
fn refused(cluster: &str, table: Option<&str>, more: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.yaml");
    std::fs::write(&path, format!("name: w\ntopology: hgx_h100_1x8\ncluster:\n{cluster}")).unwrap();
    if let Some(table) = table {
        std::fs::write(folder.path().join("t.csv"), table).unwrap();
    }
    let output = trainyard(&[&["run", path.to_str().unwrap(), "--no-report"], more].concat());
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout),
    )
}

#[test]
fn a_job_larger_than_the_cluster_is_refused_before_anything_runs() {
    let (code, said) = refused("  jobs: {list: [{name: huge, devices: 9, duration: 1 h}]}\n", None, &[]);
    assert_eq!(code, Some(2));
    assert!(
        said.contains("job `huge` asks for 9 devices of h100_sxm, more than the whole of `hgx_h100_1x8`"),
        "{said}"
    );
    assert!(said.contains("w.yaml:4:"), "{said}");
}

#[test]
fn bad_rows_are_shown_in_place_or_counted() {
    let table = "arrival,duration,devices\n0,10,1\n5,ten,1\n7,10,1\n6,10,1\n";
    let cluster = "  jobs: {csv: {path: t.csv}}\n";
    let (code, said) = refused(cluster, Some(table), &[]);
    assert_eq!(code, Some(2));
    assert!(said.contains("line 3: expected a number of seconds in `duration`, found `ten`"), "{said}");
    assert!(
        said.contains("line 5: expected rows in order of arrival: this one arrives at 6, but line 4 at 7"),
        "{said}"
    );
    assert!(said.contains("t.csv:3") && said.contains("5,ten,1") && said.contains("2 mistakes"), "{said}");
    let (code, said) = refused(cluster, Some(table), &["--skip-bad-rows"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("rows left out") && said.contains("2 rows of `t.csv` could not be used"), "{said}");
}

#[test]
fn every_mistake_of_a_cluster_file_is_told_at_once() {
    let cluster = "  scheduler: fiffo\n  placement: tight\n  jobs: {list: [{devices: 0}]}\n";
    let (code, said) = refused(cluster, None, &[]);
    assert_eq!(code, Some(2));
    assert!(said.contains("did you mean `fifo`?") && said.contains("there is no `tight`"), "{said}");
    let cluster = "  machine: {nodes: []}\n  scheduler: {las: {thresholds: [5, 4]}}\n  jobs: {list: [{devices: 1, steps: 5}]}\n";
    let (_, said) = refused(cluster, None, &[]);
    assert!(
        said.contains("the machine is described twice") && said.contains("rise from queue to queue"),
        "{said}"
    );
}

/// SRTF beats FIFO on mean completion time under every seed; a scheduler does not beat itself.
#[test]
fn schedulers_are_compared_with_the_same_seeds() {
    let compare = |vary: &str| -> serde_json::Value {
        let arguments = ["compare", "workloads/cluster_gangs.yaml", "--vary", vary, "--seeds", "6"];
        let output = trainyard(&[&arguments[..], &["--format", "json", "--no-report"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let compared = compare("cluster.scheduler=fifo,srtf");
    let against = &compared["variants"][1]["against_first"]["jct_mean_s"];
    assert!(against["significant"] == true && against["high"].as_f64().unwrap() < 0.0, "{compared}");
    let seeds = compared["variants"][0]["measures"]["jct_mean_s"]["by_seed"].as_array().unwrap().clone();
    assert!(seeds.len() == 6 && seeds[0] != seeds[1], "{seeds:?}");
    // The same jobs under either: without checkpoints to write, one scheduler twice is the same twice.
    let same = compare("cluster.scheduler=fifo,{fifo: {strict: true}}");
    assert_eq!(same["variants"][1]["against_first"]["jct_mean_s"]["significant"], false);
}

/// Published traces are read whole: as many jobs as their papers and files say.
#[test]
fn published_traces_are_read_whole() {
    let nodes = "cluster.machine.nodes[0].count=400";
    if let Some(path) = trace("philly/philly.csv") {
        let set = format!("cluster.jobs.philly.path={path}");
        let summary = summary(&["workloads/cluster_philly.yaml", "--set", &set, "--set", nodes]);
        assert_eq!(summary["jobs"], 69_448);
        // 400 nodes of eight are more than the 1,104 devices that were ever wanted at once: nobody waits.
        assert_eq!(summary["queueing_s"]["max"], 0.0);
    }
    if let (Some(pods), Some(nodes)) =
        (trace("openb/openb_pod_list_default.csv"), trace("openb/openb_node_list_gpu_node.csv"))
    {
        let (pods, nodes) = (format!("cluster.jobs.openb={pods}"), format!("cluster.machine.openb={nodes}"));
        let summary = summary(&["workloads/cluster_openb.yaml", "--set", &pods, "--set", &nodes]);
        // 8,152 pods, of which 897 were never scheduled.
        assert_eq!((&summary["jobs"], &summary["devices"]), (&(8_152 - 897).into(), &6_212.into()));
    }
    if let Some(path) = trace("tiresias/60_job.csv") {
        let jobs = format!("cluster.jobs={{tiresias: {path}}}");
        let summary = summary(&["workloads/cluster_philly.yaml", "--set", &jobs, "--set", nodes]);
        assert_eq!(summary["jobs"], 60);
    }
    if let (Some(path), Some(table)) =
        (trace("gavel/max_min_fairness.trace"), trace("gavel/simulation_throughputs.json"))
    {
        let jobs = format!("cluster.jobs={{gavel: {{path: {path}, throughputs: {table}}}}}");
        let summary = summary(&["workloads/cluster_heterogeneous.yaml", "--set", &jobs]);
        assert_eq!(summary["jobs"], 96);
    }
}

/// The committed example is what its workload gives.
#[test]
fn the_example_report_is_fresh() {
    let committed =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/reports/cluster_gangs/summary.json"));
    let committed: serde_json::Value = serde_json::from_str(&committed.unwrap()).unwrap();
    assert_eq!(
        summary(&["workloads/cluster_gangs.yaml"]),
        committed,
        "run workloads/cluster_gangs.yaml anew"
    );
}
