//! Why a kernel takes as long as it does: its cost beside the roofline of its device.

use serde::Serialize;

use crate::compute::roofline::Roofline;
use crate::compute::{ComputeModel, ComputeSpec, Kernel, Limiter, Parts, Tiling, Unit, Unsuited};
use crate::hardware::{DeviceSpec, Precision};

/// A kernel on a device, in SI units.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelReport {
    /// What was asked, in words.
    pub kernel: String,
    /// On which device.
    pub device: String,
    /// By which model.
    pub model: String,
    /// Cycles of the device's clock, the launch included.
    pub cycles: u64,
    /// The same in seconds.
    pub time_s: f64,
    /// What bounds it.
    pub limiter: Limiter,
    /// Where the cycles go.
    pub parts: Parts,
    /// How it is cut into pieces, where the model does so.
    pub tiling: Option<Tiling>,
    /// Useful flops.
    pub flops: u64,
    /// Bytes moved to and from memory.
    pub bytes: u64,
    /// Useful flops over time.
    pub flops_per_second: f64,
    /// Bytes moved over time.
    pub bytes_per_second: f64,
    /// Useful flops per byte that could not be avoided; nothing for kernels that move none.
    pub intensity: Option<f64>,
    /// The device's two bounds.
    pub ceilings: Ceilings,
    /// What the roofline says.
    pub roofline_s: f64,
}

/// The roofline of a device for one kernel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ceilings {
    /// Peak flops per second of the unit that does the kernel's arithmetic, at η_c; nothing if the
    /// device's file gives none.
    pub flops_per_second: Option<f64>,
    /// Bytes per second of the memory, at η_m.
    pub bytes_per_second: f64,
}

impl Ceilings {
    /// Those of `device` for what `unit` computes in `precision`.
    pub fn of(device: &DeviceSpec, unit: Unit, precision: Precision) -> Ceilings {
        let efficiency = &device.efficiency;
        let peak = match unit {
            Unit::Matrix => device.peak(precision).map(|peak| peak.get() * efficiency.compute),
            Unit::Vector => device.elementwise_peak(precision).map(|peak| peak.get()),
        };
        Ceilings {
            flops_per_second: peak,
            bytes_per_second: device.memory.bandwidth.get() * efficiency.memory,
        }
    }

    /// The most flops per second at `intensity` flops per byte.
    pub fn at(&self, intensity: f64) -> f64 {
        let slope = intensity * self.bytes_per_second;
        self.flops_per_second.map_or(slope, |peak| peak.min(slope))
    }

    /// The intensity at which both bounds meet.
    pub fn ridge(&self) -> Option<f64> {
        self.flops_per_second.map(|peak| peak / self.bytes_per_second)
    }
}

/// What `model` says of `kernel` on `device`, and why.
pub fn explain(kernel: &Kernel, device: &DeviceSpec, model: &ComputeSpec) -> Result<KernelReport, Unsuited> {
    model.admits(device, kernel.precision())?;
    let cost = model.cost(kernel, device);
    let seconds = cost.time(device).seconds();
    let per_second = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
    let compulsory = kernel.bytes().as_f64();
    Ok(KernelReport {
        kernel: kernel.to_string(),
        device: device.name.clone(),
        model: model.name().to_owned(),
        cycles: cost.cycles.0,
        time_s: seconds,
        limiter: cost.limiter,
        parts: cost.parts,
        tiling: cost.tiling,
        flops: cost.flops.get(),
        bytes: cost.bytes.get(),
        flops_per_second: per_second(cost.flops.as_f64()),
        bytes_per_second: per_second(cost.bytes.as_f64()),
        intensity: (compulsory > 0.0).then(|| kernel.flops().as_f64() / compulsory),
        ceilings: Ceilings::of(device, kernel.unit(), kernel.precision()),
        roofline_s: Roofline::default().cost(kernel, device).time(device).seconds(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::Pass;
    use crate::compute::support::round_device;

    /// 100 TFLOP/s and 1 TB/s meet at 100 flops a byte. 1000³ in bf16: 2·10⁹ flops, 6·10⁶ bytes, so 333
    /// flops a byte: compute-bound, 20 µs after 2 µs of launch.
    #[test]
    fn a_report_puts_the_kernel_under_its_roof() {
        let kernel = Kernel::Gemm {
            batch: 1,
            m: 1000,
            n: 1000,
            k: 1000,
            precision: Precision::Bf16,
            pass: Pass::Forward,
        };
        let model = ComputeSpec::from_name("roofline").unwrap();
        let report = explain(&kernel, &round_device(), &model).unwrap();
        assert_eq!((report.cycles, report.limiter), (22_000, Limiter::Compute));
        assert!((report.intensity.unwrap() - 1000.0 / 3.0).abs() < 1e-9);
        assert!((report.flops_per_second / 1e12 - 2000.0 / 22.0).abs() < 1e-9);
        assert_eq!(report.ceilings.ridge(), Some(100.0));
        assert_eq!((report.ceilings.at(50.0), report.ceilings.at(500.0)), (50e12, 100e12));
        assert_eq!(report.roofline_s, report.time_s);
        assert!(explain(&kernel, &round_device(), &ComputeSpec::from_name("tile").unwrap()).is_err());
    }
}
