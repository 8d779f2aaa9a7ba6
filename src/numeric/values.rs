//! The values of a run: the interpreter that computes what the runtime times.
//!
//! Called in simulated order, it takes what an op reads when the op begins and makes what it wrote
//! visible when the op ends. A schedule that forgot a dependency therefore reads a buffer that is not
//! there yet, which stops the run and names the op, or an old value, which shows in the loss.
//!
//! Instructions run when their op begins, up to the first that changes something in place (a
//! gradient, a weight); from there on they run when it ends, so that nobody sees a change early.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::collective;
use crate::hardware::Precision;
use crate::ids::{BufferId, CollectiveId, Id, IdVec, OpId, RoutingId, SlotId, StepIndex};
use crate::numeric::batches::Batches;
use crate::numeric::formulas::{self, Context, Operands};
use crate::numeric::optimizer::OptimizerSpec;
use crate::numeric::payload::Layout;
use crate::numeric::races::Races;
use crate::numeric::rounding::Narrow;
use crate::numeric::routed::Decisions;
use crate::program::{Action, Exchange, Formula, Participant, Program};
use crate::runtime::Interpreter;
use crate::trace::{Activity, Routed};

/// Every number of a run.
pub struct Values {
    slots: IdVec<SlotId, Vec<f32>>,
    buffers: Vec<Option<Held>>,
    context: Context,
    /// Results of exchanges that have begun, by op, until the op ends.
    results: BTreeMap<OpId, Vec<(BufferId, Vec<f32>)>>,
    /// How many ops of each exchange have begun.
    begun: BTreeMap<CollectiveId, usize>,
    spare: Spare,
    races: Races,
    decisions: Decisions,
    /// The format of what a program keeps in fewer than four bytes; `None` where it keeps all in `f32`.
    narrow: Option<Narrow>,
    /// Weights as they are multiplied with, by slot, where that is narrower than they are stepped in.
    rounded: BTreeMap<SlotId, Vec<f32>>,
}

/// Everything that later steps depend on, between two steps.
#[derive(Debug, Clone)]
pub struct Saved {
    slots: IdVec<SlotId, Vec<f32>>,
    going: formulas::Going,
}

impl Saved {
    /// What each slot held.
    pub fn slots(&self) -> &IdVec<SlotId, Vec<f32>> {
        &self.slots
    }
}

/// A step-lived buffer's numbers, and who wrote them.
#[derive(Debug)]
struct Held {
    numbers: Vec<f32>,
    writer: OpId,
    visible: bool,
}

/// Vectors that were freed, by length, to be used again: a step allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Spare(BTreeMap<usize, Vec<Vec<f32>>>);

impl Spare {
    /// A vector of this length with arbitrary contents.
    pub(super) fn take(&mut self, length: usize) -> Vec<f32> {
        self.0.get_mut(&length).and_then(Vec::pop).unwrap_or_else(|| vec![0.0; length])
    }

    fn give(&mut self, vector: Vec<f32>) {
        self.0.entry(vector.len()).or_default().push(vector);
    }
}

impl Values {
    /// The values at the start of a run: what each slot holds, where batches come from, and how
    /// weights are stepped.
    pub fn new(
        slots: IdVec<SlotId, Vec<f32>>,
        batches: Batches,
        optimizer: OptimizerSpec,
        steps: u32,
    ) -> Self {
        Values {
            slots,
            buffers: Vec::new(),
            context: Context::new(batches, optimizer, steps),
            results: BTreeMap::new(),
            begun: BTreeMap::new(),
            spare: Spare::default(),
            races: Races::default(),
            decisions: Decisions::default(),
            narrow: None,
            rounded: BTreeMap::new(),
        }
    }

    /// Keeps what the program keeps in fewer than four bytes in this precision.
    pub fn in_precision(mut self, precision: Precision) -> Self {
        self.narrow = Narrow::of(precision);
        if precision == Precision::F16 {
            self.context.scale_losses();
        }
        self
    }

