//! Fitting a device's few constants to measured kernels.
//!
//! The datasheet fixes what it can (units, clocks, sizes); what it cannot know (η_c, η_m, launch, how
//! fast the L2 really delivers …) is searched for so that predicted times come near measured ones. The
//! constants belong to the device and a family of kernels, never to a row: they must do for kernels
//! that the fit never saw, and its error there is what [`Fit`] reports.
//!
//! The search is Nelder and Mead's simplex ("A simplex method for function minimization", Computer
//! Journal 7, 1965) on the logarithms of the constants: deterministic, no derivatives, restarted from
//! its own result. What it minimises is the mean of |ln(predicted / measured)|, each row's share
//! bounded, so that a disturbed measurement counts no more than a bad prediction.

use crate::compute::simplex::minimise;
use crate::compute::{ComputeModel, Kernel};
use crate::hardware::DeviceSpec;
use crate::hardware::device::GpuSpec;
use crate::units::SimDuration;

/// Kernels run one after the other, and how long that took.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What was run.
    pub work: Sequence,
    /// How long it took.
    pub measured: SimDuration,
    /// Whether the fit must not see it.
    pub held_out: bool,
}

/// Kernels that one measured operation launches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// In order.
    pub kernels: Vec<Kernel>,
    /// Further launches of kernels too small to count otherwise.
    pub extra_launches: u64,
}

impl Sequence {
    /// One kernel, alone.
    pub fn one(kernel: Kernel) -> Self {
        Sequence { kernels: vec![kernel], extra_launches: 0 }
    }

    /// How long `model` says they take on `device`, one after the other.
    pub fn time(&self, model: &dyn ComputeModel, device: &DeviceSpec) -> SimDuration {
        let kernels = self.kernels.iter().map(|kernel| model.cost(kernel, device).time(device));
        kernels.sum::<SimDuration>() + device.launch * self.extra_launches
    }

    /// The family of constants that such a sequence can tell something about.
    fn family(&self) -> Family {
        let is = |test: fn(&Kernel) -> bool| self.kernels.iter().any(test);
        if is(|kernel| matches!(kernel, Kernel::Attention { .. })) {
            Family::Attention
        } else if is(|kernel| is_product(kernel) && kernel.precision().bits() < 16) {
            Family::NarrowGemm
        } else if is(is_product) {
            Family::Gemm
        } else {
            Family::Stream
        }
    }
}

fn is_product(kernel: &Kernel) -> bool {
    matches!(kernel, Kernel::Gemm { .. } | Kernel::GroupedGemm { .. })
}

/// Kernels that share constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    Stream,
    Gemm,
    NarrowGemm,
    Attention,
}

/// A fitted device.
#[derive(Debug, Clone)]
pub struct Fit {
    /// The device with its constants in place.
    pub device: DeviceSpec,
    /// The constants that were searched for, in the order of the search.
    pub constants: Vec<Fitted>,
    /// On the samples that the search saw.
    pub seen: FitError,
    /// On those that it did not.
    pub held_out: FitError,
}

/// A constant of a device's file.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// Where it stands in the file, as `gpu.fitted.exposed`.
    pub path: &'static str,
    /// Its value, in the unit of [`unit`](Self::unit).
    pub value: f64,
    /// `us`, or nothing for plain numbers.
    pub unit: &'static str,
}

impl Fit {
    /// The fitted constants as they stand in the device's file, nested by their paths.
    pub fn fragment(&self) -> String {
        let mut lines = String::new();
        let mut open: Vec<&str> = Vec::new();
        let mut constants: Vec<&Fitted> = self.constants.iter().collect();
        // Stable by parent, so that each block is opened once and keeps the order of the search.
        constants.sort_by_key(|constant| constant.path.rsplit_once('.').map_or("", |(parent, _)| parent));
        for constant in constants {
            let mut parents: Vec<&str> = constant.path.split('.').collect();
            let leaf = parents.pop().expect("a path has a last part");
            let common = open.iter().zip(&parents).take_while(|(a, b)| a == b).count();
            for (depth, parent) in parents.iter().enumerate().skip(common) {
                lines += &format!("{:indent$}{parent}:\n", "", indent = 2 * depth);
            }
            let value = format!("{} {}", significant(constant.value), constant.unit);
            lines += &format!("{:indent$}{leaf}: {}\n", "", value.trim_end(), indent = 2 * parents.len());
            open = parents;
        }
        lines
    }
}

