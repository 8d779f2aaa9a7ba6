//! Processors: cores with vector units behind a hierarchy of caches.
//!
//! ```text
//! T = t_launch + t_fork_join + max( imbalance · flops / (p·2·ports·lanes·η_c), L1, Σ further levels )
//! ```
//!
//! p cores work on pieces of a kernel; the busiest decides: imbalance = ⌈pieces/p⌉ · p / pieces. A
//! level's time is the bytes that leave it upwards over its rate. Registers load from L1 beside the
//! arithmetic; the times of the levels below add up, because a line that moves between two of them
//! keeps both busy (the execution-cache-memory model: Stengel et al., "Quantifying performance
//! bottlenecks of stencil computations using the execution-cache-memory model", ICS 2015).
//!
//! Matrix products keep a square block of results in each level, as large as half of it holds: a level
//! of S results then sees about 2·m·n·k/√S operands come in, which no order of work can beat by more
//! than a constant (Hong and Kung, "I/O complexity: the red-blue pebble game", STOC 1981). Everything
//! else streams once through all levels.

use serde::{Deserialize, Serialize};

use crate::compute::kernel::{result_of, rows_of_groups};
use crate::compute::packed;
use crate::compute::roofline;
use crate::compute::{ComputeModel, Kernel, KernelCost, MatrixShape, Parts, Tiling, Unit, Unsuited};
use crate::hardware::device::{CacheLevel, CpuSpec, Tile};
use crate::hardware::{DeviceSpec, Precision};

/// The processor model.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CpuModel {
    /// How many cores work; all of them if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
}

/// Rows of results that a core keeps in vector registers (6, as BLIS's AVX2 kernels; the columns are
/// two vectors wide).
const REGISTER_ROWS: u64 = 6;
/// Rows and columns of results in the tile registers of a matrix engine (four of AMX's 16×16).
const ENGINE_BLOCK: u64 = 32;
/// Bytes of a result while it is summed: single precision.
const PARTIAL: f64 = 4.0;
/// Elements of a streaming kernel that a thread takes at a time.
const CHUNK: u64 = 4096;
/// A task of a matrix product: so many register blocks down and across.
const TASK: (u64, u64) = (8, 4);

impl ComputeModel for CpuModel {
    fn cost(&self, kernel: &Kernel, device: &DeviceSpec) -> KernelCost {
        if let Kernel::PackedGemm { .. } = kernel {
            return packed::cost(self, kernel, device);
        }
        let cores = Cores::of(device, self.threads, kernel);
        let products = products(kernel);
        let (pieces, traffic) = if products.is_empty() {
            (cores.pieces(kernel), vec![kernel.bytes().as_f64(); cores.levels()])
        } else {
            cores.of_products(&products, kernel)
        };
        let imbalance = (pieces / cores.threads).ceil() * cores.threads / pieces;
        let work = roofline::compute_cycles(kernel, device).max(cores.vector_cycles(kernel));
        let parts = Parts {
            launch: roofline::launch_cycles(device) + cores.fork_join,
            compute: work * imbalance,
            memory: cores.memory_cycles(traffic[cores.levels() - 1]),
            cache: 0.0,
            exposed: 0.0,
        };
        let caches = cores.cache_cycles(&traffic);
        let (l1, below) = (caches.first().copied().unwrap_or(0.0), caches.iter().skip(1).sum::<f64>());
        let parts = Parts { compute: parts.compute.max(l1), ..parts };
        // The further caches' time follows the memory's.
        let transfers = parts.memory + below;
        let parts = Parts { exposed: (transfers - parts.memory.max(parts.compute)).max(0.0), ..parts };
        let bytes = crate::units::Bytes::from_f64(traffic[cores.levels() - 1]);
        let tile =
            Tile { m: cores.register_rows as u32, n: cores.register_columns as u32, k: 1, occupancy: 1 };
        let waves = (pieces / cores.threads).ceil() as u64;
        let tiling = Tiling { tile, pieces: pieces as u64, split: 1, waves };
        KernelCost { tiling: Some(tiling), ..roofline::cost_of(kernel, bytes, parts) }
    }

