//! What a device can do: its datasheet's figures, corrected by a few calibrated constants.
//!
//! A [`DeviceSpec`] is what a file under `topologies/devices/` says. The parts `gpu`, `systolic` and
//! `cpu` describe the micro-architecture that the finer compute models simulate; a device may have
//! none (then only the roofline knows it) or several (an FPGA with a systolic overlay).
//! All rates are dense: a datasheet's "with sparsity" figure is halved before it is written here.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hardware::communication::CommunicationSpec;
use crate::hardware::link::LinkSpec;
use crate::hardware::precision::Precision;
use crate::hardware::spec::Problem;
use crate::units::{Bandwidth, Bytes, Clock, Cycles, FlopRate, Power, SimDuration};

/// The kind of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// A general-purpose processor.
    Cpu,
    /// A graphics processor used for computing.
    Gpu,
    /// A field-programmable gate array.
    Fpga,
    /// Google's tensor processing unit.
    Tpu,
    /// Another accelerator built for neural networks.
    Npu,
}

impl DeviceKind {
    /// Every kind.
    pub const ALL: [DeviceKind; 5] =
        [DeviceKind::Cpu, DeviceKind::Gpu, DeviceKind::Fpga, DeviceKind::Tpu, DeviceKind::Npu];

    /// The name used in YAML and tables.
    pub const fn name(self) -> &'static str {
        match self {
            DeviceKind::Cpu => "cpu",
            DeviceKind::Gpu => "gpu",
            DeviceKind::Fpga => "fpga",
            DeviceKind::Tpu => "tpu",
            DeviceKind::Npu => "npu",
        }
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A device: what its datasheet says it can do, and what was measured of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceSpec {
    /// The name by which topologies refer to it; the file's name.
    pub name: String,
    /// Other names it is known by, in tables of measurements for instance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// What kind of device it is.
    pub kind: DeviceKind,
    /// The datasheet or paper the figures come from, and which of them could not be verified there.
    pub source: String,
    /// The clock in which its cycles are counted: the one its peak rates assume.
    pub clock: Clock,
    /// Dense peak of its matrix engine (tensor cores, MXU, systolic array) by precision.
    #[serde(default)]
    pub matrix: BTreeMap<Precision, FlopRate>,
    /// What its matrix engine gains from noughts that are where it expects them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparsity: Option<Sparsity>,
    /// Peak of its vector units by precision.
    #[serde(default)]
    pub vector: BTreeMap<Precision, FlopRate>,
    /// Its main memory.
    pub memory: MemorySpec,
    /// From the order to run a kernel until its first instruction.
    #[serde(default)]
    pub launch: SimDuration,
    /// How much of the peaks real kernels reach.
    #[serde(default)]
    pub efficiency: Efficiency,
    /// Its streaming multiprocessors (or compute units), if it is made of such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuSpec>,
    /// Its systolic arrays, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub systolic: Option<SystolicSpec>,
    /// Its cores, if it is a processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuSpec>,
    /// The port to its host, one direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<LinkSpec>,
    /// All its ports to its peers together (NVLink, Infinity Fabric, ICI …), one direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<LinkSpec>,
    /// What its communication library adds to the physics of links, if that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub communication: Option<CommunicationSpec>,
    /// What it draws.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<PowerSpec>,
    /// What it costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceSpec>,
}

impl DeviceSpec {
    /// The dense peak at `precision`: of the matrix engine if it has that format, else of the vector
    /// units.
    ///
    /// A format the device lacks altogether is computed in the next wider one that it has, as
    /// software emulates it (`fp8` on an A100 runs as `bf16`); `None` when there is no wider one.
    pub fn peak(&self, precision: Precision) -> Option<FlopRate> {
        self.widenings(precision)
            .find_map(|wider| self.matrix_peak(wider).or_else(|| self.vector_peak(wider)))
    }

    /// The dense peak of the matrix engine at exactly `precision`.
    pub fn matrix_peak(&self, precision: Precision) -> Option<FlopRate> {
        self.matrix.get(&precision).copied()
    }

    /// The peak of the vector units at exactly `precision`.
    pub fn vector_peak(&self, precision: Precision) -> Option<FlopRate> {
        self.vector.get(&precision).copied()
    }