    /// The loss scale, and how many steps were skipped because gradients had overflowed; only in half
    /// precision.
    pub fn loss_scale(&self) -> Option<(f32, u32)> {
        self.context.scaling.as_ref().map(|scaling| (scaling.scale(), scaling.skipped()))
    }

    /// Everything that later steps depend on, between two steps: what a checkpoint holds.
    pub fn saved(&self) -> Saved {
        Saved { slots: self.slots.clone(), going: self.context.going() }
    }

    /// Goes back to what was saved.
    pub fn restore(&mut self, saved: &Saved) {
        self.restore_slots(saved, saved.slots.clone());
    }

    /// Goes back to what was saved, with the numbers of the slots laid out in another way.
    pub fn restore_slots(&mut self, saved: &Saved, slots: IdVec<SlotId, Vec<f32>>) {
        self.slots = slots;
        self.rounded.clear();
        self.context.go_back(saved.going.clone());
        self.clear();
    }

    /// A step is about to begin.
    pub fn begin_step(&mut self, step: StepIndex) {
        self.context.end_step();
        self.context.begin_step(step);
        self.clear();
    }

    /// Runs a program without timing it, in the order in which its ops were written; batches come
    /// from the data that training never sees.
    pub fn evaluate(&mut self, program: &Program, batch: StepIndex) {
        self.clear();
        self.context.held_out(true);
        self.context.begin_step(batch);
        for op in program.ops().ids() {
            if let Action::Exchange(id) = &program.ops()[op].action {
                // The parts of an exchange stand one after the other; it runs with its last.
                let exchange = &program.exchanges()[*id];
                if exchange.ops().last() != Some(op) {
                    continue;
                }
                exchange.ops().for_each(|part| self.begin(program, part));
                exchange.ops().for_each(|part| self.finish(program, part));
            } else {
                self.begin(program, op);
                self.finish(program, op);
            }
        }
        self.context.held_out(false);
        self.clear();
    }

    fn clear(&mut self) {
        for held in self.buffers.drain(..).flatten() {
            self.spare.give(held.numbers);
        }
        self.begun.clear();
        self.decisions.clear();
        assert!(self.results.is_empty(), "every exchange of the last step has ended");
    }

    /// The numbers that a slot holds.
    pub fn slot(&self, slot: SlotId) -> &[f32] {
        &self.slots[slot]
    }

    /// The one number that a slot holds.
    pub fn number(&self, slot: SlotId) -> f32 {
        let [number] = self.slots[slot][..] else { panic!("{slot} holds one number") };
        number
    }

    /// The losses that workers have told: which step of which worker, and the loss.
    pub fn told(&self) -> &[(u32, f32)] {
        &self.context.told
    }

    /// Makes one slot hold what another holds.
    pub fn copy(&mut self, from: SlotId, to: SlotId) {
        self.slots[to] = self.slots[from].clone();
        self.rounded.remove(&to);
    }

    /// Where the first value that is no finite number came from.
    pub fn first_not_finite(&self) -> Option<&str> {
        self.context.first_not_finite()
    }

    fn run_instructions(&mut self, program: &Program, op: OpId, at_begin: bool) {
        let instructions = program.instructions(op);
        let first_update = instructions
            .iter()
            .position(|instruction| !program.updates(instruction).is_empty())
            .unwrap_or(instructions.len());
        let turn = if at_begin { &instructions[..first_update] } else { &instructions[first_update..] };
        for instruction in turn {
            self.run_instruction(program, op, instruction);
        }
    }

