//! What holds for every way of splitting a model: random meshes against one device, and what catches a
//! program that is wrong.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use trainyard::config::TrainingScenario;
use trainyard::ids::{Id, OpId, Rank, StepIndex};
use trainyard::program::Program;
use trainyard::runtime::{Machine, NoValues};
use trainyard::trace::{Deaf, Recording};
use trainyard::training::lower::lower;

use crate::runs::{Losses, Weights, scenario, train};

/// A small GPT of eight layers that follows its plain gradient, so that what a step changes is the
/// gradient.
const SMALL: [&str; 8] = [
    "model.gpt.layers=8",
    "model.gpt.hidden=16",
    "model.gpt.sequence=8",
    "training.micro_batch=1",
    "training.gradient_clipping=null",
    "training.optimizer={sgd: {learning_rate: 1.0}}",
    "training.steps=2",
    "training.evaluate_every=0",
];

const ONE_DEVICE: [&str; 3] = ["parallel.data=1", "parallel.pipeline=1", "parallel.tensor=1"];

fn small(changes: &[String]) -> Result<TrainingScenario, String> {
    let changes = SMALL.iter().copied().chain(changes.iter().map(String::as_str)).collect::<Vec<_>>();
    scenario("gpt_3d", &changes).map_err(|mistakes| mistakes.render())
}

/// Losses within 1e-5 relative and weights within 1e-4 of the largest of their parameter's changes: a sum of
/// n f32 terms in another order moves by some √n·6e-8 of the terms, here n ≤ 256, which two steps
/// through eight layers amplify some tenfold. The weights themselves are rounded to 6e-8 of theirs.
fn same(found: &Losses, alone: &Losses, start: &Weights) {
    for (step, (loss, expected)) in found.training.iter().zip(&alone.training).enumerate() {
        assert!(((loss - expected) / expected).abs() < 1e-5, "step {step}: {loss} is not {expected}");
    }
    for replica in &found.weights {
        assert_eq!(replica.len(), start.len());
        for (((parameter, weights), (_, expected)), (_, start)) in
            replica.iter().zip(&alone.weights[0]).zip(start)
        {
            let step = expected.iter().zip(start).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            let size = expected.iter().copied().map(f32::abs).fold(0.0, f32::max);
            let error = weights.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            let name = &parameter.name;
            assert!(error <= 1e-4 * step + 2.5e-7 * size, "{name}: off by {error:e} in steps of {step:e}");
        }
    }
}

fn alone() -> (Losses, Weights) {
    let scenario = small(&ONE_DEVICE.map(str::to_owned)).unwrap();
    let state = scenario.state();
    let start = state.weights(&scenario.plan, &scenario.values(&state).unwrap(), 0);
    (train(&scenario), start)
}

