//! The workloads learn what they should: against closed forms, serial iterates and baselines.

use trainyard::training::schedule::ScheduleSpec;

use crate::runs::run;

/// Serial gradient descent in f64 on y = w₁x + w₂ over the five points in order, two a step.
fn serial(rate: f64, start: [f64; 2], steps: usize) -> Vec<f64> {
    let (mut w, mut losses) = (start, Vec::new());
    for step in 0..steps {
        let (mut loss, mut gradient) = (0.0, [0.0; 2]);
        for sample in 0..2 {
            let x = ((step * 2 + sample) % 5 + 1) as f64;
            let error = w[0] * x + w[1] - (x + 1.0);
            loss += error * error / 2.0;
            gradient[0] += 2.0 * error * x / 2.0;
            gradient[1] += 2.0 * error / 2.0;
        }
        losses.push(loss);
        w = [w[0] - rate * gradient[0], w[1] - rate * gradient[1]];
    }
    losses
}

/// Within 1e-6 of the first loss, f32's share of the numbers that cancel.
#[track_caller]
fn same(losses: &[f64], expected: &[f64]) {
    assert_eq!(losses.len(), expected.len());
    for (step, (loss, expected)) in losses.iter().zip(expected).enumerate() {
        let error = (loss - expected).abs();
        assert!(error <= 1e-6 * expected.max(1.0), "step {step}: {loss} is not {expected}");
    }
}

/// The document's start fits its data: every loss is nothing, whatever its table says.
#[test]
fn the_documents_start_already_fits() {
    assert_eq!(run("linear_regression", &[]).training, [0.0; 25]);
}

/// (w₀·x − y)²·(1 − 2αx²)^{2t} = 16·0.04^t.
#[test]
fn one_weight_follows_the_closed_form() {
    let expected: Vec<f64> = (0..10).map(|t| 16.0 * 0.04_f64.powi(t)).collect();
    same(&run("linear_regression_one_weight", &[]).training, &expected);
}

#[test]
fn every_parallel_form_takes_the_serial_iterates() {
    let expected = serial(0.02, [0.0, 0.0], 500);
    for name in ["from_zero", "gradients", "model_parallel"] {
        same(&run(&format!("linear_regression_{name}"), &[]).training, &expected);
    }
    assert!(expected[499] < 1e-4, "it learns: {}", expected[499]);
}

/// At 0.1 the loss grows without bound, in the serial iterates and in ours alike.
#[test]
fn the_documents_rate_is_too_large_elsewhere() {
    let rate = "training.optimizer.sgd.learning_rate=0.1";
    let losses = run("linear_regression_gradients", &[rate, "training.steps=40"]).training;
    same(&losses[..10], &serial(0.1, [0.0, 0.0], 10));
    assert!(losses[39] > 100.0 * losses[0], "{losses:?}");
}

/// What always answering with the training wines' frequencies of grades costs on the others: every
/// tenth wine is held out, and their grades are rarer ones (1.31 nats against 1.17).
fn cost_of_frequencies() -> f64 {
    let grades: Vec<usize> = linfa_datasets::winequality().targets.to_vec();
    let held_out = |row: usize| row % 10 == 9;
    let count = |grade| grades.iter().enumerate().filter(|&(row, g)| !held_out(row) && *g == grade).count();
    let training = (0..grades.len()).filter(|&row| !held_out(row)).count();
    let costs: Vec<f64> = (0..grades.len())
        .filter(|&row| held_out(row))
        .map(|row| -(count(grades[row]) as f64 / training as f64).ln())
        .collect();
    costs.iter().sum::<f64>() / costs.len() as f64
}

/// A linear softmax fitted to convergence (in NumPy) costs 1.06 on the same split; ours must do most of
/// that.
#[test]
fn the_classifier_learns_wines_that_it_never_saw() {
    let (held_out, frequencies) = (run("mlp_wine", &[]).held_out.unwrap(), cost_of_frequencies());
    assert!(held_out < frequencies - 0.15, "{held_out} against {frequencies}");
}

