//! The planner finds what simulating everything would find, and its bounds are bounds.

use std::path::Path;

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

/// Small spaces: a dozen or two plans each, on devices whose memory some of them exceed.
fn spaces() -> impl Strategy<Value = Vec<String>> {
    let some = |all: &'static [&'static str], most: usize| {
        proptest::sample::subsequence(all, 1..=most).prop_map(|chosen| chosen.join(", "))
    };
    (
        proptest::sample::select(&[2_u32, 4, 6, 8][..]),
        proptest::sample::select(&[256_u32, 1024, 2048, 4096, 6144][..]),
        proptest::sample::select(&["days", "dollars", "devices"][..]),
        some(&["{topology: a10_8_ethernet, devices: [4, 8]}", "{topology: hgx_h100_1x8, devices: [8]}"], 2),
        some(&["1", "2", "4"], 2),
        some(&["1", "2", "4"], 2),
        some(&["1", "2", "4"], 2),
        some(&["one_f_one_b", "gpipe", "{interleaved: {virtual_stages: 2}}", "zb_h1", "zb_v"], 2),
        some(&["0", "1", "2", "3"], 2),
        some(&["none", "selective", "full", "{blocks: 1}"], 2),
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
