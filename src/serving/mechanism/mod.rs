//! The run: requests arrive, replicas are asked, steps take their time, tokens are handed out.
//!
//! [`step`] is what happens at a replica, [`handover`] what happens between two.

mod handover;
mod step;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::engine::{EventClass, EventHandle, EventQueue};
use crate::hardware::Topology;
use crate::ids::{BlockId, DeviceId, FlowId, Id, IdVec, ReplicaId, RequestId};
use crate::network::NetworkModel;
use crate::rng::Seed;
use crate::serving::Request;
use crate::serving::batching::BatchingSpec;
use crate::serving::cost::{StepCost, StepShape};
use crate::serving::generation::Answers;
use crate::serving::kv::{BlockPool, FreeBlocks};
use crate::serving::outcome::{ReplicaRecord, RequestRecord, ServingOutcome, State};
use crate::serving::routing::{ReplicaView, RoutingSpec};
use crate::serving::view::{Phase, Place, Progress};
use crate::units::{Bytes, SimTime};

use handover::Transfer;

/// Everything that decides a run, but for how long steps take.
#[derive(Debug, Clone)]
pub struct ServingPlan {
    /// The requests, in order of arrival.
    pub requests: IdVec<RequestId, Request>,
    /// The replicas.
    pub replicas: IdVec<ReplicaId, Replica>,
    /// The blocks of each replica.
    pub pool: BlockPool,
    /// What steps compute.
    pub batching: BatchingSpec,
    /// Where requests go.
    pub routing: RoutingSpec,
    /// How keys and values travel, where prefill and decode are apart.
    pub handover: Option<Handover>,
    /// Where random streams grow from.
    pub seed: Seed,
}

/// A replica of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// What it does.
    pub role: Role,
    /// Its devices, stage by stage; none where only a formula says how long steps take.
    pub devices: Vec<DeviceId>,
}

/// What a replica does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Whole,
    /// It computes prompts and the first token of answers.
    Prefill,
    /// It computes the rest of answers.
    Decode,
}

/// How keys and values travel.
#[derive(Debug, Clone)]
pub struct Handover {
    /// Over these links.
    pub topology: Arc<Topology>,
    /// Keys and values of a token, of all layers and heads.
    pub bytes_per_token: Bytes,
}

/// Why a run ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServingFailure {
    /// Requests wait, and nothing is under way that could change that.
    Stuck {
        /// Who does not start them.
        policy: &'static str,
        /// How many wait.
        waiting: usize,
        /// The first of them.
        first: RequestId,
    },
}

impl fmt::Display for ServingFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServingFailure::Stuck { policy, waiting, first } => write!(
                f,
                "`{policy}` starts no step although {waiting} requests wait, {first} being the first, and nothing else \
                 is under way"
            ),
        }
    }
}

impl std::error::Error for ServingFailure {}

/// Serves every request to its end. `network` is needed where keys and values travel.
///
/// # Errors
/// When the policy leaves requests waiting for ever.
///
/// # Panics
/// When a policy's decision is not legal, naming it; when requests are not in order of arrival.
pub fn run(
    plan: &ServingPlan,
    cost: &mut dyn StepCost,
    network: Option<Box<dyn NetworkModel>>,
) -> Result<ServingOutcome, ServingFailure> {
    serve(plan, cost, network, None)
}

/// The same, and computes the tokens as it goes.
///
/// # Errors
/// When the policy leaves requests waiting for ever.
///
/// # Panics
/// As [`run`] does.
pub fn answer(
    plan: &ServingPlan,
    cost: &mut dyn StepCost,
    network: Option<Box<dyn NetworkModel>>,
    answers: &mut dyn Answers,
) -> Result<ServingOutcome, ServingFailure> {
    serve(plan, cost, network, Some(answers))
}

fn serve(
    plan: &ServingPlan,
    cost: &mut dyn StepCost,
    network: Option<Box<dyn NetworkModel>>,
    answers: Option<&mut dyn Answers>,
) -> Result<ServingOutcome, ServingFailure> {
    assert!(plan.requests.iter().is_sorted_by_key(|request| request.arrival), "requests come in order");
    let mut serving = Serving::new(plan, cost, network, answers);
    serving.expect_arrival(RequestId(0));
    while let Some((now, event)) = serving.queue.pop() {
        match event {
            Event::StepEnd(replica) => serving.end_step(now, replica),
            Event::Network => serving.network_changes(now),
            Event::Arrival(request) => serving.arrive(now, request),
            Event::Decide(replica) => serving.decide(now, replica),
        }
        serving.outcome.history.change(now, serving.state);
    }
    serving.into_outcome()
}

