//! Pipelines that are never emptied: their weights against a serial reference that delays them as the papers
//! write, their times and memories against closed forms.

use trainyard::config::TrainingScenario;
use trainyard::ids::{Id, Rank, Stage, StepIndex};
use trainyard::metrics::TrainingRecorder;
use trainyard::numeric::values::Values;
use trainyard::program::Action;
use trainyard::runtime::{Activities, Interpreter, Machine, NoValues, Supposition};
use trainyard::trace::{Activity, Lane, MemoryUse, Recording, Span};
use trainyard::training::lower::{UPDATE, lower, lower_pipelined};
use trainyard::training::{self, TrainingPlan};

use crate::runs::{Losses, Weights, scenario, train};

const RATE: f32 = 0.5;

const SMALL: [&str; 7] = [
    "model.gpt={layers: 4, hidden: 16, heads: 2, sequence: 8, vocabulary: 256}",
    "training.optimizer={sgd: {learning_rate: 0.5}}",
    "training.gradient_clipping=null",
    "training.micro_batch=1",
    "training.evaluate_every=0",
    "parallel.data=1",
    "parallel.tensor=1",
];

fn small(changes: &[&str]) -> TrainingScenario {
    let changes: Vec<&str> = SMALL.iter().chain(changes).copied().collect();
    scenario("gpt_3d", &changes).unwrap_or_else(|mistakes| panic!("{}", mistakes.render()))
}

/// The stage that holds each parameter, in the order of a checkpoint.
fn stage_of_parameters(plan: &TrainingPlan) -> Vec<u32> {
    let pieces = plan.model.pieces();
    let mut stages = Vec::new();
    for (stage, held) in plan.stages.enumerate() {
        let parameters: usize = held.clone().map(|at| plan.model.parameters(pieces[at]).len()).sum();
        stages.extend(std::iter::repeat_n(stage.0, parameters));
    }
    stages
}

/// Loss and gradients of one step on one device with these weights, op after op.
fn gradient(alone: &TrainingScenario, step: u32, weights: &[Vec<f32>]) -> (f64, Vec<Vec<f32>>) {
    let (plan, state) = (&alone.plan, alone.state());
    let mut values: Values = alone.values(&state).unwrap();
    let mut left = weights.iter();
    let slots = state.values_of(plan, |_| left.next().unwrap().clone());
    let saved = values.saved();
    values.restore_slots(&saved, slots);
    values.begin_step(StepIndex(step));
    let program = lower(plan, &state, StepIndex(step)).unwrap();
    for op in program.ops().ids() {
        assert!(matches!(program.ops()[op].action, Action::Compute(_)), "one device exchanges nothing");
        values.begin(&program, op);
        values.finish(&program, op);
    }
    let loss = f64::from(values.number(state.loss(Rank(0)).unwrap()));
    (loss, state.gradients(plan, &values, 0).into_iter().map(|(_, g)| g).collect())
}

/// Plain loops over the papers' equations: the gradient of step t is taken where stage s has the weights after
/// t − delay(s) steps, and steps the newest by ν.
fn reference(
    alone: &TrainingScenario,
    stages: &[u32],
    delay: impl Fn(u32) -> u32,
) -> (Vec<f64>, Vec<Vec<f32>>) {
    let state = alone.state();
    let start: Weights = state.weights(&alone.plan, &alone.values(&state).unwrap(), 0);
    let mut history: Vec<Vec<Vec<f32>>> = vec![start.into_iter().map(|(_, w)| w).collect()];
    let mut losses = Vec::new();
    for t in 0..alone.plan.steps {
        let then = |at: usize| history[t.saturating_sub(delay(stages[at])) as usize][at].clone();
        let stale: Vec<Vec<f32>> = (0..stages.len()).map(then).collect();
        let (loss, gradients) = gradient(alone, t, &stale);
        losses.push(loss);
        let newest = history.last().unwrap();
        let step = |(w, g): (&Vec<f32>, &Vec<f32>)| w.iter().zip(g).map(|(w, g)| w - RATE * g).collect();
        history.push(newest.iter().zip(&gradients).map(step).collect());
    }
    (losses, history.pop().unwrap())
}

/// Trains under a schedule, and by the reference; both must be the same bit for bit.
#[track_caller]
fn equals_the_reference(schedule: &str, pipeline: u32, batch: u32, steps: u32, delay: impl Fn(u32) -> u32) {
    let changes = [
        format!("training.global_batch={batch}"),
        format!("training.steps={steps}"),
        format!("parallel.schedule={schedule}"),
        format!("parallel.pipeline={pipeline}"),
    ];
    let changes = changes.each_ref().map(String::as_str);
    let split = small(&changes);
    let alone = small(&[&changes[..2], &["parallel.pipeline=1", "parallel.schedule=one_f_one_b"]].concat());
    let found = train(&split);
    let (losses, weights) = reference(&alone, &stage_of_parameters(&split.plan), delay);
    assert_eq!(found.training, losses, "{schedule}");
    for ((parameter, found), expected) in found.weights[0].iter().zip(&weights) {
        assert_eq!(found, expected, "{schedule}: {}", parameter.name);
    }
}