    /// The peak of the vector units for elementwise work at `precision`: narrower formats that the
    /// units lack are widened as in [`peak`](Self::peak); a device without vector units at any of
    /// them does the work on its matrix engine.
    pub fn elementwise_peak(&self, precision: Precision) -> Option<FlopRate> {
        self.widenings(precision).find_map(|wider| self.vector_peak(wider)).or_else(|| self.peak(precision))
    }

    /// Whether `name` is this device's name or one of its aliases.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }

    /// What serde cannot check: a name and a source, some rate to compute at, efficiencies within
    /// (0, 1], micro-architectures that have cells, cores and SMs.
    pub fn mistakes(&self) -> Vec<Problem> {
        let mut mistakes = Vec::new();
        let mut wrong = |when: bool, path: &str, message: &str| {
            if when {
                mistakes.push(Problem::at(path, message));
            }
        };
        wrong(self.name.trim().is_empty(), "name", "a device has a name");
        wrong(self.source.trim().is_empty(), "source", "a device cites the source of its figures");
        wrong(
            self.matrix.is_empty() && self.vector.is_empty(),
            "",
            "a device computes: give a peak under `matrix` or `vector`",
        );
        wrong(self.memory.capacity == Bytes::ZERO, "memory.capacity", "a device's memory holds something");
        let gains = |sparsity: &Sparsity| {
            (1..sparsity.m).contains(&sparsity.n)
                && (1.0..=f64::from(sparsity.m) / f64::from(sparsity.n)).contains(&sparsity.speedup)
        };
        let sparse = self.sparsity.as_ref().is_none_or(gains);
        wrong(!sparse, "sparsity", "of every `m` numbers fewer are kept, and the speedup is at most m/n");
        let fraction = |value: f64| value > 0.0 && value <= 1.0;
        wrong(!fraction(self.efficiency.compute), "efficiency.compute", "an efficiency is within (0, 1]");
        wrong(!fraction(self.efficiency.memory), "efficiency.memory", "an efficiency is within (0, 1]");
        if let Some(communication) = &self.communication {
            let within = communication.protocols().all(|(_, protocol)| fraction(protocol.efficiency));
            wrong(!within, "communication", "a protocol's efficiency is within (0, 1]");
        }
        if let Some(price) = &self.price {
            let paid = [price.dollars_per_hour, price.dollars];
            let sane = |dollars: &f64| *dollars >= 0.0 && dollars.is_finite();
            wrong(!paid.iter().flatten().all(sane), "price", "a price is not negative");
        }
        if let Some(gpu) = &self.gpu {
            wrong(gpu.sms == 0, "gpu.sms", "a GPU has at least one SM");
            wrong(gpu.tiles.is_empty(), "gpu.tiles", "a GPU's library has at least one tile");
            let flat = |tile: &Tile| tile.m.min(tile.n).min(tile.k).min(tile.occupancy) == 0;
            wrong(gpu.tiles.iter().any(flat), "gpu.tiles", "a tile is at least 1 in m, n, k and occupancy");
            let positive = gpu.l2_bytes_per_clk > 0.0 && gpu.l2_bytes_per_clk.is_finite();
            wrong(!positive, "gpu.l2_bytes_per_clk", "the L2 delivers something");
            wrong(gpu.raster_group == 0, "gpu.raster_group", "a raster group has at least one row");
        }
        if let Some(array) = &self.systolic {
            wrong(array.rows == 0 || array.columns == 0, "systolic", "an array has rows and columns");
            wrong(array.arrays == 0, "systolic.arrays", "there is at least one array");
        }
        if let Some(cpu) = &self.cpu {
            wrong(cpu.cores == 0 || cpu.ports == 0, "cpu", "a processor has cores, and they have ports");
            wrong(cpu.vector_bits < 64, "cpu.vector_bits", "a vector unit is at least 64 bits wide");
        }
        mistakes
    }

