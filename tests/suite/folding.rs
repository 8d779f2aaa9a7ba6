//! Ranks that do the same are simulated once: the same step as with every rank simulated.

use trainyard::metrics::{TrainingRecord, TrainingRecorder};
use trainyard::training;

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
