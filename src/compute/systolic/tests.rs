//! The closed forms against a stepped array, SCALE-Sim's printed cycles, and the memory's bounds.

use proptest::prelude::*;

use crate::compute::roofline::Roofline;
use crate::compute::support::round_device;
use crate::compute::systolic::SystolicModel;
use crate::compute::systolic::folds::{Array, Beside, Folds};
use crate::compute::systolic::memory::{Buffers, Elements, Plan};
use crate::compute::systolic::stepped::{self, Matrix};
use crate::compute::{ComputeModel, Kernel, Pass};
use crate::hardware::device::{Dataflow, SystolicSpec};
use crate::hardware::{DeviceSpec, Precision};
use crate::units::{Bandwidth, Bytes, Cycles, SimDuration};

const DATAFLOWS: [Dataflow; 3] =
    [Dataflow::OutputStationary, Dataflow::WeightStationary, Dataflow::InputStationary];

fn array(rows: u64, columns: u64, dataflow: Dataflow) -> Array {
    Array { rows, columns, dataflow, preload_overlap: false }
}

fn cycles(array: &Array, m: u64, n: u64, k: u64) -> u64 {
    Folds::of(array, Beside::ALONE, m, n, k).cycles()
}

/// What SCALE-Sim v3 prints for a stall-free 32×32 array; it prints one less than the cycles.
#[test]
fn an_array_takes_one_cycle_more_than_scale_sim_prints() {
    for ((m, n, k), printed) in [
        ((1, 1, 1), [62, 94, 94]),
        ((33, 33, 33), [379, 507, 507]),
        ((100, 100, 100), [2591, 3103, 3103]),
        ((1, 256, 256), [2543, 6079, 2799]),
        ((64, 256, 256), [5087, 10111, 5599]),
        ((256, 256, 256), [20351, 22399, 22399]),
    ] {
        for (dataflow, printed) in DATAFLOWS.into_iter().zip(printed) {
            assert_eq!(cycles(&array(32, 32, dataflow), m, n, k), printed + 1, "{m} {n} {k} {dataflow:?}");
        }
    }
}

/// A matrix of small numbers that differ.
fn numbers(rows: u64, columns: u64, salt: i64) -> Matrix {
    let value = |row: u64, column: u64| (row as i64 * 31 + column as i64 * 17 + salt * 13) % 19 - 9;
    (0..rows).map(|row| (0..columns).map(|column| value(row, column)).collect()).collect()
}