    /// `precision`, then the formats that hold all its values, nearest first.
    fn widenings(&self, precision: Precision) -> impl Iterator<Item = Precision> + use<> {
        use Precision::*;
        let wider: &[Precision] = match precision {
            F64 => &[F64],
            F32 => &[F32, F64],
            Tf32 => &[Tf32, F32, F64],
            Bf16 => &[Bf16, Tf32, F32, F64],
            F16 => &[F16, Tf32, F32, F64],
            F8 => &[F8, F16, Bf16, Tf32, F32, F64],
            I8 => &[I8, F16, Bf16, Tf32, F32, F64],
            I4 => &[I4, I8, F16, Bf16, Tf32, F32, F64],
        };
        wider.iter().copied()
    }
}

/// Products in which a matrix engine leaves out what is nought: `n` of every `m` numbers along a sum are
/// kept, with their places (Mishra et al., "Accelerating Sparse Deep Neural Networks", 2021, section 2).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sparsity {
    /// How many are kept …
    pub n: u32,
    /// … of so many.
    pub m: u32,
    /// How many times the dense peak it then reaches.
    pub speedup: f64,
}

/// A device's main memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemorySpec {
    /// How much fits.
    pub capacity: Bytes,
    /// Peak bytes per second, reads and writes together.
    pub bandwidth: Bandwidth,
    /// `HBM3`, `GDDR6X`, `DDR4-3200` …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub technology: String,
}

/// How much of its peaks a device reaches in real kernels: constants per device, never per kernel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Efficiency {
    /// η_c, of the peak flop rate of large kernels (0 < η_c ≤ 1).
    pub compute: f64,
    /// η_m, of the peak memory bandwidth of long copies (0 < η_m ≤ 1).
    pub memory: f64,
    /// On what measurements the two were fitted.
    pub calibration: String,
}

impl Default for Efficiency {
    fn default() -> Self {
        Efficiency { compute: 1.0, memory: 1.0, calibration: "none: the datasheet's peaks".to_owned() }
    }
}

/// What the tile model knows of a GPU (PHYSICS: waves of tiles over streaming multiprocessors).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuSpec {
    /// Streaming multiprocessors (compute units, of an AMD device) that are enabled.
    pub sms: u32,
    /// Dense flops per clock of one SM's tensor cores, by precision.
    #[serde(default)]
    pub matrix_per_clk: BTreeMap<Precision, u64>,
    /// Flops per clock of one SM's vector units, by precision.
    #[serde(default)]
    pub vector_per_clk: BTreeMap<Precision, u64>,
    /// The cache that all SMs share.
    pub l2: Bytes,
    /// Bytes per clock that the L2 delivers to one SM.
    #[serde(default = "l2_bytes_per_clk")]
    pub l2_bytes_per_clk: f64,
    /// Shared memory of one SM.
    pub shared_memory: Bytes,
    /// Cycles from a CTA's start to its first tensor instruction.
    #[serde(default)]
    pub prologue: Cycles,
    /// Cycles from a CTA's last tensor instruction to its end.
    #[serde(default)]
    pub epilogue: Cycles,
    /// How many rows of tiles a raster group has: neighbouring CTAs then share operands in the L2.
    #[serde(default = "raster_group")]
    pub raster_group: u32,
    /// The tiles its GEMM library has kernels for.
    #[serde(default = "tiles")]
    pub tiles: Vec<Tile>,
    /// What was fitted to measured kernels.
    #[serde(default)]
    pub fitted: FittedGpu,
    /// How its attention kernels are cut up, and what they reach.
    #[serde(default)]
    pub attention: AttentionSpec,
}

/// Constants of a GPU that no datasheet gives, fitted to measured kernels; they belong to a generation
/// (its instructions and libraries) rather than to one device. The default is the ideal machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FittedGpu {
    /// Share of η_m that the loads of a GEMM reach: its tiles read shorter runs than a copy does.
    pub gemm_memory: f64,
    /// Share of η_c that products of 8-bit operands reach: the power limit throttles them first.
    pub narrow_compute: f64,
    /// How much longer matrix work takes, as a share, once the power limit has lowered the clock; it does
    /// so for work that keeps the tensor cores busy for much longer than a millisecond.
    pub throttle: f64,
    /// The same for a device that trains for hours: no kernel finds it cool. At least `throttle`.
    pub sustained_throttle: f64,
    /// Share of the shorter of compute and memory time that a GEMM's pipeline does not hide.
    pub exposed: f64,
    /// Bytes per clock and SM that the L2 sustains when every SM reads at once; unlimited if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l2_shared_bytes_per_clk: Option<f64>,
    /// Bytes per clock at which an SM writes a finished tile; free if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_bytes_per_clk: Option<f64>,
    /// Cycles of an SM for each row of a kernel that gives a CTA to each row (gather, scatter).
    pub row_cycles: f64,
    /// Element accesses per clock of one SM in kernels that load one element at a time; unlimited if
    /// absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accesses_per_clk: Option<f64>,
}

