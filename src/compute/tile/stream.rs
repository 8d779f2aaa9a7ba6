//! Kernels that hardly compute: each byte crosses the memory once, and that is their time.
//!
//! T = t_launch + max( bytes / (η_m·BW), flops / vector rate ), where
//! - a normalised row that does not fit the SM's shared memory is read once more;
//! - gathers and scatters give a CTA to each row and take [`row_cycles`] of an SM for it;
//! - [`Kernel::Scalar`] is bound by its accesses, one element each ([`accesses_per_clk`]).
//!
//! [`row_cycles`]: crate::hardware::device::FittedGpu::row_cycles
//! [`accesses_per_clk`]: crate::hardware::device::FittedGpu::accesses_per_clk

use crate::compute::roofline;
use crate::compute::tile::Gpu;
use crate::compute::{Kernel, KernelCost, Parts};
use crate::units::Bytes;

/// What a kernel other than a matrix product or attention costs.
pub(super) fn cost(kernel: &Kernel, gpu: &Gpu) -> KernelCost {
    let bytes = kernel.bytes() + read_again(kernel, gpu);
    let vector = roofline::compute_cycles(kernel, gpu.device);
    let parts = Parts {
        launch: gpu.launch,
        compute: vector.max(issue_cycles(kernel, gpu)),
        memory: gpu.memory_cycles(bytes.as_f64()),
        ..Parts::default()
    };
    roofline::cost_of(kernel, bytes, parts)
}

/// A row's statistics need all of it before its first result: what no longer fits the shared memory
/// (in single precision) is read a second time. Backward passes read two tensors.
fn read_again(kernel: &Kernel, gpu: &Gpu) -> Bytes {
    match *kernel {
        Kernel::Norm { rows, width, precision, pass } | Kernel::Softmax { rows, width, precision, pass } => {
            let inputs = if pass == crate::compute::Pass::Forward { 1 } else { 2 };
            if width * inputs * 4 <= gpu.spec.shared_memory.get() {
                return Bytes::ZERO;
            }
            precision.bytes_of(rows * width) * inputs
        }
        _ => Bytes::ZERO,
    }
}

/// Cycles that instructions other than arithmetic take, spread over the SMs.
fn issue_cycles(kernel: &Kernel, gpu: &Gpu) -> f64 {
    match *kernel {
        Kernel::Embedding { tokens, .. } => tokens as f64 * gpu.fitted.row_cycles / gpu.sms,
        Kernel::Scalar { elements, accesses, .. } => {
            let accesses = elements as f64 * f64::from(accesses);
            gpu.fitted.accesses_per_clk.map_or(0.0, |rate| accesses / (rate * gpu.sms))
        }
        _ => 0.0,
    }
}
