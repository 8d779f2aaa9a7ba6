//! Forward, backward and AdamW against PyTorch: losses, gradients of every parameter and stepped weights of a
//! small GPT, from `tests/pytorch/reference.py`, through the program that training runs.

use serde_json::Value;
use trainyard::config::TrainingScenario;
use trainyard::ids::StepIndex;
use trainyard::model::Parameter;
use trainyard::numeric::batches::Batches;
use trainyard::numeric::values::Values;
use trainyard::rng::Seed;
use trainyard::runtime::Machine;
use trainyard::trace::Deaf;
use trainyard::training::lower::lower;
use trainyard::training::state::State;

use crate::runs::{Weights, scenario};

fn reference() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pytorch/reference.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The closed formulas of the script.
fn start(number: usize, parameter: &Parameter) -> Vec<f32> {
    let centre = if parameter.name.ends_with("gain") { 1.0 } else { 0.0 };
    let value = |i: u64| centre + 0.3 * (0.37 * (i * i) as f64 + number as f64).sin();
    (0..parameter.elements()).map(|i| value(i) as f32).collect()
}

fn windows() -> Vec<Vec<u32>> {
    (0..4).map(|row| (0..9).map(|c| (row * 31 + c * c * 7 + c * 3) % 256).collect()).collect()
}

/// The script's model under some mesh.
fn small(mesh: [u32; 3]) -> TrainingScenario {
    let [data, pipeline, tensor] = mesh;
    let changes = [
        "model={gpt: {layers: 2, hidden: 16, heads: 2, sequence: 8, vocabulary: 256}}".to_owned(),
        "training.global_batch=4".into(),
        "training.micro_batch=1".into(),
        "training.gradient_clipping=null".into(),
        "training.optimizer={adamw: {learning_rate: 0.01, weight_decay: 0.1}}".into(),
        format!("parallel.data={data}"),
        format!("parallel.pipeline={pipeline}"),
        format!("parallel.tensor={tensor}"),
    ];
    let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
    scenario("gpt_3d", &changes).unwrap_or_else(|mistakes| panic!("{}", mistakes.render()))
}

/// Runs steps, and calls with the number of each, its loss, the gradients and the weights after it.
fn train(scenario: &TrainingScenario, steps: u32, mut seen: impl FnMut(u32, f64, Weights, Weights)) {
    let (plan, state) = (&scenario.plan, scenario.state());
    let order: Vec<String> = names(scenario);
    let number = |parameter: &Parameter| order.iter().position(|name| *name == parameter.name).unwrap();
    let slots = state.values_of(plan, |parameter| start(number(parameter), parameter));
    let batches = Batches::of_sequences(windows(), 4, Seed(1));
    let mut values = Values::new(slots, batches, plan.optimizer.clone(), steps);
    let network = scenario.network_model();
    let mut machine = Machine::new(&plan.topology, plan.placement.clone(), &*scenario.compute, network);
    for step in (0..steps).map(StepIndex) {
        let program = lower(plan, &state, step).unwrap();
        values.begin_step(step);
        machine.run(&program, &mut values, &mut Deaf).unwrap();
        let loss = loss(scenario, &state, &values);
        seen(step.0, loss, state.gradients(plan, &values, 0), state.weights(plan, &values, 0));
    }
}

fn names(scenario: &TrainingScenario) -> Vec<String> {
    let model = &scenario.plan.model;
    model
        .pieces()
        .into_iter()
        .flat_map(|piece| model.parameters(piece))
        .map(|parameter| parameter.name)
        .collect()
}

/// Each replica holds its share of the mean.
fn loss(scenario: &TrainingScenario, state: &State, values: &Values) -> f64 {
    let plan = &scenario.plan;
    let of_replica = |replica| {
        let rank = plan.cell_ranks(replica, 0, plan.last_stage())[0];
        f64::from(values.number(state.loss(rank).unwrap()))
    };
    (0..plan.mesh.data).map(of_replica).sum()
}

#[track_caller]
fn near(found: f32, expected: f64, scale: f64, tolerance: f64, what: &str) {
    let error = (f64::from(found) - expected).abs();
    assert!(error <= tolerance * scale, "{what}: {found} is not {expected}, off by {error:e} of {scale:e}");
}

/// PyTorch worked in f64 on the same f32 start: what differs is f32's rounding. A loss is a mean of
/// logarithms (relative 1e-6); a gradient passes some thirty roundings of 6e-8 each (2e-5 of the largest
/// of its parameter); Adam's first step is the learning rate times g/|g|, so a weight is as exact as
/// its own rounding (1e-6). After four steps the losses still agree within 1e-5.
#[track_caller]
fn agrees(mesh: [u32; 3]) {
    let reference = reference();
    let parameters = reference["parameters"].as_array().unwrap();
    let scenario = small(mesh);
    assert_eq!(names(&scenario), parameters.iter().map(|p| p["name"].as_str().unwrap()).collect::<Vec<_>>());
    let losses = reference["losses"].as_array().unwrap();
    train(&scenario, losses.len() as u32, |step, loss, gradients, weights| {
        let expected = losses[step as usize].as_f64().unwrap();
        let tolerance = if step == 0 { 1e-6 } else { 1e-5 };
        near(loss as f32, expected, expected, tolerance, &format!("the loss of step {step}"));
        if step > 0 {
            return;
        }
        for (about, ((_, gradient), (_, weight))) in parameters.iter().zip(gradients.iter().zip(&weights)) {
            let name = about["name"].as_str().unwrap();
            let number = |value: &Value| value.as_f64().unwrap();
            assert_eq!(gradient.len() as u64, about["elements"].as_u64().unwrap(), "{name}");
            let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            near(norm as f32, number(&about["gradient_norm"]), number(&about["gradient_norm"]), 1e-5, name);
            let largest = gradient.iter().fold(0.0_f32, |most, g| most.max(g.abs()));
            for (at, place) in about["places"].as_array().unwrap().iter().enumerate() {
                let place = place.as_u64().unwrap() as usize;
                near(gradient[place], number(&about["gradients"][at]), f64::from(largest), 2e-5, name);
                let after = number(&about["after_one_step"][at]);
                near(weight[place], after, after.abs().max(1.0), 1e-6, name);
            }
        }
    });
}

#[test]
fn one_device_agrees_with_pytorch() {
    agrees([1, 1, 1]);
}

#[test]
fn eight_ranks_agree_with_pytorch() {
    agrees([2, 2, 2]);
}
