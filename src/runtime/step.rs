//! One run of one program: the event loop.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::collective::Member;
use crate::engine::{EventClass, EventQueue};
use crate::ids::{CollectiveId, FlowId, Id, IdVec, LinkId, OpId, TransferId};
use crate::program::{Action, Buffer, Exchange, Folded, Formula, Instruction, Op, Program};
use crate::runtime::critical::{Causes, CriticalPath, HandOver};
use crate::runtime::machine::{Costs, Machine, Outcome};
use crate::runtime::memory::Liveness;
use crate::runtime::routed::Known;
use crate::runtime::{Interpreter, Stall};
use crate::trace::{Activity, Arrow, Carried, Label, Lane, Listener, Span, Stream};
use crate::units::{Bytes, Cycles, SimDuration, SimTime};

/// What the event queue holds; what the network holds, it tells itself.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A compute op ends.
    ComputeEnds(OpId),
    /// A part of an exchange ends that is not carried out transfer by transfer.
    PartEnds(OpId),
    /// A rank's host has handed over its part in an exchange.
    HandedOver(OpId),
    /// The kernels of an exchange have been launched and its first transfers leave.
    TransfersLeave(CollectiveId),
}

/// An in-order queue of a rank.
#[derive(Debug, Clone, Default)]
struct Queue {
    ops: Vec<OpId>,
    next: usize,
    busy: bool,
    /// Ops that can run, of a queue that is not in order.
    ready: VecDeque<OpId>,
}

/// An exchange that has begun.
#[derive(Debug)]
struct Running {
    began: SimTime,
    /// Transfers that each transfer still waits for.
    waits: Vec<u32>,
    /// Transfers that each op still takes part in (a send's both ends count).
    left: Vec<u32>,
}

/// A flow on its way.
#[derive(Debug)]
struct OnItsWay {
    collective: CollectiveId,
    transfer: TransferId,
    route: Arc<[LinkId]>,
    bytes: Bytes,
    left_at: SimTime,
}

pub(super) struct Step<'m, 'a, 'p> {
    machine: &'m mut Machine<'a>,
    program: &'p Program,
    interpreter: &'m mut dyn Interpreter,
    listener: &'m mut dyn Listener,
    costs: Costs,
    events: EventQueue<Event>,
    now: SimTime,
    start: SimTime,
    queues: Vec<Queue>,
    waits: Vec<u32>,
    began: IdVec<OpId, SimTime>,
    /// Until when each rank's host is handing over what came before.
    hosts: Vec<SimTime>,
    /// Ops whose hosts wait for what was sent to them before they go on.
    awaits: IdVec<OpId, bool>,
    arrived: IdVec<CollectiveId, u32>,
    running: FxHashMap<CollectiveId, Running>,
    flows: FxHashMap<FlowId, OnItsWay>,
    liveness: Liveness,
    known: Known,
    causes: Option<Causes>,
    ops_left: usize,
    processed: u64,
}

impl<'m, 'a, 'p> Step<'m, 'a, 'p> {
    pub(super) fn new(
        machine: &'m mut Machine<'a>,
        program: &'p Program,
        interpreter: &'m mut dyn Interpreter,
        listener: &'m mut dyn Listener,
        start: SimTime,
    ) -> Self {
        let mut queues = vec![Queue::default(); program.ranks() * Stream::ALL.len()];
        for (id, op) in program.ops().enumerate() {
            queues[queue_index(op)].ops.push(id);
        }
        let costs = machine.costs(program);
        let ops = program.ops().len();
        let mut waits = program.predecessor_counts().to_vec();
        if machine.supposition.stages_never_wait {
            for (_, next) in received(program) {
                waits[next.index()] -= 1;
            }
        }
        let hosts = vec![start + machine.dispatch.step; program.ranks()];
        Step {
            machine,
            program,
            interpreter,
            listener,
            costs,
            events: EventQueue::new(),
            now: start,
            start,
            queues,
            waits,
            began: IdVec::filled(start, ops),
            hosts,
            awaits: IdVec::filled(false, ops),
            arrived: IdVec::filled(0, program.exchanges().len()),
            running: FxHashMap::default(),
            flows: FxHashMap::default(),
            liveness: Liveness::new(program),
            known: Known::nothing(program),
            causes: None,
            ops_left: ops,
            processed: 0,
        }
    }

