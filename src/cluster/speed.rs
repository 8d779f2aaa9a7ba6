//! How fast a job works on a gang, relative to the speed at which its work was counted.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cluster::{Gang, Job, KindId};
use crate::ids::IdVec;

/// How fast a job works where.
#[derive(Debug, Clone, PartialEq)]
pub enum Speed {
    /// The same everywhere: the trace's duration holds wherever the job is placed.
    Same,
    /// By kind of device, and slower when a gang is spread over nodes (0: it cannot run there).
    Table(Arc<SpeedTable>),
    /// By how many devices it has in how many nodes; the job is elastic.
    Goodput(Arc<Goodput>),
    /// By a [`Profiler`].
    Profiled {
        /// The number by which it knows what the job does.
        profile: usize,
        /// Seconds that a step takes at speed 1.
        step_seconds: f64,
    },
}

/// Speeds by kind of device.
#[derive(Debug, Clone, PartialEq)]
pub struct SpeedTable {
    /// When the gang is within one node.
    pub together: IdVec<KindId, f64>,
    /// When it is not.
    pub apart: IdVec<KindId, f64>,
}

/// Finds out how fast something works on a gang.
pub trait Profiler {
    /// Steps a second of `profile` on `gang`, 0 where it cannot run; a pure function, so it may be
    /// remembered.
    fn steps_per_second(&self, profile: usize, gang: &Gang) -> f64;
}

/// Knows nothing: for runs in which no job is [`Speed::Profiled`].
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProfiles;

impl Profiler for NoProfiles {
    fn steps_per_second(&self, profile: usize, _gang: &Gang) -> f64 {
        unreachable!("a job works at the speed of profile {profile}, but there are no profiles")
    }
}

impl Job {
    /// How fast this job works on a gang; 0 where it cannot run.
    pub fn speed_on(&self, gang: &Gang, profiler: &dyn Profiler) -> f64 {
        match &self.speed {
            Speed::Same => 1.0,
            Speed::Table(table) if gang.nodes() <= 1 => table.together[gang.kind],
            Speed::Table(table) => table.apart[gang.kind],
            Speed::Goodput(goodput) => goodput.speed(gang.size(), gang.nodes() as u32),
            Speed::Profiled { profile, step_seconds } => {
                profiler.steps_per_second(*profile, gang) * step_seconds
            }
        }
    }

    /// The numbers of devices that it can work with.
    pub fn sizes(&self) -> std::ops::RangeInclusive<u32> {
        match &self.speed {
            Speed::Goodput(goodput) => 1..=goodput.most_devices.max(self.demand.devices),
            _ => self.demand.devices..=self.demand.devices,
        }
    }
}

/// The goodput of data-parallel training: throughput × statistical efficiency.
///
/// Qiao et al., "Pollux: Co-adaptive Cluster Scheduling for Goodput-Optimized Deep Learning", OSDI
/// 2021, section 3: equations 1 (goodput), 3 (efficiency from the gradient noise scale φ, here a
/// constant) and 8 to 11 (time of an iteration; here without gradient accumulation). Times in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Goodput {
    /// Time of a device's pass that does not depend on its batch.
    pub grad_fixed: f64,
    /// Time of a device's pass for each sample.
    pub grad_per_sample: f64,
    /// Time of the exchange between two devices of one node …
    pub sync_local: f64,
    /// … and what every further device adds.
    pub sync_local_per_device: f64,
    /// The same where the gang spans nodes …
    pub sync_node: f64,
    /// … and what every further device adds.
    pub sync_node_per_device: f64,
    /// How well computing and exchanging overlap: 1 not at all, large completely.
    pub overlap: f64,
    /// M₀: the batch that the user asked for, over all devices.
    pub batch: f64,
    /// The largest batch, over all devices.
    pub most_batch: f64,
    /// The largest batch of one device: what its memory holds.
    pub most_device_batch: f64,
    /// φ: the gradient noise scale, in samples.
    pub noise_scale: f64,
    /// The most devices that the job may have.
    pub most_devices: u32,
    /// Devices on which its work was counted, in one node with M₀: there its speed is 1.
    pub counted_on: u32,
}

