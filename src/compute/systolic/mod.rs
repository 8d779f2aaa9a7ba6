//! Systolic arrays: TPUs, other tensor engines, overlays on FPGAs.
//!
//! A product is cut into *folds*, each of which fills the array once; a fold lasts a number of cycles
//! that the array's geometry dictates exactly ([`folds`], proved against an array that is stepped cycle
//! by cycle), and its operands and results share one path to the memory ([`memory`]). Several arrays
//! work side by side on other products, other columns or other rows; the fastest way to deal them is
//! taken.
//!
//! Attention is its two (backward: five) products with the scores kept on chip. Everything else is the
//! vector units' and the memory's, as in the [roofline].

pub mod folds;
pub mod memory;
#[cfg(test)]
mod stepped;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::compute::kernel::{result_of, rows_of_groups};
use crate::compute::packed;
use crate::compute::roofline::{self, Roofline};
use crate::compute::systolic::folds::{Array, Beside, Folds};
use crate::compute::systolic::memory::{Buffers, Elements, Plan};
use crate::compute::{ComputeModel, Kernel, KernelCost, MatrixShape, Parts, Pass, Tiling, Unsuited};
use crate::hardware::device::{Dataflow, SystolicSpec, Tile};
use crate::hardware::{DeviceSpec, Precision};
use crate::units::Bytes;

/// The systolic model.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SystolicModel {
    /// Another dataflow than the device's own, to compare them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataflow: Option<Dataflow>,
}

impl ComputeModel for SystolicModel {
    fn cost(&self, kernel: &Kernel, device: &DeviceSpec) -> KernelCost {
        let engine = Engine::of(device, self.dataflow);
        match *kernel {
            Kernel::Gemm { .. } | Kernel::GroupedGemm { .. } => engine.products(kernel),
            Kernel::Attention { .. } => engine.attention(kernel),
            Kernel::PackedGemm { .. } => packed::cost(self, kernel, device),
            _ => Roofline::default().cost(kernel, device),
        }
    }