/// Four significant digits: the data do not tell more.
fn significant(value: f64) -> String {
    let digits = 3 - value.abs().max(1e-12).log10().floor() as i32;
    let text = format!("{value:.places$}", places = digits.max(0) as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// How far predictions are from measurements, in percent of the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FitError {
    /// Samples compared.
    pub samples: usize,
    /// Median of the absolute errors.
    pub median: f64,
    /// Mean of the absolute errors.
    pub mean: f64,
    /// Median of the signed errors: above zero when predictions are too slow.
    pub bias: f64,
}

/// Fits the constants of `device` that `model` uses to those of `samples` that are not held out.
///
/// Families are fitted one after the other, because the later ones build on the constants of the
/// earlier: kernels bound by memory, then matrix products, those of
/// 8-bit operands, then attention. A family without samples
/// keeps the constants that the device came with.
pub fn fit(device: &DeviceSpec, model: &dyn ComputeModel, samples: &[Sample]) -> Fit {
    let mut device = device.clone();
    let mut constants = Vec::new();
    let has = |family| samples.iter().any(|sample| !sample.held_out && sample.work.family() == family);
    for family in [Family::Stream, Family::Gemm, Family::NarrowGemm, Family::Attention] {
        if !has(family) {
            continue;
        }
        let seen: Vec<&Sample> =
            samples.iter().filter(|sample| !sample.held_out && sample.work.family() == family).collect();
        let free = free_constants(family, &device, has(Family::Stream), &seen);
        search(&mut device, model, &free, &seen);
        constants.extend(free.iter().map(|constant| constant.read(&device)));
    }
    let error = |held_out| {
        FitError::of(
            samples
                .iter()
                .filter(|sample| sample.held_out == held_out)
                .map(|sample| (sample.measured.seconds(), sample.work.time(model, &device).seconds())),
        )
    };
    let (seen, held_out) = (error(false), error(true));
    Fit { device, constants, seen, held_out }
}

/// Rounds of the search, each begun anew around the last one's result.
const ROUNDS: usize = 4;
/// Evaluations of a round for each free constant.
const EVALUATIONS: usize = 60;
/// The most that one sample adds to the mean of |ln(predicted / measured)|.
const WORST: f64 = 0.5;

fn search(device: &mut DeviceSpec, model: &dyn ComputeModel, free: &[Constant], seen: &[&Sample]) {
    let start: Vec<f64> = free.iter().map(|constant| constant.begin(device).ln()).collect();
    let with = |point: &[f64]| {
        let mut tried = device.clone();
        for (constant, value) in free.iter().zip(point) {
            (constant.set)(&mut tried, value.exp().clamp(constant.least, constant.most));
        }
        tried
    };
    let distance = |point: &[f64]| {
        let tried = with(point);
        let of_sample = |sample: &&Sample| {
            let predicted = sample.work.time(model, &tried).seconds();
            (predicted / sample.measured.seconds()).ln().abs().min(WORST)
        };
        let outside: f64 = free.iter().zip(point).map(|(constant, value)| constant.outside(*value)).sum();
        seen.iter().map(of_sample).sum::<f64>() / seen.len() as f64 + outside
    };
    let mut best = start;
    for _ in 0..ROUNDS {
        best = minimise(&distance, &best, 0.3, EVALUATIONS * free.len());
    }
    *device = with(&best);
}

/// A constant that may be searched for.
struct Constant {
    path: &'static str,
    unit: &'static str,
    least: f64,
    most: f64,
    /// Where the search begins if the device has no value within the bounds.
    start: f64,
    get: fn(&DeviceSpec) -> f64,
    set: fn(&mut DeviceSpec, f64),
}

impl Constant {
    fn read(&self, device: &DeviceSpec) -> Fitted {
        Fitted { path: self.path, value: (self.get)(device), unit: self.unit }
    }

    fn begin(&self, device: &DeviceSpec) -> f64 {
        let value = (self.get)(device);
        if (self.least..=self.most).contains(&value) { value } else { self.start }
    }

    /// A slope back into the bounds, so that the simplex does not wander off where nothing changes.
    fn outside(&self, logarithm: f64) -> f64 {
        (logarithm - self.most.ln()).max(self.least.ln() - logarithm).max(0.0)
    }
}

fn free_constants(
    family: Family,
    device: &DeviceSpec,
    streams_measured: bool,
    seen: &[&Sample],
) -> Vec<Constant> {
    let gpu = device.gpu.is_some();
    let is_scalar = |kernel: &Kernel| matches!(kernel, Kernel::Scalar { .. });
    let scalar_too = seen.iter().any(|sample| sample.work.kernels.iter().any(is_scalar));
    match family {
        Family::Stream if gpu => vec![MEMORY, ACCESSES],
        Family::Stream => vec![MEMORY, LAUNCH],
        // Without kernels bound by memory alone, the loads of GEMMs tell η_m.
        Family::Gemm if gpu => {
            let memory = if streams_measured { GEMM_MEMORY } else { MEMORY };
            vec![LAUNCH, COMPUTE, THROTTLE, memory, L2_OF_SM, L2_SHARED, STORE, EXPOSED]
        }
        Family::NarrowGemm if gpu && scalar_too && !streams_measured => vec![NARROW_COMPUTE, ACCESSES],
        Family::NarrowGemm if gpu => vec![NARROW_COMPUTE],
        Family::Gemm | Family::NarrowGemm => vec![LAUNCH, COMPUTE, MEMORY],
        Family::Attention if gpu => {
            vec![ATTENTION_EFFICIENCY, ATTENTION_PROLOGUE, ATTENTION_EXPOSED, ROW_CYCLES]
        }
        Family::Attention => vec![COMPUTE],
    }
}

fn gpu(device: &DeviceSpec) -> &GpuSpec {
    device.gpu.as_ref().expect("constants of GPUs are searched for GPUs")
}

fn gpu_mut(device: &mut DeviceSpec) -> &mut GpuSpec {
    device.gpu.as_mut().expect("constants of GPUs are searched for GPUs")
}

const LAUNCH: Constant = Constant {
    path: "launch",
    unit: "us",
    least: 0.1,
    most: 100.0,
    start: 2.5,
    get: |device| device.launch.seconds() * 1e6,
    set: |device, micros| device.launch = SimDuration::from_picos((micros * 1e6).round() as u64),
};
const COMPUTE: Constant = Constant {
    path: "efficiency.compute",
    unit: "",
    least: 0.05,
    most: 1.0,
    start: 0.9,
    get: |device| device.efficiency.compute,
    set: |device, share| device.efficiency.compute = share,
};
const MEMORY: Constant = Constant {
    path: "efficiency.memory",
    unit: "",
    least: 0.05,
    most: 1.0,
    start: 0.9,
    get: |device| device.efficiency.memory,
    set: |device, share| device.efficiency.memory = share,
};
const GEMM_MEMORY: Constant = Constant {
    path: "gpu.fitted.gemm_memory",
    unit: "",
    least: 0.05,
    most: 1.0,
    start: 0.9,
    get: |device| gpu(device).fitted.gemm_memory,
    set: |device, share| gpu_mut(device).fitted.gemm_memory = share,
};
const NARROW_COMPUTE: Constant = Constant {
    path: "gpu.fitted.narrow_compute",
    unit: "",
    least: 0.05,
    most: 1.0,
    start: 0.9,
    get: |device| gpu(device).fitted.narrow_compute,
    set: |device, share| gpu_mut(device).fitted.narrow_compute = share,
};
const THROTTLE: Constant = Constant {
    path: "gpu.fitted.throttle",
    unit: "",
    least: 0.001,
    most: 1.0,
    start: 0.1,
    get: |device| gpu(device).fitted.throttle,
    set: |device, share| gpu_mut(device).fitted.throttle = share,
};
const L2_OF_SM: Constant = Constant {
    path: "gpu.l2_bytes_per_clk",
    unit: "",
    least: 8.0,
    most: 512.0,
    start: 64.0,
    get: |device| gpu(device).l2_bytes_per_clk,
    set: |device, rate| gpu_mut(device).l2_bytes_per_clk = rate,
};
const L2_SHARED: Constant = Constant {
    path: "gpu.fitted.l2_shared_bytes_per_clk",
    unit: "",
    least: 8.0,
    most: 512.0,
    start: 48.0,
    get: |device| gpu(device).fitted.l2_shared_bytes_per_clk.unwrap_or(0.0),
    set: |device, rate| gpu_mut(device).fitted.l2_shared_bytes_per_clk = Some(rate),
};
const STORE: Constant = Constant {
    path: "gpu.fitted.store_bytes_per_clk",
    unit: "",
    least: 4.0,
    most: 1024.0,
    start: 32.0,
    get: |device| gpu(device).fitted.store_bytes_per_clk.unwrap_or(0.0),
    set: |device, rate| gpu_mut(device).fitted.store_bytes_per_clk = Some(rate),
};
const EXPOSED: Constant = Constant {
    path: "gpu.fitted.exposed",
    unit: "",
    least: 0.01,
    most: 1.0,
    start: 0.1,
    get: |device| gpu(device).fitted.exposed,
    set: |device, share| gpu_mut(device).fitted.exposed = share,
};
const ACCESSES: Constant = Constant {
    path: "gpu.fitted.accesses_per_clk",
    unit: "",
    least: 0.25,
    most: 64.0,
    start: 4.0,
    get: |device| gpu(device).fitted.accesses_per_clk.unwrap_or(0.0),
    set: |device, rate| gpu_mut(device).fitted.accesses_per_clk = Some(rate),
};
const ROW_CYCLES: Constant = Constant {
    path: "gpu.fitted.row_cycles",
    unit: "",
    least: 1.0,
    most: 10_000.0,
    start: 500.0,
    get: |device| gpu(device).fitted.row_cycles,
    set: |device, cycles| gpu_mut(device).fitted.row_cycles = cycles,
};
const ATTENTION_EFFICIENCY: Constant = Constant {
    path: "gpu.attention.efficiency",
    unit: "",
    least: 0.05,
    most: 1.0,
    start: 0.6,
    get: |device| gpu(device).attention.efficiency,
    set: |device, share| gpu_mut(device).attention.efficiency = share,
};
const ATTENTION_PROLOGUE: Constant = Constant {
    path: "gpu.attention.prologue",
    unit: "",
    least: 1.0,
    most: 100_000.0,
    start: 1000.0,
    get: |device| gpu(device).attention.prologue,
    set: |device, cycles| gpu_mut(device).attention.prologue = cycles,
};
const ATTENTION_EXPOSED: Constant = Constant {
    path: "gpu.attention.exposed",
    unit: "",
    least: 0.01,
    most: 1.0,
    start: 0.1,
    get: |device| gpu(device).attention.exposed,
    set: |device, share| gpu_mut(device).attention.exposed = share,
};

impl FitError {
    /// Of pairs (measured, predicted) in one unit.
    pub fn of(pairs: impl IntoIterator<Item = (f64, f64)>) -> FitError {
        let errors = pairs.into_iter().map(|(measured, predicted)| 100.0 * (predicted / measured - 1.0));
        let signed: Vec<f64> = errors.collect();
        let absolute: Vec<f64> = signed.iter().map(|error| error.abs()).collect();
        let mean = absolute.iter().sum::<f64>() / absolute.len().max(1) as f64;
        FitError { samples: signed.len(), median: median(absolute), mean, bias: median(signed) }
    }
}

/// The middle value, or the mean of the two middle ones; 0 of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::support::{fitted_a100, ideal_a100};
    use crate::compute::{ComputeSpec, Pass};
    use crate::hardware::Precision;

    fn products() -> impl Iterator<Item = Kernel> {
        const SIZES: [u64; 6] = [16, 64, 256, 1024, 4096, 8192];
        let shapes = SIZES.iter().flat_map(|m| SIZES.iter().map(move |n| (*m, *n)));
        shapes.flat_map(|(m, n)| [128, 1024, 8192].map(|k| (m, n, k))).map(|(m, n, k)| Kernel::Gemm {
            batch: 1,
            m,
            n,
            k,
            precision: Precision::Bf16,
            pass: Pass::Forward,
        })
    }

    /// "Measurements" are the predictions of a device with other constants: the fit must find constants
    /// that do as well, also on the third of the shapes that it did not see.
    #[test]
    fn a_fit_recovers_what_made_its_measurements() {
        let model = ComputeSpec::from_name("tile").unwrap();
        let truth = fitted_a100();
        let samples: Vec<Sample> = products()
            .enumerate()
            .map(|(index, kernel)| Sample {
                measured: model.cost(&kernel, &truth).time(&truth),
                work: Sequence::one(kernel),
                held_out: index % 3 == 0,
            })
            .collect();
        let mut start = ideal_a100();
        start.launch = SimDuration::from_micros(5);
        start.gpu.as_mut().unwrap().tiles = truth.gpu.as_ref().unwrap().tiles.clone();
        let fit = fit(&start, &*model, &samples);
        assert_eq!((fit.seen.samples, fit.held_out.samples), (72, 36));
        assert!(fit.seen.median < 2.0 && fit.held_out.median < 2.0, "{:?} {:?}", fit.seen, fit.held_out);
        // The launch and the L2's latencies can stand for each other a little.
        assert!((fit.device.launch.seconds() * 1e6 - 2.6).abs() < 0.2, "{}", fit.device.launch);
        let again = super::fit(&start, &*model, &samples);
        assert_eq!(again.device, fit.device);
    }

    #[test]
    fn a_family_without_samples_keeps_its_constants() {
        let model = ComputeSpec::from_name("tile").unwrap();
        let device = fitted_a100();
        let kernel = Kernel::Copy { bytes: crate::units::Bytes(1 << 30) };
        let measured = SimDuration::from_micros(1_500);
        let fit = fit(&device, &*model, &[Sample { work: Sequence::one(kernel), measured, held_out: false }]);
        // 2 GiB in 1.5 ms less the launch.
        let share = 2.0 * f64::from(1 << 30) / (1.5e-3 - 2.6e-6) / 2039e9;
        assert!((fit.device.efficiency.memory - share).abs() < 1e-3, "{}", fit.device.efficiency.memory);
        assert_eq!(fit.device.efficiency.compute, device.efficiency.compute);
        assert_eq!(fit.device.gpu.unwrap().attention, device.gpu.unwrap().attention);
    }

    #[test]
    fn a_fragment_nests_the_constants_by_their_paths() {
        let constant = |path, value, unit| Fitted { path, value, unit };
        let fit = Fit {
            device: ideal_a100(),
            constants: vec![
                constant("launch", 2.57826, "us"),
                constant("gpu.l2_bytes_per_clk", 97.3965, ""),
                constant("gpu.fitted.exposed", 0.18444, ""),
                constant("efficiency.compute", 1.0, ""),
                constant("gpu.fitted.row_cycles", 1146.39, ""),
            ],
            seen: FitError::default(),
            held_out: FitError::default(),
        };
        let expected = "launch: 2.578 us\nefficiency:\n  compute: 1\ngpu:\n  l2_bytes_per_clk: 97.4\n  \
                        fitted:\n    exposed: 0.1844\n    row_cycles: 1146\n";
        assert_eq!(fit.fragment(), expected);
    }
}
