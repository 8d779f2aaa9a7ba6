//! Costs remembered by kernel and device.
//!
//! A training step asks for the same few dozen kernels millions of times; a compute model is pure, so
//! the first answer serves for all.

use rustc_hash::FxHashMap;

use crate::compute::{ComputeSpec, Kernel, KernelCost};
use crate::hardware::DeviceSpec;

/// A compute model that remembers its answers.
///
/// Devices are told apart by name: two devices of one name are one kind of device.
#[derive(Debug, Clone)]
pub struct Memo {
    model: ComputeSpec,
    // Few kinds of device, many kernels: a list of maps. The maps are only looked up, never iterated.
    devices: Vec<(String, FxHashMap<Kernel, KernelCost>)>,
}

impl Memo {
    /// A memory of `model`'s answers, empty.
    pub fn new(model: ComputeSpec) -> Self {
        Memo { model, devices: Vec::new() }
    }

    /// The model asked.
    pub fn model(&self) -> &ComputeSpec {
        &self.model
    }

    /// What `kernel` costs on `device`; computed when asked for the first time.
    pub fn cost(&mut self, kernel: &Kernel, device: &DeviceSpec) -> KernelCost {
        let known = match self.devices.iter().position(|(name, _)| *name == device.name) {
            Some(at) => &mut self.devices[at].1,
            None => {
                self.devices.push((device.name.clone(), FxHashMap::default()));
                &mut self.devices.last_mut().expect("just pushed").1
            }
        };
        *known.entry(*kernel).or_insert_with(|| self.model.cost(kernel, device))
    }

    /// How many costs were computed, one for each kernel and kind of device asked for.
    pub fn computed(&self) -> usize {
        self.devices.iter().map(|(_, known)| known.len()).sum()
    }
}
