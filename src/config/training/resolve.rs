//! From a training file to a scenario: everything that needs two facts is checked here, once, and all
//! mistakes are gathered. After it nothing returns a configuration error.

use std::ops::Range;
use std::sync::Arc;

use crate::collective::{Collective, CollectiveKind};
use crate::compute::ComputeSpec;
use crate::config::check::{Check, divisors};
use crate::config::preparation;
use crate::config::preparation::file::{NetworkFidelityKeys, Preparation, PreparationFile};
use crate::config::training::disturbances::CheckpointKeys;
use crate::config::training::file::{Data, Fold, TrainingFile};
use crate::config::{Diagnostics, Locations, locate};
use crate::hardware::{Precision, Topology};
use crate::ids::{DeviceId, Id, IdVec, Rank, Stage};
use crate::model::{Assumed, Capacity, Experts, Gpt, Model, Moe};
use crate::network::{NetworkModel, NetworkSpec, links_of};
use crate::numeric::batches::Batches;
use crate::numeric::values::Values;
use crate::parallel::Mesh;
use crate::preparation::PreparationOutcome;
use crate::rng::Seed;
use crate::training::compression::CompressionSpec;
use crate::training::disturbance::Disturbances;
use crate::training::partition::{Partition, balanced, explicit_stages, piece_costs};
use crate::training::recovery::Recovery;
use crate::training::schedule::Pass;
use crate::training::state::State;
use crate::training::zero::Zero;
use crate::training::{TrainingPlan, even_stages};
use crate::units::Cycles;

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
    /// What goes wrong.
    pub disturbances: Disturbances,
    /// How it recovers from failures.
    pub recovery: Option<Recovery>,
    /// Where every random stream grows from.
    pub seed: Seed,
    /// What the user should know and may not expect.
    pub notes: Vec<String>,
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
        Some(outcome) => file.numeric.then(|| LoadedData::Sequences(outcome.prepared.sequences.clone())),
        None if file.numeric => check.data(&file),
        None => None,
    };
    let mesh = Mesh {
        data: file.parallel.data,
        pipeline: file.parallel.pipeline,
        context: 1,
        tensor: file.parallel.tensor,
    };
    let servers = file.parallel.sync.server().map_or(0, |server| server.servers);
    check.experts(&file);
    check.mesh(&file, mesh, servers, topology.as_deref());
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
    let placement: IdVec<Rank, DeviceId> =
        (0..mesh.ranks() + servers).map(|rank| DeviceId::from_index(rank as usize)).collect();
    let mut plan = TrainingPlan {
        model: file.model.clone(),
        topology,
        mesh,
        expert: file.parallel.expert,
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
        recompute: file.recompute,
        software: file.software.clone(),
        zero: file.parallel.zero,
        folded: false,
        algorithm: file.parallel.collective.clone(),
        optimizer: file.training.optimizer.clone(),
        clip: file.training.gradient_clipping,
        input: prepared.as_ref().map(|outcome| outcome.ready().into()),
        seed: file.seed,
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
        recovery: file.checkpoint.as_ref().map(CheckpointKeys::recovery),
        seed: file.seed,
        notes: check.notes,
        plan,
        data,
        file,
    })
}

/// Whether ranks that differ in their replica or tensor rank alone do the same at the same time: their
/// devices must be of one kind, and there must be some to fold.
fn folds(plan: &TrainingPlan) -> bool {
    let first = &plan.topology.devices()[plan.placement[Rank(0)]].spec;
    let alike = |&device: &DeviceId| plan.topology.devices()[device].spec == *first;
    // A replica that mixes with its neighbours alone is not in the place of every other.
    plan.mesh.ranks() > plan.mesh.pipeline
        && plan.placement.iter().all(alike)
        && !["gossip", "parameter_server"].contains(&plan.sync.name())
        && spreads_evenly(plan)
}

/// Whether every rank's experts have as much to do.
fn spreads_evenly(plan: &TrainingPlan) -> bool {
    let tokens = plan.micro_batch * plan.model.tokens_per_sample();
    plan.model.experts().is_none_or(|experts| {
        let divides = (tokens * experts.top_k).is_multiple_of(experts.count);
        experts.room(tokens).is_some() || (experts.routing == Assumed::Even && divides)
    })
}

