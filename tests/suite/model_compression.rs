//! Making trained models smaller: closed forms, what must not change, and which loses more.

use trainyard::config::TrainingScenario;
use trainyard::ids::Rank;
use trainyard::model::{Model, Parameter};
use trainyard::training::model_compression::{Compressed, Trained, study};
use trainyard::units::Bytes;

use crate::runs::{scenario, train};

/// The workload, trained for less long.
const SHORT: [&str; 4] = [
    "training.steps=150",
    "training.evaluate_every=0",
    "training.global_batch=8",
    "model_compression.fine_tune=0",
];

fn short(changes: &[&str]) -> TrainingScenario {
    let changes: Vec<&str> = SHORT.iter().chain(changes).copied().collect();
    scenario("gpt_model_compression", &changes).unwrap_or_else(|mistakes| panic!("{}", mistakes.render()))
}

/// The held-out loss of the run itself, and every method on what it has learned.
fn compressed(scenario: &TrainingScenario) -> (f64, Vec<Compressed>) {
    let losses = train(scenario);
    let batches = scenario.batches().unwrap();
    let trained = Trained {
        plan: &scenario.plan,
        weights: &losses.weights[0],
        batches: &batches,
        seed: scenario.seed,
        compute: &*scenario.compute,
        network: &*scenario.network,
    };
    let rows = study(trained, scenario.model_compression.as_ref().unwrap(), |_| ()).unwrap();
    (losses.held_out.unwrap(), rows)
}

fn parameters(scenario: &TrainingScenario) -> Vec<(Parameter, bool)> {
    let model = &scenario.plan.model;
    let pieces = model.pieces().into_iter();
    pieces
        .flat_map(|piece| {
            let of = model.parameters(piece).into_iter();
            of.map(move |parameter| {
                let compressed = trainyard::training::model_compression::compresses(piece, &parameter);
                (parameter, compressed)
            })
        })
        .collect()
}

/// In the format that it was trained in, the model as trained has the loss of the run; and so has one of which
/// nothing is cut: no noughts, every number of four, a rank that no factors pay for.
#[test]
fn what_cuts_nothing_changes_nothing() {
    let methods =
        "model_compression.methods=[{magnitude: {sparsity: 0}}, {n_m: {n: 4, m: 4}}, {low_rank: {rank: 64}}]";
    let (loss, rows) = compressed(&short(&[methods, "model_compression.precision=f32"]));
    assert_eq!(rows.len(), 4);
    for row in &rows {
        assert_eq!(row.loss, loss, "{}", row.name);
    }
    assert_eq!(rows[3].costs, rows[0].costs, "a rank that does not pay keeps matrices whole");
}

/// More noughts, fewer bits and lower ranks lose more, and all lose something.
#[test]
fn what_cuts_more_loses_more() {
    let ladders = [
        ["{magnitude: {sparsity: 0.4}}", "{magnitude: {sparsity: 0.7}}", "{magnitude: {sparsity: 0.95}}"],
        ["{n_m: {n: 2, m: 4}}", "{n_m: {n: 1, m: 4}}", "{n_m: {n: 1, m: 16}}"],
        ["{low_rank: {rank: 24}}", "{low_rank: {rank: 8}}", "{low_rank: {rank: 1}}"],
        ["int8", "{int4: {group: 16}}", "{magnitude: {sparsity: 0.95}}"],
    ];
    let methods = format!("model_compression.methods=[{}]", ladders.concat().join(", "));
    let (_, rows) = compressed(&short(&[&methods, "model_compression.precision=f32"]));
    for ladder in rows[1..].chunks(3) {
        let mut before = &rows[0];
        for row in ladder {
            assert!(
                row.loss > before.loss - 1e-3,
                "{} {}: {} {}",
                before.name,
                before.loss,
                row.name,
                row.loss
            );
            before = row;
        }
        assert!(before.loss > rows[0].loss + 0.05, "{} {}", before.name, before.loss);
    }
}

/// Bytes of the whole model in two bytes a number, each method's counted matrix by matrix.
#[test]
fn bytes_are_those_of_the_formulas() {
    let methods =
        "model_compression.methods=[{magnitude: {sparsity: 0.75}}, n_m, int8, {int4: {group: 32}}, low_rank]";
    let scenario = short(&[methods, "training.steps=1"]);
    let (_, rows) = compressed(&scenario);
    let all = parameters(&scenario);
    let sum = |of_matrix: &dyn Fn(u64, u64) -> u64| -> Bytes {
        let bytes = all.iter().map(|(parameter, compressed)| match compressed {
            true => of_matrix(parameter.rows, parameter.columns),
            false => 2 * parameter.elements(),
        });
        Bytes(bytes.sum())
    };
    let whole = sum(&|rows, columns| 2 * rows * columns);
    assert_eq!(whole, Bytes(2 * scenario.plan.model.parameter_count()));
    let expected = [
        whole,
        // A quarter of the numbers and a bit a place.
        sum(&|rows, columns| 2 * rows * columns / 4 + rows * columns / 8),
        // Half of the numbers and two bits for each: nine sixteenths.
        sum(&|rows, columns| 2 * rows * columns * 9 / 16),
        sum(&|rows, columns| rows * columns + 4 * columns),
        sum(&|rows, columns| rows * columns / 2 + 2 * columns * (rows / 32)),
        sum(&|rows, columns| 2 * 16 * (rows + columns)),
    ];
    let found: Vec<Bytes> = rows.iter().map(|row| row.costs.stored).collect();
    assert_eq!(found, expected);
}

