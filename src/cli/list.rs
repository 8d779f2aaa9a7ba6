//! `list`: what there is.

use clap::Args;

use crate::cli::run::json;
use crate::cli::{Common, Failure, Format};
use crate::cluster::placement::PlacementSpec;
use crate::cluster::scheduling::ClusterSchedulerSpec;
use crate::collective::AlgorithmSpec;
use crate::compute::ComputeSpec;
use crate::config::locate;
use crate::hardware::ShapeSpec;
use crate::network::NetworkSpec;
use crate::numeric::optimizer::OptimizerSpec;
use crate::preparation::packing::PackingSpec;
use crate::report::table::facts;
use crate::serving::batching::BatchingSpec;
use crate::serving::routing::RoutingSpec;
use crate::tasks::generate::TaskGeneratorSpec;
use crate::tasks::scheduling::TaskSchedulerSpec;
use crate::training::compression::CompressionSpec;
use crate::training::context::ContextSpec;
use crate::training::model_compression::ModelCompressionSpec;
use crate::training::schedule::ScheduleSpec;
use crate::training::software::SoftwareSpec;
use crate::training::sync::SyncSpec;

/// `trainyard list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// What to list; every kind unless given
    #[arg(value_name = "KIND")]
    kind: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// A name and what it is.
type Entry = (String, String);

/// Every kind with the names it has.
fn kinds() -> Vec<(&'static str, Vec<Entry>)> {
    let members = |members: &[(&str, &str)]| {
        members.iter().map(|&(name, what)| (name.to_owned(), what.to_owned())).collect()
    };
    vec![
        ("topologies", locate::topologies()),
        ("devices", locate::devices()),
        ("workloads", locate::workloads()),
        ("shapes", members(ShapeSpec::MEMBERS)),
        ("schedules", members(ScheduleSpec::MEMBERS)),
        ("syncs", members(SyncSpec::MEMBERS)),
        ("context_schemes", members(ContextSpec::MEMBERS)),
        ("compressions", members(CompressionSpec::MEMBERS)),
        ("model_compressions", members(ModelCompressionSpec::MEMBERS)),
        ("software", members(SoftwareSpec::MEMBERS)),
        ("optimizers", members(OptimizerSpec::MEMBERS)),
        ("collectives", members(AlgorithmSpec::MEMBERS)),
        ("compute", members(ComputeSpec::MEMBERS)),
        ("network", members(NetworkSpec::MEMBERS)),
        ("task_schedulers", members(TaskSchedulerSpec::MEMBERS)),
        ("task_graphs", members(TaskGeneratorSpec::MEMBERS)),
        ("packings", members(PackingSpec::MEMBERS)),
        ("cluster_schedulers", members(ClusterSchedulerSpec::MEMBERS)),
        ("cluster_placements", members(PlacementSpec::MEMBERS)),
        ("batching", members(BatchingSpec::MEMBERS)),
        ("routing", members(RoutingSpec::MEMBERS)),
    ]
}

impl List {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        let mut kinds = kinds();
        if let Some(wanted) = &self.kind {
            let known: Vec<&str> = kinds.iter().map(|(kind, _)| *kind).collect();
            if !known.contains(&wanted.as_str()) {
                let known = known.join(", ");
                return Err(Failure::Argument(format!("there are no `{wanted}` to list; there are {known}")));
            }
            kinds.retain(|(kind, _)| kind == wanted);
        }
        match self.common.format {
            Format::Json => {
                let object: serde_json::Map<String, serde_json::Value> = kinds
                    .into_iter()
                    .map(|(kind, entries)| {
                        (kind.to_owned(), entries.into_iter().map(|(name, _)| name).collect())
                    })
                    .collect();
                println!("{}", json(&object));
            }
            Format::Table => {
                let tables: Vec<String> =
                    kinds.iter().map(|(kind, entries)| facts(kind, entries, &[])).collect();
                print!("{}", tables.join("\n"));
            }
        }
        Ok(())
    }
}
