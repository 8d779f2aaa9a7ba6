//! Ranks that do the same are simulated once: the same step as with every rank simulated.

use trainyard::ids::StepIndex;
use trainyard::metrics::{TrainingRecord, TrainingRecorder};
use trainyard::runtime::{Machine, NoValues};
use trainyard::trace::Recording;
use trainyard::training;
use trainyard::training::lower::{lower, lower_every_pass};

use crate::runs::scenario;

/// Timed alone, with every rank or folded.
fn record(changes: &[&str], fold: &str) -> TrainingRecord {
    let fold = format!("fold={fold}");
    let always = ["numeric=false", "training.steps=1", "model.gpt.layers=8", &fold];
    let scenario =
        scenario("gpt_3d", &[&always[..], changes].concat()).unwrap_or_else(|m| panic!("{}", m.render()));
    let (plan, state) = (&scenario.plan, scenario.state());
    assert_eq!(plan.folded, fold == "fold=auto");
    let mut recorder = TrainingRecorder::new(plan.simulated_ranks().collect(), 1, 0, |_| ());
    training::run(plan, &state, &*scenario.compute, scenario.network_model(), None, &mut recorder).unwrap();
    recorder.finish()
}

/// How much shorter the folded step is, relative to the full one; bytes moved and the fullest rank are
/// the same.
fn gap(changes: &[&str]) -> f64 {
    let (folded, full) = (record(changes, "auto"), record(changes, "never"));
    assert_eq!(folded.traffic.by_collective(), full.traffic.by_collective(), "{changes:?}");
    let peak = |record: &TrainingRecord| record.memory.as_ref().unwrap().fullest().1.total;
    assert_eq!(peak(&folded), peak(&full), "{changes:?}");
    let seconds = |record: &TrainingRecord| record.steps[0].duration.seconds();
    1.0 - seconds(&folded) / seconds(&full)
}

/// Where no two different exchanges meet on a link, to the picosecond.
#[test]
fn folded_steps_are_those_of_every_rank() {
    for changes in [
        vec!["parallel.data=1", "parallel.pipeline=1", "parallel.tensor=4"],
        vec!["parallel.data=4", "parallel.pipeline=1", "parallel.tensor=4", "parallel.zero=1"],
        vec!["parallel.data=1", "parallel.tensor=4", "parallel.pipeline=4", "parallel.schedule=interleaved"],
        vec!["parallel.data=8", "parallel.pipeline=1", "parallel.tensor=1", "training.micro_batch=1"],
    ] {
        assert!(gap(&changes).abs() < 1e-12, "{changes:?}: {:e}", gap(&changes));
    }
}

/// Where they do (a stage's gradients and its neighbour's activations on one port), the folded step
/// knows nothing of it and is at most a little shorter.
#[test]
fn folded_steps_are_at_most_a_little_shorter() {
    for changes in [
        vec![],
        vec!["parallel.data=4", "parallel.zero=3"],
        vec!["parallel.data=8", "parallel.tensor=1", "parallel.zero={stage: 3, group: 2}"],
        vec!["parallel.tensor=4", "parallel.sequence_parallel=true", "parallel.schedule=zb_v"],
        vec!["parallel.schedule=dual_pipe", "parallel.tensor=4"],
    ] {
        let gap = gap(&changes);
        assert!((-1e-12..5e-3).contains(&gap), "{changes:?}: {gap:e}");
    }
}

/// Narayanan et al., SC 2021: 3,072 A100 train a trillion parameters; all of it in one process, by
/// one rank of each stage.
#[test]
fn a_trillion_parameters_are_timed() {
    let scenario =
        scenario("gpt_1t", &["training.global_batch=384"]).unwrap_or_else(|m| panic!("{}", m.render()));
    assert_eq!(scenario.plan.ranks_of_each(), 48);
    assert_eq!(scenario.plan.simulated_ranks().count(), 64);
    let (plan, state) = (&scenario.plan, scenario.state());
    let mut recorder = TrainingRecorder::new(plan.simulated_ranks().collect(), 1, 0, |_| ());
    training::run(plan, &state, &*scenario.compute, scenario.network_model(), None, &mut recorder).unwrap();
    assert_eq!(recorder.finish().breakdowns[0].ranks().count(), 64);
}

/// Micro-batches that repeat the first one's passes: the same spans, arrows and memory as with every pass
/// written out.
#[test]
fn repeated_passes_are_those_written_out() {
    let eager = "software=eager";
    for changes in [
        vec!["training.global_batch=64"],
        vec!["training.global_batch=64", "parallel.schedule=gpipe", "recompute=full", eager],
        vec!["training.global_batch=64", "parallel.schedule=interleaved", "recompute=selective"],
        vec!["training.global_batch=64", "parallel.schedule=zb_h1", "parallel.tensor=4"],
        vec!["training.global_batch=64", "parallel.schedule=zb_v", "parallel.sequence_parallel=true"],
        vec!["training.global_batch=64", "parallel.zero=1", "parallel.data=4", "recompute=full"],
        vec!["training.global_batch=64", "parallel.zero=3", "parallel.data=4"],
        vec!["training.global_batch=64", "parallel.pipeline=1", "training.gradient_clipping=1.0"],
        vec!["training.global_batch=64", "parallel.schedule=dual_pipe", "parallel.tensor=4"],
    ] {
        let always = ["numeric=false", "training.steps=1", "model.gpt.layers=8"];
        let scenario = scenario("gpt_3d", &[&always[..], &changes].concat());
        let scenario = scenario.unwrap_or_else(|m| panic!("{}", m.render()));
        let (plan, state) = (&scenario.plan, scenario.state());
        assert!(plan.folded, "{changes:?}");
        let [repeated, written] = [lower, lower_every_pass].map(|lower| {
            let program = lower(plan, &state, StepIndex(0)).unwrap();
            let mut machine = Machine::new(
                &plan.topology,
                plan.placement.clone(),
                &*scenario.compute,
                scenario.network_model(),
            );
            machine.hand_over(plan.software.dispatch());
            let mut recording = Recording::default();
            machine.run(&program, &mut NoValues, &mut recording).unwrap();
            (recording, program.ops().len(), program.buffers().len())
        });
        assert_eq!(repeated.1, written.1, "{changes:?}");
        assert_eq!(repeated.0.spans, written.0.spans, "{changes:?}");
        assert_eq!(repeated.0.arrows, written.0.arrows, "{changes:?}");
        assert_eq!(repeated.0.memory, written.0.memory, "{changes:?}");
        // In these no pass repeats the first micro-batch's, or passes of one share what they hold.
        let whole = ["dual_pipe", "zero=3", "gpipe"].iter().any(|name| changes.concat().contains(name));
        assert_eq!(repeated.2 < written.2, !whole, "{changes:?}: {} of {} buffers", repeated.2, written.2);
    }
}