    fn admits(&self, device: &DeviceSpec, precision: Precision) -> Result<(), Unsuited> {
        if device.cpu.is_none() {
            return Err(Unsuited {
                why: format!("{} is a {} whose file describes no `cpu:` cores", device.name, device.kind),
                cure:
                    "`compute: native` uses the finest model that each device has, `roofline` works for all"
                        .to_owned(),
            });
        }
        roofline::has_peak(device, precision)
    }
}

/// A device seen as cores.
struct Cores<'a> {
    device: &'a DeviceSpec,
    spec: &'a CpuSpec,
    threads: f64,
    fork_join: f64,
    /// Results that a core keeps in registers: rows.
    register_rows: u64,
    /// Their columns.
    register_columns: u64,
    /// Whether a matrix engine beside the vector units does the arithmetic.
    engine: bool,
    hertz: f64,
}

impl<'a> Cores<'a> {
    fn of(device: &'a DeviceSpec, threads: Option<u32>, kernel: &Kernel) -> Self {
        let spec = device.cpu.as_ref().unwrap_or_else(|| {
            panic!("{} has no `cpu:` for the processor model: `admits` was not asked", device.name)
        });
        let hertz = device.clock.hertz() as f64;
        // Formats that the engine lacks may be widened to one that it has; the peak tells.
        let peak = device.peak(kernel.precision());
        let engine = kernel.unit() == Unit::Matrix && device.matrix.values().any(|rate| Some(*rate) == peak);
        let vectors = 2 * u64::from(spec.lanes(Precision::F32).max(1));
        let (rows, columns) = if engine { (ENGINE_BLOCK, ENGINE_BLOCK) } else { (REGISTER_ROWS, vectors) };
        Cores {
            device,
            spec,
            threads: f64::from(threads.unwrap_or(spec.cores).clamp(1, spec.cores)),
            fork_join: spec.fork_join.seconds() * hertz,
            register_rows: rows,
            register_columns: columns,
            engine,
            hertz,
        }
    }

    /// The caches and the memory.
    fn levels(&self) -> usize {
        self.spec.caches.len() + 1
    }

    /// Cycles that the vector units of the working cores need; matrix engines (AMX) are the roofline's.
    fn vector_cycles(&self, kernel: &Kernel) -> f64 {
        let precision = kernel.precision();
        let share = self.threads / f64::from(self.spec.cores);
        if self.engine {
            return roofline::compute_cycles(kernel, self.device) / share;
        }
        let per_core = 2 * u64::from(self.spec.ports) * u64::from(self.spec.lanes(precision).max(1));
        let efficiency = if kernel.unit() == Unit::Matrix { self.device.efficiency.compute } else { 1.0 };
        kernel.flops().as_f64() / (self.threads * per_core as f64 * efficiency)
    }

    fn memory_cycles(&self, bytes: f64) -> f64 {
        bytes / (self.device.memory.bandwidth.get() * self.device.efficiency.memory) * self.hertz
    }

    /// Cycles of each cache; each core has its own path to it.
    fn cache_cycles(&self, traffic: &[f64]) -> Vec<f64> {
        let level = |(cache, bytes): (&CacheLevel, &f64)| bytes / (cache.bytes_per_clk * self.threads);
        self.spec.caches.iter().zip(traffic).map(level).collect()
    }

    /// Pieces that threads can take of a kernel that streams.
    fn pieces(&self, kernel: &Kernel) -> f64 {
        let pieces = match *kernel {
            Kernel::Norm { rows, .. } | Kernel::Softmax { rows, .. } => rows,
            Kernel::Attention { .. } => {
                let shape = kernel.attention_shape().expect("attention has a shape");
                shape.batch * shape.heads * shape.queries.div_ceil(TASK.0 * self.register_rows)
            }
            Kernel::Embedding { tokens, .. } => tokens,
            _ => kernel.bytes().get().div_ceil(CHUNK),
        };
        pieces.max(1) as f64
    }

