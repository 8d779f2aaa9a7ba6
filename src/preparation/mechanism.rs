//! When the stages happen: shards wait in bounded queues, hold threads, disks and links, and block
//! those behind them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use crate::engine::{EventClass, EventQueue};
use crate::ids::{FlowId, Id, IdVec, LinkId, ShardId, WorkerId};
use crate::network::{Flow, LinkState, LinkTable, NetworkModel, links_of};
use crate::preparation::outcome::{PreparationOutcome, QueueLength, Stay};
use crate::preparation::work::Work;
use crate::preparation::{PreparationPlan, Sharing, StageKind};
use crate::units::{Bytes, SimDuration, SimTime};

/// Why a run could not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparationFailure {
    worker: WorkerId,
    at: SimTime,
    needed: Bytes,
    memory: Bytes,
}

impl fmt::Display for PreparationFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PreparationFailure { worker, at, needed, memory } = self;
        write!(f, "{worker} needs {needed} at {at} but has {memory} of memory; more workers, smaller ")?;
        f.write_str("queues or workers with more memory would do")
    }
}

/// Prepares the corpus.
///
/// # Errors
/// When what a worker holds does not fit into its memory.
pub fn run(plan: &PreparationPlan) -> Result<PreparationOutcome, PreparationFailure> {
    Mechanism::new(plan).run()
}

/// The place of a stage among those that are needed.
type Place = usize;

/// A thread and what it is busy with, by its stay.
type StayIndex = usize;

enum Arrival {
    /// A disk is done for a stay.
    Disk(StayIndex),
    /// What a shard sends to the first worker is there.
    Gathered(Place),
    /// What the first worker sends is with a worker.
    Answered(WorkerId, Place),
}

/// A stage on a worker.
#[derive(Debug, Default)]
struct Station {
    waiting: VecDeque<(ShardId, SimTime)>,
    running: u32,
    /// Done, but the next queue was full; each still holds a thread.
    blocked: VecDeque<StayIndex>,
}

struct Mechanism<'a> {
    plan: &'a PreparationPlan,
    stages: Vec<StageKind>,
    work: Work<'a>,
    now: SimTime,
    events: EventQueue<StayIndex>,
    network: Box<dyn NetworkModel>,
    flows: BTreeMap<FlowId, Arrival>,
    unread: VecDeque<ShardId>,
    stations: IdVec<WorkerId, Vec<Station>>,
    /// Shards that wait for a stage that is done for all.
    gathered: Vec<Vec<(ShardId, WorkerId)>>,
    arrived: Vec<usize>,
    held: IdVec<WorkerId, u64>,
    outcome: Vec<Stay>,
    queues: Vec<QueueLength>,
    written: Vec<(SimTime, ShardId)>,
    memory_peak: u64,
    network_bytes: u64,
}

impl<'a> Mechanism<'a> {
    fn new(plan: &'a PreparationPlan) -> Self {
        let stages = plan.treatment.stages();
        let stations = |_| stages.iter().map(|_| Station::default()).collect();
        Mechanism {
            work: Work::new(&plan.corpus, &plan.treatment, plan.seed),
            now: SimTime::ZERO,
            events: EventQueue::new(),
            network: plan.network.model(&links(plan)),
            flows: BTreeMap::new(),
            unread: plan.corpus.shards.ids().collect(),
            stations: (0..plan.workers).map(stations).collect(),
            gathered: vec![Vec::new(); stages.len()],
            arrived: vec![0; stages.len()],
            held: (0..plan.workers).map(|_| 0).collect(),
            outcome: Vec::new(),
            queues: Vec::new(),
            written: Vec::new(),
            memory_peak: 0,
            network_bytes: 0,
            stages,
            plan,
        }
    }

    fn run(mut self) -> Result<PreparationOutcome, PreparationFailure> {
        self.settle()?;
        let mut finished = Vec::new();
        loop {
            let flow = self.network.next_change();
            let event = self.events.peek_time();
            match (flow, event) {
                (None, None) => break,
                (Some(flow), event) if event.is_none_or(|event| flow <= event) => {
                    self.now = flow;
                    self.network.advance(flow, &mut finished);
                    for flow in finished.drain(..) {
                        let arrival = self.flows.remove(&flow).expect("a flow that was started");
                        self.arrive(arrival)?;
                    }
                }
                _ => {
                    let (at, stay) = self.events.pop().expect("it was seen");
                    self.now = at;
                    self.done(stay)?;
                }
            }
            self.settle()?;
        }
        let shards = self.plan.corpus.shards.len();
        assert_eq!(self.written.len(), shards, "the pipeline stalled with shards on their way");
        Ok(PreparationOutcome {
            makespan: self.now,
            stays: self.outcome,
            queues: self.queues,
            written: self.written,
            memory_peak: Bytes(self.memory_peak),
            network_bytes: Bytes(self.network_bytes),
            events: self.events.processed(),
            tokenizer: self.work.tokenizer().cloned(),
            prepared: self.work.finish(),
        })
    }

