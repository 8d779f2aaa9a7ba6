//! Why steps take as long as they do, and what goes wrong on the way.

use std::process::Command;

use trainyard::config::TrainingScenario as Scenario;
use trainyard::ids::{Id, Rank, StepIndex};
use trainyard::metrics::{TrainingRecord, TrainingRecorder};
use trainyard::numeric::values::Values;
use trainyard::training::recovery::without;
use trainyard::training::why::{Explanation, explain};
use trainyard::training::{self, Setup, TrainingFailure};
use trainyard::units::SimDuration;

use crate::runs::{Weights, scenario};

/// Small enough to be computed often.
const SMALL: [&str; 4] =
    ["model.gpt.layers=2", "model.gpt.hidden=32", "model.gpt.sequence=16", "training.evaluate_every=0"];

fn small(changes: &[&str]) -> Scenario {
    scenario("gpt_3d", &[&SMALL[..], changes].concat()).unwrap_or_else(|m| panic!("{}", m.render()))
}

fn setup(scenario: &Scenario) -> Setup<'_> {
    Setup {
        plan: &scenario.plan,
        compute: &*scenario.compute,
        network: &*scenario.network,
        disturbances: &scenario.disturbances,
    }
}

/// A disturbed run: what was recorded, and the weights at the end of it.
fn run(scenario: &Scenario) -> Result<(TrainingRecord, Option<Weights>), TrainingFailure> {
    let state = scenario.state();
    let mut values = scenario.values(&state);
    let ranks = scenario.plan.simulated_ranks().collect();
    let mut recorder = TrainingRecorder::new(ranks, scenario.plan.steps, 0, |_| ());
    let (setup, recovery) = (setup(scenario), scenario.recovery.as_ref());
    training::run_disturbed(&setup, recovery, values.as_mut(), &mut recorder)?;
    let record = recorder.finish();
    let plan = record.plan_of(StepIndex(u32::MAX)).unwrap_or(&scenario.plan);
    let state = training::state::State::new(plan);
    let weights = values.as_ref().map(|values| state.weights(plan, values, 0));
    Ok((record, weights))
}

fn explained(scenario: &Scenario) -> (Explanation, TrainingRecord) {
    let (record, _) = run(scenario).unwrap();
    (explain(&setup(scenario), &record.steps[record.steps.len() - 1], &[]).unwrap(), record)
}

/// The same step is explained that was run; the chain has no gaps; the falls sum to the step.
#[test]
fn explanations_sum_to_the_step() {
    for changes in [
        vec![],
        vec!["software=eager"],
        vec!["software=eager", "fold=never", "parallel.zero=3", "recompute=full"],
        vec!["parallel.schedule=zb_h1", "parallel.pipeline=4", "model.gpt.layers=4", "parallel.data=1"],
        vec!["parallel.sequence_parallel=true", "recompute=selective", "fidelity.network=analytic"],
        vec!["disturbances=[{straggler: {rank: 5, factor: 2}}, {jitter: {sigma: 0.2}}]"],
    ] {
        let changes = [&["numeric=false", "training.steps=2"][..], &changes].concat();
        let (explanation, record) = explained(&small(&changes));
        let step = record.steps[1].duration;
        assert_eq!(explanation.duration, step, "{changes:?}");
        let falls: i64 = explanation.waterfall.iter().map(|fall| fall.picos).sum();
        assert_eq!(falls, step.picos() as i64, "{changes:?}");
        let shares: SimDuration = explanation.chain.shares.iter().map(|(_, length)| *length).sum();
        assert_eq!(shares, step, "{changes:?}");
        for what in &explanation.what_ifs {
            assert!(what.duration <= step, "{changes:?}: if {} it would be longer", what.condition);
        }
    }
}

/// One rank has no bubble and no network: its chain is its kernels, one after the other.
#[test]
fn one_device_is_explained_by_its_kernels() {
    let alone = ["parallel.data=1", "parallel.pipeline=1", "parallel.tensor=1", "numeric=false"];
    let (explanation, _) = explained(&small(&alone));
    let causes: Vec<&str> = explanation.waterfall.iter().map(|fall| fall.cause.key()).collect();
    assert_eq!(causes, ["ideal", "kernels", "optimizer"]);
    assert_eq!(explanation.chain.hops, 0);
}

