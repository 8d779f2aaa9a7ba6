//! What a scheduler thinks that tasks cost, where that is not the truth.

use serde::{Deserialize, Serialize};

use crate::ids::{DeviceId, IdVec};
use crate::rng::{RngExt, Seed};
use crate::tasks::Costs;

/// Estimates that are off by chance: truth × a factor that is as likely anywhere in [1 − s, 1 + s], as
/// Sakellariou and Zhao take it ("A Low-Cost Rescheduling Policy for Efficient Mapping of Workflows on Grid
/// Systems", Scientific Programming 12, 2004: quality of information).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Noisy {
    /// s, from 0 to below 1.
    pub spread: f64,
    /// What has a factor of its own.
    pub of: NoiseOf,
}

/// What has a factor of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoiseOf {
    /// Every task on every device.
    #[default]
    Each,
    /// Every device: all its tasks are misjudged alike, which can be learnt.
    Device,
}

impl Default for Noisy {
    fn default() -> Self {
        Noisy { spread: 0.5, of: NoiseOf::Each }
    }
}

impl Noisy {
    /// What is thought of the truth; from the stream `tasks/estimates`.
    pub fn of(&self, truth: &Costs, seed: Seed) -> Costs {
        let mut stream = seed.stream("tasks/estimates");
        let mut draw = || 1.0 + self.spread * (2.0 * stream.random::<f64>() - 1.0);
        match self.of {
            NoiseOf::Each => truth.changed(|_, _, time| time.scaled(draw())),
            NoiseOf::Device => {
                let factors: IdVec<DeviceId, f64> = truth.devices().map(|_| draw()).collect();
                truth.changed(|_, device, time| time.scaled(factors[device]))
            }
        }
    }
}
