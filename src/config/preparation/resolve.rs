//! From a preparation file to a scenario: the corpus is read, whatever needs two facts is checked, and
//! all mistakes are gathered.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::check::Check;
use crate::config::key_path::KeyPath;
use crate::config::preparation::file::{CorpusChoice, DocumentsAre, FilesKeys, PreparationFile};
use crate::config::{Diagnostics, Locations, locate};
use crate::ids::{DeviceId, IdVec, WorkerId};
use crate::preparation::tokenizer::{LEAST_VOCABULARY, TokenizerChoice};
use crate::preparation::{Corpus, Pool, PreparationPlan, StageKind, StageSpeed, Treatment, WorkerSpec};
use crate::units::{Bandwidth, SimDuration};

/// A preparation with every question answered.
#[derive(Debug, Clone)]
pub struct PreparationScenario {
    /// The file it came from, defaults filled in.
    pub file: PreparationFile,
    /// Corpus, treatment and workers.
    pub plan: PreparationPlan,
    /// What the user should know and may not expect.
    pub notes: Vec<String>,
}

impl PreparationScenario {
    /// Whether another seed would give another run.
    pub fn depends_on_seed(&self) -> bool {
        matches!(self.file.preparation.corpus, CorpusChoice::Latin(_))
    }
}

/// Checks a file against the world.
///
/// # Errors
/// Every mistake, each where it stands.
pub fn resolve(file: PreparationFile, locations: &Locations) -> Result<PreparationScenario, Diagnostics> {
    let mut check = Check::new(locations);
    numbers(&mut check, &file);
    let documents = documents(&mut check, &file);
    let treatment = treatment(&file);
    let speeds = speeds(&mut check, &file, &treatment.stages());
    let pool = pool(&mut check, &file, &speeds);
    if !check.mistakes.is_empty() {
        return Err(check.mistakes);
    }
    let keys = &file.preparation;
    let corpus = Corpus::of_documents(documents, keys.shard);
    if corpus.documents() == 0 {
        check.wrong("preparation.corpus", "the corpus is empty", "name files with text in them");
        return Err(check.mistakes);
    }
    let shards = corpus.shards.len();
    if (keys.workers as usize) > shards {
        let why = format!("{} workers share {shards} shards: some have nothing to do", keys.workers);
        check.notes.push(why + "; a smaller `shard` makes more of them");
    }
    let assumed = speeds.keys().filter(|stage| keys.stages.get(stage).is_none_or(|keys| keys.rate.is_none()));
    let assumed: Vec<&str> = assumed.map(|stage| stage.name()).collect();
    if !assumed.is_empty() {
        check.notes.push(format!(
            "rough rates, measured once on one shared core, are used for: {}",
            assumed.join(", ")
        ));
    }
    let worker = &keys.worker;
    let plan = PreparationPlan {
        corpus,
        treatment,
        workers: keys.workers,
        worker: WorkerSpec {
            cores: worker.cores,
            memory: worker.memory,
            disk: worker.disk,
            network: worker.network,
            latency: worker.latency,
        },
        pool,
        sharing: keys.sharing,
        queue: keys.queue,
        speeds,
        network: file.fidelity.network.clone(),
        seed: file.seed,
    };
    Ok(PreparationScenario { plan, notes: check.notes, file })
}

/// The first processors of a machine, as many as there are workers.
fn pool(
    check: &mut Check<'_>,
    file: &PreparationFile,
    speeds: &BTreeMap<StageKind, StageSpeed>,
) -> Option<Pool> {
    let keys = &file.preparation;
    let topology = check.topology_at(keys.pool.as_ref()?, KeyPath::top().key("preparation").key("pool"))?;
    let cores_of = |device: DeviceId| topology.devices()[device].spec.cpu.as_ref().map(|cpu| cpu.cores);
    let processors = topology.devices().ids().filter(|&device| cores_of(device).is_some());
    let devices: IdVec<WorkerId, DeviceId> = processors.take(keys.workers as usize).collect();
    if devices.len() < keys.workers as usize {
        let why =
            format!("`{}` has {} processors for {} workers", topology.name(), devices.len(), keys.workers);
        check.wrong("preparation.workers", why, "every worker is a device of kind `cpu`");
        return None;
    }
    let cores = devices.iter().filter_map(|&device| cores_of(device)).min()?;
    let threads: u32 = speeds.values().map(|speed| speed.threads).sum();
    if threads > cores {
        let why = format!("the stages have {threads} threads, a processor of the pool has {cores} cores");
        check.wrong("preparation.pool", why, "give stages fewer `threads`");
    }
    Some(Pool { topology, devices })
}