    fn run_instruction(&mut self, program: &Program, op: OpId, instruction: &crate::program::Instruction) {
        let take = |values: &mut Self, buffer: BufferId| match program.buffers()[buffer].slot {
            Some(slot) => std::mem::take(&mut values.slots[slot]),
            None => values.take(program, op, buffer),
        };
        let mut updates: Vec<Vec<f32>> =
            program.updates(instruction).iter().map(|&buffer| take(self, buffer)).collect();
        let mut writes: Vec<Vec<f32>> = program
            .writes(instruction)
            .iter()
            .map(|&buffer| self.spare.take(elements(program, &self.decisions, buffer)))
            .collect();
        if let Formula::Route { routing, .. } = instruction.formula {
            self.context.routing = Some(program.routings()[routing]);
        }
        if let Some(arrivals) = instruction.arrivals {
            self.context.runs = self.decisions.runs(program, arrivals);
        }
        let multiplied = !instruction.formula.steps_weights();
        self.round_weights(program, program.reads(instruction), multiplied);
        let (slots, buffers, rounded) = (&self.slots, &self.buffers, &self.rounded);
        let reads: Vec<&[f32]> = program
            .reads(instruction)
            .iter()
            .map(|&buffer| {
                let slot = program.buffers()[buffer].slot.filter(|_| multiplied);
                match slot.and_then(|slot| rounded.get(&slot)) {
                    Some(rounded) => rounded,
                    None => read(program, slots, buffers, op, buffer),
                }
            })
            .collect();
        let operands = Operands { reads: &reads, writes: &mut writes, updates: &mut updates };
        formulas::apply(&instruction.formula, &mut self.context, operands);
        if let (Formula::Route { routing, member }, Some(decided)) =
            (instruction.formula, self.context.decided.take())
        {
            self.decisions.take(&program.routings()[routing], routing, member, &decided);
        }
        self.context.look_at(&instruction.formula, program, op, &writes);
        for (&buffer, numbers) in program.writes(instruction).iter().zip(writes) {
            self.put(program, op, buffer, numbers, false);
        }
        for (&buffer, numbers) in program.updates(instruction).iter().zip(updates) {
            self.put(program, op, buffer, numbers, false);
        }
    }

    fn take(&mut self, program: &Program, op: OpId, buffer: BufferId) -> Vec<f32> {
        let held = self.buffers.get_mut(buffer.index()).and_then(Option::take);
        held.unwrap_or_else(|| missing(program, op, buffer)).numbers
    }

    /// Makes sure that the weights among these buffers are at hand as they are multiplied with.
    fn round_weights(&mut self, program: &Program, reads: &[BufferId], multiplied: bool) {
        let Some(narrow) = self.narrow.filter(|_| multiplied) else { return };
        for &buffer in reads {
            let about = &program.buffers()[buffer];
            let Some(slot) = about.slot.filter(|_| narrow.multiplies(about)) else { continue };
            if !self.rounded.contains_key(&slot) {
                let mut weights = self.slots[slot].clone();
                narrow.round(&mut weights, false);
                self.rounded.insert(slot, weights);
            }
        }
    }

    fn put(&mut self, program: &Program, op: OpId, buffer: BufferId, mut numbers: Vec<f32>, visible: bool) {
        if let Some(narrow) = self.narrow
            && narrow.keeps(&program.buffers()[buffer])
        {
            let backward = matches!(program.ops()[op].activity, Activity::Backward | Activity::BackwardInput);
            narrow.round(&mut numbers, backward);
        }
        if let Some(slot) = program.buffers()[buffer].slot {
            self.slots[slot] = numbers;
            self.rounded.remove(&slot);
            return;
        }
        if self.buffers.len() < program.buffers().len() {
            self.buffers.resize_with(program.buffers().len(), || None);
        }
        let before = self.buffers[buffer.index()].replace(Held { numbers, writer: op, visible });
        if let Some(before) = before {
            self.spare.give(before.numbers);
        }
    }

    /// Runs an exchange on the payloads of all its members, in the order of its plan.
    fn run_exchange(&mut self, program: &Program, exchange: &Exchange) {
        if exchange.routed.is_some() {
            self.run_routed(program, exchange);
            return;
        }
        let mut payloads: Vec<Vec<f32>> = exchange
            .participants
            .iter()
            .enumerate()
            .map(|part| self.payload(program, exchange, part))
            .collect();
        collective::execute(&exchange.plan, &mut payloads, exchange.reduction);
        for (member, (part, payload)) in exchange.participants.iter().zip(payloads).enumerate() {
            let layout = Layout::of(program, exchange, part);
            for (at, &buffer) in part.writes.iter().enumerate() {
                let mut numbers = self.spare.take(program.buffers()[buffer].elements as usize);
                layout.taken(member, at, &payload, &mut numbers);
                self.results.entry(part.op).or_default().push((buffer, numbers));
            }
            self.spare.give(payload);
        }
    }

