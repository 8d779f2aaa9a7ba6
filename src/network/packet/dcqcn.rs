//! DCQCN: sources slow down by how much of their traffic is marked, and feel their way up again.
//!
//! Zhu et al., "Congestion Control for Large-Scale RDMA Deployments", SIGCOMM 2015, section 3.1.
//! The receiver of marked packets sends at most one notification (CNP) in `notification_interval`.
//! On each the source sets (equation 1)
//!
//! > R_T = R_C,  R_C = R_C (1 − α/2),  α = (1 − g) α + g,
//!
//! and after each `alpha_interval` without one (equation 2) α = (1 − g) α. A timer and a counter of
//! bytes count up, both from 0 since the last notification, T and B; at each of their steps the rate
//! rises: while max(T, B) < F by fast recovery (equation 3), R_C = (R_T + R_C) / 2; when
//! min(T, B) > F by hyper increase, i = min(T, B) − F, R_T += i·R_HAI; else by additive increase
//! (equation 4), R_T += R_AI; and then R_C = (R_T + R_C) / 2.

use serde::{Deserialize, Serialize};

use crate::units::{Bytes, SimDuration, SimTime};

/// How fast sources slow down and recover.
///
/// The defaults are the paper's (section 5.2 and figure 14: timers of 55 us, byte counter of 10 MB,
/// g = 1/256, F = 5, R_AI = 40 Mbit/s on links of 40 Gbit/s, a notification each 50 us). R_HAI and the
/// least rate, which it does not state, are 2.5 thousandths of the link, as 100 Mbit/s on 40 Gbit/s in the
/// ns-3 model of Li et al. (HPCC, SIGCOMM 2019). All three are shares of the source's link here, so that a
/// faster one recovers in as much time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dcqcn {
    /// g: how much a notification, or the lack of one, moves α.
    pub gain: f64,
    /// The least time between two notifications of a flow.
    pub notification_interval: SimDuration,
    /// After which time without a notification α falls.
    pub alpha_interval: SimDuration,
    /// A step of the timer.
    pub timer: SimDuration,
    /// A step of the byte counter.
    pub byte_counter: Bytes,
    /// F: steps of fast recovery.
    pub fast_recovery: u32,
    /// R_AI, as a share of the source's link.
    pub additive_increase: f64,
    /// R_HAI, as a share of the source's link.
    pub hyper_increase: f64,
    /// The share of its link below which no source is slowed.
    pub least_rate: f64,
}

impl Default for Dcqcn {
    fn default() -> Self {
        Dcqcn {
            gain: 1.0 / 256.0,
            notification_interval: SimDuration::from_micros(50),
            alpha_interval: SimDuration::from_micros(55),
            timer: SimDuration::from_micros(55),
            byte_counter: Bytes(10_000_000),
            fast_recovery: 5,
            additive_increase: 1e-3,
            hyper_increase: 2.5e-3,
            least_rate: 2.5e-3,
        }
    }
}

impl Dcqcn {
    pub(super) fn is_sane(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.gain) {
            return Err(format!("`dcqcn.gain` lies between 0 and 1, not at {}", self.gain));
        }
        let shares = [
            ("additive_increase", self.additive_increase),
            ("hyper_increase", self.hyper_increase),
            ("least_rate", self.least_rate),
        ];
        for (key, share) in shares {
            if !(1e-6..=1.0).contains(&share) {
                return Err(format!("`dcqcn.{key}` is a share of the link, 0.000001 to 1, not {share}"));
            }
        }
        if self.timer == SimDuration::ZERO || self.alpha_interval == SimDuration::ZERO {
            return Err("`dcqcn.timer` and `dcqcn.alpha_interval` last longer than nothing".to_owned());
        }
        if self.byte_counter == Bytes::ZERO {
            return Err("a `dcqcn.byte_counter` counts more than nothing".to_owned());
        }
        Ok(())
    }
}

/// The rate of a source.
#[derive(Debug, Clone)]
pub(super) struct RateControl {
    line: f64,
    /// R_C, R_T.
    rate: f64,
    target: f64,
    alpha: f64,
    /// T and B.
    timer_steps: u32,
    byte_steps: u32,
    bytes: u64,
    next_timer: SimTime,
    next_alpha: SimTime,
}

impl RateControl {
    /// At the first notification: until then a source sends at the rate of its link, with α = 1.
    pub(super) fn new(line: f64) -> Self {
        RateControl {
            line,
            rate: line,
            target: line,
            alpha: 1.0,
            timer_steps: 0,
            byte_steps: 0,
            bytes: 0,
            next_timer: SimTime::ZERO,
            next_alpha: SimTime::ZERO,
        }
    }

