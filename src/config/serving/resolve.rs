//! From a serving file to a scenario: everything that needs two facts is checked here, once, and all
//! mistakes are gathered, those of traces with their lines.

use std::path::Path;
use std::sync::Arc;

use crate::config::check::{Check, divisors};
use crate::config::diagnostic::Diagnostic;
use crate::config::serving::file::{DecoderChoice, Requests, ServingFile};
use crate::config::serving::words::{self, Trained, Words};
use crate::config::{Diagnostics, Locations, Source, locate};
use crate::hardware::Topology;
use crate::ids::{DeviceId, Id, IdVec, ReplicaId};
use crate::model::Decoder;
use crate::model::decoder::{Family, Sizes, huggingface};
use crate::network::{NetworkModel, links_of};
use crate::serving::arrivals;
use crate::serving::cost::StepCost;
use crate::serving::kv::BlockPool;
use crate::serving::memory::Layout;
use crate::serving::priced::{Priced, Pricing};
use crate::serving::readers::{self, BadRow, Line, Reading};
use crate::serving::{Handover, Replica, Request, Role, ServingPlan};
use crate::units::{Bytes, SimTime};

/// A serving workload with every question answered.
#[derive(Debug, Clone)]
pub struct ServingScenario {
    /// The file it came from, defaults filled in: what the report shows first.
    pub file: ServingFile,
    /// Requests, replicas, and who decides.
    pub plan: ServingPlan,
    /// What is served, where it is more than a formula.
    pub served: Option<Served>,
    /// Real prompts, where there are any.
    pub words: Option<Words>,
    /// Rows of the trace that were left out.
    pub skipped_rows: usize,
    /// What the user should know and may not expect.
    pub notes: Vec<String>,
}

/// A model on devices.
#[derive(Debug, Clone)]
pub struct Served {
    /// The model and how it is spread.
    pub layout: Layout,
    /// Where.
    pub topology: Arc<Topology>,
}

impl ServingScenario {
    /// Whether another seed would give another run.
    pub fn depends_on_seed(&self) -> bool {
        matches!(self.file.serving.requests, Requests::Generate(_)) || self.plan.routing.draws()
    }

    /// How long steps take.
    pub fn cost(&self) -> Box<dyn StepCost> {
        let keys = &self.file.serving;
        match (&self.served, keys.step) {
            (Some(served), _) => Box::new(Priced::new(Pricing {
                layout: served.layout.clone(),
                topology: Arc::clone(&served.topology),
                devices: &self.plan.replicas.iter().map(|replica| replica.devices.clone()).collect(),
                compute: self.file.fidelity.compute.clone(),
                network: self.file.fidelity.network.clone(),
                collective: keys.collective.clone(),
                overhead: keys.overhead,
            })),
            (None, Some(affine)) => Box::new(affine),
            (None, None) => unreachable!("a scenario says how long steps take"),
        }
    }

    /// The network over which keys and values travel.
    pub fn network(&self) -> Option<Box<dyn NetworkModel>> {
        let handover = self.plan.handover.as_ref()?;
        Some(self.file.fidelity.network.model(&links_of(&handover.topology)))
    }
}

/// More requests than that are a slip.
const MOST_REQUESTS: u32 = 10_000_000;
/// As many bad rows are shown; more are counted.
const SHOWN_ROWS: usize = 20;

/// Checks a file against the world.
///
/// # Errors
/// Every mistake, each where it stands.
pub fn resolve(file: ServingFile, locations: &Locations) -> Result<ServingScenario, Diagnostics> {
    resolve_after(None, file, locations)
}

