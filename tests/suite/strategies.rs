//! Strategies that exchange something else than whole gradients: what they come to at the ends of their
//! scales, in bytes, and against a replay in the order that the simulated time made.

use trainyard::config::TrainingScenario;
use trainyard::ids::{OpId, StepIndex};
use trainyard::numeric::values::Values;
use trainyard::program::Action;
use trainyard::runtime::{Interpreter, Machine};
use trainyard::trace::Recording;
use trainyard::training::Applied;
use trainyard::training::lower::lower_asynchronous;

use crate::runs::{Losses, scenario, train};

const SMALL: [&str; 7] = [
    "model.gpt={layers: 2, hidden: 16, heads: 2, sequence: 8, vocabulary: 256}",
    "training.optimizer={sgd: {learning_rate: 0.1}}",
    "training.gradient_clipping=null",
    "training.global_batch=8",
    "training.steps=6",
    "training.evaluate_every=0",
    "training.bucket=16 KiB",
];

fn small(name: &str, changes: &[&str]) -> TrainingScenario {
    let changes: Vec<&str> = SMALL.iter().chain(changes).copied().collect();
    scenario(name, &changes).unwrap_or_else(|mistakes| panic!("{}", mistakes.render()))
}

fn losses(name: &str, changes: &[&str]) -> Losses {
    train(&small(name, changes))
}

/// Weights that differ by no more than sums in another order do: some 1e-6 of the largest.
#[track_caller]
fn same(found: &Losses, expected: &Losses) {
    for (found, expected) in found.weights.iter().flatten().zip(expected.weights.iter().flatten()) {
        let size = expected.1.iter().fold(0.0_f32, |size, w| size.max(w.abs()));
        for (a, b) in found.1.iter().zip(&expected.1) {
            assert!((a - b).abs() <= 2e-6 * size.max(0.01), "{}: {a}, not {b}", found.0.name);
        }
    }
}

/// A compression that keeps everything changes nothing.
#[test]
fn compression_of_everything_is_none() {
    let whole = losses("gpt_compression", &["parallel.compression=none"]);
    for spec in ["{top_k: {fraction: 1}}", "{random_k: {fraction: 1}}"] {
        same(&losses("gpt_compression", &[&format!("parallel.compression={spec}")]), &whole);
    }
    // Beyond a rank of some of its matrices low-rank compression sends them whole, below it factors.
    let factors = losses("gpt_compression", &["parallel.compression={power_sgd: {rank: 16}}"]);
    same(&factors, &whole);
}

/// What is lost is lost: the weights differ, and differ less with error feedback than a wrong sum would.
#[test]
fn every_lossy_compression_changes_the_weights_and_still_learns() {
    let whole = losses("gpt_compression", &["parallel.compression=none"]);
    for spec in ["top_k", "random_k", "sign", "int8", "fp8", "{power_sgd: {rank: 1}}"] {
        let found = losses("gpt_compression", &[&format!("parallel.compression={spec}")]);
        let weights =
            |losses: &Losses| losses.weights[0].iter().flat_map(|(_, w)| w.clone()).collect::<Vec<_>>();
        assert_ne!(weights(&found), weights(&whole), "{spec}");
        // Replicas stay one model whatever was lost.
        for replica in &found.weights {
            for ((_, a), (_, b)) in replica.iter().zip(&found.weights[0]) {
                assert_eq!(a, b, "{spec}: replicas part");
            }
        }
        let (first, last) = (found.training[0], found.training[5]);
        assert!(last < first, "{spec}: {first} to {last}");
    }
}

/// Payload bytes of a run by collective.
pub fn moved(scenario: &TrainingScenario) -> std::collections::BTreeMap<&'static str, u64> {
    let state = scenario.state();
    let mut recorder = trainyard::metrics::TrainingRecorder::new(
        scenario.plan.simulated_ranks().collect(),
        scenario.plan.steps,
        0,
        |_| {},
    );
    trainyard::training::run(
        &scenario.plan,
        &state,
        &*scenario.compute,
        scenario.network_model(),
        None,
        &mut recorder,
    )
    .unwrap();
    let record = recorder.finish();
    record.traffic.by_collective().iter().map(|(&kind, bytes)| (kind, bytes.get())).collect()
}

