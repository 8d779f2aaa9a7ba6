//! From a list of tasks and edges to a task graph, with every mistake where it stands.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::config::diagnostic::Diagnostic;
use crate::config::read::did_you_mean;
use crate::config::tasks::file::{Amount, Graph, ListKeys, Load, TaskKeys, TasksFile};
use crate::config::tasks::resolve::TaskCheck;
use crate::config::{Source, locate};
use crate::ids::{Id, TaskId};
use crate::tasks::generate::{MOST_TASKS, TaskGeneratorSpec};
use crate::tasks::graph::{Data, Payload, Work};
use crate::tasks::readers::{Malformed, Reading};
use crate::tasks::{GraphError, Task, TaskGraph};
use crate::units::{Bytes, Flops, SimDuration};

const FOUR_WAYS: &str = "give `costs` (one for each device), `times` (by kind of device), `time` (on a device \
                         of speed 1), or `flops` and `bytes`";

impl TaskCheck<'_> {
    pub(super) fn listed(&mut self, keys: &ListKeys) -> Option<TaskGraph> {
        let mut ids: BTreeMap<&str, TaskId> = BTreeMap::new();
        let mut tasks = Vec::new();
        for (at, task) in keys.tasks.iter().enumerate() {
            let path = format!("tasks.graph.list.tasks[{at}]");
            if ids.insert(&task.name.0, TaskId::from_index(at)).is_some() {
                self.wrong(&format!("{path}.name"), format!("two tasks are called `{}`", task.name.0), "");
            }
            if let Some(work) = self.work(&path, task, keys.unit) {
                tasks.push(Task { name: task.name.0.clone(), work, memory: task.memory });
            }
        }
        let mut edges = Vec::new();
        let known: Vec<String> = keys.tasks.iter().map(|task| task.name.0.clone()).collect();
        for (at, edge) in keys.edges.iter().enumerate() {
            let path = format!("tasks.graph.list.edges[{at}]");
            let mut end = |place: usize, name: &str| {
                let found = ids.get(name).copied();
                if found.is_none() {
                    let what = format!("an edge names the task `{name}`, which the graph does not have");
                    let help = if known.len() <= 20 { known.clone() } else { near(name, &known) };
                    self.wrong(&format!("{path}[{place}]"), what, &did_you_mean(name, &help, "there are"));
                }
                found
            };
            let (from, to) = (end(0, &edge.0.0), end(1, &edge.1.0));
            let payload = match edge.2 {
                Load::Bytes(bytes) => Some(Payload::Bytes(bytes)),
                Load::Time(time) => Some(Payload::Cost(time)),
                Load::Cost(cost) => {
                    self.cost(&format!("{path}[2]"), Amount::Cost(cost), keys.unit).map(Payload::Cost)
                }
            };
            if let (Some(from), Some(to), Some(payload)) = (from, to, payload) {
                edges.push(Data { from, to, payload });
            }
        }
        if !self.mistakes.is_empty() {
            return None;
        }
        match TaskGraph::new(tasks, edges) {
            Ok(graph) => Some(graph),
            Err(why @ GraphError::Empty) => {
                self.wrong("tasks.graph.list.tasks", why.to_string(), "");
                None
            }
            Err(why) => {
                self.wrong(
                    "tasks.graph.list.edges",
                    why.to_string(),
                    "a task starts when those before it are done: take out one of these edges",
                );
                None
            }
        }
    }

    pub(super) fn generated(
        &mut self,
        file: &TasksFile,
        generator: &TaskGeneratorSpec,
        devices: usize,
    ) -> Option<TaskGraph> {
        let path = "tasks.graph.generate";
        if let Err(why) = generator.admits() {
            self.wrong(path, why, "");
            return None;
        }
        match generator.size() {
            Some(size) if size <= MOST_TASKS => Some(generator.generate(devices, file.seed)),
            size => {
                let count = size.map_or("more".into(), |size| size.to_string());
                self.wrong(
                    path,
                    format!("at most {MOST_TASKS} tasks are made up, and these would be {count}"),
                    "",
                );
                None
            }
        }
    }

    /// A graph in a file that a key names, seen from the workload.
    pub(super) fn written(
        &mut self,
        key: &str,
        path: &Path,
        read: fn(&str) -> Result<Reading, Vec<Malformed>>,
    ) -> Option<TaskGraph> {
        let text = match locate::text(path, self.locations.source()) {
            Ok(bytes) => String::from_utf8(bytes).expect("it was found to be text"),
            Err(why) => {
                let help = "a path is seen from the workload's folder, then from the working folder";
                self.wrong(key, why, help);
                return None;
            }
        };
        match read(&text) {
            Ok(reading) => {
                self.notes.extend(reading.notes);
                Some(reading.graph)
            }
            Err(mistakes) => {
                let source = Arc::new(Source { name: path.to_string_lossy().into_owned(), text });
                let more = mistakes.len().saturating_sub(SHOWN);
                for (at, Malformed { span, why }) in mistakes.into_iter().take(SHOWN).enumerate() {
                    let last = more > 0 && at + 1 == SHOWN;
                    let help = if last { format!("there are {more} more mistakes") } else { String::new() };
                    let place = Some((Arc::clone(&source), span));
                    self.mistakes.push(Diagnostic { place, message: why, help });
                }
                None
            }
        }
    }

    /// Only the Cholesky factorisation has numbers to compute.
    pub(super) fn numeric(&mut self, file: &TasksFile) {
        let Some(keys) = file.tasks.numeric else { return };
        let Graph::Generate(TaskGeneratorSpec::Cholesky(cholesky)) = &file.tasks.graph else {
            let help = "take `generate: cholesky`, or leave `numeric` out";
            self.wrong("tasks.numeric", "only the Cholesky factorisation has numbers to compute", help);
            return;
        };
        let side = u64::from(keys.tile) * u64::from(cholesky.tiles);
        if keys.tile == 0 || side > MOST_NUMBERS {
            let help = "what is computed may have smaller tiles than what is timed";
            let what = format!("a matrix of 1 to {MOST_NUMBERS} numbers a side is computed, not {side}");
            self.wrong("tasks.numeric.tile", what, help);
        }
    }

    fn work(&mut self, path: &str, task: &TaskKeys, unit: SimDuration) -> Option<Work> {
        let arithmetic = task.flops.is_some() || task.bytes.is_some();
        let ways = [task.costs.is_some(), task.times.is_some(), task.time.is_some(), arithmetic];
        match ways.iter().filter(|way| **way).count() {
            1 => {}
            0 => {
                self.wrong(path, format!("the task `{}` has no work", task.name.0), FOUR_WAYS);
                return None;
            }
            _ => {
                self.wrong(path, format!("the work of `{}` is given twice", task.name.0), FOUR_WAYS);
                return None;
            }
        }
        if let Some(row) = &task.costs {
            return self.row(&format!("{path}.costs"), row, unit).map(Work::Costs);
        }
        if let Some(times) = &task.times {
            let mut all = BTreeMap::new();
            for (kind, &time) in times {
                all.insert(kind.clone(), self.cost(&format!("{path}.times.{kind}"), time, unit)?);
            }
            return Some(Work::PerKind(all));
        }
        if let Some(time) = task.time {
            return self.cost(&format!("{path}.time"), time, unit).map(Work::Reference);
        }
        let (flops, bytes) = (task.flops.unwrap_or(Flops::ZERO), task.bytes.unwrap_or(Bytes::ZERO));
        if flops > MOST_FLOPS || bytes > MOST_BYTES {
            self.wrong(path, format!("a task has at most {MOST_FLOPS} and {MOST_BYTES}"), "divide it");
            return None;
        }
        Some(Work::Arithmetic { flops, bytes, precision: task.precision })
    }

    pub(super) fn row(
        &mut self,
        path: &str,
        row: &[Option<Amount>],
        unit: SimDuration,
    ) -> Option<Vec<Option<SimDuration>>> {
        let mut all = Vec::new();
        for (at, amount) in row.iter().enumerate() {
            all.push(match amount {
                None => None,
                Some(amount) => Some(self.cost(&format!("{path}[{at}]"), *amount, unit)?),
            });
        }
        Some(all)
    }

    /// A cost as a time; whole numbers exactly, others to the next picosecond.
    fn cost(&mut self, path: &str, amount: Amount, unit: SimDuration) -> Option<SimDuration> {
        let cost = match amount {
            Amount::Time(time) => return Some(time),
            Amount::Cost(cost) => cost,
        };
        let exact = (cost.fract() == 0.0 && cost < 1e15).then(|| unit.picos().checked_mul(cost as u64));
        let picos = exact.unwrap_or_else(|| {
            let picos = unit.picos() as f64 * cost;
            (picos < LONGEST).then(|| (picos - picos * f64::EPSILON).ceil() as u64)
        });
        match picos.filter(|&picos| (picos as f64) < LONGEST) {
            Some(picos) => Some(SimDuration::from_picos(picos)),
            None => {
                self.wrong(path, format!("{cost} × {unit} is longer than the 213 days a run can last"), "");
                None
            }
        }
    }
}

/// As many mistakes of a file are shown; more are counted.
const SHOWN: usize = 20;
/// A larger matrix takes plain loops more than some seconds.
const MOST_NUMBERS: u64 = 2048;
/// Time is counted in 64 bits of picoseconds.
const LONGEST: f64 = 1.8e19;
/// A slow core works on more of them for longer than a run can last.
const MOST_FLOPS: Flops = Flops(1_000_000_000_000_000_000);
const MOST_BYTES: Bytes = Bytes(1_000_000_000_000_000);

/// Of many names the few that are near.
fn near(name: &str, known: &[String]) -> Vec<String> {
    let mut all: Vec<&String> = known.iter().collect();
    all.sort_by_key(|candidate| strsim::damerau_levenshtein(name, candidate));
    all.into_iter().take(3).cloned().collect()
}