impl Default for FittedGpu {
    fn default() -> Self {
        FittedGpu {
            gemm_memory: 1.0,
            narrow_compute: 1.0,
            throttle: 0.0,
            sustained_throttle: 0.0,
            exposed: 0.0,
            l2_shared_bytes_per_clk: None,
            store_bytes_per_clk: None,
            row_cycles: 0.0,
            accesses_per_clk: None,
        }
    }
}

/// Attention kernels (FlashAttention) of a GPU: one CTA works through the keys of a block of queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttentionSpec {
    /// Query rows of a CTA.
    pub rows: u32,
    /// Keys of one iteration.
    pub keys: u32,
    /// Share of the matrix peak that the main loop reaches: softmax comes between its two products.
    pub efficiency: f64,
    /// The same of the backward's main loop.
    pub backward_efficiency: f64,
    /// Cycles of a CTA before and after its main loop.
    pub prologue: f64,
    /// Share of the shorter of compute and memory time that is not hidden.
    pub exposed: f64,
    /// Whether the query heads that share a key head always share a CTA's rows (FlashAttention-3), or
    /// only when decoding (FlashAttention-2).
    pub packs_groups: bool,
}

/// FlashAttention-2's blocks for heads of 128 and its share of an A100's peak without a mask, forward
/// and backward (Dao 2023, section 4.1: up to 73 % and 63 %).
impl Default for AttentionSpec {
    fn default() -> Self {
        AttentionSpec {
            rows: 128,
            keys: 64,
            efficiency: 0.73,
            backward_efficiency: 0.63,
            prologue: 0.0,
            exposed: 0.0,
            packs_groups: false,
        }
    }
}

/// A tile of a GEMM kernel: one CTA computes `m × n` results, `k` at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tile {
    /// Rows of the result.
    pub m: u32,
    /// Columns of the result.
    pub n: u32,
    /// Depth of one iteration of the main loop for 16-bit operands; narrower formats go deeper, wider
    /// ones less deep, so that the bytes stay.
    pub k: u32,
    /// CTAs of this tile that fit an SM at a time.
    #[serde(default = "one")]
    pub occupancy: u32,
}

/// 64 bytes per clock and SM, as NVIDIA's Volta and Ampere whitepapers give for L2 → SM.
fn l2_bytes_per_clk() -> f64 {
    64.0
}

fn raster_group() -> u32 {
    8
}

fn one() -> u32 {
    1
}

/// The tile shapes that CUTLASS's profiler generates for 16-bit tensor-core GEMMs.
fn tiles() -> Vec<Tile> {
    [(256, 128, 1), (128, 256, 1), (128, 128, 2), (128, 64, 3), (64, 128, 3), (64, 64, 4)]
        .map(|(m, n, occupancy)| Tile { m, n, k: 32, occupancy })
        .to_vec()
}

/// Which operand stays in a systolic array while the others stream through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dataflow {
    /// Each cell keeps one result.
    #[serde(alias = "os")]
    OutputStationary,
    /// Each cell keeps one weight.
    #[default]
    #[serde(alias = "ws")]
    WeightStationary,
    /// Each cell keeps one input.
    #[serde(alias = "is")]
    InputStationary,
}

