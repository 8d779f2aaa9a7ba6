//! From a training file to a scenario: everything that needs two facts is checked here, once, and all
//! mistakes are gathered. After it nothing returns a configuration error.

use std::ops::Range;
use std::sync::Arc;

use crate::compute::ComputeSpec;
use crate::config::check::{Check, divisors};
use crate::config::checkpoint::{self, Tokens};
use crate::config::preparation::file::{NetworkFidelityKeys, Preparation, PreparationFile};
use crate::config::preparation::{self, PreparationScenario};
use crate::config::training::disturbances::CheckpointKeys;
use crate::config::training::file::{Data, Fold, TrainingFile};
use crate::config::{Diagnostics, Locations, locate};
use crate::hardware::{Precision, Topology};
use crate::ids::{DeviceId, Id, IdVec, Rank, Stage};
use crate::model::Model;
use crate::network::{NetworkModel, NetworkSpec, links_of};
use crate::numeric::batches::Batches;
use crate::numeric::values::Values;
use crate::numeric::weights::Weights;
use crate::parallel::Mesh;
use crate::preparation::PreparationOutcome;
use crate::preparation::tokenizer::Tokenizer;
use crate::rng::Seed;
use crate::training::disturbance::Disturbances;
use crate::training::model_compression::Methods;
use crate::training::partition::{Partition, balanced, explicit_stages, piece_costs};
use crate::training::recovery::Recovery;
use crate::training::schedule::Pass;
use crate::training::state::State;
use crate::training::zero::Zero;
use crate::training::{TrainingPlan, even_stages};
use crate::units::{Cycles, SimTime};

/// A training workload with every question answered.
#[derive(Debug, Clone)]
pub struct TrainingScenario {
    /// The file it came from, defaults filled in: what the report shows first.
    pub file: TrainingFile,
    /// What decides.
    pub plan: TrainingPlan,
    /// How kernels are costed.
    pub compute: ComputeSpec,
    /// How flows share links.
    pub network: NetworkSpec,
    /// What it learns from, when it is computed.
    pub data: Option<LoadedData>,
    /// What prepared the data, where a preparation did.
    pub prepared: Option<Arc<Prepared>>,
    /// The weights that it starts from, where it does not start anew.
    pub start: Option<Arc<Weights>>,
    /// What goes wrong.
    pub disturbances: Disturbances,
    /// How it recovers from failures.
    pub recovery: Option<Recovery>,
    /// How the trained model is made smaller.
    pub model_compression: Option<Methods>,
    /// Where every random stream grows from.
    pub seed: Seed,
    /// What the user should know and may not expect.
    pub notes: Vec<String>,
}

/// A preparation and what came of it.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// What was asked.
    pub scenario: PreparationScenario,
    /// What came of it.
    pub outcome: PreparationOutcome,
}

/// Data that has been read.
#[derive(Debug, Clone)]
pub enum LoadedData {
    /// Bytes of text.
    Text(Vec<u8>),
    /// Wine quality.
    Wine,
    /// Sequences of tokens from a preparation.
    Sequences(Vec<Vec<u32>>),
    /// Points for regression: features by row, and targets.
    Points(Vec<Vec<f32>>, Vec<f32>),
}

/// Checks a file against the world.
///
/// # Errors
/// Every mistake, each where it stands.
pub fn resolve(file: TrainingFile, locations: &Locations) -> Result<TrainingScenario, Diagnostics> {
    resolve_on(None, file, locations)
}

