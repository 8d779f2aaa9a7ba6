//! `topology`: what a machine comes to, in numbers and as a drawing.

use std::path::PathBuf;

use clap::Args;

use crate::cli::run::json;
use crate::cli::{Common, Failure, Format};
use crate::config::{Source, locate};
use crate::report::machine;
use crate::report::writer;

/// `trainyard topology`.
#[derive(Debug, Args)]
pub(crate) struct Describe {
    /// Topology file or name
    #[arg(value_name = "T.yaml")]
    topology: String,
    /// Print without drawing
    #[arg(long)]
    no_report: bool,
    #[command(flatten)]
    common: Common,
}

impl Describe {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        let here = Source { name: String::new(), text: String::new() };
        let topology = locate::topology(&self.topology, &here)?;
        if !self.no_report {
            let default = || PathBuf::from("reports/topologies");
            let folder = self.common.out.clone().unwrap_or_else(default);
            writer::write(&folder, &machine::artefacts(&topology))
                .map_err(|why| Failure::Files(why.to_string()))?;
            eprintln!("drawing: {}", folder.join(format!("{}.svg", topology.name())).display());
        }
        match self.common.format {
            Format::Json => println!("{}", json(&topology.describe())),
            Format::Table => print!("{}", machine::table(&topology)),
        }
        Ok(())
    }
}
