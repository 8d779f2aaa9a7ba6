//! A GPU as it works: tiles of a kernel in waves over streaming multiprocessors.
//!
//! A kernel is cut into CTAs, each of which keeps one SM (or a share of it) for a number of cycles that
//! its instructions and its operands' way through the L2 dictate; the SM with the most CTAs decides
//! when all are done, unless the L2 or the memory is slower:
//!
//! ```text
//! T = t_launch + max( T_sm, cache, memory ) + exposed · min( max(T_sm, cache), memory )
//! ```
//!
//! It is a model in cycles, not a cycle-accurate one: nothing steps through instructions. Its constants
//! are fitted to measured kernels ([`FittedGpu`]), and whoever
//! prints its answers should print the error of that fit beside them.
//!
//! - [`product`]: matrix products, batched, split along the sum, in groups;
//! - [`attention`]: FlashAttention forward and backward, grouped queries, decoding;
//! - [`stream`]: kernels that hardly compute.

pub mod attention;
pub mod product;

pub mod stream;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::compute::packed;
use crate::compute::roofline::{self, Roofline};
use crate::compute::{ComputeModel, Kernel, KernelCost, Parts, Tiling, Unsuited};
use crate::hardware::device::{FittedGpu, GpuSpec};
use crate::hardware::{DeviceSpec, Precision};
use crate::units::Bytes;

/// The tile model.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TileModel {
    /// Whether kernels follow one another for so long that the power limit holds the clock down for
    /// all of them, as in a training run; else only long ones are throttled, each by itself.
    pub sustained: bool,
}

impl ComputeModel for TileModel {
    fn cost(&self, kernel: &Kernel, device: &DeviceSpec) -> KernelCost {
        let gpu = Gpu::of(device, self.sustained);
        match kernel {
            Kernel::Gemm { .. } | Kernel::GroupedGemm { .. } => product::cost(kernel, &gpu),
            Kernel::Attention { .. } => attention::cost(kernel, &gpu),
            Kernel::PackedGemm { .. } => packed::cost(self, kernel, device),
            // Nothing is known of its shape.
            Kernel::Work { .. } => Roofline::default().cost(kernel, device),
            _ => stream::cost(kernel, &gpu),
        }
    }

    fn admits(&self, device: &DeviceSpec, precision: Precision) -> Result<(), Unsuited> {
        if device.gpu.is_none() {
            return Err(Unsuited {
                why: format!(
                    "{} is a {} whose file describes no `gpu:` for the tile model",
                    device.name, device.kind
                ),
                cure:
                    "`compute: native` uses the finest model that each device has, `roofline` works for all"
                        .to_owned(),
            });
        }
        roofline::has_peak(device, precision)
    }
}

/// A device seen as a GPU, with the rates that the parts of this model share.
pub(crate) struct Gpu<'a> {
    pub device: &'a DeviceSpec,
    pub spec: &'a GpuSpec,
    pub fitted: &'a FittedGpu,
    /// Streaming multiprocessors.
    pub sms: f64,
    /// Whether the power limit holds the clock down throughout.
    pub sustained: bool,
    /// The launch in cycles.
    pub launch: f64,
    /// Bytes per cycle of the memory at η_m.
    pub memory_rate: f64,
}

impl<'a> Gpu<'a> {
    fn of(device: &'a DeviceSpec, sustained: bool) -> Self {
        let spec = device.gpu.as_ref().unwrap_or_else(|| {
            panic!("{} has no `gpu:` for the tile model: `admits` was not asked", device.name)
        });
        Gpu {
            device,
            spec,
            fitted: &spec.fitted,
            sms: f64::from(spec.sms),
            sustained,
            launch: roofline::launch_cycles(device),
            memory_rate: device.memory.bandwidth.get() * device.efficiency.memory
                / device.clock.hertz() as f64,
        }
    }

    /// Matrix flops per cycle and SM at `precision`, before any efficiency: what the device's peak
    /// says, or its instructions if that is less.
    fn matrix_rate(&self, precision: Precision) -> f64 {
        let peak = self.device.peak(precision).unwrap_or_else(|| {
            panic!("{} has no peak rate for {precision}: `admits` was not asked", self.device.name)
        });
        let of_peak = peak.get() / self.device.clock.hertz() as f64 / self.sms;
        match self.spec.matrix_per_clk.get(&precision) {
            Some(instructions) => of_peak.min(*instructions as f64),
            None => of_peak,
        }
    }

    /// Cycles of the whole device for `bytes` from or to its memory at η_m.
    fn memory_cycles(&self, bytes: f64) -> f64 {
        bytes / self.memory_rate
    }

    /// Cycles of the whole device for `bytes` between the L2 and all SMs.
    fn cache_cycles(&self, bytes: f64) -> f64 {
        self.fitted.l2_shared_bytes_per_clk.map_or(0.0, |rate| bytes / (rate * self.sms))
    }

    /// Cycles of matrix work, stretched by what the power limit takes from the clock: all of it under
    /// sustained load, else the more of it the longer the work lasts (half after a millisecond, by the
    /// timings of H100 GEMMs: 890 TFLOP/s up to 0.2 ms, 780 at 2 ms, 700 at 3 ms).
    fn throttled(&self, cycles: f64) -> f64 {
        let millisecond = self.device.clock.hertz() as f64 / 1e3;
        let throttle = self.fitted.throttle;
        if self.sustained {
            return cycles * (1.0 + self.fitted.sustained_throttle.max(throttle));
        }
        cycles * (1.0 + throttle * cycles / (cycles + millisecond))
    }

    fn l2(&self) -> f64 {
        self.spec.l2.as_f64()
    }
}

/// One way to run a kernel.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    parts: Parts,
    /// Bytes of memory traffic.
    traffic: f64,
    tiling: Tiling,
}

impl Candidate {
    /// The faster of two; the first of equals, so that the order of the tile list decides.
    fn faster(self, other: Candidate) -> Candidate {
        if other.parts.total() < self.parts.total() { other } else { self }
    }

    fn cost(self, kernel: &Kernel) -> KernelCost {
        let cost = roofline::cost_of(kernel, Bytes::from_f64(self.traffic), self.parts);
        KernelCost { tiling: Some(self.tiling), ..cost }
    }
}

/// `⌈a / b⌉` of positive numbers.
fn div_ceil(a: f64, b: f64) -> f64 {
    (a / b).ceil()
}