enum Event {
    StepEnd(ReplicaId),
    Network,
    Arrival(RequestId),
    Decide(ReplicaId),
}

struct Serving<'a, 'g> {
    plan: &'a ServingPlan,
    cost: &'a mut dyn StepCost,
    /// What steps compute, where anything is computed.
    answers: Option<&'a mut (dyn Answers + 'g)>,
    queue: EventQueue<Event>,
    progress: IdVec<RequestId, Progress>,
    /// The blocks that each request holds, in the order of its tokens.
    tables: IdVec<RequestId, Vec<BlockId>>,
    last_token: IdVec<RequestId, SimTime>,
    sites: IdVec<ReplicaId, Site>,
    /// Asked when requests arrive.
    entry: Router,
    /// Asked when prompts are computed, where decode is elsewhere.
    exit: Router,
    network: Option<Box<dyn NetworkModel>>,
    network_at: Option<EventHandle>,
    flows: FxHashMap<FlowId, RequestId>,
    transfers: BTreeMap<RequestId, Transfer>,
    /// Requests that have joined queues at the back, and in front.
    joined: (i64, i64),
    steps: u64,
    done: usize,
    shape: StepShape,
    state: State,
    outcome: ServingOutcome,
}

/// A replica while it runs.
struct Site {
    role: Role,
    devices: Vec<DeviceId>,
    policy: BatchingSpec,
    pool: BlockPool,
    free: FreeBlocks,
    waiting: BTreeMap<Place, RequestId>,
    running: Vec<RequestId>,
    /// Requests whose keys and values are elsewhere until there is room here.
    inbound: VecDeque<RequestId>,
    /// How many are on their way.
    arriving: u32,
    /// Steps in flight, the oldest first: who is part of each, and whether that yields a token.
    flight: VecDeque<Vec<(RequestId, bool)>>,
    /// When each pipeline stage is free.
    free_at: Vec<SimTime>,
    /// Whether a question is scheduled.
    asked: bool,
    outstanding: u32,
    queued_tokens: u64,
    blocks_since: SimTime,
    record: ReplicaRecord,
}

/// A routing policy with the replicas that it chooses from.
struct Router {
    policy: RoutingSpec,
    replicas: Vec<ReplicaId>,
    views: Vec<ReplicaView>,
}

impl Router {
    fn new(plan: &ServingPlan, seed: Seed, roles: [Role; 2]) -> Self {
        let mut policy = plan.routing.clone();
        policy.seed(seed);
        let of_role = |(id, replica): (ReplicaId, &Replica)| roles.contains(&replica.role).then_some(id);
        let replicas: Vec<ReplicaId> = plan.replicas.enumerate().filter_map(of_role).collect();
        Router { policy, views: Vec::with_capacity(replicas.len()), replicas }
    }

    fn route(&mut self, request: &Request, sites: &IdVec<ReplicaId, Site>) -> ReplicaId {
        self.views.clear();
        self.views.extend(self.replicas.iter().map(|&id| {
            let Site { outstanding, queued_tokens, .. } = sites[id];
            ReplicaView { id, outstanding, queued_tokens }
        }));
        let chosen = self.policy.route(request, &self.views);
        let name = self.policy.name();
        assert!(self.replicas.contains(&chosen), "`{name}` sends a request to {chosen}, which takes none");
        chosen
    }
}

