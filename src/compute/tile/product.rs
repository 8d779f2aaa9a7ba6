//! Matrix products in tiles: waves, the L2's share, raster groups, sums split over CTAs.
//!
//! For a tile BM×BN×BK of which `occ` fit an SM, a sum split into `s` and S SMs:
//!
//! ```text
//! CTAs  = ⌈M/BM⌉·⌈N/BN⌉·batch·s          n = ⌈CTAs / S⌉ on the busiest SM, r = min(n, occ) at a time
//! it    = ⌈⌈K/s⌉ / BK⌉                   iterations of a CTA
//! c_it  = max( 2·BM·BN·BK / (mma·η_c), (BM + BN)·BK·w / l2_bytes_per_clk )
//! T_sm  = prologue + ⌈n/r⌉·( r·(it·c_it + BM·BN·w / store_bytes_per_clk) + epilogue )
//! cache = CTAs·it·(BM + BN)·BK·w / (l2_shared_bytes_per_clk·S)
//! memory: each wave of CTAs reads g·BM rows and as many columns as its tiles then span (g: raster group)
//! ```
//!
//! Split sums end with a second kernel that adds the partial results, 2·s·M·N·4 bytes through the L2.
//! The library is taken to choose the fastest tile and split it has.
//!
//! The form is that of NVIDIA's "Matrix multiplication background user's guide" (tile and wave
//! quantisation) and of CUTLASS's documentation (efficient GEMM: threadblock rasterisation, split-K).

use crate::compute::kernel::{self, MatrixShape, rows_of_groups};
use crate::compute::tile::{Candidate, Gpu, div_ceil};
use crate::compute::{Kernel, KernelCost, Parts, Tiling};
use crate::hardware::Precision;
use crate::hardware::device::Tile;

/// Into how many parts a library splits sums.
const SPLITS: [u64; 10] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32];
/// A split sum keeps at least this depth per part, or it would be all prologue.
const LEAST_DEPTH: u64 = 128;

/// What a `Gemm` or `GroupedGemm` costs with the fastest tile and split.
pub(super) fn cost(kernel: &Kernel, gpu: &Gpu) -> KernelCost {
    let work = Work::of(kernel, gpu);
    let deepest = work.products.iter().map(|(shape, _)| shape.k).max().unwrap_or(0);
    let ways = gpu.spec.tiles.iter().flat_map(|tile| {
        let splits = SPLITS.iter().filter(|split| **split == 1 || deepest / **split >= LEAST_DEPTH);
        splits.map(|split| run(&work, gpu, *tile, *split))
    });
    let best = ways.reduce(Candidate::faster);
    best.unwrap_or_else(|| panic!("{} lists no GEMM tiles", gpu.device.name)).cost(kernel)
}

/// A kernel as products with their multiplicity, and what moving and multiplying an element costs.
struct Work {
    products: Vec<(MatrixShape, u64)>,
    precision: Precision,
    /// Bytes of an operand's element.
    operand: f64,
    /// Bytes of a result's element.
    result: f64,
    /// Flops per cycle and SM at η_c.
    rate: f64,
    /// Compulsory traffic in bytes.
    compulsory: f64,
}

impl Work {
    fn of(kernel: &Kernel, gpu: &Gpu) -> Work {
        let precision = kernel.precision();
        let narrow = if precision.bits() < 16 { gpu.fitted.narrow_compute } else { 1.0 };
        Work {
            products: products(kernel),
            precision,
            operand: precision.bits() as f64 / 8.0,
            result: kernel::result_of(precision).bits() as f64 / 8.0,
            rate: gpu.matrix_rate(precision) * gpu.device.efficiency.compute * narrow,
            compulsory: kernel.bytes().as_f64(),
        }
    }
}

/// The distinct products of a kernel, each with how many of it there are; empty groups have none.
fn products(kernel: &Kernel) -> Vec<(MatrixShape, u64)> {
    let mut products: Vec<(MatrixShape, u64)> = Vec::new();
    match *kernel {
        Kernel::Gemm { batch, m, n, k, pass, .. } => {
            products.push((MatrixShape::of_pass(1, m, n, k, pass), batch));
        }
        Kernel::GroupedGemm { groups, tokens, busiest, n, k, pass, .. } => {
            for rows in rows_of_groups(groups, tokens, busiest).filter(|rows| *rows > 0) {
                let shape = MatrixShape::of_pass(1, rows, n, k, pass);
                match products.last_mut() {
                    Some((last, count)) if *last == shape => *count += 1,
                    _ => products.push((shape, 1)),
                }
            }
        }
        _ => unreachable!("only matrix products come here"),
    }
    products.retain(|(shape, count)| *count > 0 && shape.m > 0 && shape.n > 0 && shape.k > 0);
    products
}