/// The same on a topology that has been built already, whatever the file says: for those who check many
/// files on one.
///
/// # Errors
/// Every mistake, each where it stands.
pub fn resolve_on(
    built: Option<Arc<Topology>>,
    file: TrainingFile,
    locations: &Locations,
) -> Result<TrainingScenario, Diagnostics> {
    let mut check = Check::new(locations);
    let topology = built.or_else(|| check.topology(&file.topology));
    check.model(&file.model);
    let (micro_batch, micro_batches) = check.batch(&file);
    let prepared = check.prepared(&file, locations);
    let data = match &prepared {
        Some(prepared) => {
            file.numeric.then(|| LoadedData::Sequences(prepared.outcome.prepared.sequences.clone()))
        }
        None if file.numeric => check.data(&file),
        None => None,
    };
    let mesh = Mesh {
        data: file.parallel.data,
        pipeline: file.parallel.pipeline,
        context: file.parallel.context,
        tensor: file.parallel.tensor,
    };
    let servers = file.parallel.sync.server().map_or(0, |server| server.servers);
    check.mesh(&file, mesh, servers, topology.as_deref());
    let start = check.start(&file);
    let stages = check.stages(&file);
    let computed = [Precision::F32, Precision::Bf16, Precision::F16, Precision::F8];
    if file.numeric && !computed.contains(&file.training.precision) {
        check.wrong(
            "training.precision",
            format!("numbers are computed in f32, bf16, fp16 or fp8, not in {}", file.training.precision),
            "set `numeric: false` to time the step in this precision without computing it",
        );
    }
    let (Some(topology), Some(stages), true) = (topology, stages, check.mistakes.is_empty()) else {
        return Err(check.mistakes);
    };
    // Parameter servers are on the devices after those of the workers.
    let mut placement: IdVec<Rank, DeviceId> =
        (0..mesh.ranks() + servers).map(|rank| DeviceId::from_index(rank as usize)).collect();
    let topology = match check.hosts(&file, topology) {
        Some((topology, host_of)) => {
            for rank in mesh.all().filter(|_| file.training.offload.any()) {
                placement.push(host_of[placement[rank]]);
            }
            topology
        }
        None => return Err(check.mistakes),
    };
    let mut plan = TrainingPlan {
        model: file.model.clone(),
        topology,
        mesh,
        placement,
        stages,
        micro_batch,
        micro_batches,
        steps: file.training.steps,
        precision: file.training.precision,
        schedule: file.parallel.schedule.clone(),
        sync: file.parallel.sync.clone(),
        compression: file.parallel.compression.clone(),
        bucket: file.training.bucket,
        sequence_parallel: file.parallel.sequence_parallel,
        context_scheme: file.parallel.context_scheme.clone(),
        tensor_overlap: file.parallel.tensor_overlap,
        recompute: file.recompute,
        offload: file.training.offload.clone(),
        fragmentation: file.training.fragmentation,
        software: file.software.clone(),
        zero: file.parallel.zero,
        folded: false,
        algorithm: file.parallel.collective.clone(),
        optimizer: file.training.optimizer.clone(),
        clip: file.training.gradient_clipping,
        input: prepared.as_ref().map(|prepared| prepared.ready(&file.data)),
    };
    check.policies(&plan, &file);
    if !check.mistakes.is_empty() {
        return Err(check.mistakes);
    }
    if file.parallel.partition == Partition::ByCost {
        let costs = piece_costs(&plan, &*file.fidelity.compute);
        let costs: Vec<Cycles> = costs.iter().map(|cost| Cycles(cost.forward.0 + cost.backward.0)).collect();
        match balanced(&costs, stages_wanted(&file)) {
            Ok(stages) => plan.stages = stages,
            Err(why) => {
                check.wrong("parallel.pipeline", why, "make the pipeline shorter");
                return Err(check.mistakes);
            }
        }
    }
    if plan.zero.shares() && plan.sharers() == 1 {
        check
            .notes
            .push("a replica that shares with no other holds everything itself: `zero` is 0".to_owned());
        plan.zero = Zero::default();
    }
    let disturbances = check.disturbances(&file, &plan);
    let model_compression = check.model_compression(&file, &plan);
    if !check.mistakes.is_empty() {
        return Err(check.mistakes);
    }
    // Slow ranks and links make ranks differ, and so does a replica that leaves.
    let alike = !disturbances.slows() && file.checkpoint.as_ref().is_none_or(|keys| !keys.elastic);
    plan.folded = file.fold == Fold::Auto && !file.numeric && alike && folds(&plan);
    if file.fold == Fold::Auto && !file.numeric && !alike {
        check.notes.push("what is disturbed makes ranks differ: every rank is simulated".to_owned());
    }
    if plan.folded {
        let each = plan.ranks_of_each();
        check.notes.push(format!(
            "ranks that do the same at the same time are simulated once: each simulated rank stands for {each} \
             (`fold: never` simulates all)"
        ));
    }
    Ok(TrainingScenario {
        compute: file.fidelity.compute.clone(),
        network: file.fidelity.network.clone(),
        disturbances,
        model_compression,
        recovery: file.checkpoint.as_ref().map(CheckpointKeys::recovery),
        seed: file.seed,
        notes: check.notes,
        plan,
        data,
        start,
        prepared: prepared.map(Arc::new),
        file,
    })
}

