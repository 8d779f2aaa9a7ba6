//! Rates and weights as whole numbers, so that sums are exact and no order of adding them matters.

use crate::units::{Bandwidth, PICOS_PER_SECOND, SimDuration};

/// Bits after the point of a [`Rate`].
const RATE_BITS: u32 = 20;
/// Bits after the point of a [`Weight`].
const WEIGHT_BITS: u32 = 16;

/// A rate in units of 2⁻²⁰ bytes per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Rate(pub(super) u128);

/// A weight, or a sum of weights, in units of 2⁻¹⁶.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Weight(pub(super) u64);

/// What a flow of weight 1 has been served: bytes in units of 2⁻²⁰·10⁻¹², one [`Rate`] for one
/// picosecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Service(u128);

impl Rate {
    /// Nothing flows.
    pub const ZERO: Rate = Rate(0);
    /// More than any link carries.
    pub const MAX: Rate = Rate(u128::MAX);

    /// Rounded down: nothing is faster than its link. A link that is down carries nothing.
    pub fn of(bandwidth: Option<Bandwidth>) -> Rate {
        // The product is exact: it changes the exponent alone.
        bandwidth.map_or(Rate::ZERO, |rate| Rate((rate.get() * f64::from(1 << RATE_BITS)) as u128))
    }

    /// Bytes per second, for reports.
    pub fn bytes_per_second(self) -> f64 {
        self.0 as f64 / f64::from(1 << RATE_BITS)
    }

    /// The rate of `weight`, when this is the rate of weight 1.
    pub fn times(self, weight: Weight) -> Rate {
        Rate((self.0 * u128::from(weight.0)) >> WEIGHT_BITS)
    }

    /// The rate of weight 1, when `weight` in all shares this; rounded down.
    pub fn share(self, weight: Weight) -> Rate {
        // Weights are mostly whole, and what they share fits in 64 bits, whose division is faster.
        let shift = weight.0.trailing_zeros().min(WEIGHT_BITS);
        let (rate, weight) = (self.0 << (WEIGHT_BITS - shift), weight.0 >> shift);
        match u64::try_from(rate) {
            Ok(rate) => Rate(u128::from(rate / weight)),
            Err(_) => Rate(rate / u128::from(weight)),
        }
    }
}

impl Weight {
    /// The weight of an ordinary flow.
    pub const ONE: Weight = Weight(1 << WEIGHT_BITS);

    /// The nearest multiple of 2⁻¹⁶.
    ///
    /// # Panics
    /// When the weight is not between 1/1024 and 1024² (where the rounding could be felt, and where
    /// sums could overflow).
    pub fn of(weight: f64) -> Weight {
        assert!(
            (1.0 / 1024.0..=1024.0 * 1024.0).contains(&weight),
            "a flow's weight lies between 1/1024 and 1024^2, not at {weight}"
        );
        Weight((weight * f64::from(1 << WEIGHT_BITS)).round() as u64)
    }
}

impl Service {
    /// What serves `bytes` to a flow of `weight`, rounded up.
    pub fn of(bytes: u64, weight: Weight) -> Service {
        // bytes · 10¹² · 2²⁰ · 2¹⁶ / weight, without the overflow: whole part and rest apart.
        let scaled = (u128::from(bytes) * u128::from(PICOS_PER_SECOND)) << RATE_BITS;
        let weight = u128::from(weight.0);
        let (whole, rest) = (scaled / weight, scaled % weight);
        Service((whole << WEIGHT_BITS) + (rest << WEIGHT_BITS).div_ceil(weight))
    }

    /// This and what `rate` serves in `length`.
    pub fn after(self, rate: Rate, length: SimDuration) -> Service {
        Service(self.0 + rate.0 * u128::from(length.picos()))
    }

    /// This and then `more`.
    pub fn and(self, more: Service) -> Service {
        Service(self.0 + more.0)
    }

    /// How long `rate` takes from here to `target`, rounded up; `None` if that is beyond simulated time.
    pub fn until(self, target: Service, rate: Rate) -> Option<SimDuration> {
        if rate == Rate::ZERO {
            return None;
        }
        let picos = target.0.saturating_sub(self.0).div_ceil(rate.0);
        u64::try_from(picos).ok().map(SimDuration::from_picos)
    }

    /// The bytes that a flow of `weight` still lacks at `target`, for reports.
    pub fn bytes_until(self, target: Service, weight: Weight) -> f64 {
        let share = weight.0 as f64 / Weight::ONE.0 as f64;
        let bytes = f64::from(1 << RATE_BITS) * PICOS_PER_SECOND as f64;
        target.0.saturating_sub(self.0) as f64 * share / bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3 B at 2 B/s take 1.5 s; with weight 2 beside a rate of 1 B/s for weight 1, the same.
    #[test]
    fn service_ends_on_the_exact_picosecond() {
        let rate = |bytes: f64| Rate::of(Some(Bandwidth::per_second(bytes)));
        let lasts = |weight, rate| Service::default().until(Service::of(3, weight), rate).unwrap();
        assert_eq!(lasts(Weight::ONE, rate(2.0)), SimDuration::from_picos(1_500_000_000_000));
        assert_eq!(lasts(Weight::of(2.0), rate(1.0)), SimDuration::from_picos(1_500_000_000_000));
        assert_eq!(lasts(Weight::of(0.5), rate(4.0)), SimDuration::from_picos(1_500_000_000_000));
        // 3 B at 7 B/s: 428 571 428 571.4 ps, rounded up.
        assert_eq!(lasts(Weight::ONE, rate(7.0)), SimDuration::from_picos(428_571_428_572));
        assert_eq!(Service::default().until(Service::of(3, Weight::ONE), Rate::ZERO), None);
    }

    /// Three flows of weight 1 share 10 units as 3, 3, 3; one of weight 3 gets the sum.
    #[test]
    fn shares_are_rounded_down_and_scale_with_weight() {
        assert_eq!(Rate(10).share(Weight(3 << WEIGHT_BITS)), Rate(3));
        assert_eq!(Rate(3).times(Weight(3 << WEIGHT_BITS)), Rate(9));
        assert_eq!(Rate(10).share(Weight::of(0.5)), Rate(20));
        assert_eq!(Rate(u128::from(u64::MAX)).share(Weight::ONE), Rate(u128::from(u64::MAX)));
        assert_eq!(Rate(1 << 70).share(Weight::of(1.5)), Rate((1 << 71) / 3));
    }
}
