//! What runs have learned by the same simulated time, and how long they take to the same loss.

use serde::Serialize;

use crate::report::training::TrainingSummary;

/// Training losses of single steps jump about; this many of them are averaged.
const SMOOTHED_OVER: usize = 10;

/// The time and the loss at which runs are compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Yardstick {
    /// When the first of them has ended, in simulated seconds.
    pub equal_time_s: f64,
    /// A loss: as asked for, or the highest of those that the runs end with, which all reach.
    pub target_loss: f64,
}

impl Yardstick {
    /// What these runs are compared at; nothing where nothing is computed.
    pub fn of<'a>(
        runs: impl Iterator<Item = &'a TrainingSummary> + Clone,
        target: Option<f64>,
    ) -> Option<Self> {
        let learning = runs.filter(|run| run.losses.is_some());
        let equal_time_s = learning.clone().map(|run| run.simulated_time_s).reduce(f64::min)?;
        let last = |run: &TrainingSummary| smoothed(run, usize::MAX);
        let highest = learning.filter_map(last).reduce(f64::max)?;
        Some(Yardstick { equal_time_s, target_loss: target.unwrap_or(highest) })
    }

    /// The loss of a run at the equal time: the mean of the last ten steps that had ended by then.
    pub fn loss_at_equal_time(&self, run: &TrainingSummary) -> Option<f64> {
        let ended = run.step_ends_s.partition_point(|&end| end <= self.equal_time_s);
        smoothed(run, ended)
    }

    /// When the mean of a run's last ten losses is the target or less for the first time.
    pub fn seconds_to_target(&self, run: &TrainingSummary) -> Option<f64> {
        let reaches = |&steps: &usize| {
            steps >= SMOOTHED_OVER.min(run.step_ends_s.len())
                && smoothed(run, steps).is_some_and(|loss| loss <= self.target_loss)
        };
        let steps = (1..=run.step_ends_s.len()).find(reaches)?;
        Some(run.step_ends_s[steps - 1])
    }
}

/// The mean of the last losses of the first `steps` steps.
fn smoothed(run: &TrainingSummary, steps: usize) -> Option<f64> {
    let losses = run.losses.as_ref()?;
    let losses = &losses[..steps.min(losses.len())];
    let last = &losses[losses.len().saturating_sub(SMOOTHED_OVER)..];
    (!last.is_empty()).then(|| last.iter().sum::<f64>() / last.len() as f64)
}