/// A small GPT of eight layers for ten steps of sixteen samples.
const SMALL: [&str; 6] = [
    "model.gpt.layers=8",
    "model.gpt.hidden=16",
    "model.gpt.sequence=16",
    "training.micro_batch=1",
    "training.steps=10",
    "training.evaluate_every=0",
];

/// Trains the small GPT with these changes; its losses equal one device's within 1e-4 relative:
/// partial sums in another order move each f32 result by some 1e-7, and 10 steps of AdamW under
/// warm-up amplify that less than a hundredfold.
#[track_caller]
fn equals_one_device(changes: &[&str], alone: &[f64]) {
    let losses = run("gpt_3d", &[&SMALL[..], changes].concat()).training;
    assert_eq!(losses.len(), alone.len());
    for (step, (loss, alone)) in losses.iter().zip(alone).enumerate() {
        let error = ((loss - alone) / alone).abs();
        assert!(error < 1e-4, "{changes:?}, step {step}: {error:e}");
    }
}

fn alone() -> Vec<f64> {
    let one = ["parallel.data=1", "parallel.pipeline=1", "parallel.tensor=1"];
    run("gpt_3d", &[&SMALL[..], &one[..]].concat()).training
}

#[test]
fn every_mesh_trains_as_one_device_does() {
    let alone = alone();
    for (data, pipeline, tensor) in [(2, 2, 2), (1, 4, 1), (4, 1, 1), (1, 1, 4), (2, 4, 2), (1, 2, 4)] {
        let mesh = [
            format!("parallel.data={data}"),
            format!("parallel.pipeline={pipeline}"),
            format!("parallel.tensor={tensor}"),
        ];
        equals_one_device(&mesh.each_ref().map(String::as_str), &alone);
    }
}

#[test]
fn every_schedule_trains_as_one_device_does() {
    let alone = alone();
    // Those that are never emptied train with stale weights; tests/suite/pipelines.rs is about them.
    let emptied = |name: &&&str| ScheduleSpec::from_name(name).is_some_and(|it| it.stashing().is_none());
    for schedule in ScheduleSpec::NAMES.iter().filter(emptied).filter(|name| **name != "custom") {
        for (data, pipeline, tensor) in [(2, 2, 2), (1, 4, 2)] {
            let changes = [
                format!("parallel.schedule={schedule}"),
                format!("parallel.data={data}"),
                format!("parallel.pipeline={pipeline}"),
                format!("parallel.tensor={tensor}"),
            ];
            equals_one_device(&changes.each_ref().map(String::as_str), &alone);
        }
    }
    let order = "parallel.schedule={custom: {order: [F0 F1 D0 D1, F0 F1 B1 B0 W0 W1]}}";
    equals_one_device(&["training.micro_batch=4", order], &alone);
}

#[test]
fn split_rows_and_recomputation_train_as_one_device_does() {
    let alone = alone();
    for recompute in ["none", "selective", "full", "{blocks: 1}"] {
        for (schedule, rows) in [("one_f_one_b", true), ("zb_h1", false), ("interleaved", true)] {
            let changes = [
                format!("recompute={recompute}"),
                format!("parallel.schedule={schedule}"),
                format!("parallel.sequence_parallel={rows}"),
            ];
            equals_one_device(&changes.each_ref().map(String::as_str), &alone);
        }
    }
    let mesh = ["parallel.data=1", "parallel.pipeline=1", "parallel.tensor=4"];
    equals_one_device(&[&mesh[..], &["parallel.sequence_parallel=true"][..]].concat(), &alone);
}