    /// Runs to the end.
    pub(super) fn run(mut self) -> Result<Outcome, Stall> {
        self.go()?;
        Ok(self.outcome())
    }

    /// Runs to the end and tells which chain of ops decided when that was.
    pub(super) fn explained(mut self) -> Result<(Outcome, CriticalPath), Stall> {
        self.causes = Some(Causes::new(self.program));
        self.go()?;
        let path =
            self.causes.as_ref().map(|causes| causes.path(self.program, &self.began, (self.start, self.now)));
        Ok((self.outcome(), path.expect("causes that were noted")))
    }

    fn outcome(&self) -> Outcome {
        Outcome { start: self.start, end: self.now, events: self.processed }
    }

    /// Goes from event to event until every op has ended.
    fn go(&mut self) -> Result<(), Stall> {
        self.machine.memory.keep_slots(self.program, self.now, self.listener);
        self.machine.change_links(self.now);
        for (id, op) in self.program.ops().enumerate() {
            if self.waits[id.index()] == 0 && !op.stream.is_in_order() {
                self.queues[queue_index(op)].ready.push_back(id);
            }
        }
        for queue in 0..self.queues.len() {
            self.start_next(queue, None);
        }
        let mut finished = Vec::new();
        loop {
            let happens = [self.machine.network.next_change(), self.events.peek_time()];
            let change = self.machine.next_link_change().filter(|_| self.ops_left > 0);
            if let Some(at) = change.filter(|&at| happens.iter().flatten().all(|&other| at <= other)) {
                self.now = at;
                self.machine.change_links(at);
                continue;
            }
            // At one moment the network comes first: what has arrived may be used by what starts.
            match (happens[0], happens[1]) {
                (Some(change), event) if event.is_none_or(|event| change <= event) => {
                    self.now = change;
                    self.machine.network.advance(change, &mut finished);
                    // All are taken out before the first goes on: what it starts may get the
                    // identity of another that has just finished.
                    let flows = finished.drain(..).map(|flow| self.flows.remove(&flow));
                    let flows: Vec<OnItsWay> = flows.map(|flow| flow.expect("a flow of this run")).collect();
                    for flow in flows {
                        self.transfer_ends(&flow);
                    }
                }
                (_, Some(_)) => {
                    let (at, event) = self.events.pop().expect("an event that was just seen");
                    self.now = at;
                    match event {
                        Event::ComputeEnds(op) => {
                            self.processed += 1;
                            self.op_ends(op);
                        }
                        Event::PartEnds(op) => {
                            self.processed += 1;
                            let Action::Exchange(collective) = self.program.ops()[op].action else {
                                unreachable!("only exchanges have parts");
                            };
                            self.tell_arrow(&self.program.exchanges()[collective], self.began[op]);
                            self.op_ends(op);
                        }
                        Event::HandedOver(op) => self.arrive(op),
                        Event::TransfersLeave(collective) => self.transfers_leave(collective),
                    }
                }
                _ => break,
            }
        }
        if self.ops_left > 0 {
            return Err(self.stall());
        }
        self.known.tell(self.program, self.interpreter, self.listener);
        Ok(())
    }

    fn stall(&self) -> Stall {
        let heads = self.queues.iter().filter_map(|queue| queue.ops.get(queue.next));
        let heads = heads.map(|&op| (op, self.waits[op.index()]));
        Stall {
            down: self.machine.links_down(),
            ..Stall::describe(self.program, self.now, self.ops_left, heads)
        }
    }

