//! Memory and bytes of training against the closed formulae of the papers.

use std::path::Path;

use trainyard::config::{self, Override, TrainingScenario};
use trainyard::ids::Rank;
use trainyard::metrics::{TrainingRecord, TrainingRecorder};
use trainyard::trace::MemoryUse;
use trainyard::training;

fn scenario(changes: &[&str]) -> TrainingScenario {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/gpt_3d.yaml");
    let always = ["numeric=false", "training.steps=1", "parallel.pipeline=1", "parallel.tensor=1"];
    let changes: Vec<Override> = always.iter().chain(changes).map(|change| change.parse().unwrap()).collect();
    config::load(&path, &changes).unwrap_or_else(|mistakes| panic!("{}", mistakes.render())).training()
}

/// Bytes that rank 0 keeps from step to step, by use.
fn kept(scenario: &TrainingScenario, usage: MemoryUse) -> u64 {
    let state = scenario.state();
    let of_rank = state.slots().iter().filter(|slot| slot.rank == Rank(0) && slot.usage == usage);
    of_rank.map(|slot| slot.bytes.get()).sum()
}

fn record(scenario: &TrainingScenario) -> TrainingRecord {
    let state = scenario.state();
    let ranks = scenario.plan.simulated_ranks().collect();
    let mut recorder = TrainingRecorder::new(ranks, 1, 0, |_| ());
    let network = scenario.network_model();
    training::run(&scenario.plan, &state, &*scenario.compute, network, None, &mut recorder).unwrap();
    recorder.finish()
}

fn bytes(record: &TrainingRecord, collective: &str) -> u64 {
    record.traffic.by_collective().get(collective).map_or(0, |bytes| bytes.get())
}

/// Rajbhandari et al. 2020, figure 1, with gradients kept in four bytes as Megatron-LM keeps them:
/// (2 + 4 + 12)Ψ on every rank; stage 1 shares the 12, stage 2 the 4, stage 3 the 2. Every parameter of
/// the model divides by the 4 replicas.
#[test]
fn zero_shares_what_its_stages_say() {
    for (stage, (weights, gradients, optimizer)) in
        [(0, (1, 1, 1)), (1, (1, 1, 4)), (2, (1, 4, 4)), (3, (4, 4, 4))]
    {
        let zero = format!("parallel.zero={stage}");
        let scenario = scenario(&["parallel.data=4", "training.precision=bf16", &zero]);
        let psi = scenario.plan.model.parameter_count();
        assert_eq!(kept(&scenario, MemoryUse::Parameters), 2 * psi / weights, "stage {stage}");
        assert_eq!(kept(&scenario, MemoryUse::Gradients), 4 * psi / gradients, "stage {stage}");
        assert_eq!(kept(&scenario, MemoryUse::Optimizer), 12 * psi / optimizer, "stage {stage}");
    }
}

/// A ring all-reduce of S bytes over n ranks moves 2(n − 1)S in all, a reduce-scatter or an all-gather
/// (n − 1)S. ZeRO 1 moves what plain data parallelism does; stage 3 gathers the weights twice for each
/// micro-batch and reduces gradients once for each (ZeRO, section 7: 3Ψ against 2Ψ). Gradients are
/// four bytes wide here and weights two; clipping adds an all-reduce of one number.
#[test]
fn bytes_on_the_wire_are_those_of_the_papers() {
    let n = 4;
    let run = |zero: &str| {
        let zero = format!("parallel.zero={zero}");
        let clipping = "training.gradient_clipping=null";
        let scenario = scenario(&["parallel.data=4", "training.precision=bf16", &zero, clipping]);
        let (psi, micro_batches) =
            (scenario.plan.model.parameter_count(), u64::from(scenario.plan.micro_batches));
        (record(&scenario), psi, micro_batches)
    };
    let (plain, psi, m) = run("0");
    assert_eq!(m, 2);
    assert_eq!(bytes(&plain, "all-reduce"), 2 * (n - 1) * 4 * psi);
    let (first, ..) = run("1");
    assert_eq!(bytes(&first, "reduce-scatter"), (n - 1) * 4 * psi);
    assert_eq!(bytes(&first, "all-gather"), (n - 1) * 2 * psi);
    let (third, ..) = run("3");
    assert_eq!(bytes(&third, "reduce-scatter"), m * (n - 1) * 4 * psi);
    assert_eq!(bytes(&third, "all-gather"), 2 * m * (n - 1) * 2 * psi);
    // Two groups of two, each a replica of the other: the shares (a half each) are summed over two.
    let (hybrid, ..) = run("{stage: 2, group: 2}");
    assert_eq!(bytes(&hybrid, "reduce-scatter"), m * 2 * 4 * psi);
    assert_eq!(bytes(&hybrid, "all-reduce"), 2 * 2 * 4 * psi / 2);
}

