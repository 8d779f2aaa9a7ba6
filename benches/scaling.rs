//! How wall time and memory grow with ranks: whole runs of the program, each in a process of its own.
//!
//! - A ring all-reduce of 1 MiB in 4 chunks with every rank and every message simulated, on a ring of
//!   cables: 8·n·(n − 1) messages.
//! - A training step of a GPT of two trillion parameters, where ranks that do the same are simulated once.
//! - The two steps of Megatron-LM's paper (SC 2021) that ship as workloads.
//!
//! `cargo bench --bench scaling` prints the table and writes `reports/scaling/`: the numbers, two figures and
//! the machine's name. Processor time and peak memory are Linux's account of the process. On a machine that
//! others use, processor time says more than the clock; each case is run three times and the one with the
//! least processor time counts.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use trainyard::report::figure::{Axis, Line, LineChart, Quantity, Reference, ReferenceAt};

const RINGS: [u32; 7] = [64, 128, 256, 512, 1024, 2048, 4096];
const REPLICAS: [u32; 7] = [4, 8, 16, 48, 96, 192, 384];
/// Processor seconds of ASTRA-sim's analytical backend for the same all-reduce, measured beside this
/// program's first slice; at 4,096 ranks it was stopped unfinished after 290 s with 5.5 GB.
const ASTRA_SIM: [(f64, f64); 2] = [(1024.0, 6.7), (2048.0, 40.0)];

fn main() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("reports/scaling");
    fs::create_dir_all(&folder).expect("a folder for the report");
    let mut runs: Vec<Run> = RINGS.iter().map(|&ranks| ring(ranks)).collect();
    runs.extend(REPLICAS.iter().map(|&replicas| step(replicas)));
    runs.extend([("gpt3_175b", 1024), ("gpt_1t", 3072)].map(|(name, ranks)| {
        Run::of("workload", ranks, &["run", &format!("workloads/{name}.yaml"), "--no-report"])
    }));
    fs::write(folder.join("scaling.csv"), csv(&runs)).expect("a file of numbers");
    fs::write(folder.join("time.svg"), times(&runs).draw().to_string()).expect("a figure");
    fs::write(folder.join("memory.svg"), memory(&runs).draw().to_string()).expect("a figure");
    fs::write(folder.join("README.md"), readme(&runs)).expect("a text");
}

/// What a process took.
struct Run {
    kind: &'static str,
    ranks: u32,
    wall: f64,
    processor: f64,
    peak_bytes: u64,
}

fn ring(ranks: u32) -> Run {
    let file = std::env::temp_dir().join(format!("trainyard_ring_{ranks}.yaml"));
    let shape = format!(
        "{{ring: {{devices: {ranks}, link: {{class: nvlink, bandwidth: 100 GB/s, latency: 500 ns}}}}}}"
    );
    fs::write(&file, format!("name: ring_{ranks}\ndevice: a100_80gb_sxm\nshape: {shape}\n"))
        .expect("a topology");
    let topology = file.to_str().expect("a plain path").to_owned();
    let run = ["collective", "all-reduce", "--bytes", "1MiB", "--algorithm", "ring", "--chunks", "4"];
    let run = Run::of("ring all-reduce", ranks, &[&run[..], &["--topology", &topology]].concat());
    fs::remove_file(file).expect("the topology that was written");
    run
}

fn step(replicas: u32) -> Run {
    let data = format!("parallel.data={replicas}");
    let batch = format!("training.global_batch={}", 32 * replicas);
    let run = ["run", "workloads/gpt_98304.yaml", "--no-report", "--set", &data, "--set", &batch];
    Run::of("training step", 256 * replicas, &run)
}

impl Run {
    /// The best of three.
    fn of(kind: &'static str, ranks: u32, arguments: &[&str]) -> Run {
        let runs = (0..3).map(|_| Run::once(kind, ranks, arguments));
        let best = runs.min_by(|a, b| a.processor.total_cmp(&b.processor)).expect("three runs");
        println!(
            "{kind:<16}{ranks:>7} ranks {:>8.2} s wall {:>8.2} s processor {:>8.1} MB",
            best.wall,
            best.processor,
            best.peak_bytes as f64 / 1e6
        );
        best
    }