/// ResNet-18 on CIFAR-10 in order of magnitude; a made-up profile, not fitted to a measurement.
impl Default for Goodput {
    fn default() -> Self {
        Goodput {
            grad_fixed: 0.02,
            grad_per_sample: 0.0005,
            sync_local: 0.005,
            sync_local_per_device: 0.0002,
            sync_node: 0.02,
            sync_node_per_device: 0.0005,
            overlap: 1.5,
            batch: 128.0,
            most_batch: 4096.0,
            most_device_batch: 1024.0,
            noise_scale: 1000.0,
            most_devices: 64,
            counted_on: 1,
        }
    }
}

impl Goodput {
    /// What is wrong with the parameters.
    ///
    /// # Errors
    /// A sentence that says what would do.
    pub fn check(&self) -> Result<(), String> {
        let least_zero = [
            ("grad_fixed", self.grad_fixed),
            ("sync_local", self.sync_local),
            ("sync_local_per_device", self.sync_local_per_device),
            ("sync_node", self.sync_node),
            ("sync_node_per_device", self.sync_node_per_device),
            ("noise_scale", self.noise_scale),
        ];
        for (name, value) in least_zero {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(format!("`{name}` is a number from 0 on, not {value}"));
            }
        }
        for (name, value) in [("grad_per_sample", self.grad_per_sample), ("batch", self.batch)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(format!("`{name}` is a positive number, not {value}"));
            }
        }
        match self {
            _ if !(self.overlap >= 1.0 && self.overlap.is_finite()) => {
                Err(format!("`overlap` is a number from 1 on, not {}", self.overlap))
            }
            _ if !(self.most_batch >= self.batch && self.most_batch.is_finite()) => {
                Err("`most_batch` is at least `batch`".into())
            }
            _ if !(self.most_device_batch > 0.0 && self.most_device_batch.is_finite()) => {
                Err("`most_device_batch` is a positive number".into())
            }
            _ if self.most_devices == 0 || self.counted_on == 0 => {
                Err("`most_devices` and `counted_on` are at least 1".into())
            }
            _ => Ok(()),
        }
    }

    /// Goodput on this gang relative to the gang on which the work was counted.
    pub fn speed(&self, devices: u32, nodes: u32) -> f64 {
        let counted = self.of(self.counted_on, 1, self.batch);
        self.best(devices, nodes) / counted
    }

    /// Goodput with the best batch for this gang, in useful samples a second.
    ///
    /// In the batch M, goodput is a concave-like ridge: throughput saturates and efficiency falls. It is
    /// searched on a geometric grid of 64 batches between the least and the greatest that are allowed.
    pub fn best(&self, devices: u32, nodes: u32) -> f64 {
        let most = self.most_batch.min(self.most_device_batch * f64::from(devices)).max(self.batch);
        let ratio = most / self.batch;
        (0..=GRID)
            .map(|step| self.of(devices, nodes, self.batch * ratio.powf(f64::from(step) / f64::from(GRID))))
            .fold(0.0, f64::max)
    }

    /// GOODPUT = THROUGHPUT × EFFICIENCY at a global batch of `batch` samples (equation 1).
    pub fn of(&self, devices: u32, nodes: u32, batch: f64) -> f64 {
        let efficiency = (self.noise_scale + self.batch) / (self.noise_scale + batch);
        batch / self.iteration(devices, nodes, batch) * efficiency
    }

    /// T_iter = (T_grad^γ + T_sync^γ)^(1/γ).
    fn iteration(&self, devices: u32, nodes: u32, batch: f64) -> f64 {
        let grad = self.grad_fixed + self.grad_per_sample * batch / f64::from(devices);
        let further = f64::from(devices.saturating_sub(2));
        let sync = match (devices, nodes) {
            (0 | 1, _) => 0.0,
            (_, 0 | 1) => self.sync_local + self.sync_local_per_device * further,
            _ => self.sync_node + self.sync_node_per_device * further,
        };
        (grad.powf(self.overlap) + sync.powf(self.overlap)).powf(1.0 / self.overlap)
    }
}

/// Steps of the grid of batches.
const GRID: u32 = 64;