    /// Starts the op at the head of a queue if it is ready, now that `ended` has.
    fn start_next(&mut self, queue: usize, ended: Option<OpId>) {
        match Stream::ALL[queue % Stream::ALL.len()] {
            Stream::Serve => {
                while let Some(op) = self.queues[queue].ready.pop_front() {
                    self.start(op, ended);
                }
            }
            Stream::Arrivals if self.queues[queue].busy => {}
            Stream::Arrivals => {
                if let Some(op) = self.queues[queue].ready.pop_front() {
                    self.queues[queue].busy = true;
                    self.start(op, ended);
                }
            }
            _ => {
                let Queue { ops, next, busy, .. } = &self.queues[queue];
                let Some(&op) = ops.get(*next).filter(|op| !busy && self.waits[op.index()] == 0) else {
                    return;
                };
                self.queues[queue].busy = true;
                self.start(op, ended);
            }
        }
    }

    fn start(&mut self, op: OpId, ended: Option<OpId>) {
        if let Some(causes) = &mut self.causes {
            causes.released(op, ended);
        }
        match self.program.ops()[op].action {
            Action::Compute(_) => self.begin_compute(op),
            Action::Exchange(collective) => self.hand_over(op, collective),
        }
    }

    /// A rank's host hands its part in an exchange over, after all it had to hand over before.
    fn hand_over(&mut self, op: OpId, collective: CollectiveId) {
        let rank = self.program.ops()[op].rank.index();
        let from = self.hosts[rank];
        // One for each doubling of the group.
        let members = self.program.exchanges()[collective].members() as u64;
        let to =
            from + self.machine.dispatch.exchange * u64::from(members.max(2).next_power_of_two().ilog2());
        self.hosts[rank] = to;
        let late = to > self.now;
        if let Some(causes) = &mut self.causes {
            causes.handed(rank, op, HandOver { from, to, woken: false, late, before: None });
        }
        if late {
            self.events.schedule(to, EventClass::Start, Event::HandedOver(op));
        } else {
            self.arrive(op);
        }
    }

    fn begin_compute(&mut self, op: OpId) {
        self.begin(op);
        let rank = self.program.ops()[op].rank;
        let device = &self.machine.topology.devices()[self.machine.placement[rank]];
        let slowdown = self.machine.slowdown_of(rank, op);
        let after = |from: SimTime, cycles: u64| {
            device.spec.clock.after(from, Cycles((cycles as f64 * slowdown).ceil() as u64))
        };
        let (mut cycles, mut last, mut kernels) = (0, 0, 0);
        let instant = self.machine.supposition.instant.contains(self.program.ops()[op].activity);
        for instruction in self.program.instructions(op) {
            let Some(kernel) = instruction.kernel else { continue };
            last = match instruction.arrivals {
                _ if instant => 0,
                None => self.costs.of(rank, kernel).cycles.0,
                Some(arrivals) => {
                    let rows = self.known.rows(self.program, arrivals, self.interpreter);
                    let routing = &self.program.routings()[self.program.arrivals(arrivals).routing];
                    let kernel = routing.kernel(&self.program.kernels()[kernel], rows);
                    self.machine.compute.cost(&kernel, &device.spec).cycles.0
                }
            };
            cycles += last;
            kernels += 1;
        }
        // The device works as kernels come; the last cannot begin before the host has got to it.
        let loads = |instruction: &Instruction| matches!(instruction.formula, Formula::Batch { .. });
        let synchronises = self.awaits[op] || self.program.instructions(op).iter().any(loads);
        let woken = synchronises && self.now >= self.hosts[rank.index()];
        let from = if woken { self.now } else { self.hosts[rank.index()] };
        let to = from + self.machine.dispatch.kernel * kernels;
        self.hosts[rank.index()] = to;
        let worked = after(self.now, cycles);
        let end = worked.max(if kernels > 0 { after(to, last) } else { self.now });
        if let Some(causes) = &mut self.causes {
            let late = end > worked;
            causes.handed(rank.index(), op, HandOver { from, to, woken, late, before: None });
        }
        self.events.schedule(end, EventClass::Finish, Event::ComputeEnds(op));
    }

