//! From a cluster file to a scenario: everything that needs two facts is checked here, once, and all
//! mistakes are gathered, those of traces with their lines. After it only what a run itself finds out
//! can go wrong.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use crate::cluster::machine::Host;
use crate::cluster::placement::Ask;
use crate::cluster::readers::{
    BadRow, Csv, Gavel, Openb, OpenbNodes, Philly, Throughputs, Tiresias, TraceFormat,
};
use crate::cluster::speed::{NoProfiles, Profiler};
use crate::cluster::trained::{Profile, Trained};
use crate::cluster::{Checkpoint, ClusterPlan, Failures, Free, Job, Machine};
use crate::config::check::Check;
use crate::config::cluster::file::{ClusterFile, Jobs, MachineChoice, TrainedKeys};
use crate::config::diagnostic::Diagnostic;
use crate::config::{Diagnostics, Locations, Source, locate};
use crate::hardware::Topology;

mod jobs;

/// A cluster workload with every question answered.
#[derive(Clone)]
pub struct ClusterScenario {
    /// The file it came from, defaults filled in: what the report shows first.
    pub file: ClusterFile,
    /// Machine, jobs, and who decides.
    pub plan: ClusterPlan,
    /// How fast trained jobs are.
    pub trained: Option<Rc<Trained>>,
    /// Rows of the trace that were left out.
    pub skipped_rows: usize,
    /// What the user should know and may not expect.
    pub notes: Vec<String>,
}

impl std::fmt::Debug for ClusterScenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterScenario").field("file", &self.file).finish_non_exhaustive()
    }
}

impl ClusterScenario {
    /// Whether another seed would give another run: jobs are drawn, or devices fail.
    pub fn depends_on_seed(&self) -> bool {
        matches!(self.file.cluster.jobs, Jobs::Generate(_)) || self.plan.failures.is_some()
    }

    /// Who knows how fast trained jobs are.
    pub fn profiler(&self) -> &dyn Profiler {
        match &self.trained {
            Some(trained) => &**trained,
            None => &NoProfiles,
        }
    }
}

/// Checks a file against the world.
///
/// # Errors
/// Every mistake, each where it stands.
pub fn resolve(file: ClusterFile, locations: &Locations) -> Result<ClusterScenario, Diagnostics> {
    let mut check = Check::new(locations);
    let topology = file.topology.as_ref().and_then(|choice| check.topology(choice));
    let machine = check.machine(&file, topology.as_deref());
    check.deciders(&file);
    let trained = check.models(&file, topology.as_ref());
    let (Some(mut machine), true) = (machine, check.mistakes.is_empty()) else {
        return Err(check.mistakes);
    };
    if file.cluster.placement.needs_distances() {
        match &topology {
            Some(topology) => machine.measure(topology),
            None => check.notes.push(
                "without a `topology:` every two nodes count as equally far: `topology_aware` can only keep gangs \
                 in few nodes"
                    .into(),
            ),
        }
    }
    let (mut jobs, skipped_rows) = check.jobs(&file, &machine, trained.as_deref());
    if let Some(limit) = file.cluster.limit {
        jobs.truncate(limit as usize);
    }
    if file.cluster.consolidate {
        consolidate(&mut jobs, &machine);
    }
    check.sizes(&file, &jobs, &machine, trained.as_deref());
    if !check.mistakes.is_empty() {
        return Err(check.mistakes);
    }
    let keys = &file.cluster;
    let plan = ClusterPlan {
        machine,
        jobs: jobs.into_iter().collect(),
        scheduler: keys.scheduler.clone(),
        placement: keys.placement.clone(),
        checkpoint: Checkpoint {
            save: keys.checkpoint.save,
            restore: keys.checkpoint.restore,
            interval: keys.checkpoint.every,
        },
        failures: keys.failures.as_ref().map(|keys| Failures { mtbf: keys.mtbf, repair: keys.repair }),
        seed: file.seed,
    };
    Ok(ClusterScenario { plan, trained, skipped_rows, notes: check.notes, file })
}

