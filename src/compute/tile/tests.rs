//! The tile model against hand-counted waves, against the roofline, and against itself.

use proptest::prelude::*;

use crate::compute::roofline::Roofline;
use crate::compute::support::{fitted_a100, ideal_a100, round_device};
use crate::compute::tile::TileModel;
use crate::compute::{ComputeModel, Kernel, KernelCost, Limiter, Pass};
use crate::hardware::{DeviceSpec, Precision};
use crate::units::{Bytes, Cycles, Flops, SimDuration};

fn gemm(m: u64, n: u64, k: u64) -> Kernel {
    Kernel::Gemm { batch: 1, m, n, k, precision: Precision::Bf16, pass: Pass::Forward }
}

fn grouped(groups: u64, tokens: u64, busiest: u64, n: u64, k: u64) -> Kernel {
    Kernel::GroupedGemm { groups, tokens, busiest, n, k, precision: Precision::Bf16, pass: Pass::Forward }
}

fn attention(
    batch: u64,
    heads: u64,
    kv_heads: u64,
    queries: u64,
    keys: u64,
    causal: bool,
    pass: Pass,
) -> Kernel {
    let precision = Precision::Bf16;
    Kernel::Attention { batch, heads, kv_heads, head_dim: 128, queries, keys, causal, pass, precision }
}

fn cost(kernel: Kernel, device: &DeviceSpec) -> KernelCost {
    TileModel::default().cost(&kernel, device)
}

/// 1792 = 7·256 = 14·128: 98 tiles for 108 SMs, one wave of 4096/32 = 128 iterations of
/// 2·256·128·32 / 2048 = 1024 cycles. One row and column more: 8·15 = 120 tiles, two waves.
#[test]
fn one_more_row_than_a_wave_holds_takes_a_second_wave() {
    let mut device = ideal_a100();
    // A launch of 1 ms, so that splitting the sum, which costs another, is never chosen.
    device.launch = SimDuration::from_micros(1_000);
    let of = |m, n, k| {
        let cost = cost(gemm(m, n, k), &device);
        let tiling = cost.tiling.unwrap();
        (cost.cycles.0 - 1_410_000, tiling.pieces, tiling.waves)
    };
    assert_eq!(of(1792, 1792, 4096), (131_072, 98, 1));
    assert_eq!(of(1793, 1793, 4096), (262_144, 120, 2));
}

/// Without the launch of a second kernel the 120 tiles split their sums and fill the SMs better.
#[test]
fn a_free_second_kernel_would_level_the_staircase() {
    let split = cost(gemm(1793, 1793, 4096), &ideal_a100());
    assert!(split.cycles < Cycles(262_144) && split.tiling.unwrap().split > 1, "{split:?}");
}

/// A tile of 128×128×32 loads 256·32·2 = 16,384 B an iteration: at 8 B per clock 2,048 cycles, four
/// times what its 1,048,576 flops take.
#[test]
fn a_slow_l2_limits_the_iteration() {
    let mut device = ideal_a100();
    let gpu = device.gpu.as_mut().unwrap();
    gpu.tiles = vec![crate::hardware::device::Tile { m: 128, n: 128, k: 32, occupancy: 1 }];
    gpu.l2_bytes_per_clk = 8.0;
    assert_eq!(cost(gemm(128, 128, 128), &device).cycles, Cycles(4 * 2_048));
}

/// Work of t milliseconds alone loses t/(t + 1) of what the power limit takes: 8192³ (3.5 ms) most of
/// it, 1024³ next to nothing; under sustained load both lose all.
#[test]
fn long_work_and_sustained_load_are_throttled() {
    let mut device = ideal_a100();
    device.gpu.as_mut().unwrap().fitted.throttle = 0.2;
    for size in [1024, 8192] {
        let kernel = gemm(size, size, size);
        let compute = |sustained, device: &_| TileModel { sustained }.cost(&kernel, device).parts.compute;
        let free = compute(false, &ideal_a100());
        let millis = free / 1.41e6;
        let lost = |sustained| compute(sustained, &device) / free - 1.0;
        assert!((lost(false) - 0.2 * millis / (millis + 1.0)).abs() < 1e-9, "{size}: {}", lost(false));
        assert!((lost(true) - 0.2).abs() < 1e-9);
    }
}

/// Decoding multiplies few rows: 16 tiles of 256 columns leave most SMs idle, so the sum is split.
#[test]
fn deep_narrow_products_split_their_sum() {
    let device = fitted_a100();
    let cost = cost(gemm(1, 2048, 16_384), &device);
    assert!(cost.tiling.unwrap().split > 1, "{cost:?}");
}

