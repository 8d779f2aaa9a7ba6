//! The lower bound: a kernel takes at least as long as its flops at the device's peak rate, and as
//! its compulsory bytes at the memory's.
//!
//! Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore
//! architectures", CACM 52(4), 2009; with the launch before it and the two calibrated efficiencies:
//!
//! T = t_launch + max( flops / (peak·η_c), bytes / (bandwidth·η_m) )

use serde::{Deserialize, Serialize};

use crate::compute::packed;
use crate::compute::{ComputeModel, Kernel, KernelCost, Parts, Unit, Unsuited};
use crate::hardware::{DeviceSpec, Precision};
use crate::units::{Bytes, Cycles, FlopRate};

/// The roofline model. It needs only a device's peak rates.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Roofline {}

impl ComputeModel for Roofline {
    fn cost(&self, kernel: &Kernel, device: &DeviceSpec) -> KernelCost {
        if let Kernel::PackedGemm { .. } = kernel {
            return packed::cost(self, kernel, device);
        }
        let bytes = kernel.bytes();
        let parts = Parts {
            launch: launch_cycles(device),
            compute: compute_cycles(kernel, device),
            memory: memory_cycles(bytes, device),
            ..Parts::default()
        };
        cost_of(kernel, bytes, parts)
    }
}

/// The cost of a kernel that moves `bytes` and whose time has these parts.
pub(crate) fn cost_of(kernel: &Kernel, bytes: Bytes, parts: Parts) -> KernelCost {
    KernelCost {
        cycles: whole(parts.total()),
        flops: kernel.flops(),
        bytes,
        limiter: parts.limiter(),
        parts,
        tiling: None,
    }
}

/// Cycles rounded up: a kernel ends on a clock edge. A hair of float noise does not cost a cycle.
pub(crate) fn whole(cycles: f64) -> Cycles {
    assert!(cycles >= 0.0 && cycles < u64::MAX as f64, "{cycles} is not a number of cycles");
    Cycles((cycles * (1.0 - 1e-12)).ceil() as u64)
}

/// The launch in cycles of the device's clock.
pub(crate) fn launch_cycles(device: &DeviceSpec) -> f64 {
    device.launch.seconds() * device.clock.hertz() as f64
}

/// Cycles of the kernel's flops at η_c of the peak of the unit that does them.
///
/// η_c is fitted on matrix kernels; vector units are taken at their datasheet's rate, and a device
/// whose datasheet gives none is taken to be bound by its memory there.
pub(crate) fn compute_cycles(kernel: &Kernel, device: &DeviceSpec) -> f64 {
    let flops = kernel.flops().as_f64();
    let rate = match kernel.unit() {
        Unit::Matrix => matrix_rate(device, kernel.precision()).get() * device.efficiency.compute,
        Unit::Vector => match device.elementwise_peak(kernel.precision()) {
            Some(peak) => peak.get(),
            None => return 0.0,
        },
    };
    flops / rate * device.clock.hertz() as f64
}

/// Cycles of `bytes` at η_m of the memory's bandwidth.
pub(crate) fn memory_cycles(bytes: Bytes, device: &DeviceSpec) -> f64 {
    let rate = device.memory.bandwidth.get() * device.efficiency.memory;
    bytes.as_f64() / rate * device.clock.hertz() as f64
}

/// The peak for matrix work; see [`DeviceSpec::peak`] for formats that the device lacks.
fn matrix_rate(device: &DeviceSpec, precision: Precision) -> FlopRate {
    device
        .peak(precision)
        .unwrap_or_else(|| panic!("{} has no peak rate for {precision}: `admits` was not asked", device.name))
}

