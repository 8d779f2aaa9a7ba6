//! `audit`: one workload at neighbouring fidelities, and where they disagree.

use std::time::Instant;

use clap::Args;

use crate::cli::run::training::{Trained, train};
use crate::cli::run::{Workload, json};
use crate::cli::{Common, Failure, Format};
use crate::compute::ComputeSpec;
use crate::config::{Scenario, TrainingScenario};
use crate::network::NetworkSpec;
use crate::report::audit::{Audited, artefacts, table};
use crate::report::training::TrainingSummary;
use crate::report::writer;

/// `trainyard audit`.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    #[command(flatten)]
    workload: Workload,
    /// Compute models to hold against the workload's own
    #[arg(long, value_name = "A,B", value_delimiter = ',', default_values = ["roofline", "native"])]
    compute: Vec<String>,
    /// Network models to hold against the workload's own
    #[arg(long, value_name = "A,B", value_delimiter = ',', default_values = ["analytic", "fluid"])]
    network: Vec<String>,
    /// Print without writing a report
    #[arg(long)]
    no_report: bool,
    #[command(flatten)]
    common: Common,
}

impl Audit {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        let own = self.scenario(&[])?;
        let (compute, network) = (own.compute.name(), own.network.name());
        let name = format!("{}_audit", own.file.name);
        let mut variants = vec![(compute, network, own)];
        // One axis at a time, so that a difference has one cause.
        for other in &self.compute {
            let spec = crate::cli::collective::named(
                other,
                "compute model",
                ComputeSpec::NAMES,
                ComputeSpec::from_name,
            )?;
            if spec.name() != compute {
                let change = format!("fidelity.compute={other}");
                variants.push((spec.name(), network, self.scenario(&[change])?));
            }
        }
        for other in &self.network {
            let spec = crate::cli::collective::named(
                other,
                "network model",
                NetworkSpec::NAMES,
                NetworkSpec::from_name,
            )?;
            if spec.name() != network {
                let change = format!("fidelity.network={other}");
                variants.push((compute, spec.name(), self.scenario(&[change])?));
            }
        }
        let mut audited = Vec::new();
        for (compute, network, scenario) in variants {
            let began = Instant::now();
            let Trained { record, failure, .. } = train(&scenario, &format!("{compute} + {network}"));
            if let Some(why) = failure {
                return Err(Failure::Run(why));
            }
            eprintln!("{compute} + {network}: {:.3} s of this machine", began.elapsed().as_secs_f64());
            let summary = TrainingSummary::new(&scenario.file.name, &scenario.plan, &record, &scenario.notes);
            let breakdown = record.typical_step(scenario.plan.steps_differ());
            audited.push(Audited { compute, network, summary, breakdown });
        }
        if !self.no_report {
            let folder = self.common.folder(&name);
            writer::write(&folder, &artefacts(&name, &audited))
                .map_err(|why| Failure::Files(why.to_string()))?;
            eprintln!("report: {}", folder.join("report.html").display());
        }
        match self.common.format {
            Format::Json => println!("{}", json(&audited)),
            Format::Table => print!("{}", table(&name, &audited)),
        }
        Ok(())
    }

    /// The workload, timed alone, for one step.
    fn scenario(&self, more: &[String]) -> Result<TrainingScenario, Failure> {
        let timed = ["numeric=false", "training.steps=1"].map(str::to_owned);
        match self.workload.scenario(&[&timed[..], more].concat())? {
            Scenario::Training(scenario) => Ok(*scenario),
            _ => Err(Failure::Argument("only training workloads are audited so far".to_owned())),
        }
    }
}