/// Sequence parallelism moves as many bytes as tensor parallelism alone: an all-reduce is a
/// reduce-scatter and an all-gather (Korthikanti et al. 2023, section 4.2.2), but for what is gathered
/// a second time for weight gradients; and it keeps less.
#[test]
fn splitting_rows_saves_memory() {
    let run = |rows: bool| {
        let rows = format!("parallel.sequence_parallel={rows}");
        record(&scenario(&["parallel.data=1", "parallel.tensor=4", &rows]))
    };
    let (whole, split) = (run(false), run(true));
    let peak =
        |record: &TrainingRecord| record.memory.as_ref().unwrap().fullest().1.of(MemoryUse::Activations);
    assert!(peak(&split).get() * 10 < peak(&whole).get() * 8, "{} {}", peak(&split), peak(&whole));
}

/// Full recomputation keeps the input of every block and one block's activations; selective keeps less
/// than nothing recomputed.
#[test]
fn recomputation_trades_time_for_memory() {
    let run = |recompute: &str| {
        let recompute = format!("recompute={recompute}");
        let record = record(&scenario(&["parallel.data=1", &recompute]));
        let peak = record.memory.as_ref().unwrap().fullest().1.of(MemoryUse::Activations);
        (peak, record.steps[0].duration)
    };
    let ((none, fast), (selective, _), (full, slow)) = (run("none"), run("selective"), run("full"));
    assert!(full < selective && selective < none, "{full} {selective} {none}");
    assert!(slow > fast, "{slow} {fast}");
    let (some, between) = run("{blocks: 2}");
    assert!(full < some && some < none && fast < between && between < slow);
}

/// Korthikanti et al. (MLSys 2023), equation 4: with tensor and sequence parallelism a layer of an eager
/// framework keeps sbh/t·(34 + 5as/h) bytes in 16 bits. Beside them ours keep two numbers a row for each norm
/// and one a row and head of attention, in f32.
#[test]
fn activations_of_a_layer_are_korthikantis() {
    use trainyard::training::partition::piece_costs;
    let kept = |recompute: &str| {
        let recompute = format!("recompute={recompute}");
        let changes = [&recompute, "parallel.sequence_parallel=true", "parallel.schedule=one_f_one_b"];
        let scenario =
            crate::runs::scenario("gpt3_175b", &changes).unwrap_or_else(|why| panic!("{}", why.render()));
        piece_costs(&scenario.plan, &*scenario.compute)[5].kept.get()
    };
    let (s, b, h, a, t) = (2048_u64, 1, 12_288, 96, 8);
    let statistics = 2 * (s * b / t) * 2 * 4;
    let sums = a / t * s * b * 4;
    assert_eq!(kept("none"), s * b * h * 34 / t + 5 * a * s * s * b / t + statistics + sums);
    // Equation 6: selective recomputation leaves the core of attention out; its output is kept, as an input
    // of the output map, only where it is not computed again, which ours is.
    let output = 2 * s * b * h / t;
    let mask = s * b * h / t;
    assert_eq!(kept("selective"), s * b * h * 34 / t - output - mask + statistics);
    // Full recomputation keeps a layer's input.
    assert_eq!(kept("full"), 2 * s * b * h / t);
}
