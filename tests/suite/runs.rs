//! Runs of training workloads, as the tests need them.

use std::path::Path;

use trainyard::config::{self, Diagnostics, Override, TrainingScenario as Scenario};
use trainyard::ids::StepIndex;
use trainyard::model::Parameter;
use trainyard::trace::{Deaf, Listener};
use trainyard::training::{self, Observer, StepReport};

/// Every parameter of a model with its numbers.
pub type Weights = Vec<(Parameter, Vec<f32>)>;

/// Hears the losses.
#[derive(Default)]
pub struct Losses {
    pub training: Vec<f64>,
    pub held_out: Option<f64>,
    /// The weights at the end, by name, of every replica.
    pub weights: Vec<Weights>,
    deaf: Deaf,
    last: u32,
}

impl Observer for Losses {
    fn listener(&mut self, _step: StepIndex) -> &mut dyn Listener {
        &mut self.deaf
    }
    fn step(&mut self, report: &StepReport) {
        self.training.push(report.loss.unwrap());
        self.held_out = report.held_out.or(self.held_out);
    }
    fn wants_evaluation(&self, step: StepIndex) -> bool {
        step.0 + 1 == self.last
    }
}

/// A workload with changes, or everything that is wrong with it.
pub fn scenario(name: &str, changes: &[&str]) -> Result<Scenario, Diagnostics> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads").join(format!("{name}.yaml"));
    let changes: Vec<Override> = changes.iter().map(|change| change.parse().unwrap()).collect();
    config::load(&path, &changes).map(config::Scenario::training)
}

/// Trains a workload with changes.
pub fn run(name: &str, changes: &[&str]) -> Losses {
    train(&scenario(name, changes).unwrap_or_else(|mistakes| panic!("{}", mistakes.render())))
}

/// Trains.
pub fn train(scenario: &Scenario) -> Losses {
    let state = scenario.state();
    let mut values = scenario.values(&state);
    let mut losses = Losses { last: scenario.plan.steps, ..Losses::default() };
    let network = scenario.network_model();
    training::run(&scenario.plan, &state, &*scenario.compute, network, values.as_mut(), &mut losses).unwrap();
    if let Some(values) = &values {
        let weights = |replica| state.weights(&scenario.plan, values, replica);
        losses.weights = (0..scenario.plan.mesh.data).map(weights).collect();
    }
    losses
}