    fn admits(&self, device: &DeviceSpec, precision: Precision) -> Result<(), Unsuited> {
        if device.systolic.is_none() {
            return Err(Unsuited {
                why: format!(
                    "{} is a {} whose file describes no `systolic:` arrays",
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

/// A device seen as systolic arrays.
struct Engine<'a> {
    device: &'a DeviceSpec,
    spec: &'a SystolicSpec,
    dataflow: Dataflow,
    /// Bytes per cycle of the memory at η_m.
    bandwidth: f64,
}

/// What a product keeps its device busy with, in cycles.
#[derive(Debug, Clone, Copy, Default)]
struct Busy {
    compute: f64,
    memory: f64,
    /// Both together, as far as they overlap.
    total: f64,
    bytes: f64,
    folds: u64,
}

/// Into how many panels a product is cut at most.
const MOST_PANELS: u64 = 64;

impl Busy {
    fn times(self, count: u64) -> Busy {
        let times = count as f64;
        Busy {
            compute: self.compute * times,
            memory: self.memory * times,
            total: self.total * times,
            bytes: self.bytes * times,
            folds: self.folds * count,
        }
    }

    fn and(self, other: Busy) -> Busy {
        Busy {
            compute: self.compute + other.compute,
            memory: self.memory + other.memory,
            total: self.total + other.total,
            bytes: self.bytes + other.bytes,
            folds: self.folds + other.folds,
        }
    }
}

impl<'a> Engine<'a> {
    fn of(device: &'a DeviceSpec, dataflow: Option<Dataflow>) -> Self {
        let spec = device.systolic.as_ref().unwrap_or_else(|| {
            panic!("{} has no `systolic:` for the systolic model: `admits` was not asked", device.name)
        });
        let bandwidth =
            device.memory.bandwidth.get() * device.efficiency.memory / device.clock.hertz() as f64;
        Engine { device, spec, dataflow: dataflow.unwrap_or(spec.dataflow), bandwidth }
    }

    /// A `Gemm` or `GroupedGemm`; groups follow one another.
    fn products(&self, kernel: &Kernel) -> KernelCost {
        let precision = kernel.precision();
        let busy = match *kernel {
            Kernel::Gemm { .. } => {
                self.product(kernel.matrix_shape().expect("a GEMM has a shape"), precision)
            }
            Kernel::GroupedGemm { groups, tokens, busiest, n, k, pass, .. } => {
                let shapes = rows_of_groups(groups, tokens, busiest)
                    .filter(|rows| *rows > 0)
                    .map(|rows| MatrixShape::of_pass(1, rows, n, k, pass));
                shapes.map(|shape| self.product(shape, precision)).fold(Busy::default(), Busy::and)
            }
            _ => unreachable!("only matrix products come here"),
        };
        self.cost(kernel, busy, 0.0)
    }

    /// Scores and their products with V (backward: dV, dP, dQ, dK and the scores again), without what
    /// the mask hides; softmax on the vector units meanwhile.
    fn attention(&self, kernel: &Kernel) -> KernelCost {
        let Kernel::Attention { pass, precision, .. } = *kernel else {
            unreachable!("only attention comes here")
        };
        let shape = kernel.attention_shape().expect("attention has a shape");
        let batch = shape.batch * shape.heads;
        let (queries, keys, width) = (shape.queries, shape.keys, shape.head_dim);
        let scores = MatrixShape { batch, m: queries, n: keys, k: width };
        let outputs = MatrixShape { batch, m: queries, n: width, k: keys };
        let of_keys = MatrixShape { batch, m: keys, n: width, k: queries };
        let products: &[MatrixShape] = match pass {
            Pass::Forward => &[scores, outputs],
            _ => &[scores, scores, outputs, of_keys, of_keys],
        };
        let visible = shape.pairs() as f64 / (queries * keys).max(1) as f64;
        let cycles = products.iter().map(|product| self.product(*product, precision).compute);
        let compute = cycles.sum::<f64>() * visible;
        let bytes = kernel.bytes().as_f64();
        let memory = bytes / self.bandwidth;
        let pairs = batch as f64 * shape.pairs() as f64;
        let softmax = 5.0 * pairs * self.cycles_per_vector_flop(precision);
        let busy = Busy { compute, memory, total: compute.max(memory).max(softmax), bytes, folds: 0 };
        self.cost(kernel, busy, softmax)
    }

    fn cycles_per_vector_flop(&self, precision: Precision) -> f64 {
        let peak = self.device.elementwise_peak(precision);
        peak.map_or(0.0, |peak| self.device.clock.hertz() as f64 / peak.get())
    }

    /// The fastest way to deal a product to the arrays.
    fn product(&self, shape: MatrixShape, precision: Precision) -> Busy {
        if shape.batch == 0 || shape.m == 0 || shape.n == 0 || shape.k == 0 {
            return Busy::default();
        }
        let ways = deals(u64::from(self.spec.arrays)).flat_map(|deal| {
            let most = self.moving(&shape).min(MOST_PANELS);
            let panels =
                std::iter::successors(Some(1), |panels| Some(2 * panels)).take_while(move |n| *n <= most);
            panels.map(move |panels| self.in_panels(shape, precision, deal, panels))
        });
        ways.reduce(|best, next| if next.total < best.total { next } else { best }).expect("at least one way")
    }

    /// The extent of what moves past the cells (or, where results stay, of the rows).
    fn moving(&self, shape: &MatrixShape) -> u64 {
        match self.dataflow {
            Dataflow::OutputStationary | Dataflow::WeightStationary => shape.m,
            Dataflow::InputStationary => shape.n,
        }
    }

    /// A product cut into panels that follow one another, so that a panel's operand or partial sums
    /// may fit on chip; what stays is then loaded for each panel.
    fn in_panels(&self, shape: MatrixShape, precision: Precision, deal: Deal, panels: u64) -> Busy {
        let extent = self.moving(&shape);
        let size = extent.div_ceil(panels);
        let panel = |extent: u64| match self.dataflow {
            Dataflow::OutputStationary | Dataflow::WeightStationary => MatrixShape { m: extent, ..shape },
            Dataflow::InputStationary => MatrixShape { n: extent, ..shape },
        };
        let (whole, rest) = (extent / size, extent % size);
        let busy = self.dealt(panel(size), precision, deal).times(whole);
        if rest == 0 { busy } else { busy.and(self.dealt(panel(rest), precision, deal)) }
    }

    /// A product with its arrays dealt so; products of a batch that do not run at once follow.
    fn dealt(&self, shape: MatrixShape, precision: Precision, deal: Deal) -> Busy {
        let array = Array {
            rows: u64::from(self.spec.rows),
            columns: u64::from(self.spec.columns),
            dataflow: self.dataflow,
            preload_overlap: self.spec.preload_overlap,
        };
        let folds =
            Folds::of(&array, deal.beside, shape.m, shape.n, shape.k).slowed(self.slowness(precision));
        let at_once = deal.products.min(shape.batch);
        let buffers = Buffers::of(self.spec, self.dataflow, at_once);
        let elements = Elements {
            operand: precision.bits() as f64 / 8.0,
            result: result_of(precision).bits() as f64 / 8.0,
        };
        let run = Plan::new(folds, self.dataflow, buffers, elements, self.bandwidth / at_once as f64).run();
        let rounds = shape.batch.div_ceil(at_once) as f64;
        let bytes = (run.loaded + run.written) * shape.batch as f64;
        Busy {
            compute: folds.cycles() as f64 * rounds,
            memory: bytes / self.bandwidth,
            total: run.total as f64 * rounds,
            bytes,
            folds: folds.count() * shape.batch,
        }
    }

    /// How many times longer than one cycle a cell takes for a product of `precision`, η_c included.
    fn slowness(&self, precision: Precision) -> f64 {
        let peak = |precision| self.device.peak(precision).map_or(0.0, |peak| peak.get());
        assert!(peak(precision) > 0.0, "{} has no peak rate for {precision}", self.device.name);
        peak(self.spec.precision) / peak(precision) / self.device.efficiency.compute
    }

    fn cost(&self, kernel: &Kernel, busy: Busy, softmax: f64) -> KernelCost {
        // The datasheet's peak may be rounded below what the cells can do: it stays the bound.
        let compute = busy.compute.max(roofline::compute_cycles(kernel, self.device)).max(softmax);
        let bytes = busy.bytes.max(kernel.bytes().as_f64());
        let memory = busy.memory.max(bytes / self.bandwidth);
        let parts = Parts {
            launch: roofline::launch_cycles(self.device),
            compute,
            memory,
            cache: 0.0,
            exposed: (busy.total - compute.max(memory)).max(0.0),
        };
        let tile = Tile { m: self.spec.rows, n: self.spec.columns, k: self.spec.rows, occupancy: 1 };
        let waves = busy.folds.div_ceil(u64::from(self.spec.arrays));
        let tiling = Tiling { tile, pieces: busy.folds, split: 1, waves };
        KernelCost { tiling: Some(tiling), ..roofline::cost_of(kernel, Bytes::from_f64(bytes), parts) }
    }
}

/// How a device's arrays are dealt out.
#[derive(Debug, Clone, Copy)]
struct Deal {
    /// Products of a batch at a time.
    products: u64,
    beside: Beside,
}

/// The ways to split `arrays` over products, columns and the rest.
fn deals(arrays: u64) -> impl Iterator<Item = Deal> {
    let divisors = |of: u64| (1..=of).filter(move |divisor| of.is_multiple_of(*divisor));
    divisors(arrays).flat_map(move |products| {
        let each = arrays / products;
        divisors(each)
            .map(move |columns| Deal { products, beside: Beside { columns, others: each / columns } })
    })
}