fn transposed(a: &Matrix) -> Matrix {
    (0..a[0].len()).map(|column| a.iter().map(|row| row[column]).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// One fold of every dataflow, stepped cell by cell: the right product after exactly the closed
    /// form's cycles.
    #[test]
    fn a_fold_lasts_as_long_as_a_stepped_array_needs(
        rows in 1..9u64, columns in 1..9u64, steps in 1..20u64, high in 1..9u64, wide in 1..9u64,
    ) {
        let (high, wide) = (high.min(rows), wide.min(columns));
        let (r, c) = (rows as usize, columns as usize);

        let (x, w) = (numbers(high, steps, 1), numbers(steps, wide, 2));
        let (y, stepped) = stepped::output_stationary(&x, &w, r, c);
        prop_assert_eq!(y, stepped::product(&x, &w));
        prop_assert_eq!(stepped, cycles(&array(rows, columns, Dataflow::OutputStationary), high, wide, steps));

        // Weights stay: k×n = high×wide, the inputs' rows pass.
        let (x, w) = (numbers(steps, high, 3), numbers(high, wide, 4));
        let (y, stepped) = stepped::operand_stationary(&x, &w, r, c);
        prop_assert_eq!(y, stepped::product(&x, &w));
        prop_assert_eq!(stepped, cycles(&array(rows, columns, Dataflow::WeightStationary), steps, wide, high));

        // Inputs stay: yᵀ = Wᵀ·xᵀ with xᵀ(k×m) = high×wide in the cells.
        let (x, w) = (numbers(wide, high, 5), numbers(high, steps, 6));
        let (y, stepped) = stepped::operand_stationary(&transposed(&w), &transposed(&x), r, c);
        prop_assert_eq!(transposed(&y), stepped::product(&x, &w));
        prop_assert_eq!(stepped, cycles(&array(rows, columns, Dataflow::InputStationary), wide, steps, high));
    }
}

/// ONNXim: (2·8 − 1) + (4 − 1)·max(100, 8, 4) + (8 + 8 − 2 + 100), for 2×2 folds of an 8×8 array.
#[test]
fn preloads_that_overlap_hide_all_but_the_first() {
    let overlapped = Array { preload_overlap: true, ..array(8, 8, Dataflow::WeightStationary) };
    assert_eq!(cycles(&overlapped, 100, 16, 16), 15 + 300 + 114);
    // One step per fold: the next weights need 8 cycles to slide in.
    assert_eq!(cycles(&overlapped, 1, 16, 16), 15 + 24 + 18);
}

fn plan(folds: Folds, dataflow: Dataflow, sram: f64, bandwidth: f64) -> Plan {
    let buffers = Buffers { rows: sram, columns: sram, results: sram };
    Plan::new(folds, dataflow, buffers, Elements { operand: 1.0, result: 1.0 }, bandwidth)
}

/// 256³ int8 on 32×32, results stay, 64 KiB buffers, 64 B/cycle. 64 folds of 318 cycles: 20,352. A column
/// strip of B is loaded once (64 KiB in all); A (64 KiB) does not fit 32 KiB and is loaded for each of 8
/// columns: 589,824 B, 9,216 cycles. 64 KiB of results: 1,024 cycles. All is hidden but the first fold's
/// operands (16 KiB, 256 cycles) and the last fold's results (1 KiB, 16 cycles).
#[test]
fn double_buffers_hide_all_but_the_first_load_and_the_last_write() {
    let dataflow = Dataflow::OutputStationary;
    let folds = Folds::of(&array(32, 32, dataflow), Beside::ALONE, 256, 256, 256);
    let run = plan(folds, dataflow, 65_536.0, 64.0).run();
    assert_eq!((folds.cycles(), run.total), (20_352, 20_624));
    assert_eq!((run.loaded, run.written), (589_824.0, 65_536.0));
    assert_eq!(run.memory, 9_216 + 1_024);
}

/// Weights stay, 256³ in 64 folds: A (64 KiB) is loaded once if 128 KiB hold it, and partial sums of
/// 256×32 in 4 bytes stay in 32 KiB of 64.
#[test]
fn partial_sums_and_moving_operands_stay_where_they_fit() {
    let dataflow = Dataflow::WeightStationary;
    let folds = Folds::of(&array(32, 32, dataflow), Beside::ALONE, 256, 256, 256);
    let large = plan(folds, dataflow, 131_072.0, 64.0).run();
    assert_eq!((large.loaded, large.written), (131_072.0, 65_536.0));
    let small = plan(folds, dataflow, 32_768.0, 64.0).run();
    // A eight times, W once, and for seven of eight rows each column's partial sums out and back.
    let partials = 7.0 * 65_536.0 * 4.0;
    assert_eq!((small.loaded, small.written), (9.0 * 65_536.0 + partials, 65_536.0 + partials));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn memory_and_array_overlap_within_their_bounds(
        m in 1..400u64, n in 1..400u64, k in 1..400u64, rows in 1..33u64, columns in 1..33u64,
        sram in 1_024.0..131_072.0, bandwidth in 1..129u64, which in 0..3usize, overlap in any::<bool>(),
    ) {
        let dataflow = DATAFLOWS[which];
        let array = Array { preload_overlap: overlap, ..array(rows, columns, dataflow) };
        let folds = Folds::of(&array, Beside::ALONE, m, n, k);
        let of = |sram: f64, bandwidth: u64| plan(folds, dataflow, sram, bandwidth as f64);
        let run = of(sram, bandwidth).run();

        // Skipping columns that repeat changes nothing.
        prop_assert_eq!(run, of(sram, bandwidth).run_every_fold());
        prop_assert!(folds.cycles().max(run.memory) <= run.total);
        prop_assert!(run.total <= folds.cycles() + run.memory);
        let bytes = run.loaded + run.written;
        prop_assert!(bytes / bandwidth as f64 <= run.memory as f64 + 1e-6);
        prop_assert!(bytes >= (m * k + k * n + m * n) as f64);
        prop_assert!(of(sram, bandwidth + 1).run().total <= run.total);
        prop_assert!(of(2.0 * sram, bandwidth).run().total <= run.total);
    }
}

/// 1 GHz, 1 TB/s, four 32×32 arrays of bf16: 4·1024·2 flops a cycle.
fn four_arrays(dataflow: Dataflow) -> DeviceSpec {
    let mut device = round_device();
    device.name = "four_arrays".to_owned();
    device.launch = SimDuration::ZERO;
    device.matrix = [(Precision::Bf16, crate::units::FlopRate::per_second(4.0 * 2048e9))].into();
    device.systolic = Some(SystolicSpec {
        rows: 32,
        columns: 32,
        arrays: 4,
        dataflow,
        preload_overlap: false,
        precision: Precision::Bf16,
        input_sram: Bytes(1 << 20),
        weight_sram: Bytes(1 << 20),
        output_sram: Bytes(1 << 20),
    });
    device
}

fn gemm(batch: u64, m: u64, n: u64, k: u64, precision: Precision) -> Kernel {
    Kernel::Gemm { batch, m, n, k, precision, pass: Pass::Forward }
}

/// Results stay: 64×64×4096 on four arrays is one fold of each, 4096 + 62 cycles; 8 products of 32×32 are
/// two rounds of four. The operands (64·4096·2·2 B at 1000 B/cycle: 1,049 cycles) come before the first.
#[test]
fn arrays_share_rows_columns_or_products() {
    let mut device = four_arrays(Dataflow::OutputStationary);
    device.memory.bandwidth = Bandwidth::per_second(1e18);
    let cycles = |kernel| SystolicModel::default().cost(&kernel, &device).cycles;
    // An endless bandwidth still ends each transfer on an edge: one cycle to load, one to write.
    assert_eq!(cycles(gemm(1, 64, 64, 4096, Precision::Bf16)), Cycles(4096 + 62 + 2));
    assert_eq!(cycles(gemm(1, 128, 32, 4096, Precision::Bf16)), Cycles(4096 + 62 + 2));
    assert_eq!(cycles(gemm(8, 32, 32, 4096, Precision::Bf16)), Cycles(2 * (4096 + 62 + 2)));
}

/// fp8 is widened to bf16; f32 falls to the vector units' 10 TFLOP/s, here faster than the arrays.
#[test]
fn formats_that_the_cells_lack_take_the_time_of_what_computes_them() {
    let mut device = four_arrays(Dataflow::OutputStationary);
    device.memory.bandwidth = Bandwidth::per_second(1e18);
    device.vector = [(Precision::F32, crate::units::FlopRate::per_second(1024e9))].into();
    let compute =
        |precision| SystolicModel::default().cost(&gemm(1, 64, 64, 4096, precision), &device).parts.compute;
    assert_eq!(compute(Precision::F8), 4158.0);
    assert_eq!(compute(Precision::F32), 8.0 * 4158.0);
}

#[test]
fn another_dataflow_can_be_asked_for() {
    let device = four_arrays(Dataflow::OutputStationary);
    let weights = SystolicModel { dataflow: Some(Dataflow::WeightStationary) };
    let kernel = gemm(1, 4096, 32, 32, Precision::Bf16);
    // Tall: 128 row folds of the results, but one fold of the weights, the inputs shared by four arrays.
    assert!(weights.cost(&kernel, &device).cycles < SystolicModel::default().cost(&kernel, &device).cycles);
    assert!(SystolicModel::default().admits(&round_device(), Precision::Bf16).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_kernel_beats_the_roofline(
        m in 1..600u64, n in 1..600u64, k in 1..600u64, batch in 1..9u64, which in 0..3usize, narrow in any::<bool>(),
    ) {
        let device = four_arrays(DATAFLOWS[which]);
        let precision = if narrow { Precision::F8 } else { Precision::Bf16 };
        let attention = |pass| Kernel::Attention {
            batch, heads: 4, kv_heads: 2, head_dim: 64, queries: m, keys: m + n, causal: narrow, pass, precision,
        };
        let grouped = Kernel::GroupedGemm {
            groups: batch, tokens: m, busiest: m.div_ceil(batch), n, k, precision, pass: Pass::WeightGradient,
        };
        for kernel in
            [gemm(batch, m, n, k, precision), grouped, attention(Pass::Forward), attention(Pass::InputGradient)]
        {
            let roof = Roofline::default().cost(&kernel, &device);
            let systolic = SystolicModel::default().cost(&kernel, &device);
            prop_assert!(roof.cycles <= systolic.cycles, "{}: {:?} {:?}", kernel, roof, systolic);
            prop_assert!(roof.bytes <= systolic.bytes);
        }
    }
}
