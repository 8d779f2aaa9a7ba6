//! Measured kernels, looked up.
//!
//! A kernel that was measured takes the time that was measured; one whose every size lies between
//! measured ones is interpolated linearly along each axis, from the corners of the box around it
//! (multilinear interpolation). Nothing is extrapolated: a kernel with a size beyond the table, or with
//! an unmeasured corner, is costed by the [roofline] and marked
//! [`Limiter::Outside`], so that whoever reports can say so.

use serde::{Deserialize, Serialize};

use crate::compute::roofline::Roofline;
use crate::compute::{ComputeModel, Kernel, KernelCost, Limiter, Parts, Pass};
use crate::hardware::{DeviceSpec, Precision};
use crate::units::{Bytes, Flops, SimDuration};

/// The table model.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Table {
    /// What was measured, in any order.
    pub measurements: Vec<Measurement>,
}

/// A kernel that was timed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// The device's name or an alias of it.
    pub device: String,
    /// What was run.
    pub kernel: Kernel,
    /// How long it took.
    pub time: SimDuration,
}

impl ComputeModel for Table {
    fn cost(&self, kernel: &Kernel, device: &DeviceSpec) -> KernelCost {
        let bound = Roofline::default().cost(kernel, device);
        match self.seconds(kernel, device) {
            Some(seconds) => {
                let cycles = seconds * device.clock.hertz() as f64;
                let cycles = crate::compute::roofline::whole(cycles);
                // A measurement does not say what it waited for; the roofline says what it could not avoid.
                let parts = Parts { exposed: cycles.0 as f64, ..Parts::default() };
                KernelCost { cycles, parts, ..bound }
            }
            None => KernelCost { limiter: Limiter::Outside, ..bound },
        }
    }
}

impl Table {
    /// Measured or interpolated seconds, or nothing outside of what was measured.
    fn seconds(&self, kernel: &Kernel, device: &DeviceSpec) -> Option<f64> {
        let (kind, at) = Kind::of(kernel);
        let of_kind = |measured: &&Measurement| device.is_called(&measured.device);
        let points: Vec<(Vec<u64>, f64)> = self
            .measurements
            .iter()
            .filter(of_kind)
            .filter_map(|measured| {
                let (other, sizes) = Kind::of(&measured.kernel);
                (other == kind).then(|| (sizes, measured.time.seconds()))
            })
            .collect();
        let spans: Option<Vec<Span>> =
            at.iter().enumerate().map(|(axis, value)| Span::around(*value, axis, &points)).collect();
        interpolate(&spans?, &mut Vec::new(), &points)
    }
}

/// The two measured sizes around one, and how far it is from the first to the second.
struct Span {
    low: u64,
    high: u64,
    share: f64,
}

impl Span {
    fn around(value: u64, axis: usize, points: &[(Vec<u64>, f64)]) -> Option<Span> {
        let along = || points.iter().map(|(sizes, _)| sizes[axis]);
        let low = along().filter(|size| *size <= value).max()?;
        let high = along().filter(|size| *size >= value).min()?;
        let share = if high == low { 0.0 } else { (value - low) as f64 / (high - low) as f64 };
        Some(Span { low, high, share })
    }
}

/// The mean of the corners, each weighted by how near it is; nothing if one of them is missing.
fn interpolate(spans: &[Span], corner: &mut Vec<u64>, points: &[(Vec<u64>, f64)]) -> Option<f64> {
    let Some(span) = spans.get(corner.len()) else {
        let times: Vec<f64> =
            points.iter().filter(|(sizes, _)| sizes == corner).map(|(_, time)| *time).collect();
        // Measured twice: the mean.
        return (!times.is_empty()).then(|| times.iter().sum::<f64>() / times.len() as f64);
    };
    let mut side = |size: u64| {
        corner.push(size);
        let seconds = interpolate(spans, corner, points);
        corner.pop();
        seconds
    };
    let low = side(span.low)?;
    if span.share == 0.0 {
        return Some(low);
    }
    Some(low + span.share * (side(span.high)? - low))
}

/// What two kernels have in common when only their sizes differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    name: &'static str,
    precision: Precision,
    pass: Pass,
    /// What else tells kernels of one name apart: the mask, the target's format.
    variant: u64,
}

