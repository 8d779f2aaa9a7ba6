//! What goes wrong while a network is trained: slow ranks, jitter, links that fail, devices that fail.
//!
//! A disturbance is a pure function of the step, the program and the seed: replaying a step meets the
//! same again. Slow ranks and jitter stretch kernels; links carry less, or nothing, for a time; what
//! happens after a device failed is the business of [`recovery`](crate::training::recovery).

use serde::{Deserialize, Serialize};

use crate::ids::{DeviceId, Id, IdVec, OpId, Rank, StepIndex};
use crate::program::Program;
use crate::rng::{RngExt, Seed, Stream};
use crate::runtime::{LinkChange, Machine};
use crate::training::TrainingPlan;
use crate::units::{SimDuration, SimTime};

/// Everything that disturbs a run.
#[derive(Debug, Clone)]
pub struct Disturbances {
    /// Ranks that are slow.
    pub stragglers: Vec<Straggler>,
    /// Kernels that take now longer, now shorter.
    pub jitter: Vec<Jitter>,
    /// Links that carry more or less from a moment on.
    pub links: Vec<LinkChange>,
    /// Devices that fail, in order of time.
    pub failures: Vec<Failure>,
    /// Mean time of a device's service until it fails by chance; nothing where none does.
    pub mtbf: Option<SimDuration>,
    /// Where jitter grows from.
    pub seed: Seed,
}

/// A rank whose kernels take longer than its device's model says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Straggler {
    /// Which.
    pub rank: Rank,
    /// How many times longer.
    pub factor: f64,
    /// From which step on.
    pub from: StepIndex,
    /// Until before which step; nothing for to the end.
    pub until: Option<StepIndex>,
}

/// Kernels that take now longer, now shorter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter {
    /// How factors are spread.
    pub distribution: Distribution,
    /// How far.
    pub sigma: f64,
    /// What shares a factor.
    pub per: Per,
}

/// How the factors of jitter are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// exp(σz − σ²/2) with z normal: its mean is 1.
    #[default]
    Lognormal,
    /// 1 + σe with e exponential of mean 1: never faster than the model says.
    Exponential,
}

/// What shares a factor of jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// Each op has its own.
    #[default]
    Op,
    /// All ops of a rank in a step.
    Step,
}

/// A device fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub device: DeviceId,
    /// When.
    pub at: SimTime,
}

impl Disturbances {
    /// Nothing goes wrong.
    pub fn none(seed: Seed) -> Self {
        Disturbances {
            stragglers: Vec::new(),
            jitter: Vec::new(),
            links: Vec::new(),
            failures: Vec::new(),
            mtbf: None,
            seed,
        }
    }

    /// Whether anything goes wrong.
    pub fn any(&self) -> bool {
        self.slows() || self.fails()
    }

    /// Whether devices fail.
    pub fn fails(&self) -> bool {
        !self.failures.is_empty() || self.mtbf.is_some()
    }

    /// The failures of these devices, one after the other.
    pub fn failures(&self, devices: &[DeviceId]) -> Failures {
        let mut stream = self.seed.stream("failures");
        let mean = self.mtbf.map(|mtbf| mtbf.seconds() / devices.len() as f64);
        let drawn = mean.map(|mean| draw(&mut stream, mean, devices, SimTime::ZERO));
        let listed = self.failures.iter().rev().copied().collect();
        Failures { listed, mean, devices: devices.to_vec(), stream, drawn }
    }

    /// Whether ranks or links are other than their models say (failures aside).
    pub fn slows(&self) -> bool {
        !(self.stragglers.is_empty() && self.jitter.is_empty() && self.links.is_empty())
    }

    /// Lets a machine meet what a step meets.
    pub fn disturb(&self, machine: &mut Machine, step: StepIndex, program: &Program) {
        for rank in (0..program.ranks()).map(Rank::from_index) {
            machine.slow_down(rank, self.slowdown(step, rank));
        }
        machine.jitter(self.jitter_of(step, program));
    }

    /// How many times longer a rank's kernels take in a step, jitter aside.
    pub fn slowdown(&self, step: StepIndex, rank: Rank) -> f64 {
        let during = |straggler: &&Straggler| {
            straggler.rank == rank
                && straggler.from <= step
                && straggler.until.is_none_or(|until| step < until)
        };
        self.stragglers.iter().filter(during).map(|straggler| straggler.factor).product()
    }