/// One bucket of N numbers among n replicas. Top-k of k numbers with places gathers 8k bytes from each to
/// n − 1 others; signs N/8 bytes and four a parameter; a ring sums 2(n − 1)·4N bytes over all members.
#[test]
fn bytes_on_the_wire_are_those_of_the_formulas() {
    let one_bucket = ["training.bucket=1 GiB", "training.steps=1", "numeric=false", "fold=never"];
    let run = |spec: &str| {
        let spec = format!("parallel.compression={spec}");
        let mut changes = one_bucket.to_vec();
        changes.push(&spec);
        let scenario = small("gpt_compression", &changes);
        let pieces = scenario.plan.model.pieces();
        let parameters: usize = pieces.iter().map(|&p| scenario.plan.model.parameters(p).len()).sum();
        (moved(&scenario), scenario.plan.model.parameter_count(), parameters as u64)
    };
    let n = 8;
    let (whole, numbers, parameters) = run("none");
    assert_eq!(whole["all-reduce"], 2 * (n - 1) * 4 * numbers);
    let (top_k, ..) = run("{top_k: {fraction: 0.01}}");
    let keep = (numbers as f64 * 0.01).ceil() as u64;
    assert_eq!(top_k["all-gather"], n * (n - 1) * 8 * keep);
    let (random, ..) = run("{random_k: {fraction: 0.01}}");
    assert_eq!(random["all-reduce"], 2 * (n - 1) * 4 * keep);
    let (sign, ..) = run("sign");
    assert_eq!(sign["all-gather"], n * (n - 1) * (numbers.div_ceil(8) + 4 * parameters));
    let (int8, ..) = run("int8");
    let padded = numbers.div_ceil(n) * n;
    let bytes = padded + 4 * padded.div_ceil(2048);
    for kind in ["all-to-all", "all-gather"] {
        let off = int8[kind].abs_diff((n - 1) * bytes);
        // Cut into n pieces, each rounded to whole bytes.
        assert!(off <= n * n, "{kind}: {} for {}", int8[kind], (n - 1) * bytes);
    }
}

/// An outer optimiser that takes the average as it is, is parameter averaging.
#[test]
fn outer_optimisers_at_one_and_nought_average() {
    let average = losses("gpt_diloco", &["parallel.sync={parameter_averaging: {every: 3}}"]);
    let still = "learning_rate: 1, momentum: 0";
    for spec in [format!("{{diloco: {{every: 3, {still}}}}}"), format!("{{slow_mo: {{every: 3, {still}}}}}")]
    {
        same(&losses("gpt_diloco", &[&format!("parallel.sync={spec}")]), &average);
    }
}

/// Replicas that part later are all-reduce until then; and one that never part is it.
#[test]
fn replicas_step_together_before_they_part() {
    let together = losses("gpt_diloco", &["parallel.sync=all_reduce"]);
    for name in ["diloco", "slow_mo", "parameter_averaging"] {
        let with = |after: u32| {
            losses("gpt_diloco", &[&format!("parallel.sync={{{name}: {{every: 2, after: {after}}}}}")])
        };
        let parted = with(3);
        assert_eq!(parted.training[..3], together.training[..3], "{name}");
        // The loss of a step is that of the weights before it, here a mean of means.
        assert!((parted.training[3] - together.training[3]).abs() < 1e-6, "{name}");
        assert_ne!(parted.training[5], together.training[5], "{name}");
        assert_eq!(with(6).training, together.training, "{name}");
    }
    // With nothing carried on, what they part from is all that an outer optimiser knows of the past.
    let average = losses("gpt_diloco", &["parallel.sync={parameter_averaging: {every: 2, after: 2}}"]);
    let still = "parallel.sync={diloco: {every: 2, after: 2, learning_rate: 1, momentum: 0}}";
    same(&losses("gpt_diloco", &[still]), &average);
}

/// Two neighbours that average are all there are; a ring of four is not all of them.
#[test]
fn gossip_between_two_is_averaging() {
    let two = ["parallel.data=2"];
    let average = losses("gpt_diloco", &[two[0], "parallel.sync={parameter_averaging: {every: 1}}"]);
    same(&losses("gpt_diloco", &[two[0], "parallel.sync=gossip"]), &average);
    let ring = losses("gpt_diloco", &["parallel.sync=gossip"]);
    let weights = |replica: usize| &ring.weights[replica][3].1;
    assert_ne!(weights(0), weights(2), "neighbours alone have met");
}

/// Begins and ends of ops, in the order in which they happened.
struct Order<'v> {
    values: &'v mut Values,
    happened: Vec<(OpId, bool)>,
}

impl Interpreter for Order<'_> {
    fn begin(&mut self, program: &trainyard::program::Program, op: OpId) {
        self.happened.push((op, true));
        self.values.begin(program, op);
    }
    fn finish(&mut self, program: &trainyard::program::Program, op: OpId) {
        self.happened.push((op, false));
        self.values.finish(program, op);
    }
    fn free(&mut self, buffer: trainyard::ids::BufferId) {
        self.values.free(buffer);
    }
}

