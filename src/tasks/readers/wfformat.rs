//! WfFormat 1.5, in which WfCommons publishes executions of scientific workflows.
//!
//! Coleman, Casanova, Pottier, Kaushik, Deelman and Ferreira da Silva, "WfCommons: A Framework for
//! Enabling Scientific Workflow Research and Development", Future Generation Computer Systems 128, 2022;
//! the schema is at <https://github.com/wfcommons/WfFormat>.
//!
//! A task is called by its `id`; its runtime is the time on a device of speed 1. A child is handed the
//! files that its parent writes and it reads. Files that no task writes are taken to be there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::Deserialize;

use crate::ids::{Id, TaskId};
use crate::tasks::graph::{Data, Payload, Work};
use crate::tasks::readers::{Malformed, Reading, exact_seconds};
use crate::tasks::{Task, TaskGraph};
use crate::units::Bytes;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Instance {
    schema_version: String,
    workflow: Workflow,
}

#[derive(Debug, Deserialize)]
struct Workflow {
    specification: Specification,
    execution: Option<Execution>,
}

#[derive(Debug, Deserialize)]
struct Specification {
    tasks: Vec<Specified>,
    #[serde(default)]
    files: Vec<File>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Specified {
    id: String,
    parents: Vec<String>,
    children: Vec<String>,
    #[serde(default)]
    input_files: Vec<String>,
    #[serde(default)]
    output_files: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    id: String,
    size_in_bytes: f64,
}

#[derive(Debug, Deserialize)]
struct Execution {
    tasks: Vec<Executed>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Executed {
    id: String,
    runtime_in_seconds: f64,
    #[serde(default)]
    memory_in_bytes: f64,
}

/// Reads an instance.
///
/// # Errors
/// Every mistake: what was expected where.
pub fn read(text: &str) -> Result<Reading, Vec<Malformed>> {
    let instance = parse(text).map_err(|mistake| vec![mistake])?;
    let mut reader = Reader { text, mistakes: Vec::new() };
    if instance.schema_version != "1.5" {
        let found = &instance.schema_version;
        reader.wrong(found, format!("expected `schemaVersion` 1.5, found {found}"));
    }
    let specified = &instance.workflow.specification.tasks;
    let ids = reader.ids(specified);
    let Some(execution) = &instance.workflow.execution else {
        let why = "expected `workflow.execution` with the tasks' runtimes: without it nothing says how long they take";
        reader.wrong("workflow", why);
        return Err(reader.mistakes);
    };
    let tasks = reader.tasks(specified, &execution.tasks, &ids);
    let sizes = reader.sizes(&instance.workflow.specification.files);
    let edges = reader.edges(specified, &ids, &sizes);
    if !reader.mistakes.is_empty() {
        return Err(reader.mistakes);
    }
    let graph = TaskGraph::new(tasks, edges).map_err(|why| {
        let about = specified.first().map_or("tasks", |task| task.id.as_str());
        vec![Malformed::at(reader.find(about), format!("expected a graph of tasks without cycles: {why}"))]
    })?;
    Ok(Reading { notes: notes(&instance.workflow.specification), graph })
}

fn parse(text: &str) -> Result<Instance, Malformed> {
    let json = &mut serde_json::Deserializer::from_str(text);
    let wrong = |path: String, why: &serde_json::Error| {
        let before: usize = text.split_inclusive('\n').take(why.line().saturating_sub(1)).map(str::len).sum();
        let at = (before + why.column().saturating_sub(1)).min(text.len());
        let at = (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let end = (at + 1..=text.len()).find(|&end| text.is_char_boundary(end)).unwrap_or(at);
        // serde_json's own line and column are said by the place.
        let what = why.to_string();
        let what = what.split(" at line ").next().unwrap_or_default().to_owned();
        let within = if path == "." { String::new() } else { format!(" in `{path}`") };
        Malformed::at(at..end, format!("this is no WfFormat 1.5: {what}{within}"))
    };
    let instance = serde_path_to_error::deserialize(&mut *json)
        .map_err(|error| wrong(error.path().to_string(), error.inner()))?;
    json.end().map_err(|why| wrong(".".into(), &why))?;
    Ok(instance)
}

struct Reader<'a> {
    text: &'a str,
    mistakes: Vec<Malformed>,
}

impl Reader<'_> {
    fn wrong(&mut self, about: &str, why: impl Into<String>) {
        self.mistakes.push(Malformed::at(self.find(about), why));
    }

    /// Where a text first stands between quotes.
    fn find(&self, about: &str) -> Range<usize> {
        let quoted = serde_json::to_string(about).expect("a text");
        self.text.find(&quoted).map_or(0..0, |at| at..at + quoted.len())
    }

