//! Methods carried out on a trained model, and what comes of each: bytes, memory, time and loss.
//!
//! The whole model on one device stands for however it was trained. Losses are those of the held-out batches of
//! the run, computed in the format in which the model is used. Training after a compression goes on with the
//! run's optimiser from new moments at a tenth of its rate (Han et al. 2015, section 3.3, of the same), on batches
//! that the run has not drawn; the uncompressed model is trained on for as long, so that what a method costs is
//! not hidden by what more training gives.

use std::collections::BTreeMap;

use crate::compute::ComputeModel;
use crate::hardware::{DeviceSpec, Precision};
use crate::ids::{IdVec, Rank, SlotId};
use crate::model::{Model, Parameter};
use crate::network::{NetworkFidelity, NetworkModel, links_of};
use crate::numeric::batches::Batches;
use crate::numeric::values::{Form, Teacher, Values};
use crate::parallel::Mesh;
use crate::rng::Seed;
use crate::runtime::{Machine, NoValues};
use crate::training::compression::CompressionSpec;
use crate::training::lower::lower_evaluation;
use crate::training::model_compression::forward::{Inference, Shape};
use crate::training::model_compression::{
    Distillation, Kept, Methods, ModelCompression, ModelCompressionSpec, compresses, forms,
};
use crate::training::recompute::Recompute;
use crate::training::run::evaluate;
use crate::training::schedule::ScheduleSpec;
use crate::training::state::State;
use crate::training::sync::SyncSpec;
use crate::training::zero::Zero;
use crate::training::{Silent, TrainingFailure, TrainingPlan, run};
use crate::units::{Bytes, SimDuration};

/// A trained model, and what it was trained with.
#[derive(Clone, Copy)]
pub struct Trained<'t> {
    /// What decided.
    pub plan: &'t TrainingPlan,
    /// What was learned: every parameter, whole.
    pub weights: &'t [(Parameter, Vec<f32>)],
    /// Where its batches came from.
    pub batches: &'t Batches,
    /// Where every random stream grows from.
    pub seed: Seed,
    /// How long kernels take.
    pub compute: &'t dyn ComputeModel,
    /// How flows share links.
    pub network: &'t dyn NetworkFidelity,
}

/// What came of a method.
#[derive(Debug, Clone, PartialEq)]
pub struct Compressed {
    /// The method with its parameters.
    pub name: String,
    /// The held-out loss as soon as the model is compressed.
    pub loss: f64,
    /// The same after training in the compressed form, where that was asked for and is possible.
    pub tuned: Option<f64>,
    /// Simulated time of training that the method took, on one device.
    pub training: SimDuration,
    /// What the model then costs.
    pub costs: Costs,
    /// The same of a model of the size that was asked for.
    pub at_size: Option<Costs>,
}

/// What a model costs to keep and to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Costs {
    /// Numbers that are left.
    pub numbers: u64,
    /// What they take where they are stored, places and scales included.
    pub stored: Bytes,
    /// Reading sequences from their beginning.
    pub prefill: Cost,
    /// Adding a token to each sequence.
    pub decode: Cost,
}

/// What a pass costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// How long it takes.
    pub time: SimDuration,
    /// What the device holds at the fullest moment.
    pub memory: Bytes,
}

/// Carries every method out; the first row is the model as it was trained. `tell` hears what is begun.
///
/// # Errors
/// When training in a compressed form fails.
pub fn study(
    of: Trained,
    with: &Methods,
    mut tell: impl FnMut(&str),
) -> Result<Vec<Compressed>, TrainingFailure> {
    let weights = of.weights.iter().map(|(parameter, numbers)| (parameter.name.clone(), numbers.clone()));
    let bench = Bench { of, with, weights: weights.collect() };
    tell("as trained");
    let mut rows = vec![bench.compressed(None)?];
    for method in &with.methods {
        tell(&method.label());
        match method.distils() {
            Some(distillation) => rows.extend(bench.distilled(distillation)?),
            None => rows.push(bench.compressed(Some(method))?),
        }
    }
    Ok(rows)
}

/// Numbers of a model's parameters, by name.
type Numbers = BTreeMap<String, Vec<f32>>;

/// Share of the learning rate with which training goes on.
const GENTLY: f64 = 0.1;

struct Bench<'b> {
    of: Trained<'b>,
    with: &'b Methods,
    weights: Numbers,
}

