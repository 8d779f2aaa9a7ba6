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
                self.allocate(buffer, now, listener);
            }
        }
    }

    pub(super) fn allocate(&mut self, buffer: &Buffer, now: SimTime, listener: &mut dyn Listener) {
        let bytes = &mut self.in_use[buffer.rank][buffer.usage as usize];
        *bytes += buffer.bytes;
        listener.memory(MemoryChange { rank: buffer.rank, at: now, usage: buffer.usage, now: *bytes });
    }

    pub(super) fn free(&mut self, buffer: &Buffer, now: SimTime, listener: &mut dyn Listener) {
        let bytes = &mut self.in_use[buffer.rank][buffer.usage as usize];
        *bytes -= buffer.bytes;
        listener.memory(MemoryChange { rank: buffer.rank, at: now, usage: buffer.usage, now: *bytes });
    }
}

/// Which step-lived buffers are there: how many ops will still use each.
#[derive(Debug)]
pub(super) struct Liveness {
    users_left: IdVec<BufferId, u32>,
}

impl Liveness {
    pub(super) fn new(program: &Program) -> Self {
        Liveness { users_left: IdVec::filled(0, program.buffer_count()) }
    }

    /// Whether this is the first use of a step-lived buffer.
    pub(super) fn first_use(&mut self, buffer: BufferId, about: &Buffer) -> bool {
        let left = &mut self.users_left[buffer];
        let first = *left == 0;
        if first {
            *left = about.users;
        }
        first
    }

    /// Whether that was the last use.
    pub(super) fn last_use(&mut self, buffer: BufferId) -> bool {
        self.users_left[buffer] -= 1;
        self.users_left[buffer] == 0
    }
}