    /// Tasks of matrix products, and the bytes that leave each level upwards: L1, L2 …, memory.
    fn of_products(&self, products: &[MatrixShape], kernel: &Kernel) -> (f64, Vec<f64>) {
        let precision = kernel.precision();
        let (operand, result) = (bytes_of(precision), bytes_of(result_of(precision)));
        let mut pieces = 0;
        let mut traffic = vec![0.0; self.levels()];
        for shape in products {
            let (high, wide) = (TASK.0 * self.register_rows, TASK.1 * self.register_columns);
            pieces += shape.batch * shape.m.div_ceil(high) * shape.n.div_ceil(wide);
            for (level, bytes) in traffic.iter_mut().zip(self.traffic_of(shape, operand, result)) {
                *level += bytes;
            }
        }
        // Blocking never reads less than everything once.
        let last = self.levels() - 1;
        traffic[last] = traffic[last].max(kernel.bytes().as_f64());
        (pieces.max(1) as f64, traffic)
    }

    /// Bytes that leave each level upwards, for blocks of results that live in the level above: in
    /// registers, then in half of each cache (as large as all cores that share it may use).
    fn traffic_of(&self, shape: &MatrixShape, operand: f64, result: f64) -> Vec<f64> {
        let (m, n, k) = (shape.m as f64, shape.n as f64, shape.k as f64);
        let registers = (self.register_rows as f64, self.register_columns as f64);
        let square = |cache: &CacheLevel| {
            let side = (cache.capacity.as_f64() / 2.0 / PARTIAL).sqrt().floor().max(1.0);
            (side, side)
        };
        let blocks = std::iter::once(registers).chain(self.spec.caches.iter().map(square));
        let times = |extent: f64, block: f64| (extent / block).ceil();
        let bytes = blocks
            .map(|(high, wide)| (m * k * times(n, wide) + k * n * times(m, high)) * operand + m * n * result);
        bytes.map(|bytes| bytes * shape.batch as f64).collect()
    }
}

fn bytes_of(precision: Precision) -> f64 {
    precision.bits() as f64 / 8.0
}

