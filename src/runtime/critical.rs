//! Which chain of ops decided how long a program took.
//!
//! While a program runs, it is noted for each op which other one let it begin: the one before it in its
//! queue, the last that it waited for, or for an exchange the member that came last; and whether a rank's
//! host was late in handing it over. From the op that ended last the notes lead back to the start: a
//! chain without gaps, since each op on it began the moment the one before it ended. Shortening
//! anything that is not on the chain does not shorten the program.

use crate::ids::{CollectiveId, IdVec, OpId};
use crate::program::{Action, Program};
use crate::units::{SimDuration, SimTime};

/// A chain of ops from the start of a program to its end, in order of time and without gaps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CriticalPath {
    /// Each link of the chain.
    pub links: Vec<PathLink>,
}

impl CriticalPath {
    /// The whole length: as long as the program took.
    pub fn duration(&self) -> SimDuration {
        self.links.iter().map(PathLink::duration).sum()
    }
}

/// Part of the chain: an op's time, or its host's before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathLink {
    /// The op.
    pub op: OpId,
    /// What the time went to.
    pub spent: Spent,
    /// From when.
    pub from: SimTime,
    /// Until when.
    pub to: SimTime,
}

impl PathLink {
    /// How long it is.
    pub fn duration(&self) -> SimDuration {
        self.to.since(self.from)
    }
}

/// What the time of a chain's link went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// On the op itself: its kernels, or its exchange.
    Working,
    /// On the host that handed it over.
    HandingOver,
}

/// What let ops begin, noted while a program runs.
#[derive(Debug)]
pub(super) struct Causes {
    released_by: IdVec<OpId, Option<OpId>>,
    hand_overs: IdVec<OpId, Option<HandOver>>,
    last_to_come: IdVec<CollectiveId, Option<OpId>>,
    came_at: IdVec<OpId, Option<SimTime>>,
    last_handed: Vec<Option<OpId>>,
    last_to_end: Option<OpId>,
}

/// A host's work on an op.
#[derive(Debug, Clone, Copy)]
pub(super) struct HandOver {
    /// From when.
    pub from: SimTime,
    /// Until when.
    pub to: SimTime,
    /// Whether it began because the op did, and not because the host was done with what came before.
    pub woken: bool,
    /// Whether the op had to wait for it.
    pub late: bool,
    /// What the host handed over before.
    pub before: Option<OpId>,
}

impl Causes {
    pub(super) fn new(program: &Program) -> Self {
        let ops = program.ops().len();
        Causes {
            released_by: IdVec::filled(None, ops),
            hand_overs: IdVec::filled(None, ops),
            last_to_come: IdVec::filled(None, program.exchanges().len()),
            came_at: IdVec::filled(None, ops),
            last_handed: vec![None; program.ranks()],
            last_to_end: None,
        }
    }

    /// An op left its queue when `by` ended.
    pub(super) fn released(&mut self, op: OpId, by: Option<OpId>) {
        self.released_by[op] = by;
    }

    /// A rank's host handed an op over; `before` is filled in here.
    pub(super) fn handed(&mut self, rank: usize, op: OpId, hand_over: HandOver) {
        let before = self.last_handed[rank].replace(op);
        self.hand_overs[op] = Some(HandOver { before, ..hand_over });
    }

    /// A member came to an exchange.
    pub(super) fn came(&mut self, exchange: CollectiveId, op: OpId, now: SimTime) {
        self.came_at[op] = Some(now);
        self.last_to_come[exchange] = Some(op);
    }

    /// An op ended.
    pub(super) fn ended(&mut self, op: OpId) {
        self.last_to_end = Some(op);
    }

    /// The chain that leads from `start` to the op that ended last, at `end`.
    pub(super) fn path(
        &self,
        program: &Program,
        began: &IdVec<OpId, SimTime>,
        (start, end): (SimTime, SimTime),
    ) -> CriticalPath {
        let mut walk = Walk { causes: self, program, began, start, at: end, links: Vec::new() };
        let mut next = self.last_to_end.map(Place::End);
        while let Some(place) = next {
            next = walk.back(place);
        }
        walk.links.reverse();
        CriticalPath { links: walk.links }
    }
}

/// Where a walk along the chain has come to.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// The end of an op.
    End(OpId),
    /// The moment when a host had handed an op over.
    HandedOver(OpId),
}

/// A walk from the end to the start.
struct Walk<'c> {
    causes: &'c Causes,
    program: &'c Program,
    began: &'c IdVec<OpId, SimTime>,
    start: SimTime,
    at: SimTime,
    links: Vec<PathLink>,
}

impl Walk<'_> {
    fn back(&mut self, place: Place) -> Option<Place> {
        match place {
            Place::End(op) => match self.program.ops()[op].action {
                Action::Compute(_) => self.back_over_kernels(op),
                Action::Exchange(exchange) => self.back_over_exchange(op, exchange),
            },
            Place::HandedOver(op) => self.back_over_host(op),
        }
    }

    fn back_over_kernels(&mut self, op: OpId) -> Option<Place> {
        match self.causes.hand_overs[op].filter(|hand_over| hand_over.late) {
            Some(hand_over) => {
                self.link(op, Spent::Working, hand_over.to);
                Some(Place::HandedOver(op))
            }
            None => {
                self.link(op, Spent::Working, self.began[op]);
                self.causes.released_by[op].map(Place::End)
            }
        }
    }

    fn back_over_exchange(&mut self, op: OpId, exchange: CollectiveId) -> Option<Place> {
        self.link(op, Spent::Working, self.began[op]);
        // Of several that came last at one moment, the chain stays with its own rank.
        let itself = self.causes.came_at[op] == Some(self.began[op]);
        let last = if itself { Some(op) } else { self.causes.last_to_come[exchange] };
        let last = last.expect("an exchange that has begun");
        match self.causes.hand_overs[last].filter(|hand_over| hand_over.late) {
            Some(_) => Some(Place::HandedOver(last)),
            None => self.causes.released_by[last].map(Place::End),
        }
    }

    fn back_over_host(&mut self, op: OpId) -> Option<Place> {
        let hand_over = self.causes.hand_overs[op].expect("an op that was handed over");
        self.link(op, Spent::HandingOver, hand_over.from);
        if hand_over.woken {
            return self.causes.released_by[op].map(Place::End);
        }
        if hand_over.before.is_none() {
            // What a host does before its first op.
            self.link(op, Spent::HandingOver, self.start);
        }
        hand_over.before.map(Place::HandedOver)
    }

    /// Adds what lies between `from` and where the walk is.
    fn link(&mut self, op: OpId, spent: Spent, from: SimTime) {
        if from < self.at {
            self.links.push(PathLink { op, spent, from, to: self.at });
            self.at = from;
        }
    }
}
