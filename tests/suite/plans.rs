//! The planner finds what simulating everything would find, and its bounds are bounds.

use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use trainyard::config::{self, Override, PlanScenario, Scenario};
use trainyard::planning::bound::{Costs, bound};
use trainyard::planning::{Fate, Observer, Search, search};

struct Silent;

impl Observer for Silent {
    fn progress(&mut self, _done: usize, _simulated: usize) {}
}

fn scenario(changes: &[String]) -> Result<PlanScenario, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/plan_small.yaml");
    let changes: Vec<Override> = changes.iter().map(|change| change.parse().unwrap()).collect();
    match config::load(&path, &changes) {
        Ok(Scenario::Plan(scenario)) => Ok(*scenario),
        Ok(_) => unreachable!("a workload with `plan:`"),
        Err(mistakes) => Err(mistakes.render()),
    }
}

fn searched(scenario: &PlanScenario, prunes: bool) -> Search {
    let fidelity = &scenario.file.fidelity;
    search(&scenario.candidates, &scenario.goal, &fidelity.compute, &fidelity.network, prunes, &mut Silent)
}

/// Two slow devices with little memory, then two quick ones.
const MIXED: &str = "{topology: {name: mixed, devices: [\
    {name: a, device: a10, node: n}, {name: b, device: a10, node: n}, \
    {name: c, device: a100_40gb_pcie, node: n}, {name: d, device: a100_40gb_pcie, node: n}], \
    switches: [s], links: [\
    {between: [a, s], class: pcie, bandwidth: 31.5 GB/s, latency: 400 ns}, \
    {between: [b, s], class: pcie, bandwidth: 31.5 GB/s, latency: 400 ns}, \
    {between: [c, s], class: pcie, bandwidth: 31.5 GB/s, latency: 400 ns}, \
    {between: [d, s], class: pcie, bandwidth: 31.5 GB/s, latency: 400 ns}]}}";

/// Small spaces: a dozen or two plans each, on devices whose memory some of them exceed.
fn spaces() -> impl Strategy<Value = Vec<String>> {
    let some = |all: &'static [&'static str], most: usize| {
        proptest::sample::subsequence(all, 1..=most).prop_map(|chosen| chosen.join(", "))
    };
    (
        proptest::sample::select(&[2_u32, 4, 6, 8][..]),
        proptest::sample::select(&[256_u32, 1024, 2048, 4096, 6144][..]),
        proptest::sample::select(&["days", "dollars", "devices"][..]),
        some(
            &["{topology: a10_8_ethernet, devices: [4, 8]}", "{topology: hgx_h100_1x8, devices: [8]}", MIXED],
            2,
        ),
        some(&["1", "2", "4"], 2),
        some(&["1", "2", "4"], 2),
        some(&["1", "2", "4"], 2),
        some(&["one_f_one_b", "gpipe", "{interleaved: {virtual_stages: 2}}", "zb_h1", "zb_v"], 2),
        some(&["0", "1", "2", "3"], 2),
        some(&["none", "selective", "full", "{blocks: 1}"], 2),
        proptest::sample::select(
            &[("fused", "roofline"), ("fused", "native"), ("eager", "roofline"), ("eager", "native")][..],
        ),
    )
        .prop_map(
            |(
                layers,
                hidden,
                minimise,
                hardware,
                tensor,
                pipeline,
                micro_batch,
                schedule,
                zero,
                recompute,
                (software, compute),
            )| {
                let gpt = format!(
                    "{{layers: {layers}, hidden: {hidden}, heads: 8, sequence: 512, vocabulary: 1024}}"
                );
                vec![
                    format!("model.gpt={gpt}"),
                    "plan.global_batch=16".to_owned(),
                    "plan.limits={}".to_owned(),
                    format!("plan.minimise={minimise}"),
                    format!("plan.hardware=[{hardware}]"),
                    format!("plan.space.tensor=[{tensor}]"),
                    format!("plan.space.pipeline=[{pipeline}]"),
                    format!("plan.space.micro_batch=[{micro_batch}]"),
                    format!("plan.space.schedule=[{schedule}]"),
                    format!("plan.space.zero=[{zero}]"),
                    format!("plan.space.recompute=[{recompute}]"),
                    format!("software={software}"),
                    format!("fidelity.compute={compute}"),
                ]
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, rng_seed: RngSeed::Fixed(1), max_global_rejects: 1000, ..ProptestConfig::default() })]

    /// The same best, the same front, the same quickest plan on each choice of devices.
    #[test]
    fn what_is_pruned_is_not_missed(changes in spaces()) {
        let scenario = scenario(&changes);
        // Some spaces have no plan at all, and are refused.
        prop_assume!(scenario.is_ok());
        let scenario = scenario.unwrap();
        let (pruned, all) = (searched(&scenario, true), searched(&scenario, false));
        let steps = |search: &Search, chosen: &[usize]| -> Vec<u64> {
            let step = |&at: &usize| match &search.fates[at] {
                Fate::Fits(found) => found.step.picos(),
                fate => panic!("{fate:?} was chosen"),
            };
            chosen.iter().map(step).collect()
        };
        prop_assert_eq!(steps(&pruned, &pruned.best_of_groups), steps(&all, &all.best_of_groups));
        prop_assert_eq!(steps(&pruned, &pruned.front), steps(&all, &all.front));
        prop_assert_eq!(pruned.best.is_some(), all.best.is_some());
        // No simulated step is quicker, and no simulated memory less, than its bound.
        let mut costs = Costs::default();
        for (candidate, fate) in scenario.candidates.iter().zip(&all.fates) {
            let (Fate::Fits(found) | Fate::Overflows(found)) = fate else { continue };
            let least = bound(&candidate.plan, &*scenario.file.fidelity.compute, &mut costs);
            prop_assert!(least.step <= found.step, "{:?}: {:?} bounds {:?}", candidate.settings, least, found);
            prop_assert!(
                least.memory.total() <= found.memory,
                "{:?}: {:?} bounds {:?}", candidate.settings, least, found.memory
            );
        }
    }
}