/// More workers are some slip.
const MOST_WORKERS: u32 = 4096;

fn numbers(check: &mut Check<'_>, file: &PreparationFile) {
    let keys = &file.preparation;
    let mut within = |path: &str, value: u64, least: u64, most: u64| {
        if value < least || value > most {
            check.wrong(path, format!("{value} is not from {least} to {most}"), "");
        }
    };
    within("preparation.workers", u64::from(keys.workers), 1, u64::from(MOST_WORKERS));
    within("preparation.shard", keys.shard.get(), 1, 1 << 40);
    within("preparation.queue", u64::from(keys.queue), 0, 1 << 20);
    within("preparation.sequence", u64::from(keys.sequence), 2, 1 << 24);
    let copies = &keys.deduplication;
    within("preparation.deduplication.shingle", u64::from(copies.shingle), 1, 1000);
    within("preparation.deduplication.bands", u64::from(copies.bands), 1, 1000);
    within("preparation.deduplication.rows", u64::from(copies.rows), 1, 1000);
    if let Some(embedding) = keys.embedding {
        within("preparation.embedding.dimension", u64::from(embedding.dimension), 1, 1 << 16);
    }
    if let TokenizerChoice::Bpe(bpe) = &keys.tokenizer {
        let least = u64::from(LEAST_VOCABULARY);
        within("preparation.tokenizer.bpe.vocabulary", u64::from(bpe.vocabulary), least, 1 << 20);
    }
    let mut share = |path: &str, value: f64| {
        if !(0.0..=1.0).contains(&value) {
            check.wrong(path, format!("{value} is no share from 0 to 1"), "");
        }
    };
    share("preparation.deduplication.threshold", copies.threshold);
    if let CorpusChoice::Latin(latin) = &keys.corpus {
        share("preparation.corpus.latin.duplicates", latin.duplicates);
        share("preparation.corpus.latin.near_duplicates", latin.near_duplicates);
        share("preparation.corpus.latin.changed", latin.changed);
        share("preparation.corpus.latin.noise", latin.noise);
        if latin.documents == 0 {
            check.wrong("preparation.corpus.latin.documents", "the corpus is empty", "ask for at least one");
        }
    }
}

fn treatment(file: &PreparationFile) -> Treatment {
    let keys = &file.preparation;
    Treatment {
        cleaning: keys.cleaning.clone(),
        deduplication: keys.deduplication.clone(),
        tokenizer: keys.tokenizer.clone(),
        packing: keys.packing.clone(),
        sequence: keys.sequence,
        embedding: keys.embedding,
    }
}

/// Documents with the name of what they are from.
fn documents(check: &mut Check<'_>, file: &PreparationFile) -> Vec<(String, String)> {
    match &file.preparation.corpus {
        CorpusChoice::Cicero => {
            let sentences = lipsum::LIBER_PRIMUS.split_inclusive(". ").map(str::trim);
            sentences.map(|sentence| ("cicero".to_owned(), sentence.to_owned())).collect()
        }
        CorpusChoice::Latin(latin) => {
            latin.write(file.seed).into_iter().map(|document| ("latin".to_owned(), document)).collect()
        }
        CorpusChoice::Files(files) => {
            let read = |(at, path): (usize, &std::path::PathBuf)| of_file(check, files, at, path);
            files.paths.iter().enumerate().flat_map(read).collect()
        }
    }
}

