//! Which token follows, by its logits.

use serde::{Deserialize, Serialize};

use crate::rng::{RngExt, Seed};

/// `sampling:` of a serving workload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// The likeliest; of equals the one with the smaller number.
    #[default]
    Greedy,
    /// Drawn by likelihood, from a stream named after the prompt and the position: no schedule changes a draw.
    Random(Random),
}

/// `random:`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Random {
    /// What logits are divided by: less is closer to the likeliest.
    pub temperature: f64,
    /// Only so many of the likeliest are drawn from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
}

impl Default for Random {
    fn default() -> Self {
        Random { temperature: 1.0, top_k: None }
    }
}

impl Sampling {
    /// What is wrong with the parameters.
    ///
    /// # Errors
    /// A sentence that says what would do.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Sampling::Random(Random { temperature, .. }) if !(0.01..=100.0).contains(temperature) => {
                Err(format!("`temperature` is a number from 0.01 to 100, not {temperature}"))
            }
            Sampling::Random(Random { top_k: Some(0), .. }) => Err("`top_k` is at least 1, not 0".into()),
            _ => Ok(()),
        }
    }

    /// The token at a position of a prompt's sequence.
    pub fn token(&self, logits: &[f32], seed: Seed, prompt: u32, position: usize) -> u32 {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let logit = |token: u32| f64::from(logits[token as usize]);
        let likelier = |a: &u32, b: &u32| logit(*b).total_cmp(&logit(*a)).then(a.cmp(b));
        let Sampling::Random(Random { temperature, top_k }) = *self else {
            return order.into_iter().min_by(likelier).expect("a vocabulary");
        };
        order.sort_unstable_by(likelier);
        order.truncate(top_k.map_or(usize::MAX, |most| most as usize));
        let weights: Vec<f64> =
            order.iter().map(|&token| ((logit(token) - logit(order[0])) / temperature).exp()).collect();
        let mut stream = seed.stream(&format!("token {position} of prompt {prompt}"));
        let mut left = stream.random::<f64>() * weights.iter().sum::<f64>();
        for (&token, weight) in order.iter().zip(&weights) {
            left -= weight;
            if left < 0.0 {
                return token;
            }
        }
        *order.last().expect("a vocabulary")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits 0, ln 2 and ln 5 are chances of 1, 2 and 5 eighths; at half the temperature of 1, 4 and 25 thirtieths.
    #[test]
    fn tokens_are_drawn_by_their_likelihood() {
        let logits = [0.0, 2.0_f32.ln(), 5.0_f32.ln()];
        for (temperature, top_k, expected) in [
            (1.0, None, [0.125, 0.25, 0.625]),
            (0.5, None, [1.0 / 30.0, 4.0 / 30.0, 25.0 / 30.0]),
            (1.0, Some(2), [0.0, 2.0 / 7.0, 5.0 / 7.0]),
        ] {
            let sampling = Sampling::Random(Random { temperature, top_k });
            let mut counts = [0.0; 3];
            for position in 0..20_000 {
                counts[sampling.token(&logits, Seed(1), 7, position) as usize] += 1.0 / 20_000.0;
            }
            // Four deviations of a share of a half in 20,000 draws are 0.014.
            assert!(
                counts.iter().zip(expected).all(|(a, b): (&f64, f64)| (a - b).abs() < 0.014),
                "{counts:?}"
            );
        }
    }

    #[test]
    fn greedy_takes_the_likeliest_and_of_equals_the_first() {
        assert_eq!(Sampling::Greedy.token(&[0.0, 3.0, 3.0, 1.0], Seed(1), 0, 0), 1);
    }
}