/// Limits leave plans out, failures make runs longer, and a price is asked for where it is needed.
#[test]
fn limits_and_failures_count() {
    let changed = |changes: &[&str]| {
        let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
        scenario(&changes)
    };
    let worth = |changes: &[&str]| {
        let scenario = changed(changes).unwrap();
        let found = searched(&scenario, true);
        let best = found.best.map(|at| match &found.fates[at] {
            Fate::Fits(found) => found.worth,
            fate => panic!("{fate:?} is the best"),
        });
        (best, found.best_of_groups.len())
    };
    let space = "plan.space={tensor: [1], pipeline: [1, 2], micro_batch: [4], zero: [1], recompute: [none]}";
    let (quickest, groups) = worth(&[space]);
    let quickest = quickest.unwrap();
    assert_eq!((quickest.devices, groups), (16, 2));
    let (cheapest, _) = worth(&[space, "plan.minimise=dollars"]);
    assert!(cheapest.unwrap().dollars.unwrap() <= quickest.dollars.unwrap());
    assert_eq!(cheapest.unwrap().devices, 8);
    assert!(worth(&[space, "plan.limits={days: 0.001}"]).0.is_none());
    assert_eq!(worth(&[space, "plan.limits={devices: 8}"]).0.unwrap().devices, 8);
    let often = worth(&[space, "plan.failures.device_mtbf_hours=20"]).0.unwrap();
    assert!(often.days > quickest.days * 1.05, "{} and {}", often.days, quickest.days);
    let refused = changed(&["plan.space.tensor=[]", "plan.tokens=0"]).unwrap_err();
    assert!(refused.contains("nothing to choose from") && refused.contains("one token or more"), "{refused}");
    let refused = changed(&["plan.space={tensor: [3], pipeline: [7]}"]).unwrap_err();
    assert!(refused.contains("no combination is a plan"), "{refused}");
}

/// Nine of twelve layers are on the last of four devices, which is quicker than the first and has more
/// memory: a bound by the first device would be too long, and its memory too small.
#[test]
fn every_stage_is_bounded_by_its_own_device() {
    let changes = [
        format!("plan.hardware=[{MIXED}]"),
        "plan.limits={}".to_owned(),
        "plan.space={tensor: [1], pipeline: [4], micro_batch: [1], zero: [0], recompute: [none]}".to_owned(),
        "plan.space.schedule=[one_f_one_b]".to_owned(),
        "plan.space.partition=[{layers: [1, 1, 1, 9]}]".to_owned(),
        "model.gpt={layers: 12, hidden: 4096, heads: 32, sequence: 512, vocabulary: 1024}".to_owned(),
        "plan.global_batch=64".to_owned(),
    ];
    let scenario = scenario(&changes).unwrap();
    let searched = searched(&scenario, true);
    let mut costs = Costs::default();
    let least = bound(&scenario.candidates[0].plan, &*scenario.file.fidelity.compute, &mut costs);
    let Fate::Fits(found) = &searched.fates[0] else { panic!("{:?}", searched.fates[0]) };
    assert!(least.step <= found.step, "{least:?} bounds {found:?}");
    // The bound is worth something: the last device is at work nearly all the time.
    assert!(least.step.seconds() > 0.7 * found.step.seconds(), "{least:?} bounds {found:?}");
    // 24 GiB, the least of the four, would not do; the 40 GiB of the device in question do.
    assert!(found.memory > "24 GiB".parse().unwrap(), "{found:?}");
    assert_eq!(found.capacity, "40 GiB".parse().unwrap());
}

