//! How full memory was, when, and with what.

use crate::ids::{Id, IdVec, Rank};
use crate::trace::{MemoryChange, MemoryUse};
use crate::units::{Bytes, SimTime};

/// Memory of every rank over time, folded from changes.
#[derive(Debug, Clone)]
pub struct MemoryTimeline {
    now: IdVec<Rank, [Bytes; MemoryUse::ALL.len()]>,
    peaks: IdVec<Rank, MemoryPeak>,
    /// Ranks from this one on are hosts.
    devices: usize,
}

/// The fullest moment of a rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryPeak {
    /// When.
    pub at: SimTime,
    /// In all.
    pub total: Bytes,
    /// By use, in the order of [`MemoryUse::ALL`].
    pub by_use: [Bytes; MemoryUse::ALL.len()],
}

impl MemoryPeak {
    /// Bytes in use for one thing.
    pub fn of(&self, usage: MemoryUse) -> Bytes {
        self.by_use[usage as usize]
    }
}

impl MemoryTimeline {
    /// Empty memories.
    pub fn new(ranks: usize) -> Self {
        MemoryTimeline {
            now: IdVec::filled([Bytes::ZERO; MemoryUse::ALL.len()], ranks),
            peaks: IdVec::filled(MemoryPeak::default(), ranks),
            devices: ranks,
        }
    }

    /// Takes a change in.
    pub fn change(&mut self, change: MemoryChange) {
        while self.now.len() <= change.rank.index() {
            self.now.push([Bytes::ZERO; MemoryUse::ALL.len()]);
            self.peaks.push(MemoryPeak::default());
        }
        let now = &mut self.now[change.rank];
        now[change.usage as usize] = change.now;
        let total = now.iter().copied().sum();
        let peak = &mut self.peaks[change.rank];
        if total > peak.total {
            *peak = MemoryPeak { at: change.at, total, by_use: *now };
        }
    }

    pub(super) fn rank_count(&self) -> usize {
        self.now.len()
    }

    /// What is in use on a rank now, by use.
    pub fn now(&self, rank: Rank) -> [Bytes; MemoryUse::ALL.len()] {
        self.now[rank]
    }

    /// The fullest moment of a rank.
    pub fn peak(&self, rank: Rank) -> MemoryPeak {
        self.peaks[rank]
    }

    /// The rank that was fullest (the first of equals), and its fullest moment; hosts aside.
    pub fn fullest(&self) -> (Rank, MemoryPeak) {
        let fullest =
            (0..self.devices).map(Rank::from_index).rev().max_by_key(|&rank| self.peaks[rank].total);
        let rank = fullest.expect("a rank");
        (rank, self.peaks[rank])
    }
}
