//! Products with weights that are kept smaller than they are multiplied, under any compute model.
//!
//! The plain product of the same shape is costed first, by whichever model asks; then
//! - memory moves fewer bytes, in proportion;
//! - the vector units make each weight once out of what memory holds (a dequantisation), before it is
//!   multiplied;
//! - where the matrix engine skips the noughts of a pattern, arithmetic shrinks by the device's speedup.
//!
//! ```text
//! memory' = memory·(1 − saved/bytes)     compute' = compute/speedup + k·n·unpack/vector rate
//! ```
//!
//! The way of the weights through caches into the compute units is that of whole ones, though a kernel that
//! unpacks in registers shortens it too: gains are told on the short side. No measurement of such kernels was
//! looked at: the speedup is the datasheet's, and what is unpacked is
//! not overlapped with the multiplication, which the best kernels for few rows do (Frantar et al.,
//! "MARLIN: Mixed-Precision Auto-Regressive Parallel Inference on Large Language Models", 2024).

use crate::compute::roofline::{launch_cycles, whole};
use crate::compute::{ComputeModel, Kernel, KernelCost, Parts, Pass};
use crate::hardware::DeviceSpec;
use crate::units::Bytes;

/// What a `PackedGemm` costs under a model that knows plain products.
pub(super) fn cost(model: &dyn ComputeModel, kernel: &Kernel, device: &DeviceSpec) -> KernelCost {
    let Kernel::PackedGemm { m, n, k, precision, weights, unpack, pattern } = *kernel else {
        panic!("{kernel} has no packed weights")
    };
    let plain = Kernel::Gemm { batch: 1, m, n, k, precision, pass: Pass::Forward };
    let cost = model.cost(&plain, device);
    let (whole_weights, moved) = (precision.bytes_of(k * n).as_f64(), cost.bytes.as_f64());
    // Some models read weights more than once, which they do with packed ones too.
    let less = 1.0 - (whole_weights - weights.as_f64()) / plain.bytes().as_f64().max(1.0);
    let skipped = device.sparsity.filter(|sparse| pattern == Some((sparse.n, sparse.m)));
    let speedup = skipped.map_or(1.0, |sparse| sparse.speedup);
    let made = device
        .elementwise_peak(precision)
        .map_or(0.0, |rate| (k * n) as f64 * f64::from(unpack) / rate.get() * device.clock.hertz() as f64);
    let parts = Parts {
        launch: cost.parts.launch.max(launch_cycles(device)),
        compute: cost.parts.compute / speedup + made,
        memory: cost.parts.memory * less,
        ..cost.parts
    };
    KernelCost {
        cycles: whole(parts.total()),
        flops: kernel.flops(),
        bytes: Bytes::from_f64(moved * less),
        limiter: parts.limiter(),
        parts,
        tiling: cost.tiling,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::roofline::Roofline;
    use crate::compute::support::{fitted_a100, round_device};
    use crate::compute::tile::TileModel;
    use crate::hardware::{Precision, Sparsity};
    use crate::units::Cycles;

    fn packed(m: u64, weights: u64, unpack: u32, pattern: Option<(u32, u32)>) -> Kernel {
        let precision = Precision::Bf16;
        Kernel::PackedGemm { m, n: 1000, k: 1000, precision, weights: Bytes(weights), unpack, pattern }
    }

    /// Weights as large as they are multiplied, nothing to unpack and no pattern: the plain product.
    #[test]
    fn packed_without_packing_is_plain() {
        for m in [1, 1000] {
            let plain = Kernel::Gemm {
                batch: 1,
                m,
                n: 1000,
                k: 1000,
                precision: Precision::Bf16,
                pass: Pass::Forward,
            };
            let kernel = packed(m, 2_000_000, 0, None);
            for (model, device) in [
                (&Roofline::default() as &dyn ComputeModel, round_device()),
                (&TileModel::default(), fitted_a100()),
            ] {
                assert_eq!(model.cost(&kernel, &device).cycles, model.cost(&plain, &device).cycles);
            }
        }
    }

    /// The round device moves 1,000 bytes a cycle and launches in 2,000: one row of 1,000 by 4-bit weights of
    /// 1,000 × 1,000 is 500,000 + 2,000 + 2,000 bytes, 504 cycles, where whole ones take 2,004.
    #[test]
    fn few_rows_gain_what_memory_moves_less() {
        let device = round_device();
        let cost = |kernel| Roofline::default().cost(&kernel, &device);
        assert_eq!(cost(packed(1, 500_000, 0, None)).cycles, Cycles(2_504));
        assert_eq!(cost(packed(1, 500_000, 0, None)).bytes, Bytes(504_000));
        assert_eq!(cost(packed(1, 2_000_000, 0, None)).cycles, Cycles(4_004));
    }

    /// 2·10¹⁰ flops at 100,000 a cycle are 200,000 cycles; half of it where the device skips 2 of 4.
    #[test]
    fn many_rows_gain_where_the_device_skips_noughts() {
        let mut device = round_device();
        let kernel = packed(10_000, 1_125_000, 0, Some((2, 4)));
        assert_eq!(Roofline::default().cost(&kernel, &device).cycles, Cycles(202_000));
        device.sparsity = Some(Sparsity { n: 2, m: 4, speedup: 2.0 });
        assert_eq!(Roofline::default().cost(&kernel, &device).cycles, Cycles(102_000));
        let other = packed(10_000, 625_000, 0, Some((1, 4)));
        assert_eq!(Roofline::default().cost(&other, &device).cycles, Cycles(202_000));
    }

    /// Under every model unpacking takes time and fewer bytes save some, never more than their share.
    #[test]
    fn the_tile_model_stays_above_the_roofline() {
        let device = fitted_a100();
        for m in [1, 16, 256, 4096] {
            for kernel in [packed(m, 500_000, 4, None), packed(m, 2_000_000, 4, None)] {
                let (tile, bound) =
                    (TileModel::default().cost(&kernel, &device), Roofline::default().cost(&kernel, &device));
                assert!(tile.cycles >= bound.cycles, "{m}: {tile:?} {bound:?}");
            }
        }
    }
}