    /// A member has come to an exchange; the last one to come begins it.
    fn arrive(&mut self, op: OpId) {
        let Action::Exchange(collective) = self.program.ops()[op].action else {
            unreachable!("only exchanges are arrived at");
        };
        if let Some(causes) = &mut self.causes {
            causes.came(collective, op, self.now);
        }
        self.arrived[collective] += 1;
        let exchange = &self.program.exchanges()[collective];
        if self.arrived[collective] == exchange.ops().len() as u32 {
            self.begin_exchange(collective);
        }
    }

    fn begin_exchange(&mut self, collective: CollectiveId) {
        let exchange = &self.program.exchanges()[collective];
        for op in exchange.ops() {
            self.begin(op);
        }
        let activity = self.program.ops()[exchange.participants[0].op].activity;
        if self.machine.supposition.instant.contains(activity) {
            for op in exchange.ops() {
                self.events.schedule(self.now, EventClass::Finish, Event::PartEnds(op));
            }
            return;
        }
        if let Some(folded) = &exchange.folded {
            self.begin_folded(exchange, folded);
            return;
        }
        let plan = &exchange.plan;
        let mut left = vec![0; exchange.ops().len()];
        for transfer in plan.transfers() {
            left[exchange.op_index(transfer.from.index())] += 1;
            left[exchange.op_index(transfer.to.index())] += 1;
        }
        let running = Running { began: self.now, waits: plan.predecessor_counts().to_vec(), left };
        self.running.insert(collective, running);
        // The slowest launch holds the exchange back: its first transfers meet in every member.
        let launch = exchange.participants.iter().map(|part| {
            let device = self.machine.placement[part.rank];
            self.machine.topology.devices()[device].spec.launch
        });
        let launch = launch.max().unwrap_or_default() + exchange.plan.wire().overhead;
        self.events.schedule(self.now + launch, EventClass::Start, Event::TransfersLeave(collective));
    }

    /// A folded exchange takes as long as all the groups that it stands for do at once, with nothing else
    /// on the network.
    fn begin_folded(&mut self, exchange: &Exchange, folded: &Folded) {
        let Machine { topology, network, folded: times, .. } = &mut *self.machine;
        let timed = times.of(exchange, folded, topology, &mut **network);
        let last = |ops: &[usize]| ops.iter().map(|&at| timed.ends[at]).max().unwrap_or_default();
        // A send has one op for both of its members.
        let before = exchange.plan.wire().overhead;
        let parts: Vec<SimDuration> = if exchange.is_send() {
            vec![before + last(&[0, 1])]
        } else {
            (0..folded.simulated.len()).map(|at| before + last(&[at])).collect()
        };
        for (op, &part) in exchange.ops().zip(&parts) {
            self.events.schedule(self.now + part, EventClass::Finish, Event::PartEnds(op));
        }
        let end = self.now + parts.iter().copied().max().unwrap_or_default();
        self.tell_folded(exchange, timed.moved, end);
    }

    /// The payloads of all groups that a folded exchange stands for, on no link in particular.
    fn tell_folded(&mut self, exchange: &Exchange, bytes: Bytes, end: SimTime) {
        let op = &self.program.ops()[exchange.participants[0].op];
        self.listener.carried(Carried {
            route: Arc::from([]),
            start: self.now,
            end,
            activity: op.activity,
            label: label_of(op, Some(exchange.kind.name())),
            bytes,
        });
    }

    fn transfers_leave(&mut self, collective: CollectiveId) {
        let plan = &self.program.exchanges()[collective].plan;
        for (id, _) in plan.transfers().enumerate() {
            if plan.predecessor_counts()[id.index()] == 0 {
                self.start_transfer(collective, id);
            }
        }
        // A group of one moves nothing, and a member may have nothing to move: its part ends at once.
        if plan.transfers().is_empty() {
            self.running.remove(&collective);
            for op in self.program.exchanges()[collective].ops() {
                self.op_ends(op);
            }
            return;
        }
        for part in 0..self.program.exchanges()[collective].ops().len() {
            if self.running.get(&collective).is_some_and(|running| running.left[part] == 0) {
                self.part_ends(collective, part);
            }
        }
    }