/// How a model may be split over at most sixteen ranks.
fn splits() -> impl Strategy<Value = Vec<String>> {
    let powers = |most: u32| (0..=most).prop_map(|power| 1_u32 << power);
    const SCHEDULES: &[&str] =
        &["gpipe", "one_f_one_b", "interleaved", "zb_h1", "zb_h2", "zb_v", "dual_pipe"];
    const ZERO: &[&str] =
        &["0", "1", "2", "3", "{stage: 3, group: 2}", "{stage: 1, group: 2}", "{stage: 3, prefetch: 3}"];
    const RECOMPUTE: &[&str] = &["none", "selective", "full", "{blocks: 1}"];
    const COLLECTIVES: &[&str] = &["ring", "direct", "halving_doubling", "hierarchical"];
    (
        (powers(3), powers(2), powers(2)).prop_filter("sixteen ranks", |(d, p, t)| d * p * t <= 16),
        proptest::sample::select(SCHEDULES),
        proptest::sample::select(ZERO),
        proptest::sample::select(RECOMPUTE),
        proptest::sample::select(COLLECTIVES),
        any::<bool>(),
        proptest::sample::select(&["1 KiB", "64 KiB", "25 MiB"][..]),
    )
        .prop_map(|((data, pipeline, tensor), schedule, zero, recompute, collective, rows, bucket)| {
            vec![
                format!("parallel.data={data}"),
                format!("parallel.pipeline={pipeline}"),
                format!("parallel.tensor={tensor}"),
                format!("parallel.schedule={schedule}"),
                format!("parallel.zero={zero}"),
                format!("parallel.collective={collective}"),
                format!("parallel.sequence_parallel={rows}"),
                format!("recompute={recompute}"),
                format!("training.bucket={bucket}"),
            ]
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    /// Losses and gradients of every mesh are those of one device.
    #[test]
    fn random_meshes_train_as_one_device_does(changes in splits()) {
        thread_local!(static ALONE: (Losses, Weights) = alone());
        let scenario = small(&changes);
        // Some shapes do not go together (one stage cannot be interleaved), and are refused.
        prop_assume!(scenario.is_ok());
        ALONE.with(|(alone, start)| same(&train(&scenario.unwrap()), alone, start));
    }
}

/// What one step of a program makes of the weights when one rank is slow.
fn weights_after(scenario: &TrainingScenario, program: &Program, slow: Rank) -> Weights {
    let state = scenario.state();
    let mut values = scenario.values(&state).unwrap();
    let plan = &scenario.plan;
    let network = scenario.network_model();
    let mut machine = Machine::new(&plan.topology, plan.placement.clone(), &*scenario.compute, network);
    machine.slow_down(slow, 3.0);
    values.begin_step(StepIndex(0));
    machine.run(program, &mut values, &mut Deaf).unwrap();
    state.weights(plan, &values, 0)
}

/// Dependencies of a program, one for each pair of kinds of ops.
fn dependencies(program: &Program) -> BTreeMap<(&'static str, &'static str), (OpId, OpId)> {
    let mut found = BTreeMap::new();
    for from in program.ops().ids() {
        for to in program.successors(from) {
            let name = |op: OpId| program.ops()[op].label.name;
            found.entry((name(from), name(to))).or_insert((from, to));
        }
    }
    found
}

/// Whether one op comes before another by what is left of the dependencies and by the order of
/// streams.
fn comes_before(program: &Program, from: OpId, to: OpId) -> bool {
    let mut next_in_stream = BTreeMap::new();
    let mut last: BTreeMap<(Rank, String), OpId> = BTreeMap::new();
    for op in program.ops().ids() {
        let lane = (program.ops()[op].rank, format!("{:?}", program.ops()[op].stream));
        if let Some(before) = last.insert(lane, op) {
            next_in_stream.insert(before, op);
        }
    }
    let (mut seen, mut open) = (vec![false; program.ops().len()], vec![from]);
    while let Some(op) = open.pop() {
        if op == to {
            return true;
        }
        if !std::mem::replace(&mut seen[op.index()], true) {
            open.extend(program.successors(op).chain(next_in_stream.get(&op).copied()));
        }
    }
    false
}

/// A program from which a needed dependency was taken is caught where the rank that is waited for is
/// slow: what it reads is not there yet, or is being changed, or the weights it makes are others. The
/// weights of a right program do not depend on who is slow.
#[test]
fn a_missing_dependency_is_caught() {
    let scenario = small(&["parallel.zero=1".to_owned()]).unwrap();
    let program = lower(&scenario.plan, &scenario.state(), StepIndex(0)).unwrap();
    let right = weights_after(&scenario, &program, Rank(0));
    let (mut caught, mut harmless) = (0, Vec::new());
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    for (names, (from, to)) in dependencies(&program) {
        let wrong = program.without_dependency(from, to);
        if comes_before(&wrong, from, to) {
            continue;
        }
        let slow = program.ops()[from].rank;
        match catch_unwind(AssertUnwindSafe(|| weights_after(&scenario, &wrong, slow))) {
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map_or("", String::as_str);
                assert!(text.contains("the program lacks a dependency"), "{names:?}: {text}");
                caught += 1;
            }
            Ok(weights) if weights != right => caught += 1,
            Ok(_) => harmless.push(names),
        }
    }
    std::panic::set_hook(quiet);
    assert!(caught >= 8 && harmless.is_empty(), "{caught} caught, but not {harmless:?}");
    assert!(weights_after(&scenario, &program, Rank(5)) == right);
}

/// Whatever a step takes it gives back: every rank ends with what it keeps from step to step.
#[test]
fn every_buffer_is_freed() {
    for changes in [
        vec!["parallel.schedule=zb_v", "recompute=selective"],
        vec!["parallel.zero=3", "parallel.schedule=interleaved", "parallel.sequence_parallel=true"],
        vec!["parallel.schedule=dual_pipe", "recompute=full"],
    ] {
        let changes: Vec<String> = changes.into_iter().map(str::to_owned).collect();
        let scenario = small(&changes).unwrap();
        let (plan, state) = (&scenario.plan, scenario.state());
        let program = lower(plan, &state, StepIndex(0)).unwrap();
        let network = scenario.network_model();
        let mut machine = Machine::new(&plan.topology, plan.placement.clone(), &*scenario.compute, network);
        let mut recording = Recording::default();
        machine.run(&program, &mut NoValues, &mut recording).unwrap();
        let mut held: BTreeMap<(Rank, String), u64> = BTreeMap::new();
        for change in &recording.memory {
            held.insert((change.rank, format!("{:?}", change.usage)), change.now.get());
        }
        let mut kept: BTreeMap<(Rank, String), u64> = held.keys().map(|key| (key.clone(), 0)).collect();
        for buffer in program.buffers().iter().filter(|buffer| buffer.slot.is_some()) {
            *kept.entry((buffer.rank, format!("{:?}", buffer.usage))).or_default() += buffer.bytes.get();
        }
        assert_eq!(held, kept, "{changes:?}");
    }
}