/// x(8192×16384) takes 268 MB, more than the L2: each wave of 108 tiles reads 8·256 rows and 14·128
/// columns again, while 2048² operands of 16.8 MB are read once.
#[test]
fn operands_that_miss_the_l2_are_read_again() {
    let device = ideal_a100();
    let small = gemm(2048, 2048, 2048);
    assert_eq!(cost(small, &device).bytes, small.bytes());
    let large = gemm(8192, 8192, 16_384);
    let read = cost(large, &device).bytes.as_f64();
    // 2,048 tiles in waves of 108: 18.96 waves of (2048 + 1792)·16384·2 B, and 134 MB written.
    let by_hand = 2048.0 / 108.0 * (2048.0 + 1792.0) * 16_384.0 * 2.0 + 8192.0 * 8192.0 * 2.0;
    assert!((read / by_hand - 1.0).abs() < 1e-6 && read > large.bytes().as_f64(), "{read} {by_hand}");
}

#[test]
fn one_group_is_a_gemm_and_equal_groups_are_a_batch() {
    let device = fitted_a100();
    assert_eq!(
        cost(grouped(1, 512, 512, 4096, 1024), &device).cycles,
        cost(gemm(512, 4096, 1024), &device).cycles
    );
    let batch =
        Kernel::Gemm { batch: 8, m: 64, n: 4096, k: 1024, precision: Precision::Bf16, pass: Pass::Forward };
    assert_eq!(cost(grouped(8, 512, 64, 4096, 1024), &device).cycles, cost(batch, &device).cycles);
}

/// The same tokens, but half of them with one expert: more tiles on nearly the same weights.
#[test]
fn uneven_groups_are_not_faster() {
    let device = fitted_a100();
    let even = cost(grouped(8, 8192, 1024, 4096, 4096), &device).cycles;
    let uneven = cost(grouped(8, 8192, 1025, 4096, 4096), &device).cycles;
    assert!(uneven >= even, "{uneven} {even}");
}

/// Blocks of 128 queries meet 64 keys at a time. Causal, 1024 queries: block i of 8 sees 2(i + 1) of 16,
/// 9 in the mean; the mask saves 7/16 of the work once there are many waves.
#[test]
fn a_causal_mask_saves_the_blocks_above_the_diagonal() {
    let device = ideal_a100();
    let of = |causal| cost(attention(64, 32, 32, 1024, 1024, causal, Pass::Forward), &device).parts.compute;
    assert!((of(true) / of(false) - 9.0 / 16.0).abs() < 1e-9, "{}", of(true) / of(false));
}

/// One query of one sequence with 8 heads occupies 8 SMs of 108: the keys are split over more.
#[test]
fn decoding_splits_the_keys() {
    let device = fitted_a100();
    let long = cost(attention(1, 64, 8, 1, 131_072, true, Pass::Forward), &device);
    assert!(long.tiling.unwrap().split > 1);
    // K and V are 2·8·131072·128·2 B = 537 MB, 292 µs at 1,835 GB/s: the memory is the limit.
    assert_eq!(long.limiter, Limiter::Memory);
    let short = cost(attention(1, 64, 8, 1, 64, true, Pass::Forward), &device);
    assert_eq!(short.tiling.unwrap().split, 1);
}

/// Five products at 63 % of the peak instead of two at 73 %: 2.9 times the forward, and three launches.
#[test]
fn backward_attention_takes_about_three_forwards() {
    let device = ideal_a100();
    let of = |pass| cost(attention(8, 32, 32, 4096, 4096, true, pass), &device).cycles.0 as f64;
    let ratio = of(Pass::InputGradient) / of(Pass::Forward);
    assert!((2.7..3.1).contains(&ratio), "{ratio}");
}

/// With the roles exchanged every (query, key) pair is still met.
#[test]
fn backward_blocks_cover_the_pairs_that_forward_blocks_cover() {
    let device = ideal_a100();
    for (queries, keys) in [(1024, 1024), (128, 1024), (100, 300), (1024, 128)] {
        let kernel = attention(1, 1, 1, queries, keys, true, Pass::InputGradient);
        let covered = cost(kernel, &device).parts.compute * 2048.0 * 0.63 * 108.0;
        assert!(covered >= kernel.flops().as_f64(), "{queries} {keys}: {covered} {}", kernel.flops());
    }
}

/// Rows of 131,072 numbers in single precision do not fit 164 KiB: they are read twice.
#[test]
fn rows_too_long_for_the_chip_are_read_twice() {
    let device = ideal_a100();
    let norm = |width| Kernel::Norm { rows: 16, width, precision: Precision::Bf16, pass: Pass::Forward };
    assert_eq!(cost(norm(4096), &device).bytes, norm(4096).bytes());
    assert_eq!(cost(norm(131_072), &device).bytes, Bytes(3 * 16 * 131_072 * 2));
}

