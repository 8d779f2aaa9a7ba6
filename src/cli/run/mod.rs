//! `run` and `check`: one workload, of whichever trade.
//!
//! Each trade has a file here that runs its scenario and says what came of it as an [`Outcome`].

pub(super) mod cluster;
pub(super) mod memory;
pub(super) mod plan;
pub(super) mod preparation;
mod seeds;
pub(super) mod serving;
pub(super) mod stages;
pub(super) mod tasks;
pub(super) mod training;

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::{Common, Failure, Format};
use crate::config::{self, Override, Scenario};
use crate::report::training::describe;
use crate::report::writer::{self, Artefact};

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
    /// Count and leave out rows of a trace that cannot be used, instead of refusing it
    #[arg(long)]
    pub skip_bad_rows: bool,
}

impl Workload {
    /// Reads and checks the workload with its changes and `more` besides.
    pub(crate) fn scenario(&self, more: &[String]) -> Result<Scenario, Failure> {
        let mut changes: Vec<String> = self.set.iter().chain(more).cloned().collect();
        changes.extend(self.topology.iter().map(|name| format!("topology={name}")));
        changes.extend(self.seed.map(|seed| format!("seed={seed}")));
        changes.extend(self.skip_bad_rows.then(|| "skip_bad_rows=true".to_owned()));
        let changes: Result<Vec<Override>, _> = changes.iter().map(|text| text.parse()).collect();
        let changes = changes.map_err(Failure::Argument)?;
        Ok(config::load(&self.workload, &changes)?)
    }
}

impl Workload {
    /// The same workload with another seed.
    pub(crate) fn seeded(&self, seed: u64) -> Workload {
        Workload { seed: Some(seed), ..self.clone() }
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
    /// Of training: say why a step takes as long as it does even where that takes many times as long as the run
    #[arg(long)]
    explain: bool,
    /// Of training: save the trained weights, as a `.safetensors` file or as a folder with a `config.json` too
    /// (the same as `--set training.save=PATH`)
    #[arg(long, value_name = "PATH")]
    save: Option<PathBuf>,
}

/// What a run of any trade leaves behind.
pub(crate) struct Outcome {
    /// The workload's name.
    pub name: String,
    /// The result for machines.
    pub json: String,
    /// The result for people.
    pub table: String,
    /// The report's files; none when no report is wanted.
    pub artefacts: Vec<Artefact>,
}

impl Run {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        let report = !self.no_report;
        let mut scenario = self.workload.scenario(&[])?;
        if let Some(path) = &self.save {
            saved_to(&mut scenario, path)?;
        }
        let outcome = match scenario {
            Scenario::Training(scenario) => {
                training::run(&scenario, report, self.explain, &|changes| self.workload.scenario(changes))?
            }
            Scenario::Tasks(scenario) => tasks::run(&scenario, report)?,
            Scenario::Preparation(scenario) => preparation::run(&scenario, report)?,
            Scenario::Cluster(scenario) => cluster::run(&scenario, report)?,
            Scenario::Serving(scenario) => serving::run(&scenario, report)?,
            Scenario::Stages(scenario) => {
                stages::run(&scenario, report, self.explain, &|changes| match self
                    .workload
                    .scenario(changes)?
                {
                    Scenario::Stages(scenario) => Ok(Scenario::Training(Box::new(scenario.training))),
                    other => Ok(other),
                })?
            }
            Scenario::Plan(scenario) => {
                let (outcome, found) = plan::run(&scenario, report)?;
                self.tell(&outcome)?;
                return if found { Ok(()) } else { Err(Failure::Run(NO_PLAN.into())) };
            }
        };
        self.tell(&outcome)
    }

    /// The same for a workload that asks for a plan; others are refused.
    pub(crate) fn plan(self) -> Result<(), Failure> {
        match self.workload.scenario(&[])? {
            Scenario::Plan(_) => self.execute(),
            _ => Err(Failure::Argument(format!(
                "`{}` has no `plan:`; `trainyard run` runs it, and `workloads/plan_small.yaml` shows what a plan asks",
                self.workload.workload.display()
            ))),
        }
    }

    /// Writes and prints what came of a run.
    fn tell(&self, outcome: &Outcome) -> Result<(), Failure> {
        if !self.no_report {
            let folder = self.common.folder(&outcome.name);
            writer::write(&folder, &outcome.artefacts).map_err(|why| Failure::Files(why.to_string()))?;
            eprintln!("report: {}", folder.join("report.html").display());
        }
        match self.common.format {
            Format::Json => println!("{}", outcome.json),
            Format::Table => print!("{}", outcome.table),
        }
        Ok(())
    }
}

/// Lets a scenario save what it trains.
fn saved_to(scenario: &mut Scenario, path: &Path) -> Result<(), Failure> {
    match scenario {
        Scenario::Training(scenario) if scenario.file.numeric => {
            scenario.file.training.save = Some(path.to_owned());
            Ok(())
        }
        Scenario::Stages(scenario) if scenario.training.file.numeric => {
            scenario.training.file.training.save = Some(path.to_owned());
            Ok(())
        }
        Scenario::Training(_) | Scenario::Stages(_) => Err(Failure::Argument(
            "--save: nothing is computed (`numeric: false`), so there are no weights to save".into(),
        )),
        _ => Err(Failure::Argument("--save: only a workload with `training:` has weights to save".into())),
    }
}

/// Exit code 1: the question has an answer, and it is no.
const NO_PLAN: &str = "no plan fits within the limits; the report says what the quickest come to";

/// A value as JSON for people and machines.
pub(crate) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).expect("a summary is plain data")
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
        let (file, description) = match self.workload.scenario(&[])? {
            Scenario::Training(scenario) => {
                let description = describe(&scenario.plan, &scenario.notes);
                (Resolved::of(&scenario.file), description)
            }
            Scenario::Tasks(scenario) => {
                let description = crate::report::tasks::describe(&scenario.plan, &scenario.notes);
                (Resolved::of(&scenario.file), description)
            }
            Scenario::Preparation(scenario) => {
                let description = crate::report::preparation::describe(&scenario.plan, &scenario.notes);
                (Resolved::of(&scenario.file), description)
            }
            Scenario::Cluster(scenario) => {
                let description = crate::report::cluster::describe(&scenario.plan, &scenario.notes);
                (Resolved::of(&scenario.file), description)
            }
            Scenario::Plan(scenario) => {
                let refused = scenario.refused.values().sum();
                let description = crate::planning::report::describe(
                    &scenario.candidates,
                    &scenario.groups,
                    refused,
                    &scenario.notes,
                );
                (Resolved::of(&scenario.file), description)
            }
            Scenario::Stages(scenario) => {
                let (training, serving) = (&scenario.training, &scenario.serving);
                let description = describe(&training.plan, &training.notes)
                    + &crate::report::serving::describe(&serving.plan, &serving.notes);
                (Resolved::of(&scenario.file()), description)
            }
            Scenario::Serving(scenario) => {
                let description = crate::report::serving::describe(&scenario.plan, &scenario.notes);
                (Resolved::of(&scenario.file), description)
            }
        };
        match self.common.format {
            Format::Json => println!("{}", file.json),
            Format::Table => print!("{description}\n{}", file.yaml),
        }
        Ok(())
    }
}

/// A resolved file, defaults written out.
struct Resolved {
    json: String,
    yaml: String,
}

impl Resolved {
    fn of(file: &impl serde::Serialize) -> Self {
        Resolved { json: json(file), yaml: config::write(file) }
    }
}
