//! `run` and `check`: one workload.

use std::path::PathBuf;

use clap::Args;

use crate::cli::progress::Progress;
use crate::cli::{Common, Failure, Format};
use crate::config::{self, Override, Scenario};
use crate::metrics::{TrainingRecord, TrainingRecorder};
use crate::numeric::values::Values;
use crate::report::training::{TrainingSummary, artefacts, describe, table};
use crate::report::writer;
use crate::training::{self, StepReport};

/// Which workload, with which changes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Workload {
    /// Workload file, or the name of one that comes with trainyard
    #[arg(value_name = "WORKLOAD.yaml")]
    pub workload: PathBuf,
    /// Topology to use instead of the workload's
    #[arg(long, value_name = "T.yaml")]
    pub topology: Option<String>,
    /// Change a key, as in `--set training.steps=20`; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Seed of every random stream
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

impl Workload {
    /// Reads and checks the workload with its changes and `more` besides.
    pub(crate) fn scenario(&self, more: &[String]) -> Result<Scenario, Failure> {
        let mut changes: Vec<String> = self.set.iter().chain(more).cloned().collect();
        changes.extend(self.topology.iter().map(|name| format!("topology={name}")));
        changes.extend(self.seed.map(|seed| format!("seed={seed}")));
        let changes: Result<Vec<Override>, _> = changes.iter().map(|text| text.parse()).collect();
        let changes = changes.map_err(Failure::Argument)?;
        Ok(config::load(&self.workload, &changes)?)
    }
}

/// `trainyard run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    workload: Workload,
    #[command(flatten)]
    common: Common,
    /// Print the result without writing a report
    #[arg(long)]
    no_report: bool,
}

impl Run {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        let scenario = self.workload.scenario(&[])?;
        let name = scenario.file.name.clone();
        let (record, failure) = train(&scenario, &name);
        if let Some(why) = failure {
            return Err(Failure::Run(why));
        }
        let summary = TrainingSummary::new(&name, &scenario.plan, &record, &scenario.notes);
        if !self.no_report {
            let folder = self.common.out.clone().unwrap_or_else(|| PathBuf::from("reports").join(&name));
            let resolved = config::write(&scenario.file);
            let files = artefacts(&scenario.plan, &record, &summary, &resolved);
            writer::write(&folder, &files).map_err(|why| Failure::Files(why.to_string()))?;
            eprintln!("report: {}", folder.join("report.html").display());
        }
        match self.common.format {
            Format::Json => println!("{}", json(&summary)),
            Format::Table => print!("{}", table(&summary)),
        }
        Ok(())
    }
}

/// A value as JSON for people and machines.
pub(crate) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).expect("a summary is plain data")
}

/// Trains a scenario under a progress line; what had been recorded stands if it fails.
pub(crate) fn train(scenario: &Scenario, name: &str) -> (TrainingRecord, Option<String>) {
    let plan = &scenario.plan;
    let state = scenario.state();
    let mut values: Option<Values> = scenario.values(&state);
    let mut progress = Progress::new(u64::from(plan.steps));
    let mut recorder = TrainingRecorder::new(
        plan.mesh.ranks() as usize,
        plan.steps,
        scenario.file.training.evaluate_every,
        |step: &StepReport| progress.tell(u64::from(step.step.0) + 1, || step_line(name, plan.steps, step)),
    );
    let ran = training::run(
        plan,
        &state,
        &*scenario.compute,
        scenario.network_model(),
        values.as_mut(),
        &mut recorder,
    );
    let record = recorder.finish();
    progress.end(&format!("{name}: {} steps", record.steps.len()));
    (record, ran.err().map(|failure| failure.to_string()))
}

fn step_line(name: &str, steps: u32, step: &StepReport) -> String {
    let loss = step.loss.map_or(String::new(), |loss| format!(" | loss {loss:.4}"));
    format!("{name}: step {}/{steps}{loss} | simulated {}", step.step.0 + 1, step.end)
}

/// `trainyard check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    workload: Workload,
    #[command(flatten)]
    common: Common,
}

impl Check {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        let scenario = self.workload.scenario(&[])?;
        match self.common.format {
            Format::Json => println!("{}", json(&scenario.file)),
            Format::Table => {
                print!("{}", describe(&scenario.plan, &scenario.notes));
                print!("\n{}", config::write(&scenario.file));
            }
        }
        Ok(())
    }
}
