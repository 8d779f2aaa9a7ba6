//! FlashAttention: a CTA keeps a block of queries and works through its keys.
//!
//! Forward (Dao, "FlashAttention-2", 2023, algorithm 1; Shah et al., "FlashAttention-3", 2024), with
//! blocks of Br queries and Bc keys, heads of width d:
//!
//! ```text
//! CTAs  = batch·heads·⌈q/Br⌉              query heads that share a key head may share a CTA's rows
//! c_it  = 4·Br·Bc·d / (mma·η_a)           Q·Kᵀ and P·V for one block of keys
//! CTA i = prologue + ⌈keys it sees / Bc⌉·c_it     causal: block i sees keys up to its last query
//! T_sm  = max( longest CTA, mean CTA·⌈CTAs/S⌉ )
//! ```
//!
//! When decoding there are few CTAs: the keys are split over several, and a second kernel combines
//! their partial results (flash-decoding). Backward (algorithm 2): a CTA keeps a block of keys and
//! works through the queries that see it, five products instead of two; one kernel before sums dO∘O,
//! one after converts dQ from single precision.

use crate::compute::kernel::AttentionShape;
use crate::compute::tile::{Candidate, Gpu, div_ceil};
use crate::compute::{Kernel, KernelCost, Parts, Pass, Tiling};
use crate::hardware::Precision;
use crate::hardware::device::Tile;