impl Kind {
    /// The kind of a kernel, and its sizes in a fixed order.
    fn of(kernel: &Kernel) -> (Kind, Vec<u64>) {
        let (pass, variant, sizes) = match *kernel {
            Kernel::Gemm { batch, m, n, k, pass, .. } => (pass, 0, vec![batch, m, n, k]),
            Kernel::GroupedGemm { groups, tokens, busiest, n, k, pass, .. } => {
                (pass, 0, vec![groups, tokens, busiest, n, k])
            }
            Kernel::PackedGemm { m, n, k, weights, unpack, pattern, .. } => {
                let (kept, of) = pattern.unwrap_or((0, 0));
                let variant = (u64::from(unpack) << 48) | (u64::from(kept) << 24) | u64::from(of);
                (Pass::Forward, variant, vec![m, n, k, weights.get()])
            }
            Kernel::Attention { batch, heads, kv_heads, head_dim, queries, keys, causal, pass, .. } => {
                (pass, u64::from(causal), vec![batch, heads, kv_heads, head_dim, queries, keys])
            }
            Kernel::Norm { rows, width, pass, .. } | Kernel::Softmax { rows, width, pass, .. } => {
                (pass, 0, vec![rows, width])
            }
            Kernel::Embedding { tokens, width, pass, .. } => (pass, 0, vec![tokens, width]),
            Kernel::Elementwise { elements, inputs, outputs, flops_per_element, .. } => {
                let variant =
                    (u64::from(inputs) << 48) | (u64::from(outputs) << 32) | u64::from(flops_per_element);
                (Pass::Forward, variant, vec![elements])
            }
            Kernel::Scalar { elements, inputs, outputs, accesses, .. } => {
                let variant = (u64::from(inputs) << 48) | (u64::from(outputs) << 32) | u64::from(accesses);
                (Pass::Forward, variant, vec![elements])
            }
            Kernel::Optimizer { parameters, bytes_per_parameter, flops_per_parameter } => {
                (Pass::Forward, 0, vec![parameters, bytes_per_parameter, flops_per_parameter])
            }
            Kernel::Copy { bytes: Bytes(bytes) } => (Pass::Forward, 0, vec![bytes]),
            Kernel::Quantise { elements, to, .. } => (Pass::Forward, to as u64, vec![elements]),
            Kernel::Work { flops: Flops(flops), bytes: Bytes(bytes), .. } => {
                (Pass::Forward, 0, vec![flops, bytes])
            }
        };
        (Kind { name: kernel.name(), precision: kernel.precision(), pass, variant }, sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::support::round_device;
    use crate::units::Cycles;

    fn gemm(m: u64, n: u64) -> Kernel {
        Kernel::Gemm { batch: 1, m, n, k: 64, precision: Precision::Bf16, pass: Pass::Forward }
    }

    fn measured(kernel: Kernel, micros: u64) -> Measurement {
        Measurement { device: "round".to_owned(), kernel, time: SimDuration::from_micros(micros) }
    }

    /// Times 10, 20, 30 and 60 µs at the corners of (100…200) × (100…300).
    fn square() -> Table {
        let corners = [((100, 100), 10), ((200, 100), 20), ((100, 300), 30), ((200, 300), 60)];
        Table { measurements: corners.map(|((m, n), micros)| measured(gemm(m, n), micros)).to_vec() }
    }

    fn cycles(table: &Table, kernel: Kernel) -> (Cycles, Limiter) {
        let cost = table.cost(&kernel, &round_device());
        (cost.cycles, cost.limiter)
    }

    /// At 1 GHz a microsecond is 1,000 cycles. In the middle of m and a quarter up n: 15 at the bottom, 45
    /// at the top, 15 + 30/4.
    #[test]
    fn between_measurements_time_is_linear_along_each_axis() {
        assert_eq!(cycles(&square(), gemm(200, 300)).0, Cycles(60_000));
        assert_eq!(cycles(&square(), gemm(150, 100)).0, Cycles(15_000));
        assert_eq!(cycles(&square(), gemm(150, 150)).0, Cycles(22_500));
        assert_ne!(cycles(&square(), gemm(150, 150)).1, Limiter::Outside);
    }

    #[test]
    fn beyond_measurements_the_roofline_answers_and_says_so() {
        let backward = Kernel::Gemm {
            batch: 1,
            m: 100,
            n: 100,
            k: 64,
            precision: Precision::Bf16,
            pass: Pass::WeightGradient,
        };
        for kernel in [gemm(201, 100), gemm(100, 99), backward, Kernel::Copy { bytes: Bytes(1) }] {
            let roof = Roofline::default().cost(&kernel, &round_device()).cycles;
            assert_eq!(cycles(&square(), kernel), (roof, Limiter::Outside), "{kernel}");
        }
    }

    #[test]
    fn a_missing_corner_is_outside() {
        let mut table = square();
        table.measurements.pop();
        assert_eq!(cycles(&table, gemm(150, 150)).1, Limiter::Outside);
        // The edge to the missing corner is gone, the others are there.
        assert_eq!(cycles(&table, gemm(150, 100)).0, Cycles(15_000));
    }

    #[test]
    fn what_was_measured_twice_takes_the_mean() {
        let mut table = square();
        table.measurements.push(measured(gemm(100, 100), 14));
        assert_eq!(cycles(&table, gemm(100, 100)).0, Cycles(12_000));
    }
}
