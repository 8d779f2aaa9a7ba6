//! What a plan is for, and what it is worth.

use serde::{Deserialize, Serialize};

use crate::planning::failures::{Failures, Interrupted};
use crate::training::TrainingPlan;
use crate::training::state::ParameterBytes;
use crate::units::Bytes;

/// What is least in the best plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Time to train.
    #[default]
    Days,
    /// Rent of the devices for that time.
    Dollars,
    /// Devices; of as many the quickest.
    Devices,
}

/// What no plan may exceed.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<u32>,
    /// Days to train.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<f64>,
    /// US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dollars: Option<f64>,
}

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    /// Tokens to train on.
    pub tokens: f64,
    /// What is to be least.
    pub minimise: Objective,
    /// What none may exceed.
    pub limits: Limits,
    /// What interrupts it; nothing is nothing.
    pub failures: Option<Failures>,
}

/// What a plan comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Worth {
    /// Devices.
    pub devices: u32,
    /// Steps to the tokens.
    pub steps: f64,
    /// Days to train, failures included.
    pub days: f64,
    /// US dollars, where the devices have a price.
    pub dollars: Option<f64>,
    /// What failures make of it.
    pub interrupted: Option<Interrupted>,
}

/// A run of more days than this is none: a thousand years.
pub const LONGEST_DAYS: f64 = 365_250.0;

impl Goal {
    /// What a plan is worth whose step takes so many seconds.
    pub fn worth(&self, plan: &TrainingPlan, step_s: f64) -> Worth {
        let devices = plan.placement.len() as u32;
        let steps = (self.tokens / plan.tokens_per_step() as f64).ceil();
        let interrupted = self.failures.map(|failures| failures.interrupt(devices, checkpoint(plan)));
        let seconds = steps * step_s * interrupted.map_or(1.0, |interrupted| interrupted.stretch);
        let prices = plan.placement.iter().map(|&device| {
            plan.topology.devices()[device].spec.price.as_ref().and_then(|price| price.dollars_per_hour)
        });
        let an_hour: Option<f64> = prices.sum();
        let dollars = an_hour.map(|rent| rent * seconds / 3600.0);
        Worth { devices, steps, days: seconds / 86_400.0, dollars, interrupted }
    }

    /// Which limit is exceeded, and by what.
    pub fn exceeded(&self, worth: &Worth) -> Option<String> {
        let Limits { devices, days, dollars } = self.limits;
        if worth.days > LONGEST_DAYS {
            return Some("never done: a thousand years or more".to_owned());
        }
        if let Some(most) = devices.filter(|&most| worth.devices > most) {
            return Some(format!("{} devices, not {most}", worth.devices));
        }
        if let Some(most) = days.filter(|&most| worth.days > most) {
            return Some(format!("{:.1} days, not {most}", worth.days));
        }
        let (spent, most) = (worth.dollars?, dollars?);
        (spent > most).then(|| format!("{spent:.0} dollars, not {most:.0}"))
    }

    /// What is compared: the objective, then the time.
    pub fn rank(&self, worth: &Worth) -> (f64, f64) {
        let first = match self.minimise {
            Objective::Days => worth.days,
            Objective::Dollars => worth.dollars.unwrap_or(f64::INFINITY),
            Objective::Devices => f64::from(worth.devices),
        };
        (first, worth.days)
    }
}

impl Worth {
    /// Whether another is no worse in anything and better in something.
    pub fn is_dominated_by(&self, other: &Worth) -> bool {
        let numbers = |worth: &Worth| [worth.days, worth.dollars.unwrap_or(0.0), f64::from(worth.devices)];
        let pairs = || numbers(other).into_iter().zip(numbers(self));
        pairs().all(|(other, own)| other <= own) && pairs().any(|(other, own)| other < own)
    }
}

/// Bytes of a checkpoint: the weights that are stepped, and the optimiser's moments.
fn checkpoint(plan: &TrainingPlan) -> Bytes {
    Bytes(plan.model.parameter_count() * ParameterBytes::of(plan).kept(plan.moments() as u64))
}