    fn once(kind: &'static str, ranks: u32, arguments: &[&str]) -> Run {
        let (before, began) = (children_seconds(), Instant::now());
        let mut child = Command::new(env!("CARGO_BIN_EXE_trainyard"))
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut peak_bytes = 0;
        let status = loop {
            // The last look before the end says how full memory ever was, but for the last moment.
            peak_bytes = peak(child.id()).unwrap_or(0).max(peak_bytes);
            match child.try_wait().expect("a child") {
                Some(status) => break status,
                None => thread::sleep(Duration::from_millis(2)),
            }
        };
        assert!(status.success(), "{arguments:?}: {status}");
        let (wall, processor) = (began.elapsed().as_secs_f64(), children_seconds() - before);
        Run { kind, ranks, wall, processor, peak_bytes }
    }
}

/// The fullest that a process's memory has been.
fn peak(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Processor seconds of all children that have ended, in steps of 10 ms: fields 16 and 17 of proc_pid_stat(5).
fn children_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(13).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

fn of_kind<'r>(runs: &'r [Run], kind: &'r str) -> impl Iterator<Item = &'r Run> {
    runs.iter().filter(move |run| run.kind == kind)
}

fn points(runs: &[Run], kind: &str, value: impl Fn(&Run) -> f64) -> Vec<(f64, f64)> {
    of_kind(runs, kind).map(|run| (f64::from(run.ranks), value(run))).collect()
}

fn chart(title: &str, y: Axis, series: Vec<Line>, limits: &[(&str, f64)]) -> LineChart {
    let references = limits.iter().map(|&(name, at)| Reference { name: name.into(), at: ReferenceAt::Y(at) });
    LineChart {
        title: title.into(),
        x: Axis::new("ranks", Quantity::Number).logarithmic(),
        y: y.logarithmic(),
        series,
        references: references.collect(),
    }
}

fn times(runs: &[Run]) -> LineChart {
    let line = |name: &str, kind: &str| Line::new(name, points(runs, kind, |run| run.processor));
    let series = vec![
        line("ring all-reduce, 1 MiB in 4 chunks, every message", "ring all-reduce"),
        Line { dashed: true, ..Line::new("the same by ASTRA-sim (analytical)", ASTRA_SIM.to_vec()) },
        line("a step of a GPT of 2.1 trillion parameters, folded", "training step"),
        line("GPT-3 175B and 1T of SC 2021, folded", "workload"),
    ];
    let y = Axis::new("processor time", Quantity::Time);
    chart("How long a simulation takes", y, series, &[])
}

fn memory(runs: &[Run]) -> LineChart {
    let line = |name: &str, kind: &str| Line::new(name, points(runs, kind, |run| run.peak_bytes as f64));
    let series = vec![
        line("ring all-reduce, 1 MiB in 4 chunks, every message", "ring all-reduce"),
        line("a step of a GPT of 2.1 trillion parameters, folded", "training step"),
        line("GPT-3 175B and 1T of SC 2021, folded", "workload"),
    ];
    chart("How much memory a simulation takes", Axis::new("peak memory", Quantity::Bytes), series, &[])
}

fn csv(runs: &[Run]) -> String {
    let mut text = String::from("kind,ranks,wall_s,processor_s,peak_bytes\n");
    for Run { kind, ranks, wall, processor, peak_bytes } in runs {
        writeln!(text, "{kind},{ranks},{wall:.3},{processor:.2},{peak_bytes}").expect("writing to a string");
    }
    text
}

fn readme(runs: &[Run]) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let processors = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let mut text = format!(
        "# Ranks against time and memory\n\n`cargo bench --bench scaling` on {} ({processors} processors, one used): \
         best of three by processor time.\n\n![Processor time](time.svg)\n\n![Peak memory](memory.svg)\n\n\
         | run | ranks | wall | processor | peak memory |\n|---|---:|---:|---:|---:|\n",
        model.unwrap_or("an unknown machine"),
    );
    for Run { kind, ranks, wall, processor, peak_bytes } in runs {
        let megabytes = *peak_bytes as f64 / 1e6;
        writeln!(text, "| {kind} | {ranks} | {wall:.2} s | {processor:.2} s | {megabytes:.0} MB |")
            .expect("a string");
    }
    let of_ring = |ranks: f64| of_kind(runs, "ring all-reduce").find(|run| f64::from(run.ranks) == ranks);
    text.push_str("\nThe all-reduce by ASTRA-sim's analytical backend, processor time:");
    for (ranks, seconds) in ASTRA_SIM {
        let ratio = of_ring(ranks).map_or(f64::NAN, |run| seconds / run.processor);
        write!(text, " {seconds} s at {ranks} ranks, {ratio:.0} times ours;").expect("a string");
    }
    text.push_str(
        " at 4096 it was stopped unfinished after 290 s with 5.5 GB. (Measured earlier on a machine of this kind, not \
         in the same hour.)\n",
    );
    text
}
