//! Closed forms of what parallel training does to learning (PHYSICS, section 7), each met by a real run.

use trainyard::config::TrainingScenario;
use trainyard::ids::{LayerId, Rank, StepIndex};
use trainyard::model::Piece;
use trainyard::numeric::values::Values;
use trainyard::program::Format;
use trainyard::runtime::Machine;
use trainyard::trace::Deaf;
use trainyard::training::lower::lower_asynchronous;
use trainyard::training::state::State;
use trainyard::training::{self, Setup, Silent};

use crate::runs::scenario;

fn with(name: &str, changes: &[&str]) -> TrainingScenario {
    scenario(name, changes).unwrap_or_else(|mistakes| panic!("{}", mistakes.render()))
}

/// What a run has come to: its numbers, and what they mean.
fn ran(scenario: &TrainingScenario) -> (Values, State) {
    let state = scenario.state();
    let mut values = scenario.values(&state).unwrap();
    let (plan, network) = (&scenario.plan, scenario.network_model());
    training::run(plan, &state, &*scenario.compute, network, Some(&mut values), &mut Silent).unwrap();
    (values, state)
}

/// The weights of a linear map on a rank.
fn weights<'v>(values: &'v Values, state: &State, rank: u32) -> &'v [f32] {
    values.slot(state.of(Rank(rank), Piece::Dense(LayerId(0)))[0].stepped())
}

/// Three workers of equal speed push the gradient 2w of w² in turn, so that each is two steps old when it is
/// applied: with αλ = 0.3, x follows x − 0.3·x₋₂ from 1: .7 .4 .1 −.11 −.23 −.26 −.227 −.158 …
fn delayed(rate: f64, steps: u32) -> (Vec<f32>, f32) {
    let scenario = with(
        "gpt_asynchronous",
        &[
            "model={linear: {start: [1.0]}}",
            "data={points: {x: [[1.0]], y: [0.0]}}",
            "parallel.data=3",
            "training.global_batch=3",
            "training.gradient_clipping=null",
            "training.evaluate_every=0",
            &format!("training.optimizer={{sgd: {{learning_rate: {rate}}}}}"),
            &format!("training.steps={steps}"),
        ],
    );
    let (plan, state) = (&scenario.plan, scenario.state());
    let program = lower_asynchronous(plan, &state, plan.sync.server().unwrap()).unwrap();
    let mut values = scenario.values(&state).unwrap();
    let network = scenario.network_model();
    let mut machine = Machine::new(&plan.topology, plan.placement.clone(), &*scenario.compute, network);
    values.begin_step(StepIndex(0));
    machine.run(&program, &mut values, &mut Deaf).unwrap();
    let mut told = values.told().to_vec();
    told.sort_unstable_by_key(|&(turn, _)| turn);
    // The loss is the square of the weight that a worker pulled.
    let pulled = told.into_iter().map(|(_, loss)| loss.sqrt()).collect();
    (pulled, weights(&values, &state, 3)[0])
}

#[test]
fn delayed_gradients_follow_the_recurrence() {
    let mut x = vec![1.0_f64; 3];
    (0..12).for_each(|step| x.push(x[step + 2] - 0.3 * x[step]));
    let published = [0.7, 0.4, 0.1, -0.11, -0.23, -0.26, -0.227, -0.158];
    published.iter().zip(&x[3..]).for_each(|(a, b)| assert!((a - b).abs() < 1e-12));
    let (pulled, last) = delayed(0.15, 4);
    assert_eq!(pulled.len(), 12);
    for (found, x) in pulled.iter().zip(&x) {
        assert!((f64::from(*found) - x.abs()).abs() < 1e-6, "{pulled:?}");
    }
    assert!((f64::from(last) - x[14]).abs() < 1e-6, "{last}, not {}", x[14]);
}