/// Whether ranks that differ in their replica or tensor rank alone (or their context rank, where these do the
/// same) do the same at the same time: their devices must be of one kind, and there must be some to fold.
fn folds(plan: &TrainingPlan) -> bool {
    let first = &plan.topology.devices()[plan.placement[Rank(0)]].spec;
    let alike = |&device: &DeviceId| plan.topology.devices()[device].spec == *first;
    // A replica that mixes with its neighbours alone is not in the place of every other.
    let folded = TrainingPlan { folded: true, ..plan.clone() };
    folded.ranks_of_each() > 1
        && plan.placement.iter().all(alike)
        && !["gossip", "parameter_server"].contains(&plan.sync.name())
}

impl Prepared {
    /// When each sequence can be trained on.
    fn ready(&self, data: &Data) -> Arc<[SimTime]> {
        let ready = self.outcome.ready();
        match data {
            Data::Prepared => vec![self.outcome.makespan; ready.len()].into(),
            _ => ready.into(),
        }
    }
}

impl TrainingScenario {
    /// What turned text into the tokens that it learns from, where a preparation did.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.prepared.as_ref()?.outcome.tokenizer.as_ref()
    }

    /// The slots of the run.
    pub fn state(&self) -> State {
        State::new(&self.plan)
    }

    /// The network between the devices.
    pub fn network_model(&self) -> Box<dyn NetworkModel> {
        self.network.model(&links_of(&self.plan.topology))
    }

    /// Where samples come from; nothing when the run is only timed.
    pub fn batches(&self) -> Option<Batches> {
        let seed = self.seed;
        Some(match self.data.as_ref()? {
            LoadedData::Text(bytes) => {
                Batches::of_text(bytes.clone(), self.plan.model.tokens_per_sample() as usize, seed)
            }
            LoadedData::Sequences(sequences) => {
                Batches::of_sequences(sequences.clone(), self.plan.global_batch() as usize, seed)
            }
            LoadedData::Wine => Batches::of_wine(seed),
            LoadedData::Points(x, y) => {
                Batches::of_points(x, y.clone(), self.plan.global_batch() as usize, seed)
            }
        })
    }

    /// The numbers at the start of the run; nothing when it is only timed.
    pub fn values(&self, state: &State) -> Option<Values> {
        let batches = self.batches()?;
        let slots = match &self.start {
            Some(start) => state.values_of(&self.plan, |parameter| start.of(&parameter.name).to_vec()),
            None => state.initial_values(&self.plan, self.seed),
        };
        let values = Values::new(slots, batches, self.plan.optimizer.clone(), self.plan.steps);
        Some(values.in_precision(self.plan.precision))
    }
}

impl TrainingScenario {
    /// What a run has learned, whole; `plan` is the one that its last step had. Replicas that went on by
    /// themselves are averaged.
    pub fn learned(&self, plan: &TrainingPlan, values: &Values) -> Weights {
        let state = State::new(plan);
        let replicas =
            if ["all_reduce", "parameter_server"].contains(&plan.sync.name()) { 1 } else { plan.mesh.data };
        let of = |replica| Weights::new(plan.model.clone(), state.weights(plan, values, replica));
        Weights::mean((0..replicas).map(of).collect())
    }

    /// How the tokens that the model learned are read.
    pub fn tokens(&self) -> Option<Tokens> {
        match self.data.as_ref()? {
            LoadedData::Text(_) => Some(Tokens::Bytes),
            LoadedData::Sequences(_) => Some(Tokens::Prepared),
            LoadedData::Wine | LoadedData::Points(..) => None,
        }
    }
}