    fn start_transfer(&mut self, collective: CollectiveId, id: TransferId) {
        let exchange = &self.program.exchanges()[collective];
        let transfer = &exchange.plan.transfers()[id];
        let device = |member: Member| self.machine.placement[exchange.participants[member.index()].rank];
        let route = self.machine.topology.route(
            device(transfer.from),
            device(transfer.to),
            u64::from(transfer.channel),
        );
        let bytes = self.known.transfer(self.program, exchange, id, self.interpreter);
        let flow = exchange.plan.flow_of(id, bytes, &route, self.machine.topology);
        let route = flow.route.clone();
        let flow = self.machine.network.start(self.now, flow);
        let on_its_way = OnItsWay { collective, transfer: id, route, bytes, left_at: self.now };
        self.flows.insert(flow, on_its_way);
    }

    fn transfer_ends(&mut self, flow: &OnItsWay) {
        self.processed += 1;
        let exchange = &self.program.exchanges()[flow.collective];
        self.tell_carried(exchange, flow);
        let transfer = &exchange.plan.transfers()[flow.transfer];
        for next in exchange.plan.successors(flow.transfer) {
            let running = self.running.get_mut(&flow.collective).expect("an exchange that has begun");
            running.waits[next.index()] -= 1;
            if running.waits[next.index()] == 0 {
                self.start_transfer(flow.collective, next);
            }
        }
        for member in [transfer.from.index(), transfer.to.index()] {
            let part = exchange.op_index(member);
            let running = self.running.get_mut(&flow.collective).expect("an exchange that has begun");
            running.left[part] -= 1;
            if running.left[part] == 0 {
                self.part_ends(flow.collective, part);
            }
        }
    }

    /// The transfers of one op of an exchange are done.
    fn part_ends(&mut self, collective: CollectiveId, part: usize) {
        let exchange = &self.program.exchanges()[collective];
        let running = &self.running[&collective];
        let (began, all_ended) = (running.began, running.left.iter().all(|&left| left == 0));
        self.tell_arrow(exchange, began);
        if all_ended {
            self.running.remove(&collective);
        }
        let op = exchange.ops().nth(part).expect("a part of the exchange");
        self.op_ends(op);
    }

    /// Tells the interpreter that an op starts, and allocates what it is the first to use.
    fn begin(&mut self, op: OpId) {
        self.began[op] = self.now;
        for buffer in self.program.touched(op) {
            let about = &self.program.buffers()[buffer];
            if about.slot.is_none() && self.liveness.first_use(buffer) {
                let size = self.size_of(about);
                self.machine.memory.allocate(about, size, self.now, self.listener);
            }
        }
        self.interpreter.begin(self.program, op);
    }

    /// How much memory a buffer takes, now that what it goes by has been decided.
    fn size_of(&mut self, buffer: &Buffer) -> Bytes {
        let Some(arrivals) = buffer.arrivals else { return buffer.bytes };
        let (rows, _) = self.known.rows(self.program, arrivals, self.interpreter);
        let routing = &self.program.routings()[self.program.arrivals(arrivals).routing];
        Bytes(routing.scaled(buffer.bytes.get(), rows))
    }

    /// Tells everyone that an op has ended, frees what it was the last to use, and starts what waited.
    fn op_ends(&mut self, op: OpId) {
        self.interpreter.finish(self.program, op);
        for buffer in self.program.touched(op) {
            let about = &self.program.buffers()[buffer];
            if about.slot.is_none() && self.liveness.last_use(buffer) {
                let size = self.size_of(about);
                self.machine.memory.free(about, size, self.now, self.listener);
                self.interpreter.free(buffer);
            }
        }
        self.tell_span(op);
        self.wake_receiver(op);
        self.ops_left -= 1;
        if let Some(causes) = &mut self.causes {
            causes.ended(op);
        }
        let queue = queue_index(&self.program.ops()[op]);
        self.queues[queue].busy = false;
        self.queues[queue].next += 1;
        self.start_next(queue, Some(op));
        for next in self.program.successors(op) {
            if self.machine.supposition.stages_never_wait && receives(self.program, op, next) {
                continue;
            }
            self.waits[next.index()] -= 1;
            if self.waits[next.index()] == 0 {
                let waiting = &self.program.ops()[next];
                let queue = queue_index(waiting);
                if !waiting.stream.is_in_order() {
                    self.queues[queue].ready.push_back(next);
                }
                self.start_next(queue, Some(op));
            }
        }
    }