/// A rank of half the speed makes the step longer by what the waterfall says, and no loss different.
#[test]
fn stragglers_change_times_and_no_numbers() {
    let (plain, plain_weights) = run(&small(&["training.steps=3"])).unwrap();
    let slow = small(&[
        "training.steps=3",
        "disturbances=[{straggler: {rank: 0, factor: 2, from_step: 1, until_step: 2}}]",
    ]);
    let (record, weights) = run(&slow).unwrap();
    let durations = |record: &TrainingRecord, at: usize| record.steps[at].duration;
    // Clock edges round each step anew: the same to a few picoseconds.
    let near = |a: SimDuration, b: SimDuration| a.picos().abs_diff(b.picos()) < 100_000;
    assert!(near(durations(&record, 0), durations(&plain, 0)));
    assert!(durations(&record, 1) > durations(&plain, 1));
    assert!(near(durations(&record, 2), durations(&plain, 2)));
    assert_eq!(weights, plain_weights);
    let explanation = explain(&setup(&slow), &record.steps[1], &[]).unwrap();
    let undisturbed = explanation.what_ifs.iter().find(|what| what.key == "undisturbed").unwrap();
    assert!(near(undisturbed.duration, durations(&plain, 1)));
}

/// A link that is lost for a while holds the run up; one that is lost for good stops it.
#[test]
fn lost_links_hold_a_run_up() {
    let link = |until: &str| {
        format!("disturbances=[{{link: {{from: node0/gpu0, to: node0/nvswitch0, at: 1 us{until}}}}}]")
    };
    let all_on_one = scenario("gpt_3d", &["numeric=false", "training.steps=1", "fold=never"]).unwrap();
    let names = |vertex| all_on_one.plan.topology.vertex_name(vertex).to_owned();
    let first = all_on_one.plan.topology.links().iter().next().unwrap();
    let ends = (names(first.from), names(first.to));
    let link = |until: &str| link(until).replace("node0/gpu0", &ends.0).replace("node0/nvswitch0", &ends.1);
    let changes = ["numeric=false", "training.steps=1", "fold=never"];
    let with = |link: &str| small(&[&changes[..], &[link]].concat());
    let (plain, _) = run(&small(&changes)).unwrap();
    let (held_up, _) = run(&with(&link(", until: 30 ms"))).unwrap();
    assert!(held_up.steps[0].end.seconds() > 0.03 && plain.steps[0].end.seconds() < 0.03);
    let Err(TrainingFailure::Stall(stall)) = run(&with(&link(""))) else { panic!("nothing gets through") };
    assert!(stall.down.contains(&format!("{} to {}", ends.0, ends.1)), "{stall}");
}

const RECOVERY: &str = "checkpoint={every: 2, bandwidth: 1 GB/s, restart: 1 ms}";

/// The moment in the middle of a step of an undisturbed run that writes checkpoints.
fn middle_of(step: usize, changes: &[&str]) -> String {
    let (record, _) = run(&small(&[changes, &[RECOVERY]].concat())).unwrap();
    let step = record.steps[step];
    format!("{} ps", step.end.picos() - step.duration.picos() / 2)
}

/// What is done again after a failure is done with the same numbers; and every moment is accounted for.
#[test]
fn numbers_after_a_restart_are_those_of_an_undisturbed_run() {
    for more in [vec![], vec!["parallel.zero=2"], vec!["parallel.sync={diloco: {every: 2}}"]] {
        let changes = [&["training.steps=6"][..], &more].concat();
        let (plain, plain_weights) = run(&small(&changes)).unwrap();
        let at = middle_of(3, &changes);
        let failure = format!("disturbances=[{{failure: {{rank: 3, at: {at}}}}}]");
        let (record, weights) = run(&small(&[&changes[..], &[&failure, RECOVERY]].concat())).unwrap();
        let [interruption] = &record.interruptions[..] else { panic!("one failure") };
        assert_eq!((interruption.during.0, interruption.back_to.0), (3, 2));
        let losses = |record: &TrainingRecord| record.steps.iter().map(|step| step.loss).collect::<Vec<_>>();
        assert_eq!(losses(&record), losses(&plain), "{more:?}");
        assert_eq!(weights, plain_weights, "{more:?}");
        let steps: SimDuration = record.steps.iter().map(|step| step.duration).sum();
        let written: SimDuration = record.checkpoints.iter().map(|one| one.end.since(one.start)).sum();
        let down = interruption.resumed.since(interruption.at);
        let end = record.steps.last().unwrap().end;
        assert_eq!((steps + written + interruption.lost + down).picos(), end.picos(), "{more:?}");
    }
}