/// As many tensors that do not fit are named; more are counted.
const SHOWN_TENSORS: usize = 8;

impl Check<'_> {
    /// The weights that training starts from, where they are given; also, whether they can be saved.
    fn start(&mut self, file: &TrainingFile) -> Option<Arc<Weights>> {
        const NOTHING: &str = "nothing is computed (`numeric: false`), so there are no weights";
        if !file.numeric && file.training.save.is_some() {
            self.wrong("training.save", NOTHING, "set `numeric: true`, or leave the key out");
        }
        let path = file.training.from.as_ref()?;
        if !file.numeric {
            self.wrong("training.from", NOTHING, "set `numeric: true`, or leave the key out");
            return None;
        }
        let checkpoint = match checkpoint::find(path, self.locations.source()) {
            Ok(checkpoint) => checkpoint,
            Err(why) => {
                let help = "a path is seen from the workload's folder, then from the working folder";
                self.wrong("training.from", why, help);
                return None;
            }
        };
        if let (Some(Model::Gpt(theirs)), Model::Gpt(ours)) = (&checkpoint.model, &file.model)
            && theirs.heads != ours.heads
        {
            // Shapes do not tell heads.
            let why = format!("`{}` has {} heads, the model {}", checkpoint.name, theirs.heads, ours.heads);
            self.wrong("model.gpt.heads", why, &format!("set `heads: {}`", theirs.heads));
        }
        match checkpoint.weights(&file.model) {
            Ok(weights) => Some(Arc::new(weights)),
            Err(wrong) => {
                let more = wrong.len().saturating_sub(SHOWN_TENSORS);
                let help = checkpoint.model.as_ref().map_or(String::new(), |model| {
                    let json = serde_json::to_string(model).expect("a model is plain data");
                    format!("it is the checkpoint of `model: {json}`")
                });
                let tail = if more > 0 { format!("; {more} more do not fit") } else { String::new() };
                for (at, why) in wrong.iter().take(SHOWN_TENSORS).enumerate() {
                    let last = at + 1 == wrong.len().min(SHOWN_TENSORS);
                    let tail = if last { tail.as_str() } else { "" };
                    let message = format!("`{}` does not fit the model: {why}{tail}", checkpoint.name);
                    self.wrong("training.from", message, if last { &help } else { "" });
                }
                None
            }
        }
    }

    pub(in crate::config) fn model(&mut self, model: &Model) {
        self.model_at("model", model);
    }

    /// The same under another key.
    pub(in crate::config) fn model_at(&mut self, key: &str, model: &Model) {
        match model {
            Model::Gpt(gpt) => {
                let sizes = [
                    ("layers", gpt.layers),
                    ("hidden", gpt.hidden),
                    ("heads", gpt.heads),
                    ("sequence", gpt.sequence),
                    ("vocabulary", gpt.vocabulary),
                    ("ffn_hidden", gpt.ffn()),
                ];
                for (name, size) in sizes {
                    if size == 0 || size > u64::from(u32::MAX) {
                        self.wrong(
                            &format!("{key}.gpt.{name}"),
                            format!("`{name}` is a number from 1 to 4294967295, not {size}"),
                            "",
                        );
                    }
                }
                if gpt.heads > 0 && !gpt.hidden.is_multiple_of(gpt.heads) {
                    let fits = divisors(gpt.hidden);
                    self.wrong(
                        &format!("{key}.gpt.heads"),
                        format!("{} heads do not divide a hidden width of {}", gpt.heads, gpt.hidden),
                        &format!("these would: {fits}"),
                    );
                }
            }
            Model::Mlp(mlp) => {
                if mlp.inputs == 0 || mlp.classes == 0 || mlp.hidden.contains(&0) {
                    self.wrong(
                        &format!("{key}.mlp"),
                        "every layer has at least one input and one output",
                        "",
                    );
                }
            }
            Model::Linear(linear) => {
                if linear.start.is_empty() {
                    self.wrong(&format!("{key}.linear.start"), "a linear map has at least one weight", "");
                }
            }
        }
    }

    /// Samples of a micro-batch, and micro-batches of a replica.
    fn batch(&mut self, file: &TrainingFile) -> (u64, u32) {
        let training = &file.training;
        let replicas = u64::from(file.parallel.data.max(1));
        if training.steps == 0 {
            self.wrong("training.steps", "a run has at least one step", "");
        }
        if training.global_batch == 0 || !training.global_batch.is_multiple_of(replicas) {
            let up = training.global_batch.div_ceil(replicas).max(1) * replicas;
            self.wrong(
                "training.global_batch",
                format!(
                    "a global batch of {} does not divide among {replicas} replicas",
                    training.global_batch
                ),
                &format!("{up} would"),
            );
            return (1, 1);
        }
        let share = training.global_batch / replicas;
        let micro_batch = training.micro_batch.unwrap_or(share);
        if micro_batch == 0 || !share.is_multiple_of(micro_batch) {
            self.wrong(
                "training.micro_batch",
                format!("micro-batches of {micro_batch} do not divide a replica's share of {share} samples"),
                &format!("these would: {}", divisors(share)),
            );
            return (1, 1);
        }
        (micro_batch, u32::try_from(share / micro_batch).unwrap_or(u32::MAX))
    }

    fn mesh(&mut self, file: &TrainingFile, mesh: Mesh, servers: u32, topology: Option<&Topology>) {
        let sizes = [
            ("data", mesh.data),
            ("pipeline", mesh.pipeline),
            ("context", mesh.context),
            ("tensor", mesh.tensor),
        ];
        for (name, size) in sizes {
            if size == 0 {
                self.wrong(&format!("parallel.{name}"), format!("`{name}` is at least 1"), "");
                return;
            }
        }
        self.tensor(&file.model, u64::from(mesh.tensor));
        self.context(file);
        let Some(topology) = topology else { return };
        let devices = topology.devices().len() as u64;
        let ranks: u64 = sizes.iter().map(|&(_, size)| u64::from(size)).product();
        let wanted = ranks + u64::from(servers);
        let used = sizes.iter().filter(|&&(name, size)| name != "context" || size > 1);
        let mut product = used.map(|(name, size)| format!("{name} {size}")).collect::<Vec<_>>().join(" × ");
        if servers > 0 {
            product += &format!(" + {servers} servers");
        }
        if wanted > devices {
            self.wrong(
                "parallel",
                format!("{product} = {wanted} ranks, but `{}` has {devices} devices", topology.name()),
                "make an axis smaller or choose a larger topology",
            );
        } else if wanted < devices {
            self.notes.push(format!(
                "{product} = {wanted} ranks take the first {wanted} of the {devices} devices of `{}`, \
                 node by node",
                topology.name()
            ));
        }
    }

    fn tensor(&mut self, model: &Model, tensor: u64) {
        let shares: Vec<(&str, u64)> = match model {
            Model::Gpt(gpt) => {
                vec![("heads", gpt.heads), ("vocabulary", gpt.vocabulary), ("ffn_hidden", gpt.ffn())]
            }
            Model::Mlp(_) => vec![("mlp layers (they are not split)", 1)],
            Model::Linear(linear) => vec![("weights", linear.start.len() as u64)],
        };
        for (name, size) in shares {
            if !size.is_multiple_of(tensor) {
                self.wrong(
                    "parallel.tensor",
                    format!("{tensor} tensor ranks do not divide {size} {name}"),
                    &format!("these would: {}", divisors(size)),
                );
            }
        }
    }

    /// What the workload's preparation makes, and when: it is really run.
    fn prepared(&mut self, file: &TrainingFile, locations: &Locations) -> Option<Prepared> {
        let Some(keys) = file.preparation.as_ref() else {
            if matches!(file.data, Data::Preparation | Data::Prepared) {
                self.wrong(
                    "data",
                    "there is no `preparation:` to take data from",
                    "write one, or name other data",
                );
            }
            return None;
        };
        if !matches!(file.data, Data::Preparation | Data::Prepared) {
            self.wrong("preparation", "nobody trains on what is prepared", "set `data: preparation`");
        }
        if !file.disturbances.is_empty() || file.checkpoint.is_some() || file.parallel.sync.server().is_some()
        {
            let why = "input that comes late is not combined with disturbances, checkpoints or parameter servers yet";
            self.wrong("preparation", why, "leave one of them out");
        }
        let Model::Gpt(gpt) = &file.model else {
            self.wrong("data", "only a gpt learns from sequences of tokens", "");
            return None;
        };
        if u64::from(keys.sequence) != gpt.sequence + 1 {
            let why = format!(
                "each sequence has one token more than the model reads, its last target: {} for {}, not {}",
                gpt.sequence + 1,
                gpt.sequence,
                keys.sequence
            );
            self.wrong("preparation.sequence", why, "");
            return None;
        }
        let prepared = self.run_preparation(file, keys, locations)?;
        let outcome = &prepared.outcome;
        if u64::from(outcome.prepared.vocabulary) > gpt.vocabulary {
            let made = outcome.prepared.vocabulary;
            let why =
                format!("the preparation makes {made} different tokens, the model knows {}", gpt.vocabulary);
            self.wrong("model.gpt.vocabulary", why, "");
        }
        let when = if matches!(file.data, Data::Prepared) { "before" } else { "while" };
        self.notes.push(format!(
            "{} sequences are prepared in {} by {} workers {when} they are trained on; the held-out loss is theirs",
            outcome.prepared.sequences.len(),
            outcome.makespan,
            keys.workers
        ));
        Some(prepared)
    }

    fn run_preparation(
        &mut self,
        file: &TrainingFile,
        keys: &Preparation,
        locations: &Locations,
    ) -> Option<Prepared> {
        let preparation = PreparationFile {
            name: file.name.clone(),
            description: None,
            preparation: keys.clone(),
            fidelity: NetworkFidelityKeys { network: file.fidelity.network.clone() },
            seed: file.seed,
        };
        let scenario = match preparation::resolve::resolve(preparation, locations) {
            Ok(scenario) => scenario,
            Err(mistakes) => {
                mistakes.iter().for_each(|mistake| self.mistakes.push(mistake.clone()));
                return None;
            }
        };
        self.notes.extend(scenario.notes.iter().cloned());
        let ran = crate::preparation::run(&scenario.plan);
        let ran = ran.map_err(|failure| self.wrong("preparation", failure.to_string(), ""));
        ran.ok().map(|outcome| Prepared { scenario, outcome })
    }

    fn data(&mut self, file: &TrainingFile) -> Option<LoadedData> {
        match (&file.model, &file.data) {
            (Model::Gpt(gpt), Data::Cicero | Data::Text(_) | Data::Path(_)) => {
                if gpt.vocabulary != 256 {
                    self.wrong(
                        "model.gpt.vocabulary",
                        format!(
                            "text is read byte by byte, which takes a vocabulary of 256, not {}",
                            gpt.vocabulary
                        ),
                        "set `vocabulary: 256`, or `numeric: false` to time this model without computing it",
                    );
                }
                let text = self.text(file)?;
                let least = 20 * (gpt.sequence + 1);
                if (text.len() as u64) < least {
                    self.wrong(
                        "data",
                        format!(
                            "the text has {} bytes; a tenth is held out, so at least {least} are needed",
                            text.len()
                        ),
                        "",
                    );
                }
                Some(LoadedData::Text(text))
            }
            (Model::Mlp(mlp), Data::Wine) => {
                if (mlp.inputs, mlp.classes) != (11, 11) {
                    self.wrong(
                        "model.mlp",
                        format!(
                            "wine quality has 11 features and grades 0 to 10, not {} features and {} classes",
                            mlp.inputs, mlp.classes
                        ),
                        "set `inputs: 11` and `classes: 11`",
                    );
                }
                Some(LoadedData::Wine)
            }
            (Model::Linear(linear), Data::Points(points)) => {
                let features = linear.start.len();
                if points.x.is_empty() || points.x.len() != points.y.len() {
                    self.wrong("data.points", "`x` and `y` have as many rows, and at least one", "");
                }
                if let Some(row) = points.x.iter().position(|row| row.len() != features) {
                    self.wrong(
                        &format!("data.points.x[{row}]"),
                        format!(
                            "this row has {} features, the model {features} weights",
                            points.x[row].len()
                        ),
                        "",
                    );
                }
                Some(LoadedData::Points(points.x.clone(), points.y.clone()))
            }
            (model, _) => {
                let fits = match model {
                    Model::Gpt(_) => "a gpt learns from `cicero` or `{path: FILE}`",
                    Model::Mlp(_) => "an mlp learns from `wine`",
                    Model::Linear(_) => "a linear map learns from `{points: {x: [[…]], y: […]}}`",
                };
                self.wrong("data", "this model cannot learn from this data", fits);
                None
            }
        }
    }

    fn text(&mut self, file: &TrainingFile) -> Option<Vec<u8>> {
        let Some(path) = file.data.text_file() else {
            return Some(lipsum::LIBER_PRIMUS.as_bytes().to_vec());
        };
        match locate::text(path, self.locations.source()) {
            Ok(bytes) => Some(bytes),
            Err(why) => {
                self.wrong("data", why, "");
                None
            }
        }
    }

    /// Whether replicas can share what they are asked to.
    pub(super) fn zero(&mut self, plan: &TrainingPlan) {
        let (holders, sharers, context) = (plan.holders(), plan.sharers(), plan.mesh.context);
        if !plan.zero.shares() {
            return;
        }
        if sharers == 0 || !holders.is_multiple_of(sharers) {
            let whose = if context > 1 { "context ranks of all replicas" } else { "replicas" };
            let why = format!("groups of {sharers} do not divide {holders} {whose}");
            self.wrong("parallel.zero", why, &format!("these would: {}", divisors(u64::from(holders))));
        } else if !sharers.is_multiple_of(context) && !context.is_multiple_of(sharers) {
            let why = format!(
                "groups of {sharers} are no whole replicas of {context} context ranks, nor parts of one"
            );
            self.wrong("parallel.zero", why, &format!("a multiple or a divisor of {context} would do"));
        }
        if plan.sync.name() != "all_reduce" {
            let why = format!(
                "replicas that share optimiser state step as one, which `{}` does not",
                plan.sync.name()
            );
            self.wrong("parallel.sync", why, "use `sync: all_reduce`, or `zero: 0`");
        }
        if plan.schedule.copies() > 1 {
            let why = format!("`{}` holds two copies of the model on the same ranks", plan.schedule.name());
            self.wrong("parallel.zero", why, "use `zero: 0` or another schedule");
        }
        let splits =
            plan.schedule.order(plan.shape()).iter().flatten().any(|op| op.pass == Pass::BackwardWeight);
        if plan.zero.shares_gradients() && splits {
            let why = format!(
                "`{}` puts weight gradients off, and these are to be reduced with their micro-batch",
                plan.schedule.name()
            );
            self.wrong(
                "parallel.zero",
                why,
                "use `zero: 1` or a schedule that does not split backward passes",
            );
        }
    }

    /// The pieces that each stage holds; those of one stage where costs are to decide, which are not known
    /// yet.
    fn stages(&mut self, file: &TrainingFile) -> Option<IdVec<Stage, Range<usize>>> {
        let wanted = stages_wanted(file);
        let (key, held) = match &file.parallel.partition {
            Partition::Even => ("parallel.pipeline", even_stages(&file.model, wanted)),
            Partition::Layers(layers) => {
                ("parallel.partition.layers", explicit_stages(&file.model, layers, wanted))
            }
            Partition::ByCost => {
                ("parallel.partition", Ok(std::iter::once(0..file.model.pieces().len()).collect()))
            }
        };
        let suggestion = match file.parallel.partition {
            Partition::Even => "`partition: by_cost` or `partition: {layers: […]}` cut unevenly",
            _ => "",
        };
        held.map_err(|why| self.wrong(key, why, suggestion)).ok()
    }
}

/// Stages of one copy of the model, over all pipeline ranks.
fn stages_wanted(file: &TrainingFile) -> u32 {
    file.parallel.pipeline.saturating_mul(file.parallel.schedule.stages_per_rank())
}