/// The same where the workload trains a model before.
///
/// # Errors
/// Every mistake, each where it stands.
pub fn resolve_after(
    trained: Option<&Trained>,
    mut file: ServingFile,
    locations: &Locations,
) -> Result<ServingScenario, Diagnostics> {
    let mut check = Check::new(locations);
    let topology = file.topology.as_ref().and_then(|choice| check.topology(choice));
    check.numbers(&file);
    let model = check.decoder(&mut file, trained);
    if !check.mistakes.is_empty() {
        return Err(check.mistakes);
    }
    let context = file.serving.context.unwrap_or_else(|| {
        model.as_ref().map_or(u32::MAX, |model| u32::try_from(model.decoder.context).unwrap_or(u32::MAX))
    });
    if let Some(gpt) = model.as_ref().and_then(|model| model.gpt.as_ref())
        && u64::from(context) > gpt.sequence
    {
        let why = format!("the model has learned {} positions, not {context}", gpt.sequence);
        check.wrong("serving.context", why, &format!("at most {} would do", gpt.sequence));
    }
    file.serving.batching.fit(if context == u32::MAX { 0 } else { context });
    let served = match &model {
        Some(model) => check.served(&file, model.decoder.clone(), topology.as_ref()),
        None => None,
    };
    let replicas = check.replicas(&file, served.as_ref());
    let pool = check.pool(&file, served.as_ref(), context);
    let (Some(pool), true) = (pool, check.mistakes.is_empty()) else { return Err(check.mistakes) };
    let limits = Limits { context, pool, longest: file.serving.batching.longest_prefill() };
    let (requests, words, skipped_rows) = match &file.serving.requests {
        Requests::Prompts(list) => {
            let (requests, words) = check.prompts(&file, list, model.as_ref(), &limits);
            (requests, words, 0)
        }
        _ => {
            let (requests, skipped) = check.requests(&file, &limits);
            (requests, None, skipped)
        }
    };
    if requests.is_empty() && check.mistakes.is_empty() {
        check.wrong("serving.requests", "there are no requests", "");
    }
    if !check.mistakes.is_empty() {
        return Err(check.mistakes);
    }
    let handover = served.as_ref().filter(|_| file.serving.disaggregation.is_some()).map(|served| Handover {
        topology: Arc::clone(&served.topology),
        bytes_per_token: served.layout.decoder.kv_bytes_per_token(served.layout.kv_precision),
    });
    let plan = ServingPlan {
        requests: requests.into_iter().collect(),
        replicas,
        pool,
        batching: file.serving.batching.clone(),
        routing: file.serving.routing.clone(),
        handover,
        seed: file.seed,
    };
    Ok(ServingScenario { plan, served, words, skipped_rows, notes: check.notes, file })
}