/// The matrix products of a kernel that is nothing else.
fn products(kernel: &Kernel) -> Vec<MatrixShape> {
    let shapes: Vec<MatrixShape> = match *kernel {
        Kernel::Gemm { .. } => kernel.matrix_shape().into_iter().collect(),
        Kernel::GroupedGemm { groups, tokens, busiest, n, k, pass, .. } => {
            rows_of_groups(groups, tokens, busiest)
                .map(|rows| MatrixShape::of_pass(1, rows, n, k, pass))
                .collect()
        }
        _ => Vec::new(),
    };
    shapes.into_iter().filter(|shape| shape.operands() > 0 && shape.results() > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::roofline::Roofline;
    use crate::compute::support::round_device;
    use crate::compute::{Limiter, Pass};
    use crate::units::{Bandwidth, Bytes, Cycles, FlopRate, SimDuration};
    use proptest::prelude::*;

    /// 1 GHz, 10 cores of one 256-bit port: 10·2·8 = 160 flops a cycle; 100 GB/s is 100 B a cycle; L1 64
    /// and L2 32 B a cycle and core; fork and join 1,000 cycles, no launch.
    fn ten_cores() -> DeviceSpec {
        let mut device = round_device();
        device.name = "ten_cores".to_owned();
        device.launch = SimDuration::ZERO;
        device.matrix.clear();
        device.vector = [(Precision::F32, FlopRate::per_second(160e9))].into();
        device.memory.bandwidth = Bandwidth::per_second(100e9);
        let cache = |name: &str, capacity, bytes_per_clk| CacheLevel {
            name: name.to_owned(),
            capacity: Bytes(capacity),
            bytes_per_clk,
            shared_by: 1,
        };
        device.cpu = Some(CpuSpec {
            cores: 10,
            ports: 1,
            vector_bits: 256,
            fork_join: SimDuration::from_micros(1),
            caches: vec![cache("L1", 32 << 10, 64.0), cache("L2", 512 << 10, 32.0)],
        });
        device
    }

    fn gemm(m: u64, n: u64, k: u64) -> Kernel {
        Kernel::Gemm { batch: 1, m, n, k, precision: Precision::F32, pass: Pass::Forward }
    }

    /// axpy of 10⁷ elements: 120 MB take 1,200,000 cycles from memory and 375,000 through the ten L2;
    /// meanwhile 187,500 through the ten L1, and 125,000 for 20 Mflop. Fork and join 1,000.
    #[test]
    fn streaming_adds_up_the_levels_below_l1() {
        let axpy = Kernel::Elementwise {
            elements: 10_000_000,
            inputs: 2,
            outputs: 1,
            flops_per_element: 2,
            precision: Precision::F32,
        };
        let cost = CpuModel::default().cost(&axpy, &ten_cores());
        assert_eq!(cost.cycles, Cycles(1_000 + 1_200_000 + 375_000));
        assert_eq!(cost.limiter, Limiter::Memory);
    }

    /// 480×640 results in tasks of 48×64: 10·10 tasks for 10 cores. 2·480·640·4096 flops at 160 a cycle.
    #[test]
    fn a_large_product_is_bound_by_its_arithmetic() {
        let cost = CpuModel::default().cost(&gemm(480, 640, 4096), &ten_cores());
        assert_eq!(cost.limiter, Limiter::Compute);
        assert_eq!(cost.tiling.unwrap().pieces, 100);
        assert_eq!(cost.parts.compute, 2.0 * 480.0 * 640.0 * 4096.0 / 160.0);
    }

    /// 4800² results, k = 512. L1 holds blocks of √(16384/4) = 64², so L2 sends up 2·(4800·512·75)·4 B and
    /// the results; L2 holds √(262144/4) = 256², so the memory sends 2·(4800·512·19)·4 B and the results.
    #[test]
    fn blocks_of_results_fill_each_level() {
        let cost = CpuModel::default().cost(&gemm(4800, 4800, 512), &ten_cores());
        let (strip, results) = (4800.0 * 512.0, 4800.0 * 4800.0 * 4.0);
        assert_eq!(cost.bytes.as_f64(), 2.0 * strip * 19.0 * 4.0 + results);
        assert_eq!(cost.parts.memory, (2.0 * strip * 19.0 * 4.0 + results) / 100.0);
        // All of it is hidden by the arithmetic: 2·4800²·512/160 cycles.
        assert_eq!((cost.parts.compute, cost.parts.exposed), (strip * 4800.0 / 80.0, 0.0));
    }

    /// 11 tasks for 10 cores take two rounds: 20/11 of the balanced time.
    #[test]
    fn one_task_too_many_takes_another_round() {
        let cost = CpuModel::default().cost(&gemm(48, 704, 1024), &ten_cores());
        let balanced = 2.0 * 48.0 * 704.0 * 1024.0 / 160.0;
        assert!((cost.parts.compute / balanced - 20.0 / 11.0).abs() < 1e-9);
    }

    #[test]
    fn fewer_threads_take_longer() {
        let device = ten_cores();
        let cycles = |threads| CpuModel { threads }.cost(&gemm(960, 1280, 512), &device).parts.compute;
        assert_eq!(cycles(Some(5)), 2.0 * cycles(None));
        assert_eq!(cycles(Some(64)), cycles(None));
    }

    #[test]
    fn devices_without_cores_are_refused() {
        let refused = CpuModel::default().admits(&round_device(), Precision::F32).unwrap_err();
        assert!(refused.to_string().contains("no `cpu:` cores"), "{refused}");
    }

    proptest! {
        #[test]
        fn no_kernel_beats_the_roofline(m in 1..500u64, n in 1..500u64, k in 1..500u64, kind in 0..4u32) {
            let device = ten_cores();
            let (precision, pass) = (Precision::F32, Pass::InputGradient);
            let kernel = match kind {
                0 => gemm(m, n, k),
                1 => Kernel::GroupedGemm {
                    groups: 4, tokens: m, busiest: m.div_ceil(4), n, k, precision, pass: Pass::WeightGradient,
                },
                2 => Kernel::Softmax { rows: m, width: n, precision, pass },
                _ => Kernel::Attention {
                    batch: 2, heads: 4, kv_heads: 2, head_dim: 64, queries: m, keys: m + n, causal: true, pass,
                    precision,
                },
            };
            let roof = Roofline::default().cost(&kernel, &device);
            let cpu = CpuModel::default().cost(&kernel, &device);
            prop_assert!(roof.cycles <= cpu.cycles, "{}: {:?} {:?}", kernel, roof, cpu);
            prop_assert!(roof.bytes <= cpu.bytes);
        }
    }
}
