//! Jobs made up: arrivals, sizes and lengths drawn from given distributions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::rng::{RngExt, Seed, Stream};
use crate::units::{SimDuration, SimTime};

/// When jobs arrive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// All at time zero.
    Together,
    /// One every so often, the first at time zero.
    Every(SimDuration),
    /// Independently, so often on average: a Poisson process with this mean time between arrivals.
    Poisson(SimDuration),
}

impl Arrivals {
    /// The moments at which `jobs` jobs arrive, in order; `None` where they go beyond the clock.
    pub fn moments(&self, jobs: u32, seed: Seed) -> Option<Vec<SimTime>> {
        let mut stream = seed.stream("job arrivals");
        let mut at = 0_u64;
        let mut moments = Vec::with_capacity(jobs as usize);
        for index in 0..jobs {
            let gap = match self {
                Arrivals::Together => SimDuration::ZERO,
                Arrivals::Every(_) if index == 0 => SimDuration::ZERO,
                Arrivals::Every(gap) => *gap,
                Arrivals::Poisson(mean) => mean.scaled(exponential(&mut stream)),
            };
            at = at.checked_add(gap.picos())?;
            moments.push(SimTime::from_picos(at));
        }
        Some(moments)
    }
}

/// How long jobs take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Lengths {
    /// All the same.
    Constant(SimDuration),
    /// Any length in a range, equally likely.
    Uniform {
        /// The shortest.
        from: SimDuration,
        /// The longest.
        to: SimDuration,
    },
    /// Exponential with this mean.
    Exponential(SimDuration),
    /// Many short and a few very long ones, as traces of clusters have: the logarithm is normal.
    LogNormal {
        /// Half are shorter.
        median: SimDuration,
        /// Standard deviation of the natural logarithm.
        sigma: f64,
    },
}

impl Lengths {
    /// Draws a length, at least a picosecond and at most a month (of 30 days).
    pub fn draw(&self, stream: &mut Stream) -> SimDuration {
        let seconds = match self {
            Lengths::Constant(length) => return (*length).max(SimDuration::from_picos(1)),
            Lengths::Uniform { from, to } => {
                let share: f64 = stream.random();
                from.seconds() + (to.seconds() - from.seconds()) * share
            }
            Lengths::Exponential(mean) => mean.seconds() * exponential(stream),
            Lengths::LogNormal { median, sigma } => median.seconds() * (sigma * normal(stream)).exp(),
        };
        SimDuration::from_seconds(seconds.clamp(1e-12, MONTH))
    }

    /// What is wrong with the parameters.
    ///
    /// # Errors
    /// A sentence that says what would do.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Lengths::Uniform { from, to } if from > to => Err("`from` is not above `to`".into()),
            Lengths::LogNormal { sigma, .. } if !(*sigma >= 0.0 && sigma.is_finite()) => {
                Err(format!("`sigma` is a number from 0 on, not {sigma}"))
            }
            _ => Ok(()),
        }
    }
}

const MONTH: f64 = 30.0 * 86_400.0;

/// Draws from weighted choices, in the order of their keys.
///
/// # Panics
/// When there is no choice with a positive weight; whoever reads them checks that.
pub fn choose<K: Copy + Ord>(choices: &BTreeMap<K, f64>, stream: &mut Stream) -> K {
    let total: f64 = choices.values().sum();
    let mut left: f64 = stream.random::<f64>() * total;
    for (&choice, &weight) in choices {
        left -= weight;
        if left < 0.0 && weight > 0.0 {
            return choice;
        }
    }
    let last = choices.iter().rev().find(|(_, weight)| **weight > 0.0);
    *last.expect("a choice with a positive weight").0
}

/// Exponential with mean 1, by inversion.
fn exponential(stream: &mut Stream) -> f64 {
    -(1.0 - stream.random::<f64>()).ln()
}

/// Standard normal (Box and Muller, "A Note on the Generation of Random Normal Deviates", 1958).
fn normal(stream: &mut Stream) -> f64 {
    let radius = (2.0 * exponential(stream)).sqrt();
    radius * (std::f64::consts::TAU * stream.random::<f64>()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::support::s;

    /// The mean of 20,000 draws lies within five standard errors of the distribution's.
    #[test]
    fn lengths_have_the_mean_of_their_distribution() {
        let mean = |lengths: Lengths| {
            let mut stream = Seed(3).stream("test");
            (0..20_000).map(|_| lengths.draw(&mut stream).seconds()).sum::<f64>() / 20_000.0
        };
        // Exponential: deviation 100, so an error of 0.7.
        assert!((mean(Lengths::Exponential(s(100))) - 100.0).abs() < 3.6);
        // Uniform from 0 to 100: deviation 29.
        assert!((mean(Lengths::Uniform { from: s(0), to: s(100) }) - 50.0).abs() < 1.1);
        // Lognormal: mean = median·exp(σ²/2) = 100·1.133, deviation 113·√(e^0.25 − 1) = 60.
        let lognormal = mean(Lengths::LogNormal { median: s(100), sigma: 0.5 });
        assert!((lognormal - 113.3).abs() < 2.2, "{lognormal}");
    }

    /// 10,000 arrivals at one every 10 s on average take 100,000 s, with a deviation of 1,000 s.
    #[test]
    fn poisson_arrivals_come_as_often_as_they_should() {
        let moments = Arrivals::Poisson(s(10)).moments(10_000, Seed(5)).unwrap();
        assert!(moments.is_sorted());
        let last = moments.last().unwrap().seconds();
        assert!((last - 100_000.0).abs() < 5_000.0, "{last}");
    }

    #[test]
    fn choices_come_as_often_as_they_weigh() {
        let choices = BTreeMap::from([(1, 3.0), (2, 0.0), (4, 1.0)]);
        let mut stream = Seed(1).stream("test");
        let drawn: Vec<i32> = (0..4000).map(|_| choose(&choices, &mut stream)).collect();
        let ones = drawn.iter().filter(|&&choice| choice == 1).count();
        // 3,000 expected, with a deviation of 27.
        assert!((2860..=3140).contains(&ones) && !drawn.contains(&2), "{ones}");
    }
}
