//! What failures cost a run, and how often it had better write checkpoints.

use serde::Serialize;

use crate::metrics::TrainingRecord;
use crate::report::figure::{Axis, Line, LineChart, Quantity, Svg};
use crate::training::disturbance::Disturbances;
use crate::training::recovery::{Recovery, best_interval};
use crate::training::{StepReport, TrainingPlan};
use crate::units::{SimDuration, SimTime};

/// Where the time of a run that writes checkpoints went: the five parts sum to it.
#[derive(Debug, Clone, Serialize)]
pub struct Recovered {
    /// Steps that counted.
    pub useful_s: f64,
    /// Writing checkpoints.
    pub checkpoint_s: f64,
    /// What had to be done again.
    pub lost_s: f64,
    /// From failures until the run went on.
    pub restart_s: f64,
    /// `useful_s` over the whole run.
    pub goodput: f64,
    /// Checkpoints that were written.
    pub checkpoints: usize,
    /// Every failure.
    pub failures: Vec<FailureRow>,
    /// What Young and Daly say; absent where nothing fails.
    pub young_daly: Option<YoungDaly>,
}

/// A device failed.
#[derive(Debug, Clone, Serialize)]
pub struct FailureRow {
    /// Which.
    pub device: String,
    /// When.
    pub at_s: f64,
    /// During which step.
    pub during_step: u32,
    /// The step from which the run went on.
    pub back_to_step: u32,
    /// What had to be done again had taken so long.
    pub lost_s: f64,
    /// When the run went on.
    pub resumed_s: f64,
    /// With how many replicas.
    pub replicas: u32,
}

/// The best interval between checkpoints (Daly, "A higher order estimate of the optimum checkpoint interval
/// for restart dumps", FGCS 22(3), 2006, which refines Young, CACM 17(9), 1974).
#[derive(Debug, Clone, Serialize)]
pub struct YoungDaly {
    /// How long a checkpoint takes to write.
    pub write_s: f64,
    /// Mean time between failures of all devices together.
    pub mtbf_s: f64,
    /// The best interval.
    pub interval_s: f64,
    /// The same in steps of median length.
    pub interval_steps: u64,
}

impl Recovered {
    /// Sums up what failures and checkpoints cost; nothing for a run without either.
    pub fn of(
        plan: &TrainingPlan,
        record: &TrainingRecord,
        disturbances: &Disturbances,
        recovery: Option<&Recovery>,
    ) -> Option<Self> {
        let recovery = recovery?;
        let end = record.steps.last().map_or(SimTime::ZERO, |step| step.end);
        let sum = |lengths: &mut dyn Iterator<Item = SimDuration>| lengths.sum::<SimDuration>();
        let useful = sum(&mut record.steps.iter().map(|step: &StepReport| step.duration));
        let lost = sum(&mut record.interruptions.iter().map(|failure| failure.lost));
        let checkpoint = sum(&mut record.checkpoints.iter().map(|written| written.end.since(written.start)));
        let whole = end.since(SimTime::ZERO);
        let failures = record.interruptions.iter().map(|failure| FailureRow {
            device: plan.topology.devices()[failure.device].name.clone(),
            at_s: failure.at.seconds(),
            during_step: failure.during.0,
            back_to_step: failure.back_to.0,
            lost_s: failure.lost.seconds(),
            resumed_s: failure.resumed.seconds(),
            replicas: failure.replicas,
        });
        Some(Recovered {
            useful_s: useful.seconds(),
            checkpoint_s: checkpoint.seconds(),
            lost_s: lost.seconds(),
            restart_s: whole.saturating_sub(useful + lost + checkpoint).seconds(),
            goodput: useful.seconds() / whole.seconds(),
            checkpoints: record.checkpoints.len(),
            failures: failures.collect(),
            young_daly: young_daly(plan, record, disturbances, recovery),
        })
    }

    /// The rows of a terminal's table.
    pub(super) fn rows(&self) -> Vec<(String, String)> {
        let time = |seconds: f64| SimDuration::from_seconds(seconds).to_string();
        let mut rows = vec![
            (
                "goodput".to_owned(),
                format!("{:.1} % of the time went to steps that count", self.goodput * 100.0),
            ),
            ("  checkpoints".into(), format!("{} for {} of them", time(self.checkpoint_s), self.checkpoints)),
            ("  done again".into(), time(self.lost_s)),
            ("  restarting".into(), time(self.restart_s)),
        ];
        rows.extend(self.failures.iter().map(|failure| {
            (
                format!("{} fails", failure.device),
                format!(
                    "at {} in step {}; back to step {}, {} lost; on at {} with {}",
                    time(failure.at_s),
                    failure.during_step,
                    failure.back_to_step,
                    time(failure.lost_s),
                    time(failure.resumed_s),
                    match failure.replicas {
                        1 => "1 replica".to_owned(),
                        replicas => format!("{replicas} replicas"),
                    }
                ),
            )
        }));
        rows.extend(self.young_daly.iter().map(|best| {
            (
                "Young and Daly".into(),
                format!(
                    "with {} to write and a failure every {}, a checkpoint every {} ({} steps)",
                    time(best.write_s),
                    time(best.mtbf_s),
                    time(best.interval_s),
                    best.interval_steps
                ),
            )
        }));
        rows
    }
}

fn young_daly(
    plan: &TrainingPlan,
    record: &TrainingRecord,
    disturbances: &Disturbances,
    recovery: &Recovery,
) -> Option<YoungDaly> {
    let whole = record.steps.last()?.end.seconds();
    let devices = plan.placement.len() as f64;
    let seen = (!record.interruptions.is_empty()).then(|| whole / record.interruptions.len() as f64);
    let mtbf = disturbances.mtbf.map(|mtbf| mtbf.seconds() / devices).or(seen)?;
    let write = recovery.pause(plan).seconds();
    let interval = best_interval(write, mtbf);
    let step = record.steps[record.median_step()].duration.seconds();
    let interval_steps = ((interval / step).round() as u64).max(1);
    Some(YoungDaly { write_s: write, mtbf_s: mtbf, interval_s: interval, interval_steps })
}

/// How far the run had got when; nothing where it never went back.
pub(super) fn progress(record: &TrainingRecord) -> Option<Svg> {
    if record.interruptions.is_empty() {
        return None;
    }
    let points = record.progress.iter().map(|&(at, steps)| (at.seconds(), f64::from(steps)));
    let chart = LineChart {
        title: "Steps done against simulated time".into(),
        x: Axis::new("simulated time", Quantity::Time).from_zero(),
        y: Axis::new("steps done", Quantity::Number).from_zero(),
        series: vec![Line::new("steps", std::iter::once((0.0, 0.0)).chain(points).collect())],
        references: Vec::new(),
    };
    Some(chart.draw())
}