#[test]
fn devices_that_are_no_gpus_are_refused() {
    let refused = TileModel::default().admits(&round_device(), Precision::Bf16).unwrap_err();
    assert!(refused.to_string().contains("describes no `gpu:`"), "{refused}");
    assert!(TileModel::default().admits(&ideal_a100(), Precision::Bf16).is_ok());
}

#[test]
fn nothing_to_do_takes_only_the_launch() {
    let device = fitted_a100();
    for kernel in [gemm(0, 128, 128), grouped(8, 0, 0, 64, 64), attention(0, 8, 8, 1, 1, true, Pass::Forward)]
    {
        // 2.6 µs at 1.41 GHz.
        let cycles = cost(kernel, &device).cycles;
        assert!(cycles.0 <= 3_667 || matches!(kernel, Kernel::Gemm { .. }), "{kernel}: {cycles}");
    }
}

fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![1..65u64, (1..130u64).prop_map(|n| n * 64), Just(65_536u64)]
}

fn passes() -> impl Strategy<Value = Pass> {
    prop_oneof![Just(Pass::Forward), Just(Pass::InputGradient), Just(Pass::WeightGradient)]
}

fn precisions() -> impl Strategy<Value = Precision> {
    prop_oneof![Just(Precision::Bf16), Just(Precision::F32), Just(Precision::F8), Just(Precision::Tf32)]
}

fn kernels() -> impl Strategy<Value = Kernel> {
    let gemms = (1..9u64, sizes(), sizes(), sizes(), precisions(), passes())
        .prop_map(|(batch, m, n, k, precision, pass)| Kernel::Gemm { batch, m, n, k, precision, pass });
    let groups = (1..65u64, 1..4097u64, 0.0..1.0f64, sizes(), sizes(), precisions(), passes()).prop_map(
        |(groups, tokens, share, n, k, precision, pass)| {
            let even = tokens.div_ceil(groups);
            let busiest = even + ((tokens - even) as f64 * share) as u64;
            Kernel::GroupedGemm { groups, tokens, busiest, n, k, precision, pass }
        },
    );
    let attentions = (1..33u64, 0..4u32, 0..4u32, 0..3u32, sizes(), sizes(), any::<bool>(), passes())
        .prop_map(|(batch, kv, group, width, queries, more, causal, pass)| Kernel::Attention {
            batch,
            heads: 1 << (kv + group),
            kv_heads: 1 << kv,
            head_dim: 64 << width,
            queries,
            keys: queries + more,
            causal,
            pass: if pass == Pass::WeightGradient { Pass::InputGradient } else { pass },
            precision: Precision::Bf16,
        });
    let streams = (sizes(), sizes(), 0..7u32, passes()).prop_map(|(rows, width, kind, pass)| {
        let precision = Precision::Bf16;
        let elements = rows * width;
        match kind {
            0 => Kernel::Norm { rows, width, precision, pass },
            1 => Kernel::Softmax { rows, width, precision, pass },
            2 => Kernel::Elementwise { elements, inputs: 2, outputs: 1, flops_per_element: 7, precision },
            3 => Kernel::Embedding { tokens: rows, width, precision, pass },
            4 => Kernel::adam_w(elements),
            5 => Kernel::Copy { bytes: Bytes(elements) },
            _ => Kernel::Work { flops: Flops(elements * 1_000), bytes: Bytes(elements), precision },
        }
    });
    prop_oneof![4 => gemms, 2 => groups, 2 => attentions, 1 => streams]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// PHYSICS: the roofline is a lower bound of everything finer with the same constants.
    #[test]
    fn no_kernel_beats_the_roofline(kernel in kernels()) {
        for device in [ideal_a100(), fitted_a100()] {
            let roof = Roofline::default().cost(&kernel, &device);
            let tile = cost(kernel, &device);
            prop_assert!(roof.cycles <= tile.cycles, "{}: {:?} < {:?}", kernel, tile, roof);
            prop_assert_eq!(roof.flops, tile.flops);
            prop_assert!(roof.bytes <= tile.bytes);
        }
    }

    /// Another iteration or another tile never makes a kernel faster.
    #[test]
    fn a_deeper_product_is_not_faster(m in sizes(), n in sizes(), k in 1..4096u64) {
        // One tile, and a launch too long to split the sum, which deeper sums may be and shallower not.
        let mut device = ideal_a100();
        device.launch = SimDuration::from_micros(100_000);
        prop_assert!(cost(gemm(m, n, k), &device).cycles <= cost(gemm(m, n, k + 1), &device).cycles);
    }
}