    /// The factor of each op; none where nothing jitters.
    fn jitter_of(&self, step: StepIndex, program: &Program) -> IdVec<OpId, f64> {
        if self.jitter.is_empty() {
            return IdVec::new();
        }
        let mut factors = IdVec::filled(1.0, program.ops().len());
        for (nth, jitter) in self.jitter.iter().enumerate() {
            let mut stream = self.seed.stream(&format!("jitter {nth} of step {}", step.0));
            match jitter.per {
                Per::Op => factors.iter_mut().for_each(|factor| *factor *= jitter.draw(&mut stream)),
                Per::Step => {
                    let ranks = (0..program.ranks()).map(|_| jitter.draw(&mut stream));
                    let of_rank: IdVec<Rank, f64> = ranks.collect();
                    for (op, about) in program.ops().enumerate() {
                        factors[op] *= of_rank[about.rank];
                    }
                }
            }
        }
        factors
    }
}

/// Failures in order of time: those listed, and those drawn.
#[derive(Debug)]
pub struct Failures {
    /// The next one last.
    listed: Vec<Failure>,
    /// Mean time between two that are drawn, in seconds.
    mean: Option<f64>,
    devices: Vec<DeviceId>,
    stream: Stream,
    drawn: Option<Failure>,
}

impl Failures {
    /// When a device of the plan fails next. Devices that are not in use any more may fail unnoticed.
    pub fn next(&mut self, plan: &TrainingPlan) -> Option<SimTime> {
        while let Some(next) = self.head() {
            if plan.placement.iter().any(|&device| device == next.device) {
                return Some(next.at);
            }
            self.pop();
        }
        None
    }

    /// The next failure of a device of the plan, if it comes before `end`.
    pub fn within(&mut self, plan: &TrainingPlan, end: SimTime) -> Option<Failure> {
        self.next(plan).filter(|&at| at < end)?;
        let failure = self.head();
        self.pop();
        failure
    }

    fn head(&self) -> Option<Failure> {
        let listed = self.listed.last().copied();
        listed.into_iter().chain(self.drawn).min_by_key(|failure| failure.at)
    }

    fn pop(&mut self) {
        let head = self.head();
        if head == self.listed.last().copied() {
            self.listed.pop();
        } else if let (Some(head), Some(mean)) = (head, self.mean) {
            self.drawn = Some(draw(&mut self.stream, mean, &self.devices, head.at));
        }
    }
}

/// The next failure after `since`: of any of the devices, at intervals as a Poisson process has them.
fn draw(stream: &mut Stream, mean: f64, devices: &[DeviceId], since: SimTime) -> Failure {
    let after = SimDuration::from_seconds(-mean * (1.0 - stream.random::<f64>()).ln());
    Failure { device: devices[stream.random_range(0..devices.len())], at: since + after }
}

impl Jitter {
    fn draw(&self, stream: &mut Stream) -> f64 {
        // From (0, 1], so that its logarithm is a number.
        let mut uniform = || 1.0 - stream.random::<f64>();
        match self.distribution {
            Distribution::Lognormal => {
                // Box and Muller, 1958.
                let radius = (-2.0 * uniform().ln()).sqrt();
                let normal = radius * (std::f64::consts::TAU * uniform()).cos();
                (self.sigma * normal - self.sigma * self.sigma / 2.0).exp()
            }
            Distribution::Exponential => 1.0 - self.sigma * uniform().ln(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean of a lognormal factor is 1, that of an exponential one 1 + σ; neither is negative.
    #[test]
    fn jitter_has_the_mean_that_it_promises() {
        for (distribution, mean) in [(Distribution::Lognormal, 1.0), (Distribution::Exponential, 1.2)] {
            let jitter = Jitter { distribution, sigma: 0.2, per: Per::Op };
            let mut stream = Seed(7).stream("jitter");
            let drawn: Vec<f64> = (0..20_000).map(|_| jitter.draw(&mut stream)).collect();
            let found = drawn.iter().sum::<f64>() / drawn.len() as f64;
            // The standard error is 0.2 / √20000 = 0.0014.
            assert!((found - mean).abs() < 0.006, "{distribution:?}: {found}");
            assert!(drawn.iter().all(|&factor| factor > 0.0));
        }
    }

    #[test]
    fn a_straggler_is_slow_for_its_time() {
        let straggler =
            Straggler { rank: Rank(1), factor: 2.0, from: StepIndex(3), until: Some(StepIndex(5)) };
        let disturbances = Disturbances { stragglers: vec![straggler], ..Disturbances::none(Seed(1)) };
        let slow = |step, rank| disturbances.slowdown(StepIndex(step), Rank(rank));
        assert_eq!([slow(2, 1), slow(3, 1), slow(4, 1), slow(5, 1), slow(3, 0)], [1.0, 2.0, 2.0, 1.0, 1.0]);
    }
}