/// An elastic run goes on as a run of fewer replicas would have from the same checkpoint.
#[test]
fn elastic_runs_go_on_with_the_numbers_of_fewer_replicas() {
    for zero in ["parallel.zero=0", "parallel.zero=1", "parallel.zero=3"] {
        let changes = ["training.steps=6", "parallel.data=4", "parallel.tensor=1", zero];
        let at = middle_of(3, &changes);
        let failure = format!("disturbances=[{{failure: {{rank: 1, at: {at}}}}}]");
        let recovery = RECOVERY.replace('}', ", elastic: true}");
        let elastic = small(&[&changes[..], &[&failure, &recovery]].concat());
        let (record, weights) = run(&elastic).unwrap();
        assert_eq!((record.interruptions[0].replicas, record.interruptions[0].back_to.0), (2, 2), "{zero}");

        // By hand: two steps of four replicas, and the others of two with what these came to.
        let mut four = elastic.plan.clone();
        four.steps = 2;
        let state = elastic.state();
        let mut values: Values = elastic.values(&state).unwrap();
        let ran = |plan: &training::TrainingPlan, state: &_, values: &mut Values, from: u32| {
            let network = elastic.network_model();
            let mut silent = training::Silent;
            training::run_from(
                StepIndex(from),
                plan,
                state,
                &*elastic.compute,
                network,
                Some(values),
                &mut silent,
            )
            .unwrap()
        };
        ran(&four, &state, &mut values, 0);
        let mut two = without(&elastic.plan, elastic.plan.placement[Rank(1)]).unwrap();
        two.steps = 6;
        assert_eq!((two.mesh.data, two.micro_batches, two.placement[Rank::from_index(0)].0), (2, 4, 0));
        let smaller = training::state::State::new(&two);
        let saved = values.saved();
        let slots = state.relaid(&elastic.plan, saved.slots(), (&smaller, &two));
        values.restore_slots(&saved, slots);
        let outcome = ran(&two, &smaller, &mut values, 2);
        let losses: Vec<_> = outcome.steps.iter().map(|step| step.loss).collect();
        let elastic_losses: Vec<_> = record.steps[2..].iter().map(|step| step.loss).collect();
        assert_eq!(elastic_losses, losses, "{zero}");
        assert_eq!(weights.unwrap(), smaller.weights(&two, &values, 0), "{zero}");
    }
}

/// Failures by chance: the same for the same seed; and a run that never gets on says so.
#[test]
fn failures_by_chance_are_those_of_the_seed() {
    let chance = |mtbf: &str| {
        let failures = format!("disturbances=[{{failures: {{mtbf: {mtbf}}}}}]");
        run(&small(&["training.steps=20", "numeric=false", &failures, RECOVERY]))
    };
    let (first, again) = (chance("100 ms").unwrap().0, chance("100 ms").unwrap().0);
    assert!(!first.interruptions.is_empty());
    assert_eq!(first.interruptions, again.interruptions);
    assert!(matches!(chance("1 us"), Err(TrainingFailure::NoProgress { .. })));
}

/// Daly 2006: for rare failures Young's √(2δM).
#[test]
fn the_best_interval_is_daly_s() {
    let best = training::recovery::best_interval(60.0, 86_400.0);
    let young = (2.0_f64 * 60.0 * 86_400.0).sqrt();
    assert!((best - (young - 60.0)).abs() < 0.02 * young, "{best} against {young}");
    assert_eq!(training::recovery::best_interval(10.0, 4.0), 4.0);
}

/// Every mistake at once, each where it stands.
#[test]
fn wrong_disturbances_are_told() {
    let mistakes = scenario(
        "gpt_3d",
        &["disturbances=[{straggler: {rank: 9, factor: -1}}, {failure: {rank: 0, at: 1 ms}}, \
             {link: {from: node0/device0, to: node9, at: 1 ms}}, {jitter: {sigma: 9}}]"],
    )
    .unwrap_err()
    .render();
    for sentence in [
        "there is no rank 9: the run has 8",
        "a rank takes a positive number of times as long, not -1",
        "nothing says how the run recovers",
        "nothing is called `node9`",
        "`sigma` is from 0 to 3, not 9",
    ] {
        assert!(mistakes.contains(sentence), "no `{sentence}` in\n{mistakes}");
    }
}

/// A run that does not fit is a diagnosis: the rank, the moment, what fills it; and each change that it
/// names makes it fit.
#[test]
fn out_of_memory_is_a_diagnosis_with_cures_that_work() {
    let plan = "software=fused recompute=none parallel.pipeline=8 parallel.data=2 training.global_batch=32 training.micro_batch=2";
    let run = |more: &[&str]| {
        let sets = plan.split(' ').chain(more.iter().copied()).flat_map(|set| ["--set", set]);
        let output = Command::new(env!("CARGO_BIN_EXE_trainyard"))
            .args(["run", "workloads/gpt3_175b.yaml", "--no-report"])
            .args(sets)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = run(&[]);
    assert_eq!(code, Some(1), "{told}");
    for sentence in ["out of memory: rank 112 needs", "has 80 GiB", "during backward", "activations"] {
        assert!(told.contains(sentence), "no `{sentence}` in\n{told}");
    }
    let cures: Vec<&str> = told.lines().filter(|line| line.trim_start().starts_with("--set ")).collect();
    assert!(cures.len() >= 2, "{told}");
    for cure in cures {
        let sets = cure.split(": ").next().unwrap().trim().split("--set ").map(str::trim);
        let sets: Vec<&str> = sets.filter(|set| !set.is_empty()).collect();
        let (code, told) = run(&sets);
        assert_eq!(code, Some(0), "{cure}: {told}");
    }
}