/// Systolic arrays with their buffers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystolicSpec {
    /// Rows of cells of one array.
    pub rows: u32,
    /// Columns of cells of one array.
    pub columns: u32,
    /// How many arrays work side by side.
    #[serde(default = "one")]
    pub arrays: u32,
    /// What stays in the cells.
    #[serde(default)]
    pub dataflow: Dataflow,
    /// Whether the next stationary operand is loaded while this one is used.
    #[serde(default)]
    pub preload_overlap: bool,
    /// The format the cells multiply at one product per cycle.
    pub precision: Precision,
    /// On-chip buffer of the inputs (both halves of its double buffer), of all arrays together.
    pub input_sram: Bytes,
    /// On-chip buffer of the weights.
    pub weight_sram: Bytes,
    /// On-chip buffer of the results.
    pub output_sram: Bytes,
}

/// The cores of a processor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuSpec {
    /// Physical cores.
    pub cores: u32,
    /// Fused multiply-add units of one core.
    pub ports: u32,
    /// Bits of one such unit.
    pub vector_bits: u32,
    /// Starting and joining all threads once.
    #[serde(default)]
    pub fork_join: SimDuration,
    /// From the nearest to the farthest; main memory is the device's `memory`.
    #[serde(default)]
    pub caches: Vec<CacheLevel>,
}

impl CpuSpec {
    /// Elements of `precision` that one unit works on at a time. Formats narrower than f32 are
    /// widened to f32 on the way in.
    pub fn lanes(&self, precision: Precision) -> u32 {
        self.vector_bits / precision.bits().max(32) as u32
    }
}

/// One level of a processor's caches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheLevel {
    /// `L1`, `L2`, `L3`.
    pub name: String,
    /// Bytes of one such cache.
    pub capacity: Bytes,
    /// Bytes per clock it delivers to one core.
    pub bytes_per_clk: f64,
    /// How many cores share one such cache.
    #[serde(default = "one")]
    pub shared_by: u32,
}

/// What a device draws.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerSpec {
    /// With nothing to do.
    pub idle: Power,
    /// At full load (its thermal design power unless its source says otherwise).
    pub busy: Power,
}

/// What a device costs, at the date its source gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceSpec {
    /// US dollars to rent one device for an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dollars_per_hour: Option<f64>,
    /// US dollars to buy one device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dollars: Option<f64>,
    /// When (`2024-08`).
    pub date: String,
    /// Where that was read.
    pub source: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::support::device;

    /// bf16 runs in f32 where there is nothing nearer (V100); 8-bit floats run in bf16 on an A100;
    /// f64 is never narrowed.
    #[test]
    fn a_missing_format_is_computed_in_the_next_wider_one() {
        let mut spec = (*device()).clone();
        assert_eq!(spec.peak(Precision::F8), spec.matrix_peak(Precision::Bf16));
        assert_eq!(spec.peak(Precision::F64), None);
        spec.matrix.clear();
        spec.vector.insert(Precision::F32, FlopRate::per_second(15.7e12));
        assert_eq!(spec.peak(Precision::Bf16), Some(FlopRate::per_second(15.7e12)));
    }

    #[test]
    fn elementwise_work_prefers_the_vector_units() {
        let mut spec = (*device()).clone();
        assert_eq!(spec.elementwise_peak(Precision::Bf16), spec.matrix_peak(Precision::Bf16));
        spec.vector.insert(Precision::F32, FlopRate::per_second(1e9));
        assert_eq!(spec.elementwise_peak(Precision::Bf16), Some(FlopRate::per_second(1e9)));
    }

    #[test]
    fn mistakes_are_named_by_their_key() {
        let mut spec = (*device()).clone();
        assert_eq!(spec.mistakes(), []);
        spec.source = " ".to_owned();
        spec.efficiency.compute = 1.5;
        spec.matrix.clear();
        let keys: Vec<String> = spec.mistakes().into_iter().map(|problem| problem.path).collect();
        assert_eq!(keys, ["source", "", "efficiency.compute"]);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let spec = device();
        let text = serde_json::to_string(&*spec).unwrap();
        assert_eq!(serde_json::from_str::<DeviceSpec>(&text).unwrap(), *spec);
        let typo = text.replace("\"clock\"", "\"clok\"");
        assert!(
            serde_json::from_str::<DeviceSpec>(&typo)
                .unwrap_err()
                .to_string()
                .contains("unknown field `clok`")
        );
    }
}
