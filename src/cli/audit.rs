//! `audit`: one workload at neighbouring fidelities, and where they disagree.

use std::time::Instant;

use clap::Args;

use crate::cli::collective::named;
use crate::cli::compare::Checked;
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
        let scenario = self.workload.scenario(&[])?;
        if let Some((compute, network)) = fidelity_of(&scenario) {
            return self.compare(compute, network);
        }
        let own = self.scenario(&[])?;
        let (compute, network) = (own.compute.name(), own.network.name());
        let name = format!("{}_audit", own.file.name);
        let mut variants = vec![(compute, network, own)];
        // One axis at a time, so that a difference has one cause.
        for other in &self.compute {
            let spec = compute_named(other)?;
            if spec.name() != compute {
                let change = format!("fidelity.compute={other}");
                variants.push((spec.name(), network, self.scenario(&[change])?));
            }
        }
        for other in &self.network {
            let spec = network_named(other)?;
            if spec.name() != network {
                let change = format!("fidelity.network={other}");
                variants.push((compute, spec.name(), self.scenario(&[change])?));
            }
        }
        let mut audited = Vec::new();
        for (compute, network, scenario) in variants {
            let began = Instant::now();
            let Trained { record, failure, .. } = train(&scenario, &format!("{compute} + {network}"), false);
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

    /// Another trade's workload: what it is measured by, at its own fidelity and at the others.
    fn compare(&self, compute: Option<&str>, network: &str) -> Result<(), Failure> {
        let mut all = vec![Vec::new()];
        for other in &self.compute {
            let name = compute_named(other)?.name();
            if compute.is_some_and(|own| own != name) {
                all.push(vec![format!("fidelity.compute={name}")]);
            }
        }
        for other in &self.network {
            let name = network_named(other)?.name();
            if network != name {
                all.push(vec![format!("fidelity.network={name}")]);
            }
        }
        let began = Instant::now();
        let checked = Checked::of(&self.workload, &all)?;
        let (audited, failed) = checked.compare(&self.workload, all, Some(1))?;
        eprintln!("{:.3} s of this machine", began.elapsed().as_secs_f64());
        if !self.no_report {
            let folder = self.common.folder(&audited.name.replace("_compared", "_audit"));
            writer::write(&folder, &audited.artefacts).map_err(|why| Failure::Files(why.to_string()))?;
            eprintln!("report: {}", folder.join("report.html").display());
        }
        match self.common.format {
            Format::Json => println!("{}", audited.json),
            Format::Table => print!("{}", audited.table),
        }
        if failed { Err(Failure::Run("some runs failed; see the table".to_owned())) } else { Ok(()) }
    }

    /// The workload, timed alone, for one step.
    fn scenario(&self, more: &[String]) -> Result<TrainingScenario, Failure> {
        let timed = ["numeric=false", "training.steps=1"].map(str::to_owned);
        match self.workload.scenario(&[&timed[..], more].concat())? {
            Scenario::Training(scenario) => Ok(*scenario),
            _ => Err(Failure::Argument("a workload whose trade depends on its settings".to_owned())),
        }
    }
}

/// The fidelity of a workload of another trade than training: how kernels are costed, where there are any,
/// and how flows share links.
fn fidelity_of(scenario: &Scenario) -> Option<(Option<&'static str>, &'static str)> {
    match scenario {
        Scenario::Training(_) | Scenario::Plan(_) | Scenario::Stages(_) => None,
        Scenario::Tasks(scenario) => Some((None, scenario.file.fidelity.network.name())),
        Scenario::Preparation(scenario) => Some((None, scenario.file.fidelity.network.name())),
        Scenario::Cluster(scenario) => {
            let fidelity = &scenario.file.fidelity;
            Some((Some(fidelity.compute.name()), fidelity.network.name()))
        }
        Scenario::Serving(scenario) => {
            let fidelity = &scenario.file.fidelity;
            Some((Some(fidelity.compute.name()), fidelity.network.name()))
        }
    }
}

fn compute_named(name: &str) -> Result<ComputeSpec, Failure> {
    named(name, "compute model", ComputeSpec::NAMES, ComputeSpec::from_name)
}

fn network_named(name: &str) -> Result<NetworkSpec, Failure> {
    named(name, "network model", NetworkSpec::NAMES, NetworkSpec::from_name)
}
