//! How full each rank's memory is, moment by moment.

use std::collections::BTreeSet;

use crate::ids::{BufferId, IdVec, Rank, SlotId};
use crate::program::{Buffer, Program};
use crate::trace::{Listener, MemoryChange, MemoryUse};
use crate::units::{Bytes, SimTime};

/// Bytes in use on each rank, by what they are used for.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    in_use: IdVec<Rank, [Bytes; MemoryUse::ALL.len()]>,
    kept: BTreeSet<SlotId>,
}

impl Memory {
    pub(super) fn new(ranks: usize) -> Self {
        Memory { in_use: IdVec::filled([Bytes::ZERO; MemoryUse::ALL.len()], ranks), kept: BTreeSet::new() }
    }

    /// Allocates the slots of a program that are not there yet; they stay for the whole run.
    pub(super) fn keep_slots(&mut self, program: &Program, now: SimTime, listener: &mut dyn Listener) {
        for buffer in program.buffers() {
            if let Some(slot) = buffer.slot
                && self.kept.insert(slot)
            {
                self.allocate(buffer, buffer.bytes, now, listener);
            }
        }
    }

    pub(super) fn allocate(
        &mut self,
        buffer: &Buffer,
        size: Bytes,
        now: SimTime,
        listener: &mut dyn Listener,
    ) {
        let bytes = &mut self.in_use[buffer.rank][buffer.usage as usize];
        *bytes += size;
        listener.memory(MemoryChange { rank: buffer.rank, at: now, usage: buffer.usage, now: *bytes });
    }

    pub(super) fn free(&mut self, buffer: &Buffer, size: Bytes, now: SimTime, listener: &mut dyn Listener) {
        let bytes = &mut self.in_use[buffer.rank][buffer.usage as usize];
        *bytes -= size;
        listener.memory(MemoryChange { rank: buffer.rank, at: now, usage: buffer.usage, now: *bytes });
    }
}

/// Which step-lived buffers are there, and how many ops will still use each.
#[derive(Debug)]
pub(super) struct Liveness {
    users_left: IdVec<BufferId, u32>,
    there: IdVec<BufferId, bool>,
}

impl Liveness {
    pub(super) fn new(program: &Program) -> Self {
        Liveness {
            users_left: program.buffers().iter().map(|buffer| buffer.users).collect(),
            there: IdVec::filled(false, program.buffers().len()),
        }
    }

    /// Whether this is the first use of a step-lived buffer.
    pub(super) fn first_use(&mut self, buffer: BufferId) -> bool {
        !std::mem::replace(&mut self.there[buffer], true)
    }

    /// Whether that was the last use.
    pub(super) fn last_use(&mut self, buffer: BufferId) -> bool {
        self.users_left[buffer] -= 1;
        self.users_left[buffer] == 0
    }
}