/// The kernel run with one tile and split.
fn run(work: &Work, gpu: &Gpu, tile: Tile, split: u64) -> Candidate {
    let sum = Pieces::of(work, gpu, tile, split);
    let per_sm = div_ceil(sum.ctas, gpu.sms);
    let resident = per_sm.min(f64::from(tile.occupancy)).max(1.0);
    let rounds = div_ceil(per_sm, resident);

    let mean = if sum.ctas > 0.0 { sum.cycles / sum.ctas } else { 0.0 };
    let busiest = (rounds * resident * mean).max(sum.longest) + rounds * gpu.spec.epilogue.0 as f64;
    let prologue = gpu.spec.prologue.0 as f64;
    let compute = if sum.ctas > 0.0 { gpu.throttled(prologue + busiest) } else { 0.0 };

    let traffic = traffic(work, gpu, tile, split, resident).max(work.compulsory);
    let memory = gpu.memory_cycles(traffic) / gpu.fitted.gemm_memory;
    let cache = gpu.cache_cycles(sum.operand_bytes);

    let partial = if split > 1 { 2.0 * split as f64 * sum.results * 4.0 } else { 0.0 };
    let launches = if split > 1 { 2.0 } else { 1.0 };
    let parts = Parts {
        launch: gpu.launch * launches,
        compute,
        memory,
        cache,
        exposed: gpu.fitted.exposed * compute.max(cache).min(memory) + gpu.cache_cycles(partial),
    };
    let tiling = Tiling { tile, pieces: sum.ctas as u64, split, waves: rounds as u64 };
    Candidate { parts, traffic, tiling }
}

/// Sums over all CTAs of a kernel.
#[derive(Default)]
struct Pieces {
    ctas: f64,
    /// SM cycles of all of them.
    cycles: f64,
    /// SM cycles of the longest.
    longest: f64,
    /// Bytes they read through the L2.
    operand_bytes: f64,
    /// Elements of the results.
    results: f64,
}

impl Pieces {
    fn of(work: &Work, gpu: &Gpu, tile: Tile, split: u64) -> Pieces {
        let (bm, bn) = (f64::from(tile.m), f64::from(tile.n));
        // The same bytes an iteration whatever the format.
        let bk = f64::from(tile.k) * 16.0 / work.precision.bits() as f64;
        let loaded = (bm + bn) * bk * work.operand;
        let iteration = (2.0 * bm * bn * bk / work.rate).max(loaded / gpu.spec.l2_bytes_per_clk);
        let store = gpu.fitted.store_bytes_per_clk.map_or(0.0, |rate| bm * bn * work.result / rate);

        let mut sum = Pieces::default();
        for (shape, count) in &work.products {
            let tiles = div_ceil(shape.m as f64, bm) * div_ceil(shape.n as f64, bn) * *count as f64;
            let ctas = tiles * split as f64;
            let iterations = div_ceil(shape.k.div_ceil(split) as f64, bk);
            let cycles = iterations * iteration + store;
            sum.ctas += ctas;
            sum.cycles += ctas * cycles;
            sum.longest = sum.longest.max(cycles);
            sum.operand_bytes += ctas * iterations * loaded;
            sum.results += (shape.m * shape.n * count) as f64;
        }
        sum
    }
}

/// Bytes from and to memory: a wave of tiles reads the rows and columns that it spans, unless the
/// operands of a product stay in the L2; results are written once.
fn traffic(work: &Work, gpu: &Gpu, tile: Tile, split: u64, resident: f64) -> f64 {
    let (bm, bn) = (f64::from(tile.m), f64::from(tile.n));
    let at_once = (gpu.sms * resident / split as f64).max(1.0);
    let of_product = |shape: &MatrixShape| {
        let (m, n, k) = (shape.m as f64, shape.n as f64, shape.k as f64);
        let (once, written) = ((m * k + k * n) * work.operand, m * n * work.result);
        if once <= gpu.l2() {
            return once + written;
        }
        let (rows, columns) = (div_ceil(m, bm), div_ceil(n, bn));
        let tiles = rows * columns;
        let wave = at_once.min(tiles);
        let high = f64::from(gpu.spec.raster_group).min(rows);
        let wide = div_ceil(wave, high).min(columns);
        let per_wave = ((high * bm).min(m) + (wide * bn).min(n)) * k * work.operand;
        once.max(tiles / wave * per_wave) + written
    };
    work.products.iter().map(|(shape, count)| of_product(shape) * *count as f64).sum()
}
