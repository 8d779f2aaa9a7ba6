//! Text in, scenario out: how YAML becomes a [`Scenario`], and what is said when it does not.
//!
//! Each trade has a room of its own ([`training`], …) with a mirror of what may be written and a
//! `resolve` that checks what needs two facts; [`file`](mod@file) holds the keys that they share.
//! [`mod@read`] reads a mirror with every mistake at once, each shown in place ([`diagnostic`],
//! [`marked`]); [`locate`] finds what is named; [`checkpoint`] is trained models as files. After it nothing returns a configuration error.
//!
//! To add a trade: its room, a variant of [`Scenario`], and a line each in [`resolve`].
//!
//! Only this room names the YAML crates.

mod check;
pub mod checkpoint;
pub mod cluster;
pub mod diagnostic;
pub mod file;
mod key_path;
pub mod locate;
pub mod marked;
pub mod planning;
pub mod preparation;
pub mod read;
pub mod serving;
pub mod stages;
pub mod tasks;
pub mod training;

pub use cluster::{ClusterFile, ClusterScenario};
pub use diagnostic::{Diagnostics, Source};
pub use key_path::KeyPath;
pub use marked::Locations;
pub use planning::{PlanFile, PlanScenario};
pub use preparation::{PreparationFile, PreparationScenario};
pub use read::Override;
pub use serving::{ServingFile, ServingScenario};
pub use stages::StagesScenario;
pub use tasks::{TasksFile, TasksScenario};
pub use training::{TrainingFile, TrainingScenario};

use std::path::Path;

use serde::Serialize;

use crate::config::read::Tree;

/// A workload with every question answered, of whichever trade.
#[derive(Debug, Clone)]
pub enum Scenario {
    /// `training:`
    Training(Box<TrainingScenario>),
    /// `tasks:`
    Tasks(Box<TasksScenario>),
    /// `preparation:`
    Preparation(Box<PreparationScenario>),
    /// `cluster:`
    Cluster(Box<ClusterScenario>),
    /// `serving:`
    Serving(Box<ServingScenario>),
    /// `training:` and `serving:`
    Stages(Box<StagesScenario>),
    /// `plan:`
    Plan(Box<PlanScenario>),
}

/// The scenario that a workload file describes, with changes.
///
/// # Errors
/// Every mistake of the file, each where it stands.
pub fn load(path: &Path, changes: &[Override]) -> Result<Scenario, Diagnostics> {
    resolve(locate::workload(path)?, changes)
}

/// The scenario that a workload's text describes, with changes. The trade is the one whose top-level
/// key the text has; without any, training is what is missing.
///
/// # Errors
/// Every mistake of the text, each where it stands.
pub fn resolve(source: Source, changes: &[Override]) -> Result<Scenario, Diagnostics> {
    let (tree, locations) = Tree::parse(source, changes)?;
    if tree.has("cluster") {
        let file = tree.into_typed(&locations)?;
        return cluster::resolve::resolve(file, &locations)
            .map(|scenario| Scenario::Cluster(Box::new(scenario)));
    }
    if tree.has("tasks") {
        let file = tree.into_typed(&locations)?;
        return tasks::resolve::resolve(file, &locations).map(|scenario| Scenario::Tasks(Box::new(scenario)));
    }
    if tree.has("preparation") && !tree.has("training") {
        let file = tree.into_typed(&locations)?;
        return preparation::resolve::resolve(file, &locations)
            .map(|scenario| Scenario::Preparation(Box::new(scenario)));
    }
    if tree.has("plan") {
        let file = tree.into_typed(&locations)?;
        return planning::resolve::resolve(file, &locations)
            .map(|scenario| Scenario::Plan(Box::new(scenario)));
    }
    if tree.has("serving") && tree.has("training") {
        return stages::resolve(&tree, &locations).map(|scenario| Scenario::Stages(Box::new(scenario)));
    }
    if tree.has("serving") {
        let file = tree.into_typed(&locations)?;
        return serving::resolve::resolve(file, &locations)
            .map(|scenario| Scenario::Serving(Box::new(scenario)));
    }
    let file = tree.into_typed(&locations)?;
    training::resolve::resolve(file, &locations).map(|scenario| Scenario::Training(Box::new(scenario)))
}

impl Scenario {
    /// The training scenario, for those who know that it is one.
    ///
    /// # Panics
    /// When it is of another trade.
    pub fn training(self) -> TrainingScenario {
        match self {
            Scenario::Training(scenario) => *scenario,
            _ => panic!("a workload of another trade where training was expected"),
        }
    }
}

/// A member of a registry as it is written in a workload: its name, or a map of its name to its
/// parameters.
///
/// # Errors
/// What is wrong with it.
pub fn member<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_yaml::from_str(text).map_err(|why| why.to_string())
}

/// A workload file as YAML, defaults written out.
pub fn write(file: &impl Serialize) -> String {
    let mut text = Vec::new();
    let mut out = serde_yaml::Serializer::new(&mut text);
    // An enum is written as the map of one key that people write, not under a tag.
    serde_yaml::with::singleton_map_recursive::serialize(file, &mut out).expect("a workload is plain data");
    String::from_utf8(text).expect("YAML is text")
}