impl<'a, 'g> Serving<'a, 'g> {
    fn new(
        plan: &'a ServingPlan,
        cost: &'a mut dyn StepCost,
        network: Option<Box<dyn NetworkModel>>,
        answers: Option<&'a mut (dyn Answers + 'g)>,
    ) -> Self {
        let stages = cost.stages();
        let site = |replica: &Replica| Site {
            role: replica.role,
            devices: replica.devices.clone(),
            policy: plan.batching.clone(),
            pool: plan.pool,
            free: FreeBlocks::default(),
            waiting: BTreeMap::new(),
            running: Vec::new(),
            inbound: VecDeque::new(),
            arriving: 0,
            flight: VecDeque::new(),
            free_at: vec![SimTime::ZERO; stages],
            asked: false,
            outstanding: 0,
            queued_tokens: 0,
            blocks_since: SimTime::ZERO,
            record: ReplicaRecord { blocks: plan.pool.total(), ..ReplicaRecord::default() },
        };
        let count = plan.requests.len();
        Serving {
            plan,
            cost,
            answers,
            queue: EventQueue::new(),
            progress: IdVec::filled(Progress::default(), count),
            tables: IdVec::filled(Vec::new(), count),
            last_token: IdVec::filled(SimTime::ZERO, count),
            sites: plan.replicas.iter().map(site).collect(),
            entry: Router::new(plan, plan.seed, [Role::Whole, Role::Prefill]),
            exit: Router::new(plan, plan.seed.child("decode"), [Role::Decode; 2]),
            network,
            network_at: None,
            flows: FxHashMap::default(),
            transfers: BTreeMap::new(),
            joined: (0, 0),
            steps: 0,
            done: 0,
            shape: StepShape::default(),
            state: State::default(),
            outcome: ServingOutcome {
                requests: IdVec::filled(RequestRecord::default(), count),
                ..ServingOutcome::default()
            },
        }
    }

    /// Arrivals are scheduled one by one, so that the queue stays short.
    fn expect_arrival(&mut self, request: RequestId) {
        if let Some(&Request { arrival, .. }) = self.plan.requests.get(request) {
            self.queue.schedule(arrival, EventClass::Arrival, Event::Arrival(request));
        }
    }

    fn arrive(&mut self, now: SimTime, request: RequestId) {
        self.expect_arrival(RequestId::from_index(request.index() + 1));
        let spec = &self.plan.requests[request];
        assert!(spec.prompt > 0 && spec.output > 0, "{request} has a prompt and an answer");
        let replica = self.entry.route(spec, &self.sites);
        self.outcome.requests[request].replica = replica;
        self.sites[replica].outstanding += 1;
        self.progress[request].goal = if self.sites[replica].role == Role::Prefill { 1 } else { spec.output };
        self.joined.0 += 1;
        self.wait(replica, request, self.joined.0);
        self.ask(now, replica);
    }

    /// Lets a request join the queue of a replica.
    fn wait(&mut self, replica: ReplicaId, request: RequestId, order: i64) {
        let spec = &self.plan.requests[request];
        let site = &mut self.sites[replica];
        let place = (site.policy.precedence(spec), order);
        let progress = &mut self.progress[request];
        progress.place = place;
        progress.phase = Phase::Waiting;
        progress.known = spec.prompt + progress.generated;
        site.queued_tokens += u64::from(progress.known);
        site.waiting.insert(place, request);
        self.state.waiting += 1;
    }

    /// Makes sure that a replica's policy is asked, once for the moment.
    fn ask(&mut self, at: SimTime, replica: ReplicaId) {
        let site = &mut self.sites[replica];
        if !site.asked {
            site.asked = true;
            self.queue.schedule(at, EventClass::Decision, Event::Decide(replica));
        }
    }

    /// Changes how many blocks of a replica are in use, and keeps the books.
    fn account(&mut self, now: SimTime, replica: ReplicaId, change: impl FnOnce(&mut BlockPool)) {
        let site = &mut self.sites[replica];
        let before = site.pool.used();
        let length = now.since(site.blocks_since).picos();
        site.record.blocks_time += u128::from(before) * u128::from(length);
        site.blocks_since = now;
        change(&mut site.pool);
        let after = site.pool.used();
        site.record.blocks_peak = site.record.blocks_peak.max(after);
        self.state.blocks = self.state.blocks + after - before;
    }

    fn into_outcome(mut self) -> Result<ServingOutcome, ServingFailure> {
        if self.done < self.plan.requests.len() {
            let waiting = self.progress.enumerate().filter(|(_, progress)| progress.phase == Phase::Waiting);
            let mut waiting = waiting.map(|(request, _)| request).peekable();
            let first = waiting.peek().copied().unwrap_or_default();
            let policy = self.plan.batching.name();
            return Err(ServingFailure::Stuck { policy, waiting: waiting.count(), first });
        }
        for (id, site) in self.sites.enumerate() {
            assert_eq!(site.pool.used(), 0, "{id} keeps blocks although every request is done");
            assert!(site.free.are_whole(), "a block of {id} was lost, or given back twice");
            assert_eq!(site.queued_tokens, 0, "{id} keeps tokens queued although every request is done");
        }
        self.outcome.replicas = self.sites.iter().map(|site| site.record).collect();
        self.outcome.end = self.queue.now();
        self.outcome.events = self.queue.processed();
        Ok(self.outcome)
    }
}