fn trainyard(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_trainyard"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

const ONE_PLAN: &str =
    "plan.space={tensor: [1], pipeline: [1], micro_batch: [2], zero: [1], recompute: [full]}";

/// What the planner promises is what the workload that it hands over takes, wherever its topology lies.
#[test]
fn the_best_plan_runs_and_takes_the_time_that_was_promised() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::create_dir_all(at.join("mine/machines")).unwrap();
    let text = std::fs::read_to_string(root.join("workloads/plan_small.yaml")).unwrap();
    let text = text.replace("{topology: hgx_h100_2x8, devices: [8, 16]}", "{topology: machines/own.yaml}");
    std::fs::write(at.join("mine/plan.yaml"), text).unwrap();
    std::fs::copy(root.join("topologies/hgx_h100_1x8.yaml"), at.join("mine/machines/own.yaml")).unwrap();
    let schedule = "plan.space.schedule=[{interleaved: {virtual_stages: 2}}]";
    let space =
        "plan.space={tensor: [2], pipeline: [2], micro_batch: [2], zero: [1], recompute: [{blocks: 1}]}";
    let arguments = ["plan", "mine/plan.yaml", "--set", space, "--set", schedule, "--format", "json"];
    let (code, planned, why) = trainyard(at, &[&arguments[..], &["--out", "found"]].concat());
    assert_eq!(code, 0, "{why}");
    let (code, ran, why) = trainyard(at, &["run", "found/best.yaml", "--no-report", "--format", "json"]);
    assert_eq!(code, 0, "{why}");
    let number = |text: &str, path: &str| {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        value.pointer(path).and_then(serde_json::Value::as_f64).unwrap_or_else(|| panic!("{path} in {text}"))
    };
    assert_eq!(number(&planned, "/best/step_time_s"), number(&ran, "/step_time_s"));
    assert_eq!(number(&planned, "/best/memory_peak_bytes"), number(&ran, "/memory_peak_bytes/total"));
}

/// On as many H100 as A100 the same plan is quicker and cheaper: the A100 are not on the front, though their
/// plan has the same name.
#[test]
fn the_front_tells_machines_apart() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let hardware = "plan.hardware=[{topology: hgx_h100_1x8}, {topology: dgx_a100_1x8}]";
    let arguments =
        ["plan", "workloads/plan_small.yaml", "--no-report", "--set", hardware, "--set", ONE_PLAN];
    let (code, table, why) = trainyard(root, &arguments);
    assert_eq!(code, 0, "{why}");
    assert!(table.contains("8 of hgx_h100_1x8 *") && !table.contains("8 of dgx_a100_1x8 *"), "{table}");
}

/// Devices that hardly ever fail, and devices that fail all the time, are said in words.
#[test]
fn failures_may_be_as_rare_or_as_frequent_as_they_like() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let with = |hours: &str| {
        let mtbf = format!("plan.failures.device_mtbf_hours={hours}");
        let file = "workloads/plan_small.yaml";
        trainyard(root, &["plan", file, "--no-report", "--set", ONE_PLAN, "--set", &mtbf])
    };
    let (code, table, why) = with("1e15");
    assert_eq!(code, 0, "{why}");
    assert!(table.contains("0.00 % more time"), "{table}");
    let (code, table, _) = with("0.0001");
    assert_eq!(code, 1);
    assert!(table.contains("never done") && !table.contains("inf"), "{table}");
}

/// Each mistake where it is, not where its consequence is.
#[test]
fn wrong_questions_are_refused_in_place() {
    let refused = |change: &str| scenario(&[change.to_owned()]).unwrap_err();
    for (change, says) in [
        ("plan.global_batch=0", "one sample or more"),
        ("plan.tokens=1e300", "one token or more"),
        ("plan.limits.days=-1", "no plan takes -1 days or fewer"),
        ("plan.limits.dollars=0", "no plan takes 0 dollars or fewer"),
        ("plan.gradient_clipping=-1", "above nought"),
        ("model.gpt.heads=7", "7 heads do not divide a hidden width of 2048"),
        ("plan.hardware=[{topology: hgx_h100_2x8, devices: [8, 8]}]", "listed already"),
    ] {
        let text = refused(change);
        assert!(text.contains(says) && !text.contains("no combination"), "{change}: {text}");
    }
}
