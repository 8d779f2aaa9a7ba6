//! Each device by the finest model that its file describes.
//!
//! A machine of several kinds of device has no single model that knows them all: GPUs are costed in
//! [tiles](crate::compute::tile), devices with systolic arrays [in folds](crate::compute::systolic),
//! processors [in cores and caches](crate::compute::cpu), and the rest by the
//! [roofline].

use serde::{Deserialize, Serialize};

use crate::compute::cpu::CpuModel;
use crate::compute::roofline::Roofline;
use crate::compute::systolic::SystolicModel;
use crate::compute::tile::TileModel;
use crate::compute::{ComputeModel, Kernel, KernelCost, Unsuited};
use crate::hardware::{DeviceSpec, Precision};

/// The finest model of each device.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Native {}

impl ComputeModel for Native {
    fn cost(&self, kernel: &Kernel, device: &DeviceSpec) -> KernelCost {
        model_of(device, |model| model.cost(kernel, device))
    }

    fn admits(&self, device: &DeviceSpec, precision: Precision) -> Result<(), Unsuited> {
        model_of(device, |model| model.admits(device, precision))
    }
}

fn model_of<T>(device: &DeviceSpec, ask: impl FnOnce(&dyn ComputeModel) -> T) -> T {
    if device.gpu.is_some() {
        ask(&TileModel::default())
    } else if device.systolic.is_some() {
        ask(&SystolicModel::default())
    } else if device.cpu.is_some() {
        ask(&CpuModel::default())
    } else {
        ask(&Roofline::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::Pass;
    use crate::compute::support::{fitted_a100, round_device};

    #[test]
    fn each_device_is_costed_by_the_model_it_describes() {
        let gemm = Kernel::Gemm {
            batch: 1,
            m: 1000,
            n: 1000,
            k: 1000,
            precision: Precision::Bf16,
            pass: Pass::Forward,
        };
        let (plain, gpu) = (round_device(), fitted_a100());
        assert_eq!(Native::default().cost(&gemm, &plain), Roofline::default().cost(&gemm, &plain));
        assert_eq!(Native::default().cost(&gemm, &gpu), TileModel::default().cost(&gemm, &gpu));
    }
}