impl Bench<'_> {
    /// A model whose matrices are brought into a method's form, or are left whole.
    fn compressed(&self, method: Option<&ModelCompressionSpec>) -> Result<Compressed, TrainingFailure> {
        let (model, rule) = (&self.of.plan.model, method.map(|method| &**method));
        let mut weights = self.weights.clone();
        let mut kept: BTreeMap<String, Option<Form>> = BTreeMap::new();
        for piece in model.pieces() {
            for parameter in model.parameters(piece) {
                let Some(method) = rule.filter(|_| compresses(piece, &parameter)) else { continue };
                let matrix = weights.get_mut(&parameter.name).expect("a weight of the model");
                let form = method.compress(matrix, parameter.columns as usize);
                kept.insert(parameter.name, form);
            }
        }
        let integers = forms(model, rule).any(|(_, kept)| kept == Kept::Integers8);
        let loss = self.loss(model, &weights, integers);
        // Integers, once trained on, would be none.
        let trains = kept.values().all(Option::is_some) || rule.is_none();
        let (mut tuned, mut training) = (None, SimDuration::ZERO);
        if self.with.fine_tune > 0 && trains {
            let (after, took) = self.trained_on(weights, kept)?;
            (tuned, training) = (Some(self.loss(model, &after, false)), took);
        }
        let at_size = self.with.at_size.as_ref().map(|size| {
            let widened = method.and_then(|method| method.widened(wider(model, size)));
            self.costs(size, widened.as_deref().or(rule))
        });
        let name = rule.map_or("as trained".to_owned(), |method| method.label());
        Ok(Compressed { name, loss, tuned, training, costs: self.costs(model, rule), at_size })
    }

    /// A student that learned from the model, and the same that learned from the data alone.
    fn distilled(&self, distillation: &Distillation) -> Result<[Compressed; 2], TrainingFailure> {
        let teacher = &self.of.plan.model;
        let student = distillation.student_of(teacher);
        let steps = distillation.steps.unwrap_or(self.of.plan.steps);
        let plan = TrainingPlan { steps, ..alone(self.of.plan, &student, self.of.plan.precision) };
        let at_size = self.with.at_size.as_ref().map(|size| {
            let student = distillation.student_at(teacher, size);
            self.costs(&student, None)
        });
        let row = |name: &str, taught: bool| -> Result<Compressed, TrainingFailure> {
            let state = State::new(&plan);
            let start = state.initial_values(&plan, self.of.seed);
            let mut values = self.values(&plan, start, self.of.batches);
            let mut training = SimDuration::ZERO;
            if taught {
                let (teacher, pass) = self.teacher(distillation)?;
                values.taught_by(teacher);
                training = SimDuration::from_picos(pass.picos() * u64::from(steps));
            }
            training += self.train(&plan, &state, &mut values)?;
            let learned = state.weights(&plan, &values, 0);
            let learned = learned.into_iter().map(|(parameter, numbers)| (parameter.name, numbers)).collect();
            let loss = self.loss(&student, &learned, false);
            let costs = self.costs(&student, None);
            Ok(Compressed { name: name.to_owned(), loss, tuned: None, training, costs, at_size })
        };
        Ok([row("distillation", true)?, row("its student alone", false)?])
    }

    /// The model as a teacher, and how long it takes for a step's batch.
    fn teacher(&self, distillation: &Distillation) -> Result<(Teacher, SimDuration), TrainingFailure> {
        let plan = alone(self.of.plan, &self.of.plan.model, self.of.plan.precision);
        let state = State::new(&plan);
        let values = self.values(&plan, self.slots(&plan, &state, &self.weights), self.of.batches);
        let program = lower_evaluation(&plan, &state);
        let mut machine =
            Machine::new(&plan.topology, plan.placement.clone(), self.of.compute, self.network(&plan));
        let ran = machine.run(&program, &mut NoValues, &mut Silent).map_err(TrainingFailure::Stall)?;
        Ok((Teacher::new(values, program, distillation.distils()), ran.duration()))
    }

    /// Trains the model on, each matrix kept in its form.
    fn trained_on(
        &self,
        weights: Numbers,
        mut kept: BTreeMap<String, Option<Form>>,
    ) -> Result<(Numbers, SimDuration), TrainingFailure> {
        let mut plan = alone(self.of.plan, &self.of.plan.model, self.of.plan.precision);
        plan.steps = self.with.fine_tune;
        plan.optimizer.scale_rate(GENTLY);
        let state = State::new(&plan);
        let batches = self.of.batches.others("after compression");
        let mut values = self.values(&plan, self.slots(&plan, &state, &weights), &batches);
        for slots in state.of_rank(Rank(0)) {
            if let Some(form) = kept.remove(&slots.parameter.name).flatten() {
                values.keep_form(slots.stepped(), form);
            }
        }
        let took = self.train(&plan, &state, &mut values)?;
        let learned = state.weights(&plan, &values, 0);
        Ok((learned.into_iter().map(|(parameter, numbers)| (parameter.name, numbers)).collect(), took))
    }

    fn train(
        &self,
        plan: &TrainingPlan,
        state: &State,
        values: &mut Values,
    ) -> Result<SimDuration, TrainingFailure> {
        let ran = run(plan, state, self.of.compute, self.network(plan), Some(values), &mut Silent)?;
        Ok(ran.steps.iter().map(|step| step.duration).sum())
    }

    /// The held-out loss of a model with these numbers, as it is used.
    fn loss(&self, model: &Model, weights: &Numbers, integers: bool) -> f64 {
        let plan = alone(self.of.plan, model, self.with.precision);
        let state = State::new(&plan);
        let mut values = self.values(&plan, self.slots(&plan, &state, weights), self.of.batches);
        if integers {
            for piece in model.pieces() {
                let compressed =
                    state.of(Rank(0), piece).iter().filter(|slots| compresses(piece, &slots.parameter));
                compressed.for_each(|slots| values.multiply_integers(slots.stepped()));
            }
        }
        evaluate(&plan, &state, &mut values)
    }

    fn slots(&self, plan: &TrainingPlan, state: &State, weights: &Numbers) -> IdVec<SlotId, Vec<f32>> {
        state.values_of(plan, |parameter| weights[&parameter.name].clone())
    }

    fn values(&self, plan: &TrainingPlan, slots: IdVec<SlotId, Vec<f32>>, batches: &Batches) -> Values {
        let values = Values::new(slots, batches.clone(), plan.optimizer.clone(), plan.steps);
        values.in_precision(plan.precision)
    }

    fn network(&self, plan: &TrainingPlan) -> Box<dyn NetworkModel> {
        self.of.network.model(&links_of(&plan.topology))
    }

    /// What a model in a method's forms costs on the device of the run's first rank.
    fn costs(&self, model: &Model, method: Option<&dyn ModelCompression>) -> Costs {
        let precision = self.with.precision;
        let mut numbers = 0;
        let mut stored = Bytes::ZERO;
        for (parameter, kept) in forms(model, method) {
            numbers += kept.numbers(parameter.rows, parameter.columns);
            stored += kept.stored(parameter.rows, parameter.columns, precision);
        }
        let device: &DeviceSpec = &self.of.plan.topology.devices()[self.of.plan.placement[Rank(0)]].spec;
        let inference = Inference { model, method, precision, device };
        let cost =
            |shape| Cost { time: inference.time(shape, self.of.compute), memory: inference.memory(shape) };
        let tokens = match model {
            Model::Gpt(gpt) => gpt.sequence,
            // Rows that are classified together.
            Model::Mlp(_) | Model::Linear(_) => self.of.plan.global_batch(),
        };
        let batch = self.with.batch;
        let (prefill, decode) = (cost(Shape::prefill(batch, tokens)), cost(Shape::decode(batch, tokens)));
        Costs { numbers, stored, prefill, decode }
    }
}

/// How many times wider a model is than another.
fn wider(from: &Model, to: &Model) -> f64 {
    match (from, to) {
        (Model::Gpt(from), Model::Gpt(to)) => to.hidden as f64 / from.hidden as f64,
        _ => 1.0,
    }
}

/// A plan that trains a model whole on the device of the first rank, a step's batch at once.
fn alone(plan: &TrainingPlan, model: &Model, precision: Precision) -> TrainingPlan {
    TrainingPlan {
        model: model.clone(),
        mesh: Mesh { data: 1, pipeline: 1, context: 1, tensor: 1 },
        placement: std::iter::once(plan.placement[Rank(0)]).collect(),
        stages: std::iter::once(0..model.pieces().len()).collect(),
        micro_batch: plan.global_batch(),
        micro_batches: 1,
        precision,
        schedule: ScheduleSpec::from_name("one_f_one_b").expect("a listed schedule"),
        sync: SyncSpec::from_name("all_reduce").expect("a listed sync"),
        compression: CompressionSpec::from_name("none").expect("a listed compression"),
        sequence_parallel: false,
        tensor_overlap: false,
        zero: Zero::default(),
        recompute: Recompute::default(),
        folded: false,
        input: None,
        ..plan.clone()
    }
}