/// At the size of a 7B model on an H100, by the tile model: few rows gain what memory moves less, many rows what
/// the tensor cores do faster, and noughts anywhere gain nothing. Where the device skips no noughts, nothing.
#[test]
fn time_is_gained_where_the_hardware_gains_it() {
    let methods = "model_compression.methods=[magnitude, n_m, int8, int4, low_rank]";
    let at = |device: &str| {
        let topology = format!(
            "topology={{name: one, description: one, source: made up, device: {device}, shape: {{star: {{devices: 1, link: {{class: ethernet, bandwidth: 1 GB/s, latency: 1 us}}}}}}}}"
        );
        let (_, rows) = compressed(&short(&[methods, "training.steps=1", &topology]));
        let sized: Vec<_> = rows.iter().map(|row| row.at_size.unwrap()).collect();
        let gains = |pick: fn(&trainyard::training::model_compression::Costs) -> f64| -> Vec<f64> {
            sized.iter().map(|costs| pick(&sized[0]) / pick(costs)).collect()
        };
        (gains(|costs| costs.prefill.time.seconds()), gains(|costs| costs.decode.time.seconds()))
    };
    let (prompt, token) = at("h100_sxm");
    assert_eq!((prompt[1], token[1]), (1.0, 1.0), "noughts anywhere");
    assert!(prompt[2] > 1.1 && prompt[2] < 2.0, "2:4 multiplies twice as fast: {prompt:?}");
    assert!(token[2] > 1.3 && token[2] < 16.0 / 9.0, "2:4 reads 9/16 of the weights: {token:?}");
    assert!(prompt[3] > 1.2 && prompt[3] < 2.0, "int8 multiplies twice as fast: {prompt:?}");
    assert!(token[3] > 1.3 && token[3] < 2.0, "int8 reads half of the weights: {token:?}");
    assert!(prompt[4] < 1.0, "int4 multiplies as before and unpacks: {prompt:?}");
    assert!(token[4] > token[3] && token[4] < 4.0, "int4 reads a quarter of the weights: {token:?}");
    assert!(prompt[5] > 1.2 && token[5] > 1.2, "a quarter of the rank: {prompt:?} {token:?}");
    let (prompt, token) = at("v100_sxm2");
    assert_eq!((prompt[2], token[2]), (1.0, 1.0), "a V100 multiplies with noughts");
}

/// Training with the form kept repairs what was cut, and keeps every nought and the rank: the model is compressed
/// again without losing anything.
#[test]
fn training_in_the_form_repairs_it() {
    let methods = "model_compression.methods=[{magnitude: {sparsity: 0.9}}, {n_m: {n: 1, m: 8}}, {low_rank: {rank: 4}}, int4]";
    let (_, rows) = compressed(&short(&[methods, "model_compression.fine_tune=30"]));
    for row in &rows[1..4] {
        assert!(row.tuned.unwrap() < row.loss, "{row:?}");
    }
    assert_eq!(rows[4].tuned, None, "integers are not trained on");
}

/// A student learns from its teacher's answers; at temperature 1 with α = 0 it learns from the data alone, and is
/// the student that has no teacher, bit for bit.
#[test]
fn students_learn_from_their_teacher() {
    let methods = |spec: &str| {
        let methods = format!("model_compression.methods=[{{distillation: {spec}}}]");
        compressed(&short(&[&methods, "model_compression.precision=f32"])).1
    };
    let unheard = methods("{temperature: 1, alpha: 0}");
    assert_eq!(unheard[1].loss, unheard[2].loss);
    assert!(unheard[1].training > unheard[2].training, "the teacher takes its time");
    let taught = methods("{temperature: 2, alpha: 0.9}");
    assert_eq!(taught[2].loss, unheard[2].loss, "the one alone does not depend on the other");
    assert_ne!(taught[1].loss, taught[2].loss);
    assert!(taught[1].costs.numbers < taught[0].costs.numbers);
}

#[test]
fn mistakes_are_told_at_once() {
    let wrong = |changes: &[&str]| scenario("gpt_model_compression", changes).unwrap_err().render();
    let text = wrong(&[
        "model_compression.methods=[{magnitude: {sparsity: 1.5}}, {n_m: {n: 5, m: 4}}, {int4: {group: 0}}, {distillation: {temperature: 0}}]",
        "model_compression.precision=int8",
        "model_compression.batch=0",
    ]);
    for part in ["less than 1", "1 to m are kept", "has a scale", "above 0", "not in int8", "one sequence"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let student = "model_compression.methods=[{distillation: {student: {gpt: {layers: 1, hidden: 64, heads: 3, sequence: 16, vocabulary: 256}}}}]";
    let text = wrong(&[student]);
    assert!(text.contains("reads its teacher's sequences") && text.contains("3 heads"), "{text}");
    assert!(wrong(&["numeric=false"]).contains("no trained model"));
    let kind = "model_compression.methods=[pruning]";
    assert!(wrong(&[kind]).contains("magnitude, n_m, int8, int4, low_rank, distillation"));
}

/// An MLP is made smaller too.
#[test]
fn classifiers_are_made_smaller() {
    let keys =
        "model_compression={methods: [magnitude, n_m, int8, int4, low_rank, distillation], fine_tune: 5}";
    let scenario = scenario("mlp_wine", &[keys, "training.steps=60"]).unwrap();
    assert!(matches!(scenario.plan.model, Model::Mlp(_)));
    let (loss, rows) = compressed(&scenario);
    assert_eq!(rows.len(), 8);
    // The run's is a mean over replicas.
    assert!((rows[0].loss - loss).abs() < 1e-6, "{} {loss}", rows[0].loss);
    assert!(rows.iter().all(|row| row.loss.is_finite() && row.costs.decode.time <= row.costs.prefill.time));
    assert_eq!(scenario.plan.placement[Rank(0)].0, 0);
}