impl Check<'_> {
    /// What one number can be.
    fn numbers(&mut self, file: &ServingFile) {
        let keys = &file.serving;
        let mut counts = vec![
            ("tensor", keys.tensor),
            ("pipeline", keys.pipeline),
            ("replicas", keys.replicas),
            ("kv.block", keys.kv.block),
            ("limit", keys.limit.unwrap_or(1)),
            ("context", keys.context.unwrap_or(1)),
        ];
        if let Some(apart) = keys.disaggregation {
            counts
                .extend([("disaggregation.prefill", apart.prefill), ("disaggregation.decode", apart.decode)]);
        }
        for (key, count) in counts {
            if count == 0 {
                self.wrong(&format!("serving.{key}"), format!("`{key}` is at least 1"), "");
            }
        }
        if !(keys.kv.memory > 0.0 && keys.kv.memory <= 1.0) {
            self.wrong(
                "serving.kv.memory",
                format!("a share above 0 and up to 1, not {}", keys.kv.memory),
                "",
            );
        }
        if let Err(why) = keys.batching.admits() {
            self.wrong("serving.batching", why, "");
        }
        match (&keys.model, &keys.step) {
            (None, None) => self.wrong(
                "serving",
                "nothing says how long a step takes",
                "add `model:` (and `topology:`), or `step: {fixed: 5 ms, per_token: 100 us}`",
            ),
            (Some(_), Some(_)) => {
                self.wrong("serving.step", "both `model:` and `step:` say how long steps take", "keep one");
            }
            (Some(_), None) if file.topology.is_none() => {
                self.wrong("serving.model", "a model needs devices", "add `topology: NAME`");
            }
            (None, Some(step)) => {
                if step.fixed.picos() == 0 {
                    self.wrong("serving.step.fixed", "a step takes some time", "");
                }
                if keys.kv.blocks.is_none() {
                    let help = "set `serving.kv.blocks`";
                    self.wrong("serving.kv", "without a model nothing says how many blocks there are", help);
                }
                if u64::from(keys.tensor) * u64::from(keys.pipeline) > 1 || keys.disaggregation.is_some() {
                    let why = "`tensor`, `pipeline` and `disaggregation` need a model on a topology";
                    self.wrong("serving.step", why, "replace `step:` by `model:` and `topology:`");
                }
            }
            _ => {}
        }
    }

    /// The shape of what is served.
    fn decoder(&mut self, file: &mut ServingFile, trained: Option<&Trained>) -> Option<words::Served> {
        let (family, key, sizes) = match file.serving.model.as_ref()? {
            DecoderChoice::Llama(sizes) => (Family::Llama, "llama", sizes),
            DecoderChoice::Qwen2(sizes) => (Family::Qwen2, "qwen2", sizes),
            DecoderChoice::Qwen3(sizes) => (Family::Qwen3, "qwen3", sizes),
            DecoderChoice::Mixtral(sizes) => (Family::Mixtral, "mixtral", sizes),
            DecoderChoice::Gpt2(sizes) => (Family::Gpt2, "gpt2", sizes),
            DecoderChoice::GptNeox(sizes) => (Family::GptNeox, "gpt_neox", sizes),
            DecoderChoice::Huggingface(path) => return self.published(path).map(words::Served::shape),
            DecoderChoice::Checkpoint(path) => return self.saved(path),
            DecoderChoice::Trained => return self.trained(trained),
        };
        let path = format!("serving.model.{key}");
        let Sizes { layers, hidden, heads, kv_heads, head_dim, ffn, vocabulary, context, .. } = *sizes;
        let given = [kv_heads, head_dim, ffn].map(|size| size.unwrap_or(1));
        if [layers, hidden, heads, vocabulary, context].contains(&0) || given.contains(&0) {
            self.wrong(&path, "every size of a model is at least 1", "");
            return None;
        }
        if !heads.is_multiple_of(kv_heads.unwrap_or(heads)) {
            let help = format!("the divisors of {heads} would do: {}", divisors(heads));
            self.wrong(
                &format!("{path}.kv_heads"),
                format!("query heads are shared evenly among heads of keys; {heads} are not"),
                &help,
            );
        }
        if head_dim.is_none() && !hidden.is_multiple_of(heads) {
            self.wrong(
                &format!("{path}.heads"),
                format!("{heads} heads do not divide {hidden}"),
                "or set `head_dim`",
            );
        }
        Some(words::Served::shape(family.decoder(sizes)))
    }

    fn published(&mut self, path: &Path) -> Option<Decoder> {
        let source = self.document("serving.model.huggingface", path)?;
        match huggingface::read(&source.text) {
            Ok(published) => Some(published.decoder),
            Err(why) => {
                self.wrong("serving.model.huggingface", format!("`{}`: {why}", source.name), "");
                None
            }
        }
    }

    /// The model on its devices.
    fn served(
        &mut self,
        file: &ServingFile,
        decoder: Decoder,
        topology: Option<&Arc<Topology>>,
    ) -> Option<Served> {
        let keys = &file.serving;
        let (tensor, stages) = (u64::from(keys.tensor), u64::from(keys.pipeline));
        if !decoder.layers().is_multiple_of(stages) {
            let help =
                format!("the divisors of {} would do: {}", decoder.layers(), divisors(decoder.layers()));
            self.wrong(
                "serving.pipeline",
                format!("{} layers do not divide into {stages} stages", decoder.layers()),
                &help,
            );
            return None;
        }
        if !decoder.heads.is_multiple_of(tensor) {
            let help = format!("the divisors of {} would do: {}", decoder.heads, divisors(decoder.heads));
            self.wrong(
                "serving.tensor",
                format!("{} heads do not divide among {tensor} ranks", decoder.heads),
                &help,
            );
            return None;
        }
        let kv_precision = keys.kv_precision.unwrap_or(keys.precision);
        let layout = Layout { decoder, tensor, stages, precision: keys.precision, kv_precision };
        Some(Served { layout, topology: Arc::clone(topology?) })
    }

    /// The replicas, on the first devices of the topology, one after the other.
    fn replicas(&mut self, file: &ServingFile, served: Option<&Served>) -> IdVec<ReplicaId, Replica> {
        let keys = &file.serving;
        let roles: Vec<Role> = match keys.disaggregation {
            Some(apart) => std::iter::repeat_n(Role::Prefill, apart.prefill as usize)
                .chain(std::iter::repeat_n(Role::Decode, apart.decode as usize))
                .collect(),
            None => vec![Role::Whole; keys.replicas as usize],
        };
        let each = keys.tensor as usize * keys.pipeline as usize;
        if let Some(served) = served {
            let there = served.topology.devices().len();
            if roles.len() * each > there {
                let why = format!(
                    "{} replicas of {each} devices need {}; the topology has {there}",
                    roles.len(),
                    roles.len() * each
                );
                self.wrong("serving.replicas", why, &format!("at most {} fit", there / each));
            }
        }
        if let Some(served) = served {
            self.one_kind(&served.topology, roles.len() * each);
        }
        let devices = |at: usize| match served {
            Some(_) => (at * each..(at + 1) * each).map(DeviceId::from_index).collect(),
            None => Vec::new(),
        };
        roles.into_iter().enumerate().map(|(at, role)| Replica { role, devices: devices(at) }).collect()
    }

    /// Steps are priced on one kind of device.
    fn one_kind(&mut self, topology: &Topology, used: usize) {
        let mut kinds: Vec<&str> = Vec::new();
        for device in topology.devices().iter().take(used) {
            if !kinds.contains(&device.spec.name.as_str()) {
                kinds.push(&device.spec.name);
            }
        }
        if kinds.len() > 1 {
            let why = format!(
                "replicas would be on devices of {} kinds, {}; they are priced as one kind",
                kinds.len(),
                kinds.join(" and ")
            );
            let first = topology.devices().iter().take_while(|device| device.spec.name == kinds[0]).count();
            let help = format!("the first {first} devices are alike: use no more, or another topology");
            self.wrong("topology", why, &help);
        }
    }

    /// The blocks of a replica.
    fn pool(&mut self, file: &ServingFile, served: Option<&Served>, context: u32) -> Option<BlockPool> {
        let kv = file.serving.kv;
        let room = match served {
            Some(served) => Some(self.room(file, served, context)?),
            None => None,
        };
        match (kv.blocks, room) {
            (Some(0), _) => {
                self.wrong("serving.kv.blocks", "a cache has at least 1 block", "");
                None
            }
            (Some(blocks), Some(room)) if blocks > room => {
                self.wrong(
                    "serving.kv.blocks",
                    format!("there is room for {room} blocks, not {blocks}"),
                    "leave the key out for as many as fit",
                );
                None
            }
            (blocks, room) => Some(BlockPool::new(blocks.or(room)?, kv.block)),
        }
    }

    /// Blocks for which there is room beside the weights.
    fn room(&mut self, file: &ServingFile, served: &Served, context: u32) -> Option<u64> {
        let (kv, layout) = (file.serving.kv, &served.layout);
        let first = served.topology.devices().iter().next()?;
        let memory = Bytes((first.spec.memory.capacity.get() as f64 * kv.memory) as u64);
        match layout.blocks(memory, kv.block) {
            Ok(blocks) => Some(blocks),
            Err(misfit) => {
                let help = match layout.tensor_that_fits(memory, kv.block, u64::from(context.min(4096))) {
                    Some(tensor) => format!("`serving.tensor: {tensor}` would fit"),
                    None => "no number of tensor ranks would fit: take larger devices, more stages or a narrower precision".into(),
                };
                let why = format!(
                    "the weights take {} of each device, which has {} for them and the cache",
                    misfit.weights, misfit.memory
                );
                self.wrong("serving.model", why, &help);
                None
            }
        }
    }

    /// The requests, and how many rows were left out.
    fn requests(&mut self, file: &ServingFile, limits: &Limits) -> (Vec<Request>, usize) {
        let (mut requests, skipped) = match &file.serving.requests {
            Requests::Azure(path) => {
                self.request_trace("serving.requests.azure", file, path, limits, readers::azure)
            }
            Requests::Mooncake(path) => {
                self.request_trace("serving.requests.mooncake", file, path, limits, readers::mooncake)
            }
            _ => (self.made(file, limits), 0),
        };
        requests.truncate(file.serving.limit.map_or(usize::MAX, |limit| limit as usize));
        (requests, skipped)
    }

    /// Requests that are written out or drawn.
    fn made(&mut self, file: &ServingFile, limits: &Limits) -> Vec<Request> {
        let mut requests = Vec::new();
        match &file.serving.requests {
            Requests::List(list) => {
                for (at, keys) in list.iter().enumerate() {
                    let path = format!("serving.requests.list[{at}]");
                    let request = Request {
                        arrival: SimTime::ZERO + keys.arrival,
                        prompt: keys.prompt,
                        output: keys.output,
                    };
                    if request.prompt == 0 || request.output == 0 {
                        self.wrong(&path, "a request has at least 1 token of prompt and of answer", "");
                    } else if let Err((why, help)) = limits.check(&request) {
                        self.wrong(&path, why, &help);
                    }
                    requests.push(request);
                }
                requests.sort_by_key(|request| request.arrival);
            }
            Requests::Generate(keys) => {
                let path = |key: &str| format!("serving.requests.generate.{key}");
                if keys.requests == 0 || keys.requests > MOST_REQUESTS {
                    self.wrong(
                        &path("requests"),
                        format!("from 1 to {MOST_REQUESTS} requests, not {}", keys.requests),
                        "",
                    );
                }
                let checks = [
                    ("arrivals", keys.arrivals.check()),
                    ("prompt", keys.prompt.check()),
                    ("output", keys.output.check()),
                ];
                for (key, checked) in checks {
                    if let Err(why) = checked {
                        self.wrong(&path(key), why, "");
                    }
                }
                if !self.mistakes.is_empty() {
                    return requests;
                }
                match arrivals::draw(keys.requests, &keys.arrivals, &keys.prompt, &keys.output, file.seed) {
                    Some(drawn) => requests = drawn,
                    None => self.wrong(
                        &path("arrivals"),
                        "requests would arrive later than 213 days after the first",
                        "",
                    ),
                }
                if let Some((why, help)) = requests.iter().find_map(|request| limits.check(request).err()) {
                    self.wrong("serving.requests.generate", why, &help);
                }
            }
            Requests::Prompts(_) | Requests::Azure(_) | Requests::Mooncake(_) => {
                unreachable!("prompts and traces are read")
            }
        }
        requests
    }

    fn request_trace(
        &mut self,
        key: &str,
        file: &ServingFile,
        path: &Path,
        limits: &Limits,
        read: fn(&str) -> Reading,
    ) -> (Vec<Request>, usize) {
        let Some(source) = self.document(key, path) else { return (Vec::new(), 0) };
        let Reading { requests, mut bad } = read(&source.text);
        let mut good = Vec::with_capacity(requests.len());
        for (request, line) in requests {
            match limits.check(&request) {
                Ok(()) => good.push(request),
                Err((why, help)) => bad.push(BadRow { line, why: format!("{why}; {help}"), fatal: false }),
            }
        }
        bad.sort_by_key(|row| row.line.number);
        let skipped = self.bad_requests(&source, bad, file.skip_bad_rows);
        if skipped > 0 {
            self.notes
                .push(format!("{skipped} rows of `{}` could not be used and were left out", source.name));
        }
        (good, skipped)
    }

    fn document(&mut self, key: &str, path: &Path) -> Option<Arc<Source>> {
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
    fn bad_requests(&mut self, source: &Arc<Source>, rows: Vec<BadRow>, skip: bool) -> usize {
        let (fatal, rest): (Vec<BadRow>, Vec<BadRow>) = rows.into_iter().partition(|row| row.fatal);
        let count = rest.len();
        let told = if skip { Vec::new() } else { rest };
        let more = told.len().saturating_sub(SHOWN_ROWS);
        for (at, BadRow { line: Line { number, span }, why, fatal }) in
            fatal.into_iter().chain(told.into_iter().take(SHOWN_ROWS)).enumerate()
        {
            let mut help = String::new();
            if !fatal {
                help += "correct the row, or set `skip_bad_rows: true` (or --skip-bad-rows) to count and leave out such rows";
                if at + 1 == SHOWN_ROWS && more > 0 {
                    help += &format!("; {more} more rows are wrong");
                }
            }
            let place = Some((Arc::clone(source), span));
            self.mistakes.push(Diagnostic { place, message: format!("line {number}: {why}"), help });
        }
        if skip { count } else { 0 }
    }
}

/// What a request must keep to, to be served at all.
pub(super) struct Limits {
    context: u32,
    pool: BlockPool,
    longest: Option<u32>,
}

impl Limits {
    /// What is wrong with a request, and what would do.
    pub(super) fn check(&self, request: &Request) -> Result<(), (String, String)> {
        let tokens = request.tokens();
        let room = self.pool.total() * u64::from(self.pool.block());
        if tokens > u64::from(self.context) {
            let why = format!("a request of {tokens} tokens is longer than the context of {}", self.context);
            return Err((why, "shorten it, or serve a model with a longer context".into()));
        }
        if request.cached_at_most() > room {
            let why =
                format!("a request of {tokens} tokens does not fit into the KV cache, which holds {room}");
            return Err((why, "add tensor ranks or stages, or memory".into()));
        }
        match self.longest {
            Some(longest) if request.prompt > longest => {
                let why = format!(
                    "a prompt of {} tokens is longer than `max_batched_tokens`, {longest}",
                    request.prompt
                );
                Err((why, "raise it, or take `vllm_v1`, which computes prompts in chunks".into()))
            }
            _ => Ok(()),
        }
    }
}