/// Stable where αλ < 2·sin(π/(4τ + 2)), which is 0.618 for a delay of two.
#[test]
fn delayed_gradients_are_stable_up_to_the_bound() {
    let bound = 2.0 * (std::f64::consts::PI / 10.0).sin();
    let after = |share: f64| delayed(bound * share / 2.0, 100).1.abs();
    assert!(after(0.95) < 1e-2, "{}", after(0.95));
    assert!(after(1.05) > 10.0, "{}", after(1.05));
}

/// a/2·(x − b)² with a = 1, 4 and b = 0, 1 on two replicas, η = 0.1: gradients summed in every step end at 0.8,
/// averages of every second step at 0.771084337.
#[test]
fn replicas_on_two_quadratics_end_where_they_should() {
    // (w·x − y)² has a = 2x² and b = y/x.
    let points =
        "data={points: {x: [[0.7071067811865476], [1.4142135623730951]], y: [0.0, 1.4142135623730951]}}";
    for (every, end) in [(1, 0.8), (2, 0.771_084_337)] {
        let scenario = with(
            "gpt_diloco",
            &[
                "model={linear: {start: [0.0]}}",
                points,
                "parallel.data=2",
                "training.global_batch=2",
                "training.gradient_clipping=null",
                "training.evaluate_every=0",
                "training.optimizer={sgd: {learning_rate: 0.1}}",
                "training.steps=200",
                &format!("parallel.sync={{parameter_averaging: {{every: {every}}}}}"),
            ],
        );
        let (values, state) = ran(&scenario);
        for rank in 0..2 {
            let found = f64::from(weights(&values, &state, rank)[0]);
            assert!((found - end).abs() < 2e-6, "{every}: {found}");
        }
    }
}

/// Algorithm 1 of Douillard et al. 2023 in f64, with gradient descent inside and PyTorch's Nesterov momentum outside,
/// after two steps taken together; on the two quadratics above.
fn diloco(every: u32, rounds: u32) -> f64 {
    let (eta, rate, momentum) = (0.05, 0.7, 0.9);
    let gradient = |replica: usize, x: f64| [x, 4.0 * (x - 1.0)][replica];
    let mut theta = 3.0;
    for _ in 0..2 {
        theta -= eta * (gradient(0, theta) + gradient(1, theta)) / 2.0;
    }
    let mut velocity = 0.0;
    for _ in 0..rounds {
        let alone = |replica| (0..every).fold(theta, |x, _| x - eta * gradient(replica, x));
        let delta = theta - (alone(0) + alone(1)) / 2.0;
        velocity = momentum * velocity + delta;
        theta -= rate * (delta + momentum * velocity);
    }
    theta
}

#[test]
fn diloco_is_its_papers_algorithm() {
    let points =
        "data={points: {x: [[0.7071067811865476], [1.4142135623730951]], y: [0.0, 1.4142135623730951]}}";
    for (every, rounds) in [(1, 4), (3, 1), (3, 2), (3, 5), (10, 3)] {
        let scenario = with(
            "gpt_diloco",
            &[
                "model={linear: {start: [3.0]}}",
                points,
                "parallel.data=2",
                "training.global_batch=2",
                "training.gradient_clipping=null",
                "training.evaluate_every=0",
                "training.optimizer={sgd: {learning_rate: 0.05}}",
                &format!("training.steps={}", 2 + every * rounds),
                &format!("parallel.sync={{diloco: {{every: {every}, after: 2}}}}"),
            ],
        );
        let (values, state) = ran(&scenario);
        let expected = diloco(every, rounds);
        for rank in 0..2 {
            let found = f64::from(weights(&values, &state, rank)[0]);
            assert!((found - expected).abs() < 5e-6, "{every}, {rounds}: {found}, not {expected}");
        }
    }
}