#[test]
fn replicas_that_share_train_as_one_device_does() {
    let alone = alone();
    for zero in ["1", "2", "3", "{stage: 1, group: 2}", "{stage: 3, group: 2, prefetch: 0}"] {
        for (mesh, rows, schedule) in
            [((4, 1, 2), true, "one_f_one_b"), ((4, 2, 1), false, "interleaved"), ((8, 1, 1), false, "gpipe")]
        {
            let (data, pipeline, tensor) = mesh;
            let changes = [
                format!("parallel.zero={zero}"),
                format!("parallel.data={data}"),
                format!("parallel.pipeline={pipeline}"),
                format!("parallel.tensor={tensor}"),
                format!("parallel.sequence_parallel={rows}"),
                format!("parallel.schedule={schedule}"),
                "recompute=full".to_owned(),
            ];
            equals_one_device(&changes.each_ref().map(String::as_str), &alone);
        }
    }
}

/// The claim of the README, on the main job itself: every loss of its first fifty steps within 1e-4 of
/// one device's. (Over all its 200 steps the largest difference measured was 1.6e-6.)
#[test]
fn the_main_job_equals_one_device() {
    let fifty = ["training.steps=50", "training.evaluate_every=0"];
    let one = ["parallel.data=1", "parallel.pipeline=1", "parallel.tensor=1"];
    let split = run("gpt_3d", &fifty).training;
    let alone = run("gpt_3d", &[&fifty[..], &one[..]].concat()).training;
    for (step, (loss, alone)) in split.iter().zip(&alone).enumerate() {
        let error = ((loss - alone) / alone).abs();
        assert!(error < 1e-4, "step {step}: {error:e}");
    }
    assert!(split[49] < 2.6, "it learns: {}", split[49]);
}

/// Software decides how fast, never what is learnt: eager runs launch a layer's kernels one by one, so that
/// a step takes at least as long as its host takes for them, and every loss is the fused run's.
#[test]
fn eager_software_is_slower_and_learns_the_same() {
    let run = |software: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_trainyard"))
            .args(["run", "workloads/gpt_3d.yaml", "--no-report", "--format", "json"])
            .args(["--set", "training.steps=3", "--set", &format!("software={software}")])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let (eager, fused) = (run("eager"), run("fused"));
    assert_eq!(eager["losses"], fused["losses"]);
    let seconds = |ran: &serde_json::Value| ran["step_time_s"].as_f64().unwrap();
    assert!(seconds(&eager) > 5.0 * seconds(&fused), "{eager} {fused}");
}

/// Training on what is being prepared: the same sequences and losses whatever the pool, sooner with more workers,
/// and no step begins before its samples are there.
#[test]
fn prepared_data_is_waited_for_and_is_the_same() {
    let with = |workers: u32| {
        let workers = format!("preparation.workers={workers}");
        let changes = [&workers, "model.gpt.hidden=16", "model.gpt.layers=1", "training.steps=12"];
        let scenario =
            crate::runs::scenario("gpt_prepared", &changes).unwrap_or_else(|why| panic!("{}", why.render()));
        let plan = &scenario.plan;
        let state = scenario.state();
        let (network, mut heard) = (scenario.network_model(), trainyard::training::Silent);
        let ran =
            trainyard::training::run(plan, &state, &*scenario.compute, network, None, &mut heard).unwrap();
        for step in &ran.steps {
            assert!(
                step.end > plan.input_ready(step.step),
                "{} ended before its samples were there",
                step.step
            );
        }
        let ends: u64 = ran.steps.iter().map(|step| step.duration.picos()).sum();
        assert_eq!(ends, ran.steps.last().unwrap().end.picos(), "steps and waits make up the run");
        (crate::runs::train(&scenario).training, ends)
    };
    let ((alone, slow), (pool, quick)) = (with(1), with(8));
    assert_eq!(alone, pool);
    assert!(quick < slow, "{quick} and {slow}");
    let refused = crate::runs::scenario("gpt_prepared", &["preparation.sequence=64", "data=cicero"]);
    let refused = refused.unwrap_err().render();
    for sentence in ["one token more than the model reads", "nobody trains on what is prepared"] {
        assert!(refused.contains(sentence), "{refused}");
    }
}