/// Into how many parts the keys are split.
const SPLITS: [u64; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// What an `Attention` costs.
pub(super) fn cost(kernel: &Kernel, gpu: &Gpu) -> KernelCost {
    let Kernel::Attention { pass, precision, .. } = *kernel else {
        unreachable!("only attention comes here")
    };
    let shape = kernel.attention_shape().expect("attention has a shape");
    let call = Call { shape, precision, compulsory: kernel.bytes().as_f64() };
    let best = match pass {
        Pass::Forward => forward(&call, gpu),
        _ => backward(&call, gpu),
    };
    best.cost(kernel)
}

struct Call {
    shape: AttentionShape,
    precision: Precision,
    /// Compulsory traffic in bytes.
    compulsory: f64,
}

impl Call {
    fn element(&self) -> f64 {
        self.precision.bits() as f64 / 8.0
    }

    /// Cycles of one iteration that does `products` products of a block of `rows` and one of `keys`.
    fn iteration(&self, gpu: &Gpu, products: f64, rows: f64, keys: f64, efficiency: f64) -> f64 {
        let rate = gpu.matrix_rate(self.precision) * efficiency.min(gpu.device.efficiency.compute);
        2.0 * products * rows * keys * self.shape.head_dim as f64 / rate
    }
}

/// The fastest split of the keys; only kernels that leave SMs idle are split.
fn forward(call: &Call, gpu: &Gpu) -> Candidate {
    let whole = forward_split(call, gpu, 1);
    let blocks = call.shape.keys.div_ceil(u64::from(gpu.spec.attention.keys));
    if whole.tiling.pieces as f64 >= gpu.sms {
        return whole;
    }
    let splits = SPLITS.iter().filter(|split| **split > 1 && **split <= blocks);
    splits.map(|split| forward_split(call, gpu, *split)).fold(whole, Candidate::faster)
}

fn forward_split(call: &Call, gpu: &Gpu, split: u64) -> Candidate {
    let (shape, spec) = (&call.shape, &gpu.spec.attention);
    let (br, bc) = (f64::from(spec.rows), f64::from(spec.keys));
    let packed =
        if spec.packs_groups || shape.queries == 1 { shape.heads / shape.kv_heads.max(1) } else { 1 };
    let packed = packed.max(1);
    let rows = shape.queries * packed;
    let row_blocks = rows.div_ceil(u64::from(spec.rows));
    let heads = (shape.batch * shape.heads) as f64 / packed as f64;
    let ctas = heads * (row_blocks * split) as f64;

    let iteration = call.iteration(gpu, 2.0, br, bc, spec.efficiency);
    let seen = Blocks::of_keys(shape, packed, u64::from(spec.rows), u64::from(spec.keys));
    let share = 1.0 / split as f64;
    let mean = spec.prologue + (seen.mean * share).max(seen.mean.min(1.0)) * iteration;
    let longest = spec.prologue + (seen.longest * share).ceil() * iteration;
    let waves = div_ceil(ctas, gpu.sms);
    let compute = if ctas > 0.0 { longest.max(mean * waves) } else { 0.0 };

    // Query blocks of one key head read its keys and values again, unless the L2 keeps them.
    let keys_and_values = 2.0 * shape.key_elements() as f64 * call.element();
    let per_head = keys_and_values / (shape.batch * shape.kv_heads).max(1) as f64;
    let blocks_of_head = ctas / (shape.batch * shape.kv_heads).max(1) as f64;
    let heads_at_once = div_ceil(gpu.sms.min(ctas), blocks_of_head.max(1.0));
    let again = if heads_at_once * per_head <= gpu.l2() { 0.0 } else { blocks_of_head / split as f64 - 1.0 };
    let traffic = call.compulsory + again.max(0.0) * keys_and_values;

    let memory = gpu.memory_cycles(traffic);
    let through_l2 =
        ctas * (seen.mean * share * bc * 2.0 + 2.0 * br) * shape.head_dim as f64 * call.element();
    let cache = gpu.cache_cycles(through_l2);
    // Partial outputs in single precision are written and read once.
    let partial = if split > 1 { 2.0 * 4.0 * split as f64 * shape.query_elements() as f64 } else { 0.0 };
    let parts = Parts {
        launch: gpu.launch * if split > 1 { 2.0 } else { 1.0 },
        compute,
        memory,
        cache,
        exposed: spec.exposed * compute.max(cache).min(memory) + gpu.cache_cycles(partial),
    };
    Candidate { parts, traffic, tiling: tiling(gpu, ctas, split, waves) }
}

fn backward(call: &Call, gpu: &Gpu) -> Candidate {
    let (shape, spec) = (&call.shape, &gpu.spec.attention);
    // The roles are exchanged: rows of keys stay, blocks of queries pass by.
    let (br, bc) = (f64::from(spec.rows), f64::from(spec.keys));
    let key_blocks = shape.keys.div_ceil(u64::from(spec.rows)) as f64;
    let ctas = (shape.batch * shape.heads) as f64 * key_blocks;
    let iteration = call.iteration(gpu, 5.0, br, bc, spec.backward_efficiency);
    let seen = Blocks::of_queries(shape, u64::from(spec.rows), u64::from(spec.keys));
    let mean = spec.prologue + seen.mean * iteration;
    let longest = spec.prologue + seen.longest * iteration;
    let waves = div_ceil(ctas, gpu.sms);
    let compute = if ctas > 0.0 { longest.max(mean * waves) } else { 0.0 };

    // The first kernel reads O and dO again; dQ is summed in single precision in memory: written,
    // then read by the last kernel.
    let queries = shape.query_elements() as f64;
    let traffic = call.compulsory + 2.0 * queries * call.element() + 2.0 * 4.0 * queries;
    let memory = gpu.memory_cycles(traffic);
    let cache =
        gpu.cache_cycles(ctas * (seen.mean * bc * 3.0 + 4.0 * br) * shape.head_dim as f64 * call.element());
    let parts = Parts {
        launch: gpu.launch * 3.0,
        compute,
        memory,
        cache,
        exposed: spec.exposed * compute.max(cache).min(memory),
    };
    Candidate { parts, traffic, tiling: tiling(gpu, ctas, 1, waves) }
}

fn tiling(gpu: &Gpu, ctas: f64, split: u64, waves: f64) -> Tiling {
    let spec = &gpu.spec.attention;
    let tile = Tile { m: spec.rows, n: spec.keys, k: spec.keys, occupancy: 1 };
    Tiling { tile, pieces: ctas as u64, split, waves: waves as u64 }
}

/// How many blocks of one side each block of the other meets: causal blocks differ.
struct Blocks {
    mean: f64,
    longest: f64,
}

impl Blocks {
    /// Blocks of `keys` keys that blocks of `rows` rows see, when `packed` heads share the rows (row r
    /// is query r / packed).
    fn of_keys(shape: &AttentionShape, packed: u64, rows: u64, keys: u64) -> Blocks {
        let all_rows = shape.queries * packed;
        Blocks::count(all_rows.div_ceil(rows), |block| {
            let last_row = ((block + 1) * rows).min(all_rows);
            // The queries are the last positions: the first of them already sees keys − queries.
            let visible = (shape.keys + last_row.div_ceil(packed)).saturating_sub(shape.queries);
            if shape.causal { visible.min(shape.keys).div_ceil(keys) } else { shape.keys.div_ceil(keys) }
        })
    }

    /// Blocks of `queries` queries that see something of blocks of `rows` keys.
    fn of_queries(shape: &AttentionShape, rows: u64, queries: u64) -> Blocks {
        Blocks::count(shape.keys.div_ceil(rows), |block| {
            // Query i sees keys up to keys − queries + i, so those from `first` on see this block.
            let first = (block * rows + shape.queries).saturating_sub(shape.keys);
            let seeing = if shape.causal { shape.queries - first } else { shape.queries };
            seeing.div_ceil(queries)
        })
    }

    fn count(blocks: u64, met: impl Fn(u64) -> u64) -> Blocks {
        let (total, longest) =
            (0..blocks).map(met).fold((0, 0), |(sum, most), met| (sum + met, most.max(met)));
        Blocks { mean: total as f64 / blocks.max(1) as f64, longest: longest as f64 }
    }
}
