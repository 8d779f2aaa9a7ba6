//! One training step of a GPT on one simulated device: forward, backward and AdamW, on one thread, beside
//! the time that its matrix products take alone.
//!
//! The step is the real one: the workload is lowered to a program, the runtime times it, and the
//! interpreter computes it. The ratio says how much everything else costs: 1.0 would be matrix products
//! and nothing else. The table counts the time that the thread has its processor, so that other work on the
//! machine disturbs it less.
//!
//! Beside PyTorch (2026-11-23, a Zen 4 EPYC, one thread, best of several, processor time; `gpt_torch.py` eager
//! in torch 2.15 on the same machine in the same hour):
//!
//! | | trainyard | of it matrix products | PyTorch eager | ratio |
//! |---|---|---|---|---|
//! | 4 layers of 128, batch 8 × 64 | 32.9 ms | 24.1 ms | 46.6 ms | 0.71 |
//! | 6 layers of 384, batch 4 × 256 | 723 ms | 673 ms | 901 ms | 0.81 |
//!
//! This machine multiplies at 118 GFLOP/s at most, so that the products alone take more than half of PyTorch's
//! time; what is ours to save is the rest, 9 ms and 50 ms.
//!
//! `cargo bench --bench gpt_step` prints a table of ratios and then what divan measures of each step.

use std::hint::black_box;
use std::time::Duration;

use cpu_time::ThreadTime;
use divan::Bencher;

use trainyard::config::{self, Source, TrainingScenario};
use trainyard::ids::StepIndex;
use trainyard::model::{Gpt, Model};
use trainyard::network::links_of;
use trainyard::numeric::matmul::{Matrix, MatrixMut, matmul};
use trainyard::numeric::values::Values;
use trainyard::program::Program;
use trainyard::runtime::Machine;
use trainyard::trace::{Listener, Span};
use trainyard::training::lower::lower;

const SIZES: [&str; 2] = ["4 layers of 128", "6 layers of 384"];

fn main() {
    println!("A training step of a GPT on one thread, processor time, best of several:\n");
    println!("{:<17}{:>10}{:>20}{:>8}{:>10}", "", "step", "matrix products", "ratio", "GFLOP/s");
    for size in SIZES {
        let mut trainer = Trainer::new(size);
        let rounds = if size == SIZES[0] { 40 } else { 8 };
        trainer.step();
        let step = best(rounds, || trainer.step());
        let products = matrix_products(&trainer.scenario);
        let flops = trainer.scenario.plan.model.step_flops(trainer.scenario.plan.global_batch());
        println!(
            "{size:<17}{:>7.2} ms{:>17.2} ms{:>8.2}{:>10.1}",
            step.as_secs_f64() * 1e3,
            products.as_secs_f64() * 1e3,
            step.as_secs_f64() / products.as_secs_f64(),
            flops / step.as_secs_f64() / 1e9
        );
    }
    println!();
    divan::main();
}

#[divan::bench(args = SIZES)]
fn step(bencher: Bencher<'_, '_>, size: &str) {
    let mut trainer = Trainer::new(size);
    trainer.step();
    bencher.bench_local(|| trainer.step());
}

/// A run that is in the middle of its steps.
struct Trainer {
    scenario: TrainingScenario,
    program: Program,
    values: Values,
    step: StepIndex,
}

impl Trainer {
    fn new(size: &str) -> Self {
        let (model, batch) = if size == SIZES[0] {
            ("{layers: 4, hidden: 128, heads: 4, sequence: 64, vocabulary: 256}", 8)
        } else {
            ("{layers: 6, hidden: 384, heads: 6, sequence: 256, vocabulary: 256}", 4)
        };
        let text = format!(
            "name: gpt_step\ntopology: one_device\nmodel: {{gpt: {model}}}\ndata: cicero\ntraining: {{global_batch: \
             {batch}, micro_batch: {batch}, steps: 1000000, optimizer: adamw, precision: f32}}\nnumeric: true\n"
        );
        let source = Source { name: "the benchmark".to_owned(), text };
        let scenario = config::resolve(source, &[]).unwrap_or_else(|wrong| panic!("{wrong:?}")).training();
        let state = scenario.state();
        let program = lower(&scenario.plan, &state, StepIndex(0)).expect("one stage never waits for another");
        let values = scenario.values(&state).expect("numbers are computed");
        Trainer { scenario, program, values, step: StepIndex(0) }
    }

    fn step(&mut self) {
        let plan = &self.scenario.plan;
        let network = self.scenario.network.model(&links_of(&plan.topology));
        let mut machine =
            Machine::new(&plan.topology, plan.placement.clone(), &*self.scenario.compute, network);
        self.values.begin_step(self.step);
        machine.run(&self.program, &mut self.values, &mut Deaf).expect("one device never stalls");
        self.step.0 += 1;
    }
}

/// Listens to nothing.
struct Deaf;

impl Listener for Deaf {
    fn span(&mut self, _span: Span) {}
}

fn best(rounds: usize, mut work: impl FnMut()) -> Duration {
    let time = |work: &mut dyn FnMut()| {
        let start = ThreadTime::now();
        work();
        start.elapsed()
    };
    (0..rounds).map(|_| time(&mut work)).min().expect("at least one round")
}

/// The step's matrix products alone, each on operands of its own shape that lie in one piece; those of
/// attention up to the diagonal, one sequence and head after the other.
fn matrix_products(scenario: &TrainingScenario) -> Duration {
    let Model::Gpt(gpt) = &scenario.plan.model else { panic!("the benchmark trains a GPT") };
    let Gpt { layers, hidden, heads, sequence, vocabulary, .. } = *gpt;
    let batch = scenario.plan.global_batch();
    let rows = batch * sequence;
    let mut total = Duration::ZERO;
    let linear = [
        (layers, hidden, 3 * hidden),
        (layers, hidden, hidden),
        (layers, hidden, gpt.ffn()),
        (layers, gpt.ffn(), hidden),
        (1, hidden, vocabulary),
    ];
    for (count, inputs, outputs) in linear {
        let each = product([rows, outputs, inputs], [false, false])
            + product([rows, inputs, outputs], [false, true])
            + product([inputs, outputs, rows], [true, false]);
        total += each * count as u32;
    }
    // Q·Kᵀ and P·V forward; Q·Kᵀ again, dO·Vᵀ, dS·K, dSᵀ·Q and Pᵀ·dO backward.
    let dim = gpt.head_dim();
    let half = sequence / 2;
    let each = product([sequence, half, dim], [false, true]) * 3
        + product([sequence, dim, half], [false, false]) * 2
        + product([half, dim, sequence], [true, false]) * 2;
    total + each * (layers * batch * heads) as u32
}

fn product([m, n, k]: [u64; 3], [turn_a, turn_b]: [bool; 2]) -> Duration {
    let [m, n, k] = [m, n, k].map(|size| usize::try_from(size).expect("a small size"));
    let (a, b, mut c) = (vec![0.5_f32; m * k], vec![0.5_f32; k * n], vec![0.0_f32; m * n]);
    let view = |data, rows, columns, turned: bool| {
        if turned { Matrix::new(data, columns, rows).transposed() } else { Matrix::new(data, rows, columns) }
    };
    // Small products are repeated, so that the clock's own time does not count.
    let repeats = (10_000_000 / (m * n * k)).max(1) as u32;
    let time = best(10, || {
        for _ in 0..repeats {
            matmul(MatrixMut::new(&mut c, m, n), 0.0, view(&a, m, k, turn_a), view(&b, k, n, turn_b), 1.0);
        }
        black_box(&mut c);
    });
    time / repeats
}