    fn ids<'t>(&mut self, tasks: &'t [Specified]) -> BTreeMap<&'t str, TaskId> {
        let mut ids = BTreeMap::new();
        for (at, task) in tasks.iter().enumerate() {
            if ids.insert(task.id.as_str(), TaskId::from_index(at)).is_some() {
                self.wrong(&task.id, format!("expected ids that differ, but two tasks have `{}`", task.id));
            }
        }
        ids
    }

    fn tasks(
        &mut self,
        specified: &[Specified],
        executed: &[Executed],
        ids: &BTreeMap<&str, TaskId>,
    ) -> Vec<Task> {
        let mut runs: BTreeMap<&str, &Executed> = BTreeMap::new();
        for run in executed {
            if !ids.contains_key(run.id.as_str()) {
                let why =
                    format!("expected a task of the specification, found the execution of `{}`", run.id);
                self.wrong(&run.id, why);
            }
            runs.insert(&run.id, run);
        }
        let mut tasks = Vec::new();
        for task in specified {
            let Some(run) = runs.get(task.id.as_str()) else {
                let why = format!("expected a runtime of `{}` under `workflow.execution.tasks`", task.id);
                self.wrong(&task.id, why);
                continue;
            };
            let (runtime, memory) = (run.runtime_in_seconds, run.memory_in_bytes);
            if !(0.0..1e7).contains(&runtime) || !(0.0..1e18).contains(&memory) {
                let why = format!(
                    "expected `runtimeInSeconds` from 0 to 10000000 and `memoryInBytes` from 0 on of `{}`, \
                     found {runtime} and {memory}",
                    task.id
                );
                self.wrong(&task.id, why);
                continue;
            }
            let work = Work::Reference(exact_seconds(runtime));
            tasks.push(Task { name: task.id.clone(), work, memory: Bytes(memory.ceil() as u64) });
        }
        tasks
    }

    fn sizes<'t>(&mut self, files: &'t [File]) -> BTreeMap<&'t str, u64> {
        let mut sizes = BTreeMap::new();
        for file in files {
            if !(0.0..1e15).contains(&file.size_in_bytes) {
                let size = file.size_in_bytes;
                let why = format!("expected `sizeInBytes` of `{}` from 0 to 10^15, found {size}", file.id);
                self.wrong(&file.id, why);
            }
            sizes.insert(file.id.as_str(), file.size_in_bytes as u64);
        }
        sizes
    }

    /// An edge for every parent and child, whichever of the two names the other.
    fn edges(
        &mut self,
        tasks: &[Specified],
        ids: &BTreeMap<&str, TaskId>,
        sizes: &BTreeMap<&str, u64>,
    ) -> Vec<Data> {
        let mut pairs: BTreeSet<(TaskId, TaskId)> = BTreeSet::new();
        for (at, task) in tasks.iter().enumerate() {
            let here = TaskId::from_index(at);
            let relatives = task.parents.iter().map(|name| ("parents", name));
            for (role, name) in relatives.chain(task.children.iter().map(|name| ("children", name))) {
                let Some(&there) = ids.get(name.as_str()) else {
                    let id = &task.id;
                    let why = format!("expected the id of a task among the {role} of `{id}`, found `{name}`");
                    self.wrong(name, why);
                    continue;
                };
                pairs.insert(if role == "parents" { (there, here) } else { (here, there) });
            }
            for file in task.input_files.iter().chain(&task.output_files) {
                if !sizes.contains_key(file.as_str()) {
                    let id = &task.id;
                    let why = format!("expected the id of a file at `{id}`, but `files` has no `{file}`");
                    self.wrong(file, why);
                }
            }
        }
        let written: Vec<BTreeSet<&str>> =
            tasks.iter().map(|task| task.output_files.iter().map(String::as_str).collect()).collect();
        let edge = |(from, to): (TaskId, TaskId)| {
            let read: BTreeSet<&str> = tasks[to.index()].input_files.iter().map(String::as_str).collect();
            let handed = read.intersection(&written[from.index()]);
            let bytes = handed.filter_map(|file| sizes.get(file)).sum();
            Data { from, to, payload: Payload::Bytes(Bytes(bytes)) }
        };
        pairs.into_iter().map(edge).collect()
    }
}

fn notes(specification: &Specification) -> Vec<String> {
    let written: BTreeSet<&String> = specification.tasks.iter().flat_map(|task| &task.output_files).collect();
    let read: BTreeSet<&String> = specification.tasks.iter().flat_map(|task| &task.input_files).collect();
    let outside = read.difference(&written).count();
    let note = format!("{outside} files that no task writes are taken to be on every device");
    if outside > 0 { vec![note] } else { Vec::new() }
}