/// x_t − η·Σe_t = x_0 − η·Σ g(x_t): what was not sent yet, taken off, is the path of whole gradients (Karimireddy
/// et al. 2019, the virtual iterates of theorem II's proof).
#[test]
fn error_feedback_follows_the_path_of_whole_gradients() {
    let x = [[0.5, -0.2, 0.9, 0.1], [-0.7, 0.4, 0.3, 0.8]];
    let y = [0.3, -0.6];
    let rate = 0.2_f64;
    let at = |spec: &str, steps: u32| {
        let scenario = with(
            "gpt_compression",
            &[
                "model={linear: {start: [0.5, -1.0, 0.25, 2.0]}}",
                &format!("data={{points: {{x: {x:?}, y: {y:?}}}}}"),
                "parallel.data=2",
                "training.global_batch=2",
                "training.gradient_clipping=null",
                "training.evaluate_every=0",
                &format!("training.optimizer={{sgd: {{learning_rate: {rate}}}}}"),
                &format!("training.steps={steps}"),
                &format!("parallel.compression={spec}"),
            ],
        );
        let (values, state) = ran(&scenario);
        let error = |rank: u32| {
            let slots = &state.of(Rank(rank), Piece::Dense(LayerId(0)))[0];
            values.slot(slots.error.expect("what was not sent")).to_vec()
        };
        let w: Vec<f64> = weights(&values, &state, 0).iter().map(|w| f64::from(*w)).collect();
        let e: Vec<f64> = error(0).iter().zip(error(1)).map(|(a, b)| f64::from(a + b)).collect();
        (w, e)
    };
    for spec in ["{top_k: {fraction: 0.25}}", "{random_k: {fraction: 0.25}}", "sign"] {
        let mut whole = vec![0.5, -1.0, 0.25, 2.0];
        let mut here = whole.clone();
        for step in 1..=8 {
            // The mean over both points, each on its replica.
            for (x, y) in x.iter().zip(y) {
                let error: f64 = here.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() - y;
                whole.iter_mut().zip(x).for_each(|(w, x)| *w -= rate * error * x);
            }
            let (w, e) = at(spec, step);
            for ((w, e), whole) in w.iter().zip(&e).zip(&whole) {
                assert!((w - rate * e - whole).abs() < 1e-5, "{spec}, step {step}: {w} {e} {whole}");
            }
            assert!(e.iter().any(|e| e.abs() > 1e-3), "{spec}: something was kept");
            here = w;
        }
    }
}

/// Eight ranks that are each late by an exponential time of mean one pass: the slowest of eight is late by
/// H₈ = 2.717857 of them on average. 4,000 steps leave a standard error of 0.02.
#[test]
fn the_slowest_of_eight_is_late_by_a_harmonic_number() {
    let mean = |disturbances: &str, steps: u32| {
        let scenario = with(
            "gpt_compression",
            &[
                "parallel.compression=none",
                "training.bucket=1 GiB",
                "training.gradient_clipping=null",
                "numeric=false",
                "model={gpt: {layers: 1, hidden: 64, heads: 4, sequence: 32, vocabulary: 256}}",
                &format!("training.steps={steps}"),
                &format!("disturbances={disturbances}"),
            ],
        );
        let (plan, compute, network) = (&scenario.plan, &*scenario.compute, &*scenario.network);
        let setup = Setup { plan, compute, network, disturbances: &scenario.disturbances };
        let ran = training::run_disturbed(&setup, None, None, &mut Silent).unwrap();
        ran.steps.iter().map(|step| step.duration.seconds()).sum::<f64>() / f64::from(steps)
    };
    let all = |factor: u32| {
        let ranks = (0..8).map(|rank| format!("{{straggler: {{rank: {rank}, factor: {factor}}}}}"));
        format!("[{}]", ranks.collect::<Vec<_>>().join(", "))
    };
    let (once, twice) = (mean(&all(1), 2), mean(&all(2), 2));
    let late = mean("[{jitter: {distribution: exponential, sigma: 1, per: step}}]", 4000) - once;
    let harmonic: f64 = (1..=8).map(|n| 1.0 / f64::from(n)).sum();
    assert!((harmonic - 2.717_857).abs() < 1e-6);
    let found = late / (twice - once);
    assert!((found - harmonic).abs() < 0.08, "{found}");
}