    /// Moves and starts whatever can be, the last stage first, so that room made is used at once.
    fn settle(&mut self) -> Result<(), PreparationFailure> {
        loop {
            let mut moved = false;
            for place in (0..self.stages.len()).rev() {
                for worker in self.stations.ids() {
                    moved |= self.pass_on(worker, place);
                    while self.start(worker, place)? {
                        moved = true;
                    }
                }
            }
            if !moved {
                return Ok(());
            }
        }
    }

    /// Lets what is done leave its thread, if there is room behind it.
    fn pass_on(&mut self, worker: WorkerId, place: Place) -> bool {
        let mut moved = false;
        while let Some(&stay) = self.stations[worker][place].blocked.front() {
            let shard = self.outcome[stay].shard.expect("what is done for all is never blocked");
            let next = place + 1;
            // What waits for all shards, or is the last stage, finds room always.
            let bounded = self.stages.get(next).is_some_and(|stage| !stage.gathers());
            if bounded && self.is_full(worker, next) {
                break;
            }
            let station = &mut self.stations[worker][place];
            station.blocked.pop_front();
            station.running -= 1;
            self.outcome[stay].left = self.now;
            moved = true;
            match self.stages.get(next) {
                None => {
                    self.written.push((self.now, shard));
                    self.held[worker] -= self.work.held(shard).get();
                }
                Some(stage) if stage.gathers() => self.send(worker, next, shard),
                Some(_) => self.enqueue(worker, next, shard),
            }
        }
        moved
    }

    /// A queue that holds nothing still lets a shard go to a thread that is free.
    fn is_full(&self, worker: WorkerId, place: Place) -> bool {
        let station = &self.stations[worker][place];
        let free = self.threads(place) - station.running;
        station.waiting.len() as u32 >= self.plan.queue + free
    }

    fn threads(&self, place: Place) -> u32 {
        self.plan.speeds[&self.stages[place]].threads
    }

    fn enqueue(&mut self, worker: WorkerId, place: Place, shard: ShardId) {
        self.stations[worker][place].waiting.push_back((shard, self.now));
        self.note_queue(place);
    }

    fn note_queue(&mut self, place: Place) {
        let length = self.stations.iter().map(|stations| stations[place].waiting.len()).sum();
        self.queues.push(QueueLength { at: self.now, stage: self.stages[place], length });
    }

    /// Starts the next shard of a stage, if there is one and a thread for it.
    fn start(&mut self, worker: WorkerId, place: Place) -> Result<bool, PreparationFailure> {
        let stage = self.stages[place];
        if stage.gathers() || self.stations[worker][place].running >= self.threads(place) {
            return Ok(false);
        }
        let taken = if place == 0 {
            self.take(worker).map(|shard| (shard, self.now))
        } else {
            self.stations[worker][place].waiting.pop_front()
        };
        let Some((shard, since)) = taken else { return Ok(false) };
        if place > 0 {
            self.note_queue(place);
        }
        self.stations[worker][place].running += 1;
        let before = self.work.held(shard).get();
        let amounts = self.work.shard(stage, shard);
        self.held[worker] = self.held[worker] - before + self.work.held(shard).get();
        self.check_memory(worker)?;
        let waited = self.now.since(since);
        let stay = self.outcome.len();
        let (start, end, left) = (self.now, self.now, self.now);
        self.outcome.push(Stay { worker, stage, shard: Some(shard), waited, start, end, left, amounts });
        if stage.uses_disk() {
            let bytes = if stage == StageKind::Read { amounts.bytes_in } else { amounts.bytes_out };
            self.flow(&[self.disk(worker)], bytes, Arrival::Disk(stay))?;
        } else {
            self.work_on(stay);
        }
        Ok(true)
    }

    /// The next shard that a worker may read.
    fn take(&mut self, worker: WorkerId) -> Option<ShardId> {
        match self.plan.sharing {
            Sharing::Pull => self.unread.pop_front(),
            Sharing::RoundRobin => {
                let mine = |shard: &ShardId| shard.index() % self.plan.workers as usize == worker.index();
                let at = self.unread.iter().position(mine)?;
                self.unread.remove(at)
            }
        }
    }

    fn check_memory(&mut self, worker: WorkerId) -> Result<(), PreparationFailure> {
        let needed = self.held[worker];
        self.memory_peak = self.memory_peak.max(needed);
        let memory = self.plan.memory(worker);
        if needed > memory.get() {
            return Err(PreparationFailure { worker, at: self.now, needed: Bytes(needed), memory });
        }
        Ok(())
    }

    /// A thread gets to work.
    fn work_on(&mut self, stay: StayIndex) {
        let Stay { stage, amounts, .. } = &self.outcome[stay];
        let time = self.plan.speeds[stage].time(amounts.bytes_in, amounts.bytes_out);
        self.events.schedule(self.now + time, EventClass::Finish, stay);
    }

    fn done(&mut self, stay: StayIndex) -> Result<(), PreparationFailure> {
        let Stay { stage, worker, shard, .. } = self.outcome[stay];
        self.outcome[stay].end = self.now;
        let place = self.place(stage);
        match shard {
            Some(_) => self.stations[worker][place].blocked.push_back(stay),
            None => {
                self.outcome[stay].left = self.now;
                self.answer(place)?;
            }
        }
        Ok(())
    }

