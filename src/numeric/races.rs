//! Who is using which buffer right now: two ops that overlap in simulated time and of which one changes
//! what the other touches are a race, and a program with a race lacks a dependency.
//!
//! The interpreter runs an op's instructions at the op's begin or end, so a race need not show in the
//! numbers of one machine; here it shows whatever the machine.

use crate::ids::{BufferId, Id, OpId};
use crate::program::{Action, Program};

/// The buffers in use.
#[derive(Debug, Default)]
pub(super) struct Races {
    uses: Vec<Use>,
}

/// Who uses a buffer.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    /// How often ops in flight name it among what they read.
    readers: u32,
    /// One of those ops, to be named.
    reader: Option<OpId>,
    /// The op in flight that changes it.
    writer: Option<OpId>,
}

impl Races {
    /// An op begins: nobody may be changing what it touches, nor touching what it changes.
    pub(super) fn begin(&mut self, program: &Program, op: OpId) {
        if self.uses.len() < program.buffers().len() {
            self.uses.resize(program.buffers().len(), Use::default());
        }
        each_operand(program, op, |buffer, changes| {
            let held = self.uses[buffer.index()];
            if program.buffers()[buffer].shared {
                return;
            }
            if let Some(other) = held.writer.or(held.reader.filter(|_| changes)) {
                race(program, op, buffer, other);
            }
        });
        each_operand(program, op, |buffer, changes| {
            let held = &mut self.uses[buffer.index()];
            if changes {
                held.writer = Some(op);
            } else {
                (held.readers, held.reader) = (held.readers + 1, Some(op));
            }
        });
    }

    /// An op ends.
    pub(super) fn finish(&mut self, program: &Program, op: OpId) {
        each_operand(program, op, |buffer, changes| {
            let held = &mut self.uses[buffer.index()];
            if changes {
                held.writer = None;
                return;
            }
            held.readers -= 1;
            if held.readers == 0 {
                held.reader = None;
            }
        });
    }
}

/// Calls with every buffer that an op names, and whether the op changes it.
fn each_operand(program: &Program, op: OpId, mut each: impl FnMut(BufferId, bool)) {
    match &program.ops()[op].action {
        Action::Compute(_) => {
            for instruction in program.instructions(op) {
                program.reads(instruction).iter().for_each(|&buffer| each(buffer, false));
                program.writes(instruction).iter().for_each(|&buffer| each(buffer, true));
                program.updates(instruction).iter().for_each(|&buffer| each(buffer, true));
            }
        }
        Action::Exchange(id) => {
            let exchange = &program.exchanges()[*id];
            for part in exchange.participants.iter().filter(|part| part.op == op) {
                part.reads.iter().for_each(|&buffer| each(buffer, false));
                part.writes.iter().for_each(|&buffer| each(buffer, true));
            }
        }
    }
}

fn race(program: &Program, op: OpId, buffer: BufferId, other: OpId) -> ! {
    let about = |op: OpId| {
        let known = &program.ops()[op];
        format!("{} `{}` ({op}, {:?})", known.rank, known.label.name, known.label.micro_batch)
    };
    panic!(
        "{} begins while {} is at work on {buffer}, and one of them changes it: the program lacks a dependency",
        about(op),
        about(other)
    )
}
