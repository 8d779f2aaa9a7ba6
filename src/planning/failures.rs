//! What failures cost a long run: checkpoints, lost work, restarts.
//!
//! Young, "A First Order Approximation to the Optimum Checkpoint Interval", CACM 1974; Daly, "A Higher Order
//! Estimate of the Optimum Checkpoint Interval for Restart Dumps", FGCS 2006, equations 20 (expected time) and
//! 37 (interval).

use crate::units::{Bandwidth, Bytes, SimDuration};

/// How often devices fail, and what it takes to go on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Failures {
    /// Mean time between failures of one device with its share of everything around it, seconds.
    pub device_mtbf_s: f64,
    /// Bytes a second that all devices together write to where checkpoints are kept.
    pub checkpoint_bandwidth: Bandwidth,
    /// From a failure until the run goes on, without the work that is done again.
    pub restart: SimDuration,
}

/// What failures make of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interrupted {
    /// Mean time between failures of all devices, seconds.
    pub mtbf_s: f64,
    /// What a checkpoint takes, seconds.
    pub checkpoint_s: f64,
    /// Work between two checkpoints, seconds: Daly's optimum.
    pub interval_s: f64,
    /// Expected time of the whole run, over the time without failures and checkpoints.
    pub stretch: f64,
}

impl Failures {
    /// What becomes of a run on `devices` devices whose checkpoint has so many bytes.
    pub fn interrupt(&self, devices: u32, checkpoint: Bytes) -> Interrupted {
        let mtbf_s = self.device_mtbf_s / f64::from(devices);
        let checkpoint_s = checkpoint.as_f64() / self.checkpoint_bandwidth.get();
        let interval_s = daly_interval(checkpoint_s, mtbf_s);
        // T_w = M·e^(R/M)·(e^((τ + δ)/M) − 1)·T_s/τ
        let lost = ((interval_s + checkpoint_s) / mtbf_s).exp_m1();
        let stretch = mtbf_s * (self.restart.seconds() / mtbf_s).exp() * lost / interval_s;
        Interrupted { mtbf_s, checkpoint_s, interval_s, stretch }
    }
}

/// Work between two checkpoints that makes a run shortest: with δ what a checkpoint takes and M the mean time
/// between failures, √(2δM)·(1 + ⅓·√(δ/2M) + ⅑·δ/2M) − δ where δ < 2M, else M.
pub fn daly_interval(checkpoint_s: f64, mtbf_s: f64) -> f64 {
    if checkpoint_s >= 2.0 * mtbf_s {
        return mtbf_s;
    }
    let share = checkpoint_s / (2.0 * mtbf_s);
    (2.0 * checkpoint_s * mtbf_s).sqrt() * (1.0 + share.sqrt() / 3.0 + share / 9.0) - checkpoint_s
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Short checkpoints: Young's √(2δM). Daly's own example of a long one is bounded by M.
    #[test]
    fn intervals_are_youngs_where_checkpoints_are_short() {
        let (short, mtbf) = (1.0, 1e6);
        assert!((daly_interval(short, mtbf) / (2.0 * short * mtbf).sqrt() - 1.0).abs() < 1e-3);
        assert_eq!(daly_interval(30.0, 10.0), 10.0);
    }

    /// No other interval gives a shorter expected run, to within the estimate's own error of some 0.1 %.
    #[test]
    fn the_interval_is_the_best_one() {
        for (checkpoint, mtbf) in [(60.0, 86_400.0), (300.0, 20_000.0), (5.0, 3600.0)] {
            let cost = |interval: f64| ((interval + checkpoint) / mtbf).exp_m1() / interval;
            let best = cost(daly_interval(checkpoint, mtbf));
            for factor in [0.5, 0.8, 0.9, 1.1, 1.25, 2.0] {
                let other = cost(daly_interval(checkpoint, mtbf) * factor);
                assert!(best <= other * 1.001, "{checkpoint} {mtbf}: {best} against {other} at {factor}");
            }
        }
    }

    #[test]
    fn without_failures_nothing_is_stretched() {
        let never = Failures {
            device_mtbf_s: 1e9,
            checkpoint_bandwidth: "1e18 B/s".parse().unwrap(),
            restart: SimDuration::ZERO,
        };
        let stretch = never.interrupt(1, Bytes(1)).stretch;
        assert!((stretch - 1.0).abs() < 1e-3, "{stretch}");
    }
}