/// Narayanan et al. 2019, section 3.3: w(t+1) = w(t) − ν·∇f(w₁(t−n+1), w₂(t−n+2), …, wₙ(t)), and with vertical
/// sync w(t+1) = w(t) − ν·∇f(w₁(t−n+1), …, wₙ(t−n+1)).
#[test]
fn pipedream_steps_by_gradients_of_stashed_weights() {
    for n in [2, 4] {
        equals_the_reference("pipedream", n, 1, 9, |stage| n - 1 - stage);
        equals_the_reference("{pipedream: {vertical_sync: true}}", n, 1, 9, |_| n - 1);
    }
}

/// Narayanan et al. 2021, section 3.1: W(t+1) = W(t) − ν·∇f(W(t−1)), whatever the depth.
#[test]
fn pipedream_2bw_steps_one_version_late() {
    for n in [2, 4] {
        equals_the_reference("pipedream_2bw", n, 4, 6, |_| 1);
    }
}

#[track_caller]
fn same_bits(found: &Losses, expected: &Losses) {
    assert_eq!(found.training, expected.training);
    for ((parameter, a), (_, b)) in found.weights[0].iter().zip(&expected.weights[0]) {
        assert_eq!(a, b, "{}", parameter.name);
    }
}

/// One stage has nothing under way when it steps: both are plain training, here with AdamW and a schedule of
/// the learning rate.
#[test]
fn one_stage_is_plain_training() {
    let adamw = "training.optimizer={adamw: {learning_rate: 3.0e-3, warmup_steps: 2, schedule: cosine}}";
    let run = |schedule: &str, batch: u32| {
        let changes = [format!("parallel.schedule={schedule}"), format!("training.global_batch={batch}")];
        let changes = changes.each_ref().map(String::as_str);
        train(&small(&[&changes[..], &["parallel.pipeline=1", "training.steps=6", adamw]].concat()))
    };
    same_bits(&run("pipedream", 1), &run("one_f_one_b", 1));
    same_bits(&run("pipedream_2bw", 4), &run("one_f_one_b", 4));
}

/// Replicas and tensor ranks share the work of a pipeline alone, and recomputation meets the stashed weights:
/// sums in another order move f32 results by some 1e-6.
#[test]
fn replicas_and_tensor_ranks_follow_the_pipeline_alone() {
    for (schedule, alone_batch, split_batch) in [("pipedream", 4, 2), ("pipedream_2bw", 2, 1)] {
        let schedule = format!("parallel.schedule={schedule}");
        let common = [&schedule, "training.global_batch=4", "training.steps=6", "parallel.pipeline=2"];
        let micro_batch = |samples: u32| format!("training.micro_batch={samples}");
        let alone = train(&small(&[&common[..], &[&micro_batch(alone_batch)]].concat()));
        let mesh =
            ["parallel.data=2", "parallel.tensor=2", "parallel.sequence_parallel=true", "recompute=full"];
        let split = train(&small(&[&common[..], &mesh[..], &[&micro_batch(split_batch)]].concat()));
        for (a, b) in split.training.iter().zip(&alone.training) {
            assert!(((a - b) / b).abs() < 1e-5, "{schedule}: {a} is not {b}");
        }
        for replica in &split.weights {
            for ((parameter, a), (_, b)) in replica.iter().zip(&alone.weights[0]) {
                let size = b.iter().copied().map(f32::abs).fold(0.0, f32::max);
                let error = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(error <= 2e-5 * size.max(0.1), "{schedule} {}: off by {error:e}", parameter.name);
            }
        }
    }
}

/// What a run of two stages did, messages between stages taking no time.
fn spans_without_messages(scenario: &TrainingScenario) -> Vec<Span> {
    let (plan, state) = (&scenario.plan, scenario.state());
    let program = lower_pipelined(plan, &state).unwrap();
    let network = scenario.network_model();
    let mut machine = Machine::new(&plan.topology, plan.placement.clone(), &*scenario.compute, network);
    let instant = Activities::that(|activity| activity == Activity::PipelineComm);
    machine.suppose(Supposition { instant, ..Supposition::default() });
    let mut recording = Recording::default();
    machine.run(&program, &mut NoValues, &mut recording).unwrap();
    recording.spans
}

