//! `compare`: one workload under every combination of some settings.

use clap::Args;

use crate::cli::run::training::train;
use crate::cli::run::{Workload, json};
use crate::cli::{Common, Failure, Format};
use crate::config::Scenario;
use crate::planning::{Variation, combinations};
use crate::report::comparison::{Compared, artefacts, table};
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
    /// Print the result without writing a report
    #[arg(long)]
    no_report: bool,
    #[command(flatten)]
    common: Common,
}

impl Compare {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        let all = combinations(&self.vary);
        // Every combination is checked before the first is run, so that a slip costs no time.
        let mut scenarios = Vec::new();
        for settings in &all {
            match self.workload.scenario(settings)? {
                Scenario::Training(scenario) => scenarios.push(scenario),
                Scenario::Cluster(_) => {
                    return Err(Failure::Argument("`compare` takes training workloads".into()));
                }
            }
        }
        let name = format!("{}_compared", scenarios[0].file.name);
        let mut runs = Vec::new();
        for (scenario, settings) in scenarios.iter().zip(all) {
            let (record, failure) = train(scenario, &settings.join(" "));
            let done = failure.is_none();
            let summary = done
                .then(|| TrainingSummary::new(&scenario.file.name, &scenario.plan, &record, &scenario.notes));
            let breakdown = done.then(|| record.breakdowns[record.median_step()].clone());
            runs.push(Compared { settings, summary, failure, breakdown });
        }
        if !self.no_report {
            let folder = self.common.folder(&name);
            writer::write(&folder, &artefacts(&name, &runs))
                .map_err(|why| Failure::Files(why.to_string()))?;
            eprintln!("report: {}", folder.join("report.html").display());
        }
        match self.common.format {
            Format::Json => println!("{}", json(&runs)),
            Format::Table => print!("{}", table(&runs)),
        }
        if runs.iter().any(|run| run.failure.is_some()) {
            return Err(Failure::Run("some runs failed; see the table".into()));
        }
        Ok(())
    }
}