/// Gangs that fit into the largest node of a kind of theirs must have one node.
fn consolidate(jobs: &mut [Job], machine: &Machine) {
    let largest = |job: &Job| {
        let nodes = job.kinds.iter().flat_map(|&kind| machine.nodes_of(kind));
        nodes.map(|&node| machine.nodes()[node].devices.len()).max().unwrap_or(0)
    };
    for job in jobs {
        job.demand.one_node |= job.demand.devices as usize <= largest(job);
    }
}

/// As many bad rows are shown; more are counted.
const SHOWN_ROWS: usize = 20;

impl Check<'_> {
    fn machine(&mut self, file: &ClusterFile, topology: Option<&Topology>) -> Option<Machine> {
        match (&file.topology, &file.cluster.machine) {
            (Some(_), None) => topology.map(Machine::of),
            (None, Some(MachineChoice::Nodes(nodes))) => {
                let mut machine = Machine::new(&file.name);
                for (at, keys) in nodes.iter().enumerate() {
                    let path = |key: &str| format!("cluster.machine.nodes[{at}].{key}");
                    if keys.count == 0 {
                        self.wrong(&path("count"), "there is at least one such node", "");
                    }
                    if u64::from(keys.count) * u64::from(keys.devices.max(1)) > 1 << 20 {
                        self.wrong(&path("count"), "a machine has at most 1048576 devices", "");
                        continue;
                    }
                    let host = Host {
                        cpu_milli: keys.cores.map_or(u64::MAX, |cores| u64::from(cores) * 1000),
                        memory_mib: keys.memory.map_or(u64::MAX, |memory| memory.get() >> 20),
                    };
                    for index in 0..keys.count {
                        machine.add_node(format!("{}{index}", keys.kind), &keys.kind, keys.devices, host);
                    }
                }
                if nodes.is_empty() {
                    self.wrong("cluster.machine.nodes", "a machine has at least one node", "");
                }
                Some(machine)
            }
            (None, Some(MachineChoice::Openb(path))) => {
                let source = self.table("cluster.machine.openb", path)?;
                let name =
                    path.file_stem().map_or("openb".into(), |name| name.to_string_lossy().into_owned());
                match OpenbNodes::default().read(&name, &source.text) {
                    Ok(machine) => Some(machine),
                    Err(rows) => {
                        self.rows(&source, rows, false);
                        None
                    }
                }
            }
            (Some(_), Some(_)) => {
                self.wrong(
                    "cluster.machine",
                    "the machine is described twice",
                    "keep `topology:` or `cluster.machine:`",
                );
                None
            }
            (None, None) => {
                self.wrong(
                    "cluster",
                    "there is no machine",
                    "add `topology: NAME`, or `machine:` with its nodes",
                );
                None
            }
        }
    }

    fn deciders(&mut self, file: &ClusterFile) {
        let keys = &file.cluster;
        if keys.limit == Some(0) {
            self.wrong("cluster.limit", "there is at least one job", "leave the key out for all");
        }
        if let Err(why) = keys.scheduler.admits() {
            self.wrong("cluster.scheduler", why, "");
        }
        if keys.checkpoint.every.is_some_and(|every| every.picos() == 0) {
            self.wrong(
                "cluster.checkpoint.every",
                "there is time between two checkpoints",
                "leave the key out for none",
            );
        }
        if keys.failures.as_ref().is_some_and(|keys| keys.mtbf.picos() == 0) {
            self.wrong("cluster.failures.mtbf", "a device serves for some time until it fails", "");
        }
    }

    /// What jobs train, on the topology.
    fn models(&mut self, file: &ClusterFile, topology: Option<&Arc<Topology>>) -> Option<Rc<Trained>> {
        if file.cluster.models.is_empty() {
            return None;
        }
        if file.topology.is_none() {
            self.wrong(
                "cluster.models",
                "how fast a model trains depends on links, and there is no topology",
                "add `topology: NAME`",
            );
        }
        for (name, keys) in &file.cluster.models {
            self.model_sizes(name, keys);
        }
        let topology = Arc::clone(topology?);
        let profiles = file.cluster.models.values().map(profile).collect();
        let (compute, network) = (file.fidelity.compute.clone(), file.fidelity.network.clone());
        Some(Rc::new(Trained::new(topology, compute, network, profiles)))
    }

    fn model_sizes(&mut self, name: &str, keys: &TrainedKeys) {
        let path = |key: &str| format!("cluster.models.{name}.{key}");
        let sizes = [
            ("micro_batch", keys.micro_batch),
            ("micro_batches", u64::from(keys.micro_batches)),
            ("tensor", u64::from(keys.tensor)),
            ("pipeline", u64::from(keys.pipeline)),
        ];
        for (key, size) in sizes {
            if size == 0 {
                self.wrong(&path(key), format!("`{key}` is at least 1"), "");
            }
        }
        if let Some(gpt) = keys.model.gpt() {
            if gpt.experts.is_some() {
                let why = "models with experts are not trained in a cluster yet";
                self.wrong(&path("model.moe"), why, "use `model: {gpt: …}`");
                return;
            }
            let tensor = u64::from(keys.tensor.max(1));
            let sizes =
                [gpt.layers, gpt.hidden, gpt.heads, gpt.sequence, gpt.vocabulary, gpt.ffn()].contains(&0);
            if sizes {
                self.wrong(&path("model.gpt"), "every size of a gpt is at least 1", "");
            } else if gpt.hidden % gpt.heads != 0 {
                self.wrong(
                    &path("model.gpt"),
                    format!("{} heads do not divide {}", gpt.heads, gpt.hidden),
                    "",
                );
            } else if [gpt.heads, gpt.vocabulary, gpt.ffn()].iter().any(|size| size % tensor != 0) {
                self.wrong(
                    &path("tensor"),
                    format!(
                        "{tensor} tensor ranks do not divide heads, vocabulary and ffn_hidden of the model"
                    ),
                    "",
                );
            }
        }
        if let Err(why) = crate::training::even_stages(&keys.model, keys.pipeline) {
            self.wrong(&path("pipeline"), why, "");
        }
    }

    /// The jobs, and how many rows were left out.
    fn jobs(
        &mut self,
        file: &ClusterFile,
        machine: &Machine,
        trained: Option<&Trained>,
    ) -> (Vec<Job>, usize) {
        match &file.cluster.jobs {
            Jobs::List(list) => (self.listed(file, list, machine, trained), 0),
            Jobs::Generate(keys) => (self.generated(file, keys, machine, trained), 0),
            Jobs::Philly(keys) => self.trace(
                file,
                machine,
                "cluster.jobs.philly.path",
                &keys.path,
                &Philly { ordered: keys.ordered },
            ),
            Jobs::Openb(path) => self.trace(file, machine, "cluster.jobs.openb", path, &Openb {}),
            Jobs::Tiresias(path) => self.trace(file, machine, "cluster.jobs.tiresias", path, &Tiresias {}),
            Jobs::Gavel(keys) => {
                let Some(source) = self.table("cluster.jobs.gavel.throughputs", &keys.throughputs) else {
                    return (Vec::new(), 0);
                };
                match Throughputs::read(&source.text) {
                    Ok(throughputs) => self.trace(
                        file,
                        machine,
                        "cluster.jobs.gavel.path",
                        &keys.path,
                        &Gavel { throughputs },
                    ),
                    Err(why) => {
                        self.wrong("cluster.jobs.gavel.throughputs", format!("`{}`: {why}", source.name), "");
                        (Vec::new(), 0)
                    }
                }
            }
            Jobs::Csv(keys) => {
                for column in keys.columns.keys().filter(|name| !Csv::COLUMNS.contains(&name.as_str())) {
                    let known = Csv::COLUMNS.join(", ");
                    self.wrong(
                        "cluster.jobs.csv.columns",
                        format!("there is no column `{column}`"),
                        &format!("there are {known}"),
                    );
                }
                let format = Csv { columns: keys.columns.clone(), sort: keys.sort };
                self.trace(file, machine, "cluster.jobs.csv.path", &keys.path, &format)
            }
        }
    }

    fn trace(
        &mut self,
        file: &ClusterFile,
        machine: &Machine,
        key: &str,
        path: &Path,
        format: &dyn TraceFormat,
    ) -> (Vec<Job>, usize) {
        let Some(source) = self.table(key, path) else { return (Vec::new(), 0) };
        let reading = format.read(&source.text, machine);
        self.notes.extend(reading.notes);
        let skipped = self.rows(&source, reading.bad, file.skip_bad_rows);
        if skipped > 0 {
            self.notes
                .push(format!("{skipped} rows of `{}` could not be used and were left out", source.name));
        }
        if reading.jobs.is_empty() && self.mistakes.is_empty() {
            self.wrong(key, format!("`{}` holds no jobs", source.name), "");
        }
        (reading.jobs, skipped)
    }

    /// A text that a key names, seen from the workload.
    fn table(&mut self, key: &str, path: &Path) -> Option<Arc<Source>> {
        match locate::text(path, self.locations.source()) {
            Ok(bytes) => {
                let text = String::from_utf8(bytes).expect("it was found to be text");
                Some(Arc::new(Source { name: path.to_string_lossy().into_owned(), text }))
            }
            Err(why) => {
                self.wrong(
                    key,
                    why,
                    "a path is seen from the workload's folder, then from the working folder",
                );
                None
            }
        }
    }

    /// Tells of bad rows, or counts them.
    fn rows(&mut self, source: &Arc<Source>, rows: Vec<BadRow>, skip: bool) -> usize {
        let (fatal, rest): (Vec<BadRow>, Vec<BadRow>) = rows.into_iter().partition(|row| row.fatal);
        let told = if skip { Vec::new() } else { rest.clone() };
        let more = told.len().saturating_sub(SHOWN_ROWS);
        for (at, row) in fatal.into_iter().chain(told.into_iter().take(SHOWN_ROWS)).enumerate() {
            let last = at + 1 == SHOWN_ROWS && more > 0;
            let cure = "correct the row, or set `skip_bad_rows: true` (or --skip-bad-rows) to count and leave out such rows";
            let help = match (row.fatal, last) {
                (true, _) => String::new(),
                (false, false) => cure.to_owned(),
                (false, true) => format!("{cure}; {more} more rows are like it"),
            };
            self.mistakes.push(Diagnostic {
                place: Some((Arc::clone(source), row.span)),
                message: format!("line {}: {}", row.line, row.why),
                help,
            });
        }
        if skip { rest.len() } else { 0 }
    }

    /// Jobs that would not fit on the empty machine.
    fn sizes(&mut self, file: &ClusterFile, jobs: &[Job], machine: &Machine, trained: Option<&Trained>) {
        let profiler: &dyn Profiler = match trained {
            Some(trained) => trained,
            None => &NoProfiles,
        };
        let empty = Free::all(machine);
        let mut fitting = std::collections::BTreeSet::new();
        let mut told = 0;
        for job in jobs {
            let asked = (job.demand, job.kinds.clone());
            if fitting.contains(&asked) {
                continue;
            }
            let place =
                |&kind| file.cluster.placement.place(&Ask { kind, demand: &job.demand }, &empty, machine);
            let fits = job
                .kinds
                .iter()
                .filter_map(place)
                .map(|gang| job.speed_on(&gang, profiler))
                .any(|speed| speed > 0.0 && speed.is_finite());
            if fits {
                fitting.insert(asked);
            } else if told < SHOWN_ROWS {
                told += 1;
                let failure = crate::cluster::mechanism::too_large(job, machine);
                self.wrong(
                    "cluster.jobs",
                    failure.to_string(),
                    "take a larger machine, or leave the job out",
                );
            }
        }
    }
}

fn profile(keys: &TrainedKeys) -> Profile {
    Profile {
        model: keys.model.clone(),
        tensor: keys.tensor,
        pipeline: keys.pipeline,
        micro_batch: keys.micro_batch,
        micro_batches: keys.micro_batches,
        precision: keys.precision,
        schedule: keys.schedule.clone(),
        sync: keys.sync.clone(),
        algorithm: keys.collective.clone(),
        optimizer: keys.optimizer.clone(),
        bucket: keys.bucket,
    }
}