    /// R_C in bytes per second.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Whether the source may send as fast as its link.
    pub(super) fn is_free(&self) -> bool {
        self.rate >= self.line
    }

    /// When the rate next changes by itself.
    pub(super) fn next_step(&self) -> SimTime {
        self.next_timer
    }

    /// A notification arrives.
    pub(super) fn notified(&mut self, now: SimTime, spec: &Dcqcn) {
        self.come_to(now, spec);
        self.target = self.rate;
        self.rate = (self.rate * (1.0 - self.alpha / 2.0)).max(spec.least_rate * self.line);
        self.alpha = (1.0 - spec.gain) * self.alpha + spec.gain;
        (self.timer_steps, self.byte_steps, self.bytes) = (0, 0, 0);
        self.next_timer = now + spec.timer;
        self.next_alpha = now + spec.alpha_interval;
    }

    /// Does what the timers do until `now`.
    pub(super) fn come_to(&mut self, now: SimTime, spec: &Dcqcn) {
        while !self.is_free() && self.next_timer.min(self.next_alpha) <= now {
            if self.next_alpha <= self.next_timer {
                self.alpha *= 1.0 - spec.gain;
                self.next_alpha += spec.alpha_interval;
            } else {
                self.timer_steps += 1;
                self.next_timer += spec.timer;
                self.increase(spec);
            }
        }
    }

    /// The source has sent so much.
    pub(super) fn sent(&mut self, bytes: u64, spec: &Dcqcn) {
        self.bytes += bytes;
        while !self.is_free() && self.bytes >= spec.byte_counter.get() {
            self.bytes -= spec.byte_counter.get();
            self.byte_steps += 1;
            self.increase(spec);
        }
    }

    fn increase(&mut self, spec: &Dcqcn) {
        let (most, least) = (self.timer_steps.max(self.byte_steps), self.timer_steps.min(self.byte_steps));
        if least > spec.fast_recovery {
            self.target += f64::from(least - spec.fast_recovery) * spec.hyper_increase * self.line;
        } else if most >= spec.fast_recovery {
            self.target += spec.additive_increase * self.line;
        }
        self.target = self.target.min(self.line);
        self.rate = (self.target + self.rate) / 2.0;
        // Halving the gap never closes it; a millionth of the line is no gap.
        if self.rate > self.line * (1.0 - 1e-6) {
            (self.rate, self.target) = (self.line, self.line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(micros: u64) -> SimTime {
        SimTime::ZERO + SimDuration::from_micros(micros)
    }

    /// α is 1 at first: the rate halves; five steps of fast recovery, of which the last is already
    /// additive (max(T, B) = F), take it to within 1/32 of where it was, plus what was added.
    #[test]
    fn a_notification_halves_the_rate_and_fast_recovery_closes_the_gap() {
        let spec = Dcqcn::default();
        let mut source = RateControl::new(5e9);
        source.notified(micros(100), &spec);
        assert_eq!(source.rate(), 2.5e9);
        assert_eq!(source.alpha, 1.0);
        source.come_to(micros(100 + 4 * 55), &spec);
        assert_eq!(source.rate(), 5e9 - 2.5e9 / 16.0);
        source.come_to(micros(100 + 5 * 55), &spec);
        // The target is the line already and cannot rise.
        assert_eq!(source.rate(), 5e9 - 2.5e9 / 32.0);
        // α has fallen five times by 1/256 (the fall of a moment comes before the step).
        assert!((source.alpha - (255.0_f64 / 256.0).powi(5)).abs() < 1e-12);
    }

    /// A second notification 50 us later: the target is the rate at that moment, which the timer had not
    /// yet raised.
    #[test]
    fn the_target_is_the_rate_before_the_last_notification() {
        let spec = Dcqcn::default();
        let mut source = RateControl::new(5e9);
        source.notified(micros(0), &spec);
        source.notified(micros(50), &spec);
        assert_eq!((source.target, source.rate()), (2.5e9, 1.25e9));
        // Ten steps of the timer, none of the byte counter: fast recovery up to the fourth, additive
        // increase from the fifth on.
        source.come_to(micros(50 + 10 * 55), &spec);
        assert_eq!(source.target, 2.5e9 + 6.0 * 5e6);
        // With as many steps of the byte counter, min(T, B) = 6 = F + 1 at its sixth.
        source.sent(60_000_000, &spec);
        assert_eq!(source.target, 2.5e9 + 6.0 * 5e6 + 5.0 * 5e6 + 12.5e6);
    }
}
