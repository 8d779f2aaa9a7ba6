//! Requests made up: arrivals and lengths drawn from given distributions.

use serde::{Deserialize, Serialize};

use crate::rng::{RngExt, Seed, Stream};
use crate::serving::Request;
use crate::units::{SimDuration, SimTime};

/// When requests arrive. Times are means between one arrival and the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// All at time zero: vLLM's `--request-rate inf`.
    Together,
    /// One every so often, the first at time zero.
    Every(SimDuration),
    /// Independently: a Poisson process.
    Poisson(SimDuration),
    /// Gamma-distributed times between arrivals, as in vLLM's `--burstiness`.
    Gamma {
        /// The mean time between arrivals.
        mean: SimDuration,
        /// Coefficient of variation: 1 is Poisson, more is burstier.
        cv: f64,
    },
}

/// How many tokens a prompt or an answer has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Lengths {
    /// All the same.
    Constant(u32),
    /// Any number in a range, both ends included, equally likely.
    Uniform {
        /// The fewest.
        from: u32,
        /// The most.
        to: u32,
    },
    /// Many short and a few long ones: the logarithm is normal.
    LogNormal {
        /// Half are shorter.
        median: f64,
        /// Standard deviation of the natural logarithm.
        sigma: f64,
        /// None is longer: longer draws are this long.
        most: u32,
    },
}

/// The shape of the gamma distribution is 1 / cv².
const VARIATION: std::ops::RangeInclusive<f64> = 0.01..=100.0;

impl Arrivals {
    /// What is wrong with the parameters.
    ///
    /// # Errors
    /// A sentence that says what would do.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Arrivals::Gamma { cv, .. } if !VARIATION.contains(cv) => {
                Err(format!("`cv` is a number from 0.01 to 100, not {cv}"))
            }
            _ => Ok(()),
        }
    }

    fn gap(&self, first: bool, stream: &mut Stream) -> SimDuration {
        match self {
            Arrivals::Together => SimDuration::ZERO,
            Arrivals::Every(_) if first => SimDuration::ZERO,
            Arrivals::Every(gap) => *gap,
            Arrivals::Poisson(mean) => mean.scaled(exponential(stream)),
            Arrivals::Gamma { mean, cv } => {
                let shape = 1.0 / (cv * cv);
                mean.scaled(gamma(shape, stream) / shape)
            }
        }
    }
}

impl Lengths {
    /// What is wrong with the parameters.
    ///
    /// # Errors
    /// A sentence that says what would do.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Lengths::Constant(0) => Err("there is at least 1 token".into()),
            Lengths::Uniform { from, to } if *from == 0 || from > to => {
                Err(format!("`from` is at least 1 and not above `to`; found {from} to {to}"))
            }
            Lengths::LogNormal { median, sigma, most } => {
                let fine = *median >= 1.0 && median.is_finite() && (0.0..=10.0).contains(sigma) && *most > 0;
                if fine {
                    Ok(())
                } else {
                    Err("`median` and `most` are at least 1, `sigma` from 0 to 10".into())
                }
            }
            _ => Ok(()),
        }
    }

    fn draw(&self, stream: &mut Stream) -> u32 {
        match self {
            Lengths::Constant(tokens) => *tokens,
            Lengths::Uniform { from, to } => stream.random_range(*from..=*to),
            Lengths::LogNormal { median, sigma, most } => {
                let tokens = median * (sigma * normal(stream)).exp();
                tokens.round().clamp(1.0, f64::from(*most)) as u32
            }
        }
    }
}

/// Requests drawn, in order of arrival; nothing when they go beyond the clock.
///
/// Arrivals, prompts and answers have streams of their own, so that policies meet the same requests.
pub fn draw(
    count: u32,
    arrivals: &Arrivals,
    prompt: &Lengths,
    output: &Lengths,
    seed: Seed,
) -> Option<Vec<Request>> {
    let [mut of_arrivals, mut of_prompts, mut of_outputs] =
        ["request arrivals", "prompt lengths", "output lengths"].map(|name| seed.stream(name));
    let mut at = 0_u64;
    let mut requests = Vec::with_capacity(count as usize);
    for index in 0..count {
        at = at.checked_add(arrivals.gap(index == 0, &mut of_arrivals).picos())?;
        let (prompt, output) = (prompt.draw(&mut of_prompts), output.draw(&mut of_outputs));
        requests.push(Request { arrival: SimTime::from_picos(at), prompt, output });
    }
    Some(requests)
}

/// Exponential with mean 1, by inversion.
fn exponential(stream: &mut Stream) -> f64 {
    -(1.0 - stream.random::<f64>()).ln()
}

/// Standard normal (Box and Muller 1958).
fn normal(stream: &mut Stream) -> f64 {
    let radius = (2.0 * exponential(stream)).sqrt();
    radius * (std::f64::consts::TAU * stream.random::<f64>()).cos()
}

/// Gamma with this shape and scale 1 (Marsaglia and Tsang, "A Simple Method for Generating Gamma
/// Variables", ACM TOMS 26(3), 2000; below 1 by their boost with a uniform).
fn gamma(shape: f64, stream: &mut Stream) -> f64 {
    if shape < 1.0 {
        let boost = (1.0 - stream.random::<f64>()).powf(1.0 / shape);
        return gamma(shape + 1.0, stream) * boost;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(stream);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && (1.0 - stream.random::<f64>()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times between arrivals have the mean and the variation that was asked for.
    #[test]
    fn gamma_arrivals_are_as_bursty_as_asked() {
        for cv in [0.5, 1.0, 2.0] {
            let arrivals = Arrivals::Gamma { mean: SimDuration::from_seconds(1.0), cv };
            let mut stream = Seed(4).stream("test");
            let gaps: Vec<f64> = (0..40_000).map(|_| arrivals.gap(false, &mut stream).seconds()).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
            // The mean's deviation is cv / 200, at most 0.01.
            assert!((mean - 1.0).abs() < 0.05, "{mean}");
            assert!((variance.sqrt() / mean / cv - 1.0).abs() < 0.05, "{variance} at {cv}");
        }
    }

    #[test]
    fn lengths_stay_in_their_range() {
        let mut stream = Seed(1).stream("test");
        let lengths = Lengths::LogNormal { median: 100.0, sigma: 3.0, most: 500 };
        assert!((0..1000).all(|_| (1..=500).contains(&lengths.draw(&mut stream))));
    }
}