    fn place(&self, stage: StageKind) -> Place {
        self.stages.iter().position(|&other| other == stage).expect("a stage of this run")
    }

    /// Sends what a shard has to tell to the first worker; the shard itself stays where it is.
    fn send(&mut self, worker: WorkerId, place: Place, shard: ShardId) {
        self.gathered[place].push((shard, worker));
        let bytes = self.work.sent(self.stages[place], shard);
        let route = if worker.index() == 0 { Vec::new() } else { self.route(worker, FIRST) };
        if !route.is_empty() {
            self.network_bytes += bytes.get();
        }
        self.flow(&route, bytes, Arrival::Gathered(place)).expect("nothing is begun by sending");
    }

    /// The first worker tells everybody what came of all shards.
    fn answer(&mut self, place: Place) -> Result<(), PreparationFailure> {
        let bytes = self.work.answer(self.stages[place]);
        for worker in self.stations.ids() {
            let route = if worker == FIRST { Vec::new() } else { self.route(FIRST, worker) };
            if !route.is_empty() {
                self.network_bytes += bytes.get();
            }
            self.flow(&route, bytes, Arrival::Answered(worker, place))?;
        }
        Ok(())
    }

    /// Starts a flow; without links or bytes it is there at once.
    fn flow(&mut self, route: &[LinkId], bytes: Bytes, arrival: Arrival) -> Result<(), PreparationFailure> {
        if route.is_empty() {
            return self.arrive(arrival);
        }
        let flow = self.network.start(self.now, Flow { route: route.into(), bytes, weight: 1.0 });
        self.flows.insert(flow, arrival);
        Ok(())
    }

    fn arrive(&mut self, arrival: Arrival) -> Result<(), PreparationFailure> {
        match arrival {
            Arrival::Disk(stay) => self.work_on(stay),
            Arrival::Gathered(place) => {
                self.arrived[place] += 1;
                if self.arrived[place] == self.plan.corpus.shards.len() {
                    self.start_for_all(place);
                }
            }
            Arrival::Answered(worker, place) => {
                let mut mine: Vec<ShardId> = self.gathered[place]
                    .iter()
                    .filter(|(_, at)| *at == worker)
                    .map(|(shard, _)| *shard)
                    .collect();
                mine.sort_unstable();
                for shard in mine {
                    self.enqueue(worker, place + 1, shard);
                }
            }
        }
        Ok(())
    }

    fn start_for_all(&mut self, place: Place) {
        let before = self.held_by_shards();
        let stage = self.stages[place];
        let amounts = self.work.all(stage);
        let after = self.held_by_shards();
        for worker in self.held.ids() {
            self.held[worker] = self.held[worker] - before[worker] + after[worker];
        }
        let (start, end, left) = (self.now, self.now, self.now);
        let waited = SimDuration::ZERO;
        self.outcome.push(Stay { worker: FIRST, stage, shard: None, waited, start, end, left, amounts });
        self.work_on(self.outcome.len() - 1);
    }

    /// By worker, what its shards need; every shard is with the worker that read it.
    fn held_by_shards(&self) -> IdVec<WorkerId, u64> {
        let mut held: IdVec<WorkerId, u64> = self.held.iter().map(|_| 0).collect();
        let reads = self.outcome.iter().filter(|stay| stay.stage == StageKind::Read);
        for stay in reads {
            held[stay.worker] += stay.shard.map_or(0, |shard| self.work.held(shard).get());
        }
        held
    }

    fn disk(&self, worker: WorkerId) -> LinkId {
        LinkId::from_index(match &self.plan.pool {
            Some(pool) => pool.topology.links().len() + worker.index(),
            None => worker.index() * LINKS_OF_WORKER,
        })
    }

    fn route(&self, from: WorkerId, to: WorkerId) -> Vec<LinkId> {
        if let Some(pool) = &self.plan.pool {
            return pool.topology.route(pool.devices[from], pool.devices[to], 0).to_vec();
        }
        let link = |worker: WorkerId, which| LinkId::from_index(worker.index() * LINKS_OF_WORKER + which);
        vec![link(from, 1), link(to, 2)]
    }
}

/// Who does what is done once for all.
const FIRST: WorkerId = WorkerId(0);

/// Disk, network card out, network card in.
const LINKS_OF_WORKER: usize = 3;

/// Disks and network cards as links that flows share; the switch between the cards is never in the way. Of
/// a machine that is written down, its links, then the disks.
fn links(plan: &PreparationPlan) -> LinkTable {
    let worker = &plan.worker;
    let link = |bandwidth, latency| LinkState { bandwidth: Some(bandwidth), latency };
    if let Some(pool) = &plan.pool {
        let disks = pool.devices.iter().map(|_| link(worker.disk, SimDuration::ZERO));
        return links_of(&pool.topology).iter().copied().chain(disks).collect();
    }
    (0..plan.workers)
        .flat_map(|_| {
            [
                link(worker.disk, SimDuration::ZERO),
                link(worker.network, worker.latency),
                link(worker.network, SimDuration::ZERO),
            ]
        })
        .collect()
}