/// What a run with servers applied when, and the model that it ended with; and the model of a serial replay:
/// each op alone from begin to end, pulls where they began, everything else where it ended.
fn replayed(changes: &[&str]) -> (Applied, Vec<f32>, Vec<f32>) {
    let scenario = small("gpt_asynchronous", changes);
    let (plan, state) = (&scenario.plan, scenario.state());
    let server = plan.sync.server().unwrap();
    let program = lower_asynchronous(plan, &state, server).unwrap();
    let mut values = scenario.values(&state).unwrap();
    let network = scenario.network_model();
    let mut machine = Machine::new(&plan.topology, plan.placement.clone(), &*scenario.compute, network);
    values.begin_step(StepIndex(0));
    let mut order = Order { values: &mut values, happened: Vec::new() };
    let mut recording = Recording::default();
    machine.run(&program, &mut order, &mut recording).unwrap();
    let happened = order.happened;
    let model = |values: &Values| -> Vec<f32> {
        state.weights(plan, values, 0).into_iter().flat_map(|(_, weights)| weights).collect()
    };
    let timed = model(&values);
    let mut serial = scenario.values(&state).unwrap();
    serial.begin_step(StepIndex(0));
    for (op, begins) in happened {
        let exchange = matches!(program.ops()[op].action, Action::Exchange(_));
        if begins == exchange {
            serial.begin(&program, op);
            serial.finish(&program, op);
        }
    }
    let applied = Applied::of(&recording.spans, plan.steps * plan.mesh.data);
    (applied, timed, model(&serial))
}

#[test]
fn a_replay_in_the_recorded_order_gives_the_same_model_bit_for_bit() {
    for spec in ["parameter_server", "{parameter_server: {servers: 1, compensation: 0.5}}"] {
        let (applied, timed, serial) = replayed(&[&format!("parallel.sync={spec}")]);
        assert!(applied.staleness.iter().any(|&stale| stale > 0), "{spec}: nothing was stale");
        assert_eq!(timed, serial, "{spec}");
    }
}

/// Nobody is further ahead than the bound allows: a gradient meets at most the steps that all others may
/// have taken since; in step, one of each.
#[test]
fn staleness_is_bounded_where_it_is_to_be() {
    let worst = |spec: &str| {
        let (applied, ..) = replayed(&[&format!("parallel.sync={spec}")]);
        applied.staleness.into_iter().max().unwrap()
    };
    let in_step = worst("{parameter_server: {staleness: 0}}");
    assert!(in_step <= 7, "{in_step}");
    let bound = 2;
    assert!(worst("{parameter_server: {staleness: 2}}") <= 7 * (2 * bound + 1));
}

/// With one worker nothing is stale, and the server steps as a device alone does.
#[test]
fn one_worker_and_a_server_are_one_device() {
    let alone = losses("gpt_asynchronous", &["parallel.data=1", "parallel.sync=all_reduce"]);
    let served = losses("gpt_asynchronous", &["parallel.data=1"]);
    assert_eq!(served.training, alone.training);
    assert_eq!(served.weights[0].len(), alone.weights[0].len());
    for ((_, a), (_, b)) in served.weights[0].iter().zip(&alone.weights[0]) {
        assert_eq!(a, b);
    }
}

/// Narrow formats lose a little in every step and learn the same: bf16 keeps 8 bits of a number, fp16 11 and
/// fp8 at least 3, so losses part by less than the share that is lost, and weights are not the same.
#[test]
fn narrow_formats_learn_as_wide_ones_do() {
    let run = |precision: &str| losses("gpt_3d", &[&format!("training.precision={precision}")]);
    let wide = run("f32");
    let mut parted = Vec::new();
    for (precision, share) in [("fp16", 1e-3), ("bf16", 4e-3), ("fp8", 6e-2)] {
        let found = run(precision);
        let off = |(found, wide): (&f64, &f64)| ((found - wide) / wide).abs();
        let worst = found.training.iter().zip(&wide.training).map(off).fold(0.0, f64::max);
        assert!(worst < share, "{precision}: losses part by {worst}");
        assert_ne!(found.weights[0][2].1, wide.weights[0][2].1, "{precision}");
        parted.push(worst);
    }
    assert!(parted[0] < parted[2], "fewer bits lose more: {parted:?}");
}

/// Whatever steps the scaled loss makes overflow are left out: weights stay numbers, and the scale halves once
/// for each.
#[test]
fn overflowing_steps_are_left_out() {
    let scenario = small("gpt_3d", &["training.precision=fp16", "training.steps=4"]);
    let state = scenario.state();
    let mut values = scenario.values(&state).unwrap();
    let mut heard = Losses::default();
    trainyard::training::run(
        &scenario.plan,
        &state,
        &*scenario.compute,
        scenario.network_model(),
        Some(&mut values),
        &mut heard,
    )
    .unwrap();
    let (scale, skipped) = values.loss_scale().unwrap();
    assert_eq!(scale, 65_536.0 / 2.0_f32.powi(skipped as i32));
    let weights = state.weights(&scenario.plan, &values, 0);
    assert!(weights.iter().flat_map(|(_, w)| w).all(|w| w.is_finite()));
}

/// Stages cut by cost, or as listed, train as even ones do.
#[test]
fn partitions_train_alike() {
    let even = losses("gpt_3d", &["model.gpt.layers=4"]);
    for partition in ["by_cost", "{layers: [1, 3]}"] {
        let found = losses("gpt_3d", &["model.gpt.layers=4", &format!("parallel.partition={partition}")]);
        same(&found, &even);
    }
}