fn of_file(check: &mut Check<'_>, files: &FilesKeys, at: usize, path: &Path) -> Vec<(String, String)> {
    let key = format!("preparation.corpus.files.paths[{at}]");
    let bytes = match locate::bytes(path, check.locations.source()) {
        Ok(bytes) => bytes,
        Err(why) => {
            check.wrong(&key, why, "paths are seen from the workload file");
            return Vec::new();
        }
    };
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(why) => {
            let offset = why.utf8_error().valid_up_to();
            let line = 1 + why.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count();
            let place = format!("`{}` is not UTF-8 text: line {line}, byte {offset}", path.display());
            check.wrong(&key, place, "`iconv -t UTF-8` converts it");
            return Vec::new();
        }
    };
    let name = path.display().to_string();
    let documents: Vec<&str> = match files.documents {
        DocumentsAre::Paragraphs => text.split("\n\n").collect(),
        DocumentsAre::Lines => text.lines().collect(),
        DocumentsAre::Files => vec![&text],
    };
    let filled = documents.into_iter().filter(|document| !document.trim().is_empty());
    filled.map(|document| (name.clone(), document.to_owned())).collect()
}

fn speeds(
    check: &mut Check<'_>,
    file: &PreparationFile,
    stages: &[StageKind],
) -> BTreeMap<StageKind, StageSpeed> {
    let keys = &file.preparation;
    for stage in keys.stages.keys().filter(|stage| !stages.contains(stage)) {
        let names: Vec<&str> = stages.iter().map(|stage| stage.name()).collect();
        let why = format!("nothing in this preparation needs a stage `{}`", stage.name());
        check.wrong(
            &format!("preparation.stages.{}", stage.name()),
            why,
            &format!("its stages are {}", names.join(", ")),
        );
    }
    let mut speeds = BTreeMap::new();
    let mut threads = 0_u64;
    for &stage in stages {
        let given = keys.stages.get(&stage).cloned().unwrap_or_default();
        let path = format!("preparation.stages.{}", stage.name());
        let count = given.threads.unwrap_or(1);
        if count == 0 {
            check.wrong(&format!("{path}.threads"), "a stage has at least one thread", "");
        } else if count > 1 && stage.gathers() {
            check.wrong(&format!("{path}.threads"), "this stage is done once for all, by one thread", "");
        }
        if given.offload.is_some() && given.rate.is_none() {
            let why = "an accelerator is as fast as `rate` says, which is missing";
            check.wrong(&format!("{path}.offload"), why, "give the `rate` that it was measured to have");
        }
        if given.offload.is_some() && stage.uses_disk() {
            check.wrong(&format!("{path}.offload"), "reading and writing stay with the disk", "");
        }
        threads += u64::from(count);
        let speed = StageSpeed {
            threads: count,
            rate: given.rate.unwrap_or_else(|| usual_rate(stage)),
            startup: given.startup.unwrap_or(STARTUP),
            offload: given.offload,
        };
        speeds.insert(stage, speed);
    }
    let cores = keys.worker.cores;
    if keys.pool.is_none() && threads > u64::from(cores) {
        let why = format!("the stages have {threads} threads, a worker has {cores} cores");
        check.wrong("preparation.worker.cores", why, &format!("{threads} cores would do"));
    }
    speeds
}

/// Taking a shard from a queue and handing it on.
const STARTUP: SimDuration = SimDuration::from_micros(20);

/// Bytes of input that one core gets through in a second, to one digit, as
/// `preparation::tests::rates_of_this_machine` measured once on a shared core with a corpus of 60 small
/// documents. That run learned 400 tokens: learning more takes longer, which a rate of bytes does not show.
/// Writing is not computed, so its rate is assumed to be that of reading, a copy; the disk comes besides.
fn usual_rate(stage: StageKind) -> Bandwidth {
    Bandwidth::per_second(match stage {
        StageKind::Read | StageKind::Write => 2e9,
        StageKind::Clean => 40e6,
        StageKind::Sign => 10e6,
        StageKind::Deduplicate => 600e6,
        StageKind::Count => 4e6,
        StageKind::Learn => 5e6,
        StageKind::Tokenize => 2e6,
        StageKind::Pack => 400e6,
        StageKind::Embed => 10e6,
    })
}