/// PowerSGD sends r·(m + n) numbers for a matrix of m by n, where that is fewer, and vectors whole.
#[test]
fn power_sgd_sends_two_thin_factors() {
    let rank = 2;
    let scenario = with(
        "gpt_compression",
        &[
            &format!("parallel.compression={{power_sgd: {{rank: {rank}}}}}"),
            "training.bucket=1 GiB",
            "training.gradient_clipping=null",
            "training.steps=1",
            "numeric=false",
            "fold=never",
        ],
    );
    let model = &scenario.plan.model;
    let sent = |parameter: trainyard::model::Parameter| {
        let factors = rank * (parameter.rows + parameter.columns);
        if parameter.rows > 1 { factors.min(parameter.elements()) } else { parameter.elements() }
    };
    let numbers: u64 = model.pieces().into_iter().flat_map(|piece| model.parameters(piece)).map(sent).sum();
    assert!(numbers * 10 < model.parameter_count());
    let moved = crate::strategies::moved(&scenario);
    // A ring of n sums S bytes by moving 2(n − 1)·S in all.
    assert_eq!(moved["all-reduce"], 2 * 7 * 4 * numbers);
}

/// Half a unit in the last place relative to the number: bf16 2⁻⁸, fp16 2⁻¹¹, E4M3 2⁻⁴, E5M2 2⁻³; met almost, just
/// above a power of two. The largest numbers are 448 and 57,344.
#[test]
fn formats_round_by_half_a_unit() {
    for (format, unit) in [
        (Format::Bf16, 2.0_f64.powi(-8)),
        (Format::F16, 2.0_f64.powi(-11)),
        (Format::E4M3, 2.0_f64.powi(-4)),
        (Format::E5M2, 2.0_f64.powi(-3)),
    ] {
        let off = |x: f32| (f64::from(format.round(x)) - f64::from(x)).abs() / f64::from(x);
        let worst = (0..1 << 16).map(|step| off(1.0 + step as f32 / 65_536.0)).fold(0.0, f64::max);
        assert!(worst <= unit && worst > 0.85 * unit, "{format:?}: {worst} of {unit}");
    }
    assert_eq!((Format::E4M3.largest(), Format::E5M2.largest()), (448.0, 57_344.0));
}

/// (p − 1)/(m + p − 1) of a step of p = 4 stages and m = 8 micro-batches: 0.272727. Stages are alike and passes
/// cost the same everywhere but at the ends, so that a deep model comes near.
#[test]
fn four_stages_and_eight_micro_batches_idle_for_three_elevenths() {
    assert!((3.0_f64 / 11.0 - 0.272_727).abs() < 1e-6);
    let scenario = with(
        "gpt_3d",
        &[
            "numeric=false",
            "training.steps=1",
            "training.global_batch=8",
            "training.micro_batch=1",
            "parallel={pipeline: 4, schedule: gpipe}",
            "model.gpt={layers: 64, hidden: 4096, heads: 32, sequence: 2048, vocabulary: 256}",
            "training.gradient_clipping=null",
            "fidelity.network=analytic",
        ],
    );
    let state = scenario.state();
    let ranks = scenario.plan.simulated_ranks().collect();
    let mut recorder = trainyard::metrics::TrainingRecorder::new(ranks, 1, 0, |_| ());
    let network = scenario.network_model();
    training::run(&scenario.plan, &state, &*scenario.compute, network, None, &mut recorder).unwrap();
    let step = recorder.finish().typical_step(false);
    let optimizer = step.mean_seconds(trainyard::metrics::Part::Optimizer);
    let bubble = step.mean_seconds(trainyard::metrics::Part::Bubble);
    let share = bubble / (step.step().seconds() - optimizer);
    assert!((share - 3.0 / 11.0).abs() < 0.01, "{share}");
}