/// Once the pipeline is full, an update of every stage comes every max over stages of (F + B + update): the
/// busiest stage never idles. 1F1B would idle (p − 1)(F + B) in every step.
#[test]
fn a_full_pipeline_has_no_bubble() {
    for (schedule, batch) in [("pipedream", 2_u32), ("pipedream_2bw", 8)] {
        let schedule = format!("parallel.schedule={schedule}");
        let batch = format!("training.global_batch={batch}");
        let scenario =
            small(&[&schedule, &batch, "parallel.pipeline=4", "training.steps=12", "numeric=false"]);
        let spans = spans_without_messages(&scenario);
        let of_rank = |rank: u32| {
            let compute = |span: &&Span| matches!(span.lane, Lane::Rank(Rank(at), _) if at == rank);
            spans.iter().filter(compute).filter(|span| span.activity.is_compute()).collect::<Vec<_>>()
        };
        let updates = |rank: u32| {
            let spans = of_rank(rank).into_iter().filter(|span| span.label.name == UPDATE);
            spans.map(|span| span.end.picos()).collect::<Vec<_>>()
        };
        // What a stage does between two of its updates, from the middle of the run.
        let busy = |rank: u32| {
            let ends = updates(rank);
            let (from, to) = (ends[ends.len() / 2], ends[ends.len() / 2 + 1]);
            let within = |span: &&&Span| span.start.picos() >= from && span.end.picos() <= to;
            of_rank(rank).iter().filter(within).map(|span| span.duration().picos()).sum::<u64>()
        };
        let period = (0..4).map(busy).max().unwrap();
        for rank in 0..4 {
            let ends = updates(rank);
            let middle = &ends[ends.len() / 2..ends.len() / 2 + 4];
            for pair in middle.windows(2) {
                // Passes end on edges of the device's clock, which fall on whole picoseconds.
                assert!((pair[1] - pair[0]).abs_diff(period) <= 2, "{schedule} rank {rank}");
            }
        }
    }
}

/// Section 3.3 of the first paper: stage s of p keeps p − s versions, with vertical sync p; section 3.1 of the
/// second: two. The memory model holds just these, and gradients are as stale as that lets them be.
#[test]
fn stages_keep_as_many_versions_as_the_papers_say() {
    for (schedule, versions) in [
        ("pipedream", [4, 3, 2, 1]),
        ("{pipedream: {vertical_sync: true}}", [4; 4]),
        ("pipedream_2bw", [2; 4]),
    ] {
        let schedule = format!("parallel.schedule={schedule}");
        let scenario = small(&[
            &schedule,
            "training.global_batch=4",
            "parallel.pipeline=4",
            "training.steps=4",
            "numeric=false",
        ]);
        let (plan, state) = (&scenario.plan, scenario.state());
        let mut recorder = TrainingRecorder::new(plan.simulated_ranks().collect(), plan.steps, 0, |_| {});
        let network = scenario.network_model();
        training::run(plan, &state, &*scenario.compute, network, None, &mut recorder).unwrap();
        let record = recorder.finish();
        let pieces = plan.model.pieces();
        for (stage, held) in plan.stages.enumerate() {
            let parameters = held.clone().flat_map(|at| plan.model.parameters(pieces[at]));
            let bytes: u64 = parameters.map(|parameter| parameter.elements() * 4).sum();
            let rank = Rank(stage.0);
            let kept = record.memory.as_ref().unwrap().peak(rank).of(MemoryUse::Parameters).get();
            assert_eq!(kept, bytes * versions[stage.index()], "{schedule} {stage}");
            let applied = record.applied.as_ref().unwrap();
            let stale = applied.stages.iter().zip(&applied.staleness).filter(|(of, _)| **of == stage);
            let most = stale.map(|(_, stale)| u64::from(*stale)).max().unwrap();
            assert_eq!(most, versions[stage.index()] - 1, "{schedule} {stage}");
        }
        let last = Stage(3);
        assert!(record.applied.unwrap().stages.contains(&last));
    }
}

#[test]
fn what_needs_an_empty_pipeline_is_refused() {
    for (schedule, change, sentence) in [
        ("pipedream", "parallel.zero=1", "keeps whole versions of the weights"),
        ("pipedream", "parallel.sync=gossip", "steps every stage by itself"),
        ("pipedream_2bw", "training.precision=fp16", "cannot leave out the steps"),
        ("pipedream_2bw", "parallel.compression=top_k", "gradients go whole"),
        ("pipedream_2bw", "training.global_batch=4", "2 are fewer than 8"),
        ("pipedream", "disturbances=[{straggler: {rank: 0, factor: 2}}]", "cannot be disturbed"),
    ] {
        let schedule = format!("parallel.schedule={schedule}");
        let wide = ["parallel.pipeline=8", "model.gpt.layers=8", "training.global_batch=16"];
        let changes: Vec<&str> = SMALL
            .iter()
            .chain(&wide)
            .copied()
            .chain([schedule.as_str(), "parallel.data=2", change])
            .collect();
        let said = scenario("gpt_3d", &changes).map(|_| ()).unwrap_err().render();
        assert!(said.contains(sentence), "{change}: {said}");
    }
}