/// Whether the device gives a peak rate for `precision` or a wider format.
pub(crate) fn has_peak(device: &DeviceSpec, precision: Precision) -> Result<(), Unsuited> {
    if device.peak(precision).is_some() {
        return Ok(());
    }
    let formats: Vec<&str> =
        device.matrix.keys().chain(device.vector.keys()).map(|precision| precision.name()).collect();
    Err(Unsuited {
        why: format!("{} computes neither {precision} nor a wider format", device.name),
        cure: format!("it has {}", formats.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::support::round_device;
    use crate::compute::{Limiter, Pass};
    use crate::units::{Flops, SimDuration};

    fn work(flops: u64, bytes: u64, precision: Precision) -> Kernel {
        Kernel::Work { flops: Flops(flops), bytes: Bytes(bytes), precision }
    }

    /// 2 µs launch = 2,000 cycles. 10⁹ flops at 100,000 a cycle are 10,000 cycles; 10⁶ bytes at 1,000
    /// a cycle are 1,000: compute hides memory.
    #[test]
    fn the_longer_of_compute_and_memory_follows_the_launch() {
        let device = round_device();
        let cost = Roofline::default().cost(&work(1_000_000_000, 1_000_000, Precision::Bf16), &device);
        assert_eq!((cost.cycles, cost.limiter), (Cycles(12_000), Limiter::Compute));
        assert_eq!(cost.time(&device), SimDuration::from_micros(12));
        let cost = Roofline::default().cost(&work(1_000_000_000, 20_000_000, Precision::Bf16), &device);
        assert_eq!((cost.cycles, cost.limiter), (Cycles(22_000), Limiter::Memory));
        let cost = Roofline::default().cost(&work(1, 1, Precision::Bf16), &device);
        // 0.001 cycles of memory round up to the next edge.
        assert_eq!((cost.cycles, cost.limiter), (Cycles(2_001), Limiter::Launch));
    }

    /// Half the peak and a quarter of the bandwidth: twice and four times the cycles.
    #[test]
    fn calibrated_efficiencies_scale_the_peaks() {
        let mut device = round_device();
        device.launch = SimDuration::ZERO;
        device.efficiency.compute = 0.5;
        device.efficiency.memory = 0.25;
        let cost =
            |flops, bytes| Roofline::default().cost(&work(flops, bytes, Precision::Bf16), &device).cycles;
        assert_eq!(cost(1_000_000_000, 0), Cycles(20_000));
        assert_eq!(cost(0, 1_000_000), Cycles(4_000));
    }

    /// fp8 is emulated in bf16; f64 has no wider format here and is refused with a cure.
    #[test]
    fn missing_formats_widen_or_are_refused() {
        let device = round_device();
        let cycles = |precision| Roofline::default().cost(&work(1_000_000_000, 0, precision), &device).cycles;
        assert_eq!(cycles(Precision::F8), cycles(Precision::Bf16));
        let refused = Roofline::default().admits(&device, Precision::F64).unwrap_err().to_string();
        assert!(refused.contains("round computes neither f64") && refused.contains("bf16"), "{refused}");
        assert!(Roofline::default().admits(&device, Precision::F8).is_ok());
    }

    /// 10⁶ elements of 4 bytes, three tensors: 12,000 cycles of memory; 5 flops each on the vector
    /// units: 500 cycles.
    #[test]
    fn elementwise_work_runs_on_the_vector_units() {
        let kernel = Kernel::Elementwise {
            elements: 1_000_000,
            inputs: 2,
            outputs: 1,
            flops_per_element: 5,
            precision: Precision::F32,
        };
        let cost = Roofline::default().cost(&kernel, &round_device());
        assert_eq!(cost.cycles, Cycles(14_000));
        assert_eq!((cost.parts.compute, cost.parts.memory), (500.0, 12_000.0));
    }

    #[test]
    fn a_remembered_cost_is_the_cost() {
        let device = round_device();
        let mut memo = crate::compute::Memo::new(crate::compute::ComputeSpec::from_name("roofline").unwrap());
        let kernel =
            Kernel::Gemm { batch: 1, m: 8, n: 8, k: 8, precision: Precision::Bf16, pass: Pass::Forward };
        let first = memo.cost(&kernel, &device);
        assert_eq!(first, Roofline::default().cost(&kernel, &device));
        assert_eq!(memo.cost(&kernel, &device), first);
        assert_eq!(memo.computed(), 1);
        let mut faster = round_device();
        faster.name = "faster".to_owned();
        faster.launch = SimDuration::ZERO;
        assert_eq!(memo.cost(&kernel, &faster), Roofline::default().cost(&kernel, &faster));
    }
}
