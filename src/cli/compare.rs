//! `compare`: one workload under every combination of some settings.

use clap::Args;

use crate::cli::run::training::{Trained, train};
use crate::cli::run::{self, Outcome, Workload, cluster, json};
use crate::cli::{Common, Failure, Format};
use crate::config::{
    ClusterScenario, PreparationScenario, Scenario, ServingScenario, TasksScenario, TrainingScenario,
};
use crate::planning::{Variation, combinations};
use crate::report::comparison::{Compared, artefacts, machine, table, yardstick};
use crate::report::training::TrainingSummary;
use crate::report::writer;

/// `trainyard compare`.
#[derive(Debug, Args)]
pub(crate) struct Compare {
    #[command(flatten)]
    workload: Workload,
    /// A key and the values that it takes in turn; several keys give every combination
    #[arg(long = "vary", value_name = "KEY=A,B,…", required = true)]
    vary: Vec<Variation>,
    /// Run every combination with as many seeds, the same for all (ten where a run depends on its seed)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    seeds: Option<u32>,
    /// Of training runs: how long each takes to this training loss; unless given, to the highest that they
    /// end with. When no run reaches it, the exit code is 1
    #[arg(long, value_name = "LOSS")]
    target_loss: Option<f64>,
    /// Print the result without writing a report
    #[arg(long)]
    no_report: bool,
    #[command(flatten)]
    common: Common,
}

/// A workload in all its variants, of one trade.
pub(super) enum Checked {
    Training(Vec<TrainingScenario>),
    Tasks(Vec<TasksScenario>),
    Preparation(Vec<PreparationScenario>),
    Cluster(Vec<ClusterScenario>),
    Serving(Vec<ServingScenario>),
}

impl Checked {
    /// Checks every variant before the first is run, so that a slip costs no time.
    pub(super) fn of(workload: &Workload, all: &[Vec<String>]) -> Result<Checked, Failure> {
        let mut checked = Checked::Training(Vec::new());
        for settings in all {
            match (workload.scenario(settings)?, &mut checked) {
                (Scenario::Training(scenario), Checked::Training(known)) => known.push(*scenario),
                (Scenario::Tasks(scenario), Checked::Tasks(known)) => known.push(*scenario),
                (Scenario::Preparation(scenario), Checked::Preparation(known)) => known.push(*scenario),
                (Scenario::Cluster(scenario), Checked::Cluster(known)) => known.push(*scenario),
                (Scenario::Serving(scenario), Checked::Serving(known)) => known.push(*scenario),
                (Scenario::Plan(_), _) => {
                    return Err(Failure::Argument(
                        "a plan compares its space itself: `trainyard plan` shows the front and the runners-up".into(),
                    ));
                }
                (Scenario::Stages(_), _) => {
                    return Err(Failure::Argument(
                        "a workload with `training:` and `serving:` is not compared as a whole yet: save what it trains \
                          (`run … --save FILE.safetensors`), and compare a workload that serves `model: {checkpoint: FILE}`"
                            .into(),
                    ));
                }
                (Scenario::Tasks(scenario), _) => checked = Checked::Tasks(vec![*scenario]),
                (Scenario::Preparation(scenario), _) => checked = Checked::Preparation(vec![*scenario]),
                (Scenario::Cluster(scenario), _) => checked = Checked::Cluster(vec![*scenario]),
                (Scenario::Serving(scenario), _) => checked = Checked::Serving(vec![*scenario]),
                (Scenario::Training(scenario), _) => checked = Checked::Training(vec![*scenario]),
            }
        }
        Ok(checked)
    }

    /// Runs every variant of a trade other than training with the same seeds, and tells them apart; also,
    /// whether some of them failed.
    pub(super) fn compare(
        self,
        workload: &Workload,
        all: Vec<Vec<String>>,
        seeds: Option<u32>,
    ) -> Result<(Outcome, bool), Failure> {
        match self {
            Checked::Training(_) => unreachable!("training is compared step by step"),
            Checked::Tasks(scenarios) => run::tasks::compare(workload, all, scenarios, seeds),
            Checked::Preparation(scenarios) => run::preparation::compare(workload, all, scenarios, seeds),
            Checked::Cluster(scenarios) => cluster::compare(workload, all, scenarios, seeds),
            Checked::Serving(scenarios) => run::serving::compare(workload, all, scenarios, seeds),
        }
    }
}

const SOME_FAILED: &str = "some runs failed; see the table";

impl Compare {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        let all = combinations(&self.vary);
        let scenarios = match Checked::of(&self.workload, &all)? {
            Checked::Training(scenarios) => scenarios,
            others => {
                let (compared, failed) = others.compare(&self.workload, all, self.seeds)?;
                self.tell(compared)?;
                return if failed { Err(Failure::Run(SOME_FAILED.into())) } else { Ok(()) };
            }
        };
        if self.seeds.is_some_and(|seeds| seeds > 1) {
            return Err(Failure::Argument(
                "`--seeds` is for workloads of tasks, a preparation, serving or a cluster; training takes `--vary seed=1,2,3`".into(),
            ));
        }
        let name = format!("{}_compared", scenarios[0].file.name);
        let mut runs = Vec::new();
        for (scenario, settings) in scenarios.iter().zip(all) {
            let Trained { record, failure, .. } = train(scenario, &settings.join(" "), false);
            let done = failure.is_none();
            let summary = done
                .then(|| TrainingSummary::new(&scenario.file.name, &scenario.plan, &record, &scenario.notes));
            let breakdown = done.then(|| record.typical_step(scenario.plan.steps_differ()));
            runs.push(Compared { settings, summary, failure, breakdown });
        }
        let yardstick = yardstick(&runs, self.target_loss);
        if !self.no_report {
            let folder = self.common.folder(&name);
            writer::write(&folder, &artefacts(&name, &runs, yardstick))
                .map_err(|why| Failure::Files(why.to_string()))?;
            eprintln!("report: {}", folder.join("report.html").display());
        }
        match self.common.format {
            Format::Json => println!("{}", json(&machine(&runs, yardstick))),
            Format::Table => print!("{}", table(&runs, yardstick)),
        }
        if runs.iter().any(|run| run.failure.is_some()) {
            return Err(Failure::Run(SOME_FAILED.into()));
        }
        if let (Some(target), Some(yardstick)) = (self.target_loss, yardstick) {
            let mut done = runs.iter().filter_map(|run| run.summary.as_ref());
            if !done.any(|summary| yardstick.seconds_to_target(summary).is_some()) {
                return Err(Failure::Run(format!("no run reaches a training loss of {target}")));
            }
        }
        Ok(())
    }

    /// Writes and prints what came of a comparison over seeds.
    fn tell(&self, outcome: Outcome) -> Result<(), Failure> {
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
