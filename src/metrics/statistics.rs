//! What can be said of few numbers: means with bootstrap intervals, and differences of pairs.
//!
//! Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 7(1), 1979; the
//! intervals are those of percentiles. With few numbers they are somewhat too narrow: an interval that
//! barely leaves out zero says little.

use serde::Serialize;

use crate::rng::{RngExt, Seed};

/// A mean, and where it lies with 95 % confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The mean of the numbers.
    pub mean: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// How many times numbers are drawn anew.
const RESAMPLES: usize = 10_000;

impl Interval {
    /// The mean of these numbers. A single one is its own interval.
    ///
    /// # Panics
    /// When there are none.
    pub fn of(values: &[f64]) -> Self {
        assert!(!values.is_empty(), "there is no mean of nothing");
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        if values.iter().all(|&value| value == values[0]) {
            return Interval { mean: values[0], low: values[0], high: values[0] };
        }
        let (low, high) =
            interval(values.len(), |drawn| drawn.map(|at| values[at]).sum::<f64>() / values.len() as f64);
        Interval { mean, low, high }
    }

    /// The mean difference `b − a` of numbers that belong together pair by pair, as those of two policies
    /// under one seed do.
    ///
    /// # Panics
    /// When there are not as many of each.
    pub fn of_difference(a: &[f64], b: &[f64]) -> Self {
        assert_eq!(a.len(), b.len(), "pairs are of two");
        Interval::of(&a.iter().zip(b).map(|(a, b)| b - a).collect::<Vec<f64>>())
    }

    /// How much larger the mean of `b` is than that of `a`, relative to it, pair by pair; nothing when it
    /// cannot be said because `a` is zero somewhere or has both signs.
    ///
    /// # Panics
    /// When there are not as many of each.
    pub fn of_ratio(a: &[f64], b: &[f64]) -> Option<Self> {
        assert_eq!(a.len(), b.len(), "pairs are of two");
        if a.is_empty() || !(a.iter().all(|&a| a > 0.0) || a.iter().all(|&a| a < 0.0)) {
            return None;
        }
        let ratio = |drawn: &mut dyn Iterator<Item = usize>| {
            let (sum_a, sum_b) = drawn.fold((0.0, 0.0), |(sum_a, sum_b), at| (sum_a + a[at], sum_b + b[at]));
            sum_b / sum_a - 1.0
        };
        let (low, high) = interval(a.len(), ratio);
        Some(Interval { mean: ratio(&mut (0..a.len())), low, high })
    }

    /// Whether zero lies outside: the difference is not by chance, as far as these numbers can tell.
    pub fn is_significant(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// The middle 95 % of a statistic over resamples of `count` items, which it is given by their places.
///
/// The same draws serve every set of as many items, so comparisons do not depend on their order.
fn interval(count: usize, statistic: impl Fn(&mut dyn Iterator<Item = usize>) -> f64) -> (f64, f64) {
    let mut stream = Seed(0).stream("bootstrap");
    let draw = |_| statistic(&mut (0..count).map(|_| stream.random_range(0..count)));
    let mut all: Vec<f64> = (0..RESAMPLES).map(draw).collect();
    all.sort_by(f64::total_cmp);
    let at = |share: f64| all[((share * RESAMPLES as f64) as usize).min(RESAMPLES - 1)];
    (at(0.025), at(0.975))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For 100 numbers of deviation 29 the mean's standard error is 2.9: about ± 5.7 with 95 %.
    #[test]
    fn an_interval_is_about_two_standard_errors_to_each_side() {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        let interval = Interval::of(&values);
        assert_eq!(interval.mean, 49.5);
        assert!((interval.mean - interval.low - 5.7).abs() < 0.5, "{interval:?}");
        assert!((interval.high - interval.mean - 5.7).abs() < 0.5, "{interval:?}");
    }

    /// Pairs that differ by 1 ± 0.1 differ significantly, however widely the pairs themselves lie.
    #[test]
    fn pairs_are_compared_within_themselves() {
        let a: Vec<f64> = (0..10).map(|index| f64::from(index * index)).collect();
        let b: Vec<f64> =
            a.iter().enumerate().map(|(index, a)| a + if index % 2 == 0 { 1.1 } else { 0.9 }).collect();
        let difference = Interval::of_difference(&a, &b);
        assert!(difference.is_significant() && (difference.mean - 1.0).abs() < 1e-9);
        let noise: Vec<f64> =
            a.iter().enumerate().map(|(index, a)| a + if index % 2 == 0 { 1.0 } else { -1.0 }).collect();
        assert!(!Interval::of_difference(&a, &noise).is_significant());
    }

    /// Half under every seed is half, without any doubt; where the first is zero nothing can be said.
    #[test]
    fn ratios_are_of_means_pair_by_pair() {
        let a = [10.0, 20.0, 60.0];
        let half = Interval::of_ratio(&a, &a.map(|a| a / 2.0)).unwrap();
        assert_eq!(half, Interval { mean: -0.5, low: -0.5, high: -0.5 });
        assert_eq!(Interval::of_ratio(&[0.0, 1.0], &[1.0, 1.0]), None);
    }

    /// Of 200 sets of 20 numbers around zero, about 95 % of the intervals hold zero; percentiles of few
    /// numbers are a little narrow, so at least 88 % must.
    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say() {
        let mut stream = Seed(7).stream("test");
        let holds = (0..200).filter(|_| {
            let values: Vec<f64> = (0..20).map(|_| stream.random::<f64>() - 0.5).collect();
            !Interval::of(&values).is_significant()
        });
        assert!((176..=200).contains(&holds.count()));
    }
}