    /// The same where blocks differ in size.
    fn run_routed(&mut self, program: &Program, exchange: &Exchange) {
        let op = exchange.participants[0].op;
        let given = exchange.participants.iter();
        let given: Vec<&[f32]> =
            given.map(|part| read(program, &self.slots, &self.buffers, op, part.reads[0])).collect();
        let got = self.decisions.exchange(program, exchange, &given);
        for (part, numbers) in exchange.participants.iter().zip(got) {
            self.results.entry(part.op).or_default().push((part.writes[0], numbers));
        }
    }

    /// What a member brings, laid out as the plan's transfers find it. The receiver of a send brings
    /// room.
    fn payload(
        &mut self,
        program: &Program,
        exchange: &Exchange,
        (member, part): (usize, &Participant),
    ) -> Vec<f32> {
        let layout = Layout::of(program, exchange, part);
        let mut payload = self.spare.take(layout.length);
        for (at, &buffer) in part.reads.iter().enumerate() {
            let op = exchange.participants[0].op;
            let numbers = read(program, &self.slots, &self.buffers, op, buffer);
            layout.given(member, at, numbers, &mut payload);
        }
        payload
    }
}

/// How many numbers a buffer holds, which may go by where tokens were sent.
fn elements(program: &Program, decisions: &Decisions, buffer: BufferId) -> usize {
    let about = &program.buffers()[buffer];
    let Some(arrivals) = about.arrivals else { return about.elements as usize };
    let routing = &program.routings()[program.arrivals(arrivals).routing];
    routing.scaled(about.elements, decisions.rows(program, arrivals)) as usize
}

fn read<'v>(
    program: &Program,
    slots: &'v IdVec<SlotId, Vec<f32>>,
    buffers: &'v [Option<Held>],
    op: OpId,
    buffer: BufferId,
) -> &'v [f32] {
    if let Some(slot) = program.buffers()[buffer].slot {
        return &slots[slot];
    }
    match buffers.get(buffer.index()).and_then(Option::as_ref) {
        Some(held) if held.visible || held.writer == op => &held.numbers,
        _ => missing(program, op, buffer),
    }
}

fn missing(program: &Program, op: OpId, buffer: BufferId) -> ! {
    let about = &program.ops()[op];
    panic!(
        "{} `{}` ({op}, {:?}) uses {buffer} before it is there: the program lacks a dependency",
        about.rank, about.label.name, about.label.micro_batch
    )
}

impl Interpreter for Values {
    fn begin(&mut self, program: &Program, op: OpId) {
        self.races.begin(program, op);
        match &program.ops()[op].action {
            Action::Compute(_) => self.run_instructions(program, op, true),
            Action::Exchange(id) => {
                let exchange = &program.exchanges()[*id];
                let begun = self.begun.entry(*id).or_default();
                *begun += 1;
                if *begun == exchange.ops().len() {
                    self.run_exchange(program, exchange);
                }
            }
        }
    }

    fn finish(&mut self, program: &Program, op: OpId) {
        self.races.finish(program, op);
        match &program.ops()[op].action {
            Action::Compute(_) => {
                self.run_instructions(program, op, false);
                for instruction in program.instructions(op) {
                    for &buffer in program.writes(instruction).iter().chain(program.updates(instruction)) {
                        if let Some(held) = self.buffers.get_mut(buffer.index()).and_then(Option::as_mut) {
                            held.visible = true;
                        }
                    }
                }
            }
            Action::Exchange(_) => {
                for (buffer, numbers) in self.results.remove(&op).unwrap_or_default() {
                    self.put(program, op, buffer, numbers, true);
                }
            }
        }
    }

    fn free(&mut self, buffer: BufferId) {
        if let Some(held) = self.buffers.get_mut(buffer.index()).and_then(Option::take) {
            self.spare.give(held.numbers);
        }
    }

    fn routed(&mut self, _program: &Program, routing: RoutingId) -> Arc<Routed> {
        self.decisions.of(routing)
    }
}
