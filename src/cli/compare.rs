//! `compare`: one workload under every combination of some settings.

use clap::Args;

use crate::cli::run::training::{Trained, train};
use crate::cli::run::{self, Outcome, Workload, cluster, json};
use crate::cli::{Common, Failure, Format};
use crate::config::Scenario;
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

const SOME_FAILED: &str = "some runs failed; see the table";

impl Compare {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        let all = combinations(&self.vary);
        // Every combination is checked before the first is run, so that a slip costs no time.
        let mut scenarios = Vec::new();
        let mut clusters = Vec::new();
        let mut servings = Vec::new();
        let mut tasks = Vec::new();
        let mut preparations = Vec::new();
        for settings in &all {
            match self.workload.scenario(settings)? {
                Scenario::Training(scenario) => scenarios.push(scenario),
                Scenario::Tasks(scenario) => tasks.push(*scenario),
                Scenario::Preparation(scenario) => preparations.push(*scenario),
                Scenario::Cluster(scenario) => clusters.push(*scenario),
                Scenario::Plan(_) => {
                    return Err(Failure::Argument(
                        "a plan compares its space itself: `trainyard plan` shows the front and the runners-up".into(),
                    ));
                }
                Scenario::Serving(scenario) => servings.push(*scenario),
                Scenario::Stages(_) => {
                    return Err(Failure::Argument(
                        "a workload with `training:` and `serving:` is not compared as a whole yet: save what it trains \
                         (`run … --save FILE.safetensors`), and compare a workload that serves `model: {checkpoint: FILE}`"
                            .into(),
                    ));
                }
            }
        }
        if !clusters.is_empty() {
            let (compared, failed) = cluster::compare(&self.workload, all, clusters, self.seeds)?;
            self.tell(compared)?;
            return if failed { Err(Failure::Run(SOME_FAILED.into())) } else { Ok(()) };
        }
        if !servings.is_empty() {
            let (compared, failed) = run::serving::compare(&self.workload, all, servings, self.seeds)?;
            self.tell(compared)?;
            return if failed { Err(Failure::Run(SOME_FAILED.into())) } else { Ok(()) };
        }
        if !tasks.is_empty() {
            let (compared, failed) = run::tasks::compare(&self.workload, all, tasks, self.seeds)?;
            self.tell(compared)?;
            return if failed { Err(Failure::Run(SOME_FAILED.into())) } else { Ok(()) };
        }
        if !preparations.is_empty() {
            let (compared, failed) =
                run::preparation::compare(&self.workload, all, preparations, self.seeds)?;
            self.tell(compared)?;
            return if failed { Err(Failure::Run(SOME_FAILED.into())) } else { Ok(()) };
        }
        if self.seeds.is_some_and(|seeds| seeds > 1) {
            return Err(Failure::Argument(
                "`--seeds` is for workloads of tasks, a preparation, serving or a cluster; training takes `--vary seed=1,2,3`".into(),
            ));
        }
        let name = format!("{}_compared", scenarios[0].file.name);
        let mut runs = Vec::new();
        for (scenario, settings) in scenarios.iter().zip(all) {
            let Trained { record, failure, .. } = train(scenario, &settings.join(" "));
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