    /// A host hands on nothing while it waits for a receive, as Megatron-LM's pipelines do
    /// (`p2p_communication.py` waits for the device after each exchange with a neighbour).
    fn wake_receiver(&mut self, op: OpId) {
        let Action::Exchange(collective) = self.program.ops()[op].action else { return };
        let exchange = &self.program.exchanges()[collective];
        if exchange.is_send() {
            let receiver = exchange.participants[1].rank;
            for next in self.program.successors(op) {
                self.awaits[next] |= self.program.ops()[next].rank == receiver;
            }
        }
    }

    fn tell_span(&mut self, id: OpId) {
        let op = &self.program.ops()[id];
        let (bytes, collective) = match op.action {
            Action::Compute(_) => (Bytes::ZERO, None),
            Action::Exchange(collective) => {
                let exchange = &self.program.exchanges()[collective];
                let bytes = match exchange.routed {
                    None => exchange.bytes,
                    Some(_) => self.known.brought(self.program, exchange, id, self.interpreter),
                };
                (bytes, Some(exchange.kind.name()))
            }
        };
        let label = label_of(op, collective);
        let lane = Lane::Rank(op.rank, op.stream);
        let (start, end) = (self.began[id], self.now);
        self.listener.span(Span { lane, start, end, activity: op.activity, label, bytes });
    }

    /// A payload arrived.
    fn tell_carried(&mut self, exchange: &Exchange, flow: &OnItsWay) {
        let transfer = &exchange.plan.transfers()[flow.transfer];
        // What a member keeps for itself in an all-to-all is copied, not carried.
        if transfer.from == transfer.to {
            return;
        }
        let op = &self.program.ops()[exchange.participants[transfer.from.index()].op];
        self.listener.carried(Carried {
            route: flow.route.clone(),
            start: flow.left_at,
            end: self.now,
            activity: op.activity,
            label: label_of(op, Some(exchange.kind.name())),
            bytes: flow.bytes,
        });
    }

    /// A send became a receive.
    fn tell_arrow(&mut self, exchange: &Exchange, began: SimTime) {
        if exchange.is_send() {
            let [from, to] = [&exchange.participants[0], &exchange.participants[1]];
            let sender = Lane::Rank(from.rank, self.program.ops()[from.op].stream);
            let receiver = Lane::Rank(to.rank, Stream::Compute);
            let activity = self.program.ops()[from.op].activity;
            self.listener.arrow(Arrow { from: (sender, began), to: (receiver, self.now), activity });
        }
    }
}

/// Whether an op waits for what a neighbouring stage sends it with `op`.
fn receives(program: &Program, op: OpId, next: OpId) -> bool {
    let sent = &program.ops()[op];
    sent.activity == Activity::PipelineComm && program.ops()[next].rank != sent.rank
}

/// Every pair of ops of which the second waits for what a neighbouring stage sends it with the first.
fn received(program: &Program) -> impl Iterator<Item = (OpId, OpId)> + '_ {
    let pairs = program.ops().ids().flat_map(|op| program.successors(op).map(move |next| (op, next)));
    pairs.filter(|&(op, next)| receives(program, op, next))
}

fn queue_index(op: &Op) -> usize {
    op.rank.index() * Stream::ALL.len() + op.stream.index()
}

fn label_of(op: &Op, collective: Option<&'static str>) -> Label {
    Label {
        name: op.label.name.into(),
        collective,
        step: None,
        stage: op.label.stage,
        micro_batch: op.label.micro_batch,
        layer: op.label.layer,
    }
}
