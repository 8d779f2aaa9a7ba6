//! How long a kernel keeps a device.
//!
//! A [`Kernel`] is work by its shape; a [`ComputeModel`] says how many cycles a
//! [`DeviceSpec`] needs for it. The room knows kernels and device specs only: nothing of layers,
//! training, serving, streams or what else the device is doing.
//!
//! - [`kernel`]: what can be asked, with its flops and compulsory bytes;
//! - [`roofline`]: the lower bound that the others are held against;
//! - [`tile`]: GPUs, as waves of tiles over streaming multiprocessors;
//! - [`systolic`]: arrays of cells, as folds, proved against a stepped array;
//! - [`cpu`]: cores behind caches;
//! - [`table`]: measurements, looked up;
//! - [`native`]: each device by the finest of these that its file describes;
//! - [`calibrate`]: a device's few constants fitted to measured kernels;
//! - [`packed`]: products with weights that are kept smaller, under any of the models;
//! - [`explain`]: a kernel's cost beside its device's roofline.
//!
//! To add a model, write its file and list it in [`ComputeSpec`].

pub mod calibrate;
pub mod cpu;
pub mod explain;
pub mod kernel;
pub mod memo;
pub mod native;
mod packed;
pub mod roofline;
mod simplex;
#[cfg(test)]
pub(crate) mod support;
pub mod systolic;
pub mod table;
pub mod tile;

use std::fmt;

use serde::Serialize;

use crate::hardware::device::Tile;
use crate::hardware::{DeviceSpec, Precision};
use crate::registry;
use crate::units::{Bytes, Cycles, Flops, SimDuration};

pub use explain::{KernelReport, explain};
pub use kernel::{AttentionShape, Kernel, MatrixShape, Pass, Unit};
pub use memo::Memo;

/// What a kernel costs on a device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KernelCost {
    /// How long the device is busy, in cycles of its clock, the launch included.
    pub cycles: Cycles,
    /// The useful floating-point operations done.
    pub flops: Flops,
    /// Bytes moved to and from the device's memory.
    pub bytes: Bytes,
    /// What the cycles are mostly spent on.
    pub limiter: Limiter,
    /// Where the cycles go.
    pub parts: Parts,
    /// How the work was cut up, where the model cuts it.
    pub tiling: Option<Tiling>,
}

impl KernelCost {
    /// How long the device is busy; rounds up to a picosecond.
    pub fn time(&self, device: &DeviceSpec) -> SimDuration {
        device.clock.duration(self.cycles)
    }
}

/// What bounds a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limiter {
    /// The matrix engine or the vector units.
    Compute,
    /// The device's memory.
    Memory,
    /// The cache between memory and the compute units.
    Cache,
    /// Starting it at all.
    Launch,
    /// Nothing the model knows: the kernel lies outside the measured table, and the roofline answered.
    Outside,
}

impl fmt::Display for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Limiter::Compute => "compute",
            Limiter::Memory => "memory",
            Limiter::Cache => "cache",
            Limiter::Launch => "launch",
            Limiter::Outside => "outside the measured table",
        })
    }
}

/// The parts of a kernel's time in cycles of the device's clock.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Parts {
    /// From the order to run it until its first instruction, and from its last to the next kernel's.
    pub launch: f64,
    /// Arithmetic, with the waits for operands that nothing hides.
    pub compute: f64,
    /// Traffic with the device's memory.
    pub memory: f64,
    /// Traffic with the shared cache.
    pub cache: f64,
    /// What follows, or of the shorter parts is not hidden by the longest.
    pub exposed: f64,
}

impl Parts {
    /// The launch, then the longest of the parts that overlap, then what they do not hide.
    pub fn total(&self) -> f64 {
        self.launch + self.compute.max(self.memory).max(self.cache) + self.exposed
    }

    /// The longest part.
    pub fn limiter(&self) -> Limiter {
        let longest = self.compute.max(self.memory).max(self.cache);
        if self.launch > longest {
            Limiter::Launch
        } else if self.compute >= longest {
            Limiter::Compute
        } else if self.memory >= longest {
            Limiter::Memory
        } else {
            Limiter::Cache
        }
    }
}

/// How a model cuts a kernel into pieces that run side by side.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tiling {
    /// What one piece computes.
    pub tile: Tile,
    /// Pieces (CTAs, folds) in all.
    pub pieces: u64,
    /// Into how many pieces each sum is split.
    pub split: u64,
    /// Rounds in which the pieces run: those of the busiest unit.
    pub waves: u64,
}

/// Says how long kernels take on devices.
///
/// Contract: pure (same kernel, same device, same answer, so that answers are remembered); never
/// faster than [`roofline`] with the same device constants, except for `table`, which repeats
/// measurements; [`admits`](Self::admits) is asked before the first `cost`, and a kernel of an admitted
/// precision always has one.
pub trait ComputeModel {
    /// What `kernel` costs on `device`.
    ///
    /// A format that the device lacks runs in the next wider one that it has, as software emulates
    /// it ([`DeviceSpec::peak`]).
    ///
    /// # Panics
    /// When the model does not [admit](Self::admits) the device and the kernel's precision.
    fn cost(&self, kernel: &Kernel, device: &DeviceSpec) -> KernelCost;

    /// Whether the model can cost matrix work of `precision` on `device`, and if not why and what would do.
    fn admits(&self, device: &DeviceSpec, precision: Precision) -> Result<(), Unsuited> {
        roofline::has_peak(device, precision)
    }
}

/// Why a compute model cannot be used with a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsuited {
    /// What is missing.
    pub why: String,
    /// What would do instead.
    pub cure: String,
}

impl fmt::Display for Unsuited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.why, self.cure)
    }
}

impl std::error::Error for Unsuited {}

registry! {
    /// `fidelity: {compute: …}` of a workload.
    pub enum ComputeSpec: ComputeModel {
        /// peak flops or memory bandwidth, whichever binds
        "roofline" => Roofline(roofline::Roofline),
        /// GPU: tiles, waves, quantisation, launch
        "tile" => Tile(tile::TileModel),
        /// TPU, NPU, FPGA: a systolic array with its SRAM and DRAM
        "systolic" => Systolic(systolic::SystolicModel),
        /// cores with vector units and caches
        "cpu" => Cpu(cpu::CpuModel),
        /// measured rows, interpolated
        "table" => Table(table::Table),
        /// the model that suits the device's kind
        "native" => Native(native::Native),
    }
}