impl TrainingScenario {
    /// The slots of the run.
    pub fn state(&self) -> State {
        State::new(&self.plan)
    }

    /// The network between the devices.
    pub fn network_model(&self) -> Box<dyn NetworkModel> {
        self.network.model(&links_of(&self.plan.topology))
    }

    /// The numbers at the start of the run; nothing when it is only timed.
    pub fn values(&self, state: &State) -> Option<Values> {
        let seed = self.seed;
        let batches = match self.data.as_ref()? {
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
        };
        let slots = state.initial_values(&self.plan, seed);
        let values = Values::new(slots, batches, self.plan.optimizer.clone(), self.plan.steps);
        Some(values.in_precision(self.plan.precision))
    }
}

impl Check<'_> {
    pub(in crate::config) fn model(&mut self, model: &Model) {
        match model {
            Model::Gpt(gpt) | Model::Moe(Moe(gpt)) => {
                let (kind, ffn) = if gpt.experts.is_some() { ("moe", "ffn") } else { ("gpt", "ffn_hidden") };
                let mut sizes = vec![
                    ("layers", gpt.layers),
                    ("hidden", gpt.hidden),
                    ("heads", gpt.heads),
                    ("sequence", gpt.sequence),
                    ("vocabulary", gpt.vocabulary),
                    (ffn, gpt.ffn()),
                ];
                if let Some(experts) = &gpt.experts {
                    sizes.extend([("experts", experts.count), ("every", experts.every)]);
                }
                for (name, size) in sizes {
                    if size == 0 || size > u64::from(u32::MAX) {
                        self.wrong(
                            &format!("model.{kind}.{name}"),
                            format!("`{name}` is a number from 1 to 4294967295, not {size}"),
                            "",
                        );
                    }
                }
                if let Some(experts) = &gpt.experts {
                    self.routing(experts, gpt.layers);
                }
                if gpt.heads > 0 && !gpt.hidden.is_multiple_of(gpt.heads) {
                    let fits = divisors(gpt.hidden);
                    self.wrong(
                        &format!("model.{kind}.heads"),
                        format!("{} heads do not divide a hidden width of {}", gpt.heads, gpt.hidden),
                        &format!("these would: {fits}"),
                    );
                }
            }
            Model::Mlp(mlp) => {
                if mlp.inputs == 0 || mlp.classes == 0 || mlp.hidden.contains(&0) {
                    self.wrong("model.mlp", "every layer has at least one input and one output", "");
                }
            }
            Model::Linear(linear) => {
                if linear.start.is_empty() {
                    self.wrong("model.linear.start", "a linear map has at least one weight", "");
                }
            }
        }
    }

    /// How experts are chosen.
    fn routing(&mut self, experts: &Experts, layers: u64) {
        let Experts { count, top_k, capacity, auxiliary_loss, every, routing } = *experts;
        if top_k == 0 || top_k > count {
            let why = format!("each token meets from 1 to {count} experts, not {top_k}");
            self.wrong("model.moe.top_k", why, "Mixtral has `top_k: 2`, Switch Transformers `top_k: 1`");
        }
        if every > layers {
            let why = format!("every {every}th block has experts, and there are {layers}");
            self.wrong("model.moe.every", why, "`every: 1` gives all blocks experts");
        }
        if matches!(capacity, Capacity::Factor(factor) if !(factor > 0.0 && factor.is_finite())) {
            let why = "a capacity factor is a positive number";
            self.wrong(
                "model.moe.capacity_factor",
                why,
                "GShard takes 2, Switch Transformers 1.25; or `dropless`",
            );
        }
        if !(auxiliary_loss >= 0.0 && auxiliary_loss.is_finite()) {
            let why = "the coefficient of the load-balancing loss is a number from nought up";
            self.wrong("model.moe.auxiliary_loss", why, "Switch Transformers take 0.01");
        }
        if matches!(routing, Assumed::Zipf(exponent) if !(0.0..=8.0).contains(&exponent)) {
            let why = "the exponent of Zipf's law is from 0 to 8";
            self.wrong("model.moe.routing.zipf", why, "`1` is Zipf's own");
        }
    }

    /// Whether replicas can divide experts among them as they are asked to.
    fn experts(&mut self, file: &TrainingFile) {
        let (parallel, key) = (&file.parallel, "parallel.expert");
        let (expert, data) = (parallel.expert, parallel.data);
        if expert == 0 {
            self.wrong(key, "`expert` is at least 1", "");
            return;
        }
        let Some(experts) = file.model.experts() else {
            if expert > 1 {
                self.wrong(
                    key,
                    "this model has no experts to divide",
                    "use `model: {moe: …}`, or `expert: 1`",
                );
            }
            return;
        };
        if parallel.sync.server().is_some() {
            let why =
                "workers of parameter servers go on by themselves, and experts are gone through together";
            self.wrong("parallel.sync", why, "use `sync: all_reduce`");
        }
        let tokens = training_rows(file);
        if tokens.saturating_mul(experts.top_k) > MOST_ROWS && file.numeric {
            let why = format!("a micro-batch of {tokens} tokens has more rows than are counted exactly");
            self.wrong("training.micro_batch", why, "make it smaller, or set `numeric: false`");
        }
        if file.numeric && experts.routing != Assumed::Even {
            self.notes.push(
                "tokens go where the router sends them: `routing` holds only where nothing is computed"
                    .to_owned(),
            );
        }
        if expert == 1 {
            return;
        }
        if !data.is_multiple_of(expert) {
            let why =
                format!("{expert} neighbours that hold the experts together do not divide {data} replicas");
            self.wrong(key, why, &format!("these would: {}", divisors(u64::from(data))));
        }
        if !experts.count.is_multiple_of(u64::from(expert)) {
            let why = format!("{expert} ranks do not divide {} experts", experts.count);
            self.wrong(key, why, &format!("these would: {}", divisors(experts.count)));
        }
        if parallel.sync.name() != "all_reduce" && parallel.sync.server().is_none() {
            let why = format!(
                "replicas that divide experts step as one, which `{}` does not",
                parallel.sync.name()
            );
            self.wrong("parallel.sync", why, "use `sync: all_reduce`, or `expert: 1`");
        }
        if parallel.compression.name() != "none" {
            let why = "gradients of experts that replicas divide are not compressed yet";
            self.wrong("parallel.compression", why, "use `compression: none`, or `expert: 1`");
        }
        if parallel.zero.shares() && parallel.zero.group.is_some_and(|group| group != data) {
            let why = "groups of replicas that share are not combined with experts that replicas divide yet";
            self.wrong("parallel.zero", why, "leave `group` out, or use `expert: 1`");
        }
        if file.checkpoint.as_ref().is_some_and(|keys| keys.elastic) {
            let why = "a replica that leaves would take experts with it";
            self.wrong("checkpoint.elastic", why, "use `elastic: false`, or `expert: 1`");
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
        for (name, size) in [("data", mesh.data), ("pipeline", mesh.pipeline), ("tensor", mesh.tensor)] {
            if size == 0 {
                self.wrong(&format!("parallel.{name}"), format!("`{name}` is at least 1"), "");
                return;
            }
        }
        self.tensor(&file.model, u64::from(mesh.tensor));
        let Some(topology) = topology else { return };
        let devices = topology.devices().len() as u64;
        let ranks = u64::from(mesh.data) * u64::from(mesh.pipeline) * u64::from(mesh.tensor);
        let wanted = ranks + u64::from(servers);
        let mut product = format!("data {} × pipeline {} × tensor {}", mesh.data, mesh.pipeline, mesh.tensor);
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
            Model::Gpt(gpt) | Model::Moe(Moe(gpt)) => {
                let ffn = if gpt.experts.is_some() { "ffn" } else { "ffn_hidden" };
                vec![("heads", gpt.heads), ("vocabulary", gpt.vocabulary), (ffn, gpt.ffn())]
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
    fn prepared(&mut self, file: &TrainingFile, locations: &Locations) -> Option<PreparationOutcome> {
        let Some(keys) = file.preparation.as_ref() else {
            if matches!(file.data, Data::Preparation) {
                self.wrong(
                    "data",
                    "there is no `preparation:` to take data from",
                    "write one, or name other data",
                );
            }
            return None;
        };
        if !matches!(file.data, Data::Preparation) {
            self.wrong("preparation", "nobody trains on what is prepared", "set `data: preparation`");
        }
        if !file.disturbances.is_empty() || file.checkpoint.is_some() || file.parallel.sync.server().is_some()
        {
            let why = "input that comes late is not combined with disturbances, checkpoints or parameter servers yet";
            self.wrong("preparation", why, "leave one of them out");
        }
        let Some(gpt) = file.model.gpt() else {
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
        let outcome = self.run_preparation(file, keys, locations)?;
        if u64::from(outcome.prepared.vocabulary) > gpt.vocabulary {
            let made = outcome.prepared.vocabulary;
            let why =
                format!("the preparation makes {made} different tokens, the model knows {}", gpt.vocabulary);
            self.wrong(&format!("model.{}.vocabulary", kind_of(gpt)), why, "");
        }
        self.notes.push(format!(
            "{} sequences are prepared in {} by {} workers while they are trained on; the held-out loss is theirs",
            outcome.prepared.sequences.len(),
            outcome.makespan,
            keys.workers
        ));
        Some(outcome)
    }

    fn run_preparation(
        &mut self,
        file: &TrainingFile,
        keys: &Preparation,
        locations: &Locations,
    ) -> Option<PreparationOutcome> {
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
        self.notes.extend(scenario.notes);
        let ran = crate::preparation::run(&scenario.plan);
        ran.map_err(|failure| self.wrong("preparation", failure.to_string(), "")).ok()
    }

    fn data(&mut self, file: &TrainingFile) -> Option<LoadedData> {
        match (&file.model, &file.data) {
            (Model::Gpt(gpt) | Model::Moe(Moe(gpt)), Data::Cicero | Data::Text(_) | Data::Path(_)) => {
                if gpt.vocabulary != 256 {
                    self.wrong(
                        &format!("model.{}.vocabulary", kind_of(gpt)),
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
                    Model::Gpt(_) | Model::Moe(_) => "a gpt learns from `cicero` or `{path: FILE}`",
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
    fn zero(&mut self, plan: &TrainingPlan) {
        let (data, sharers) = (plan.mesh.data, plan.sharers());
        if !plan.zero.shares() {
            return;
        }
        if sharers == 0 || !data.is_multiple_of(sharers) {
            let why = format!("groups of {sharers} do not divide {data} replicas");
            self.wrong("parallel.zero", why, &format!("these would: {}", divisors(u64::from(data))));
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

    /// Whether the algorithm carries out what the axes exchange.
    fn collectives(&mut self, plan: &TrainingPlan) {
        for (axis, kind) in plan.collectives() {
            let group = plan.mesh.group(Rank(0), axis).into_iter().map(|rank| plan.placement[rank]);
            let call = Collective { kind, bytes: plan.bucket, group: group.collect() };
            if let Err(why) = plan.algorithm.admits(&call, &plan.topology) {
                self.wrong("parallel.collective", why, "");
                return;
            }
        }
        if plan.expert > 1 {
            let group = plan.expert_group(Rank(0)).into_iter().map(|rank| plan.placement[rank]);
            let (kind, bytes) = (CollectiveKind::AllToAll, plan.bucket);
            let call = Collective { kind, bytes, group: group.collect() };
            if let Err(why) = plan.algorithm.admits(&call, &plan.topology) {
                self.wrong("parallel.collective", why, "");
            }
        }
    }

    /// Whether the replicas are of a kind that servers can serve.
    fn servers(&mut self, plan: &TrainingPlan) {
        let Some(server) = plan.sync.server() else { return };
        let key = "parallel.sync.parameter_server";
        if server.servers == 0 {
            self.wrong(&format!("{key}.servers"), "somebody has to keep the model: at least 1", "");
        }
        if server.compensation.is_some_and(|lambda| !lambda.is_finite() || lambda < 0.0) {
            self.wrong(&format!("{key}.compensation"), "λ is a number from nought up", "");
        }
        if plan.precision == Precision::F16 {
            let why = "a server cannot leave out the steps that a scaled loss has made to overflow";
            self.wrong("training.precision", why, "use `precision: bf16`");
        }
        if plan.mesh.ranks() != plan.mesh.data || plan.schedule.copies() > 1 {
            let why = "workers of parameter servers are replicas on one device each";
            self.wrong(key, why, "set `pipeline: 1` and `tensor: 1`, or use another `sync`");
        }
    }

    /// Whether gradients can be made small as they are asked to.
    fn compression(&mut self, plan: &TrainingPlan) {
        if !matches!(plan.compression, CompressionSpec::None(_)) {
            let name = plan.compression.name();
            if let Some((key, why)) = plan.compression.mistake() {
                self.wrong(&format!("parallel.compression.{name}.{key}"), why, "");
            }
            if plan.sync.name() != "all_reduce" {
                let why = format!("`{}` exchanges no gradients that `{name}` could pack", plan.sync.name());
                self.wrong("parallel.compression", why, "use `sync: all_reduce`, or `compression: none`");
            }
            if plan.precision == Precision::F16 {
                let why = format!("`{name}` would keep what a scaled loss has made to overflow");
                self.wrong("parallel.compression", why, "use `precision: bf16`, or `compression: none`");
            }
            if plan.zero.shares() {
                let why =
                    format!("`{name}` packs gradients that every replica keeps, and `zero` shares them");
                self.wrong("parallel.compression", why, "use `zero: 0`, or `compression: none`");
            }
        }
    }

    /// What members of registries ask of the rest.
    fn policies(&mut self, plan: &TrainingPlan, file: &TrainingFile) {
        let rows = plan.micro_batch * plan.model.tokens_per_sample();
        if plan.splits_rows() && plan.model.gpt().is_none() {
            self.wrong("parallel.sequence_parallel", "only a gpt has rows that tensor ranks can split", "");
        } else if plan.splits_rows() && !rows.is_multiple_of(u64::from(plan.mesh.tensor)) {
            let tensor = plan.mesh.tensor;
            let why = format!("{tensor} tensor ranks do not divide the {rows} rows of a micro-batch");
            self.wrong("parallel.sequence_parallel", why, "");
        }
        match plan.schedule.admits(plan.shape()) {
            Ok(()) => self.zero(plan),
            Err(why) => self.wrong("parallel.schedule", why, ""),
        }
        self.collectives(plan);
        self.compression(plan);
        self.servers(plan);
        if plan.sync.period() == 0 {
            let key = format!("parallel.sync.{}.every", plan.sync.name());
            self.wrong(&key, "replicas meet after every step or more, not after every 0", "");
        }
        for &device in plan.placement.iter() {
            let spec = &plan.topology.devices()[device].spec;
            if let Err(why) = file.fidelity.compute.admits(spec, plan.precision) {
                self.wrong("fidelity.compute", why.to_string(), "");
                return;
            }
        }
    }
}

/// The key of a transformer.
fn kind_of(gpt: &Gpt) -> &'static str {
    if gpt.experts.is_some() { "moe" } else { "gpt" }
}

/// Whole numbers up to here are exact in `f32`, which places of rows are kept in.
const MOST_ROWS: u64 = 1 << 24;

/// Tokens of a micro-batch.
fn training_rows(file: &TrainingFile) -> u64 {
    let replicas = u64::from(file.parallel.data.max(1));
    let samples = file.training.micro_batch.unwrap_or(file.training.global_batch / replicas);
    samples.saturating_mul(file.model.tokens_per_sample())
}

/// Stages of one copy of the model, over all pipeline ranks.
fn stages_wanted(file: &TrainingFile) -> u32 {
    file.parallel.pipeline.saturating_mul(file.parallel.schedule.stages_per_rank())
}
