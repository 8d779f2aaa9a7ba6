//! Rings in rounds: a plan that follows from a rule.
//!
//! An all-reduce among 4,096 members is 33 million transfers for each of its chunks, each of which can be
//! told from who gives it in which round. So it is not written down before someone asks for it.

use crate::collective::{Action, Member, PlanBuilder, Transfer};

/// Rings whose members pass pieces on, round after round.
///
/// A ring has n places; in each round every place passes one piece on to the next, in chunks that follow
/// each other. What a place passes on is what it was given in the round before.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rings {
    /// The members of each ring, from one place to the next.
    orders: Vec<Vec<Member>>,
    /// Chunks in which each message follows itself.
    chunks: u32,
    passes: Passes,
}

/// How often pieces go around, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Passes {
    /// Piece i starts after its owner and ends, summed, at its owner.
    ReduceScatter,
    /// Piece i starts at its owner and ends everywhere.
    AllGather,
    /// The one and then the other.
    AllReduce,
}

impl Rings {
    /// Rings through the same members, in these orders.
    ///
    /// # Panics
    /// When there is no ring, or no chunk.
    pub fn new(orders: Vec<Vec<Member>>, chunks: u32, passes: Passes) -> Self {
        assert!(!orders.is_empty() && chunks > 0, "something goes around");
        Rings { orders, chunks, passes }
    }

    /// Places of a ring: the members of the group.
    pub fn places(&self) -> usize {
        self.orders[0].len()
    }

    /// How many rings there are.
    pub fn channels(&self) -> usize {
        self.orders.len()
    }

    /// Chunks of a message.
    pub fn chunks(&self) -> u32 {
        self.chunks
    }

    /// Rounds, one after the other.
    pub fn rounds(&self) -> usize {
        let once = self.places().saturating_sub(1);
        if self.passes == Passes::AllReduce { 2 * once } else { once }
    }

    /// Transfers in all.
    pub fn transfers(&self) -> usize {
        self.channels() * self.places() * self.rounds() * self.chunks as usize
    }

    /// Equal pieces that the buffer is cut into.
    pub fn pieces(&self) -> u32 {
        u32::try_from(self.places() * self.channels()).expect("fewer than 2^32 pieces") * self.chunks
    }

    /// Who stands at a place of a ring, and who at the next.
    pub fn ends(&self, channel: usize, place: usize) -> (Member, Member) {
        let order = &self.orders[channel];
        (order[place], order[(place + 1) % order.len()])
    }

    /// Whose piece a place passes on in a round, by the owner's place. It goes down by one from round to
    /// round.
    pub fn owner(&self, place: usize, round: usize) -> usize {
        let n = self.places();
        let first = if self.passes == Passes::AllGather { n } else { 2 * n - 1 };
        (place + first - round) % n
    }

    /// A chunk of the piece of whoever stands at a place.
    pub fn piece(&self, channel: usize, owner: usize, chunk: u32) -> u32 {
        (self.orders[channel][owner].0 * self.channels() as u32 + channel as u32) * self.chunks + chunk
    }

    /// Every transfer, in an order in which they could be done one after the other.
    pub(super) fn write_out(&self) -> PlanBuilder {
        let mut plan = PlanBuilder::new(self.places() as u32, self.pieces());
        let once = self.places().saturating_sub(1);
        // After reduce-scatter a member has the sum of its piece, with which all-gather begins.
        for rounds in [0..once, once..self.rounds()] {
            for channel in 0..self.channels() {
                for round in rounds.clone() {
                    for place in 0..self.places() {
                        plan.transfers(
                            (0..self.chunks).map(|chunk| self.transfer(channel, place, round, chunk)),
                        );
                    }
                }
            }
        }
        plan
    }

    fn transfer(&self, channel: usize, place: usize, round: usize, chunk: u32) -> Transfer {
        let (from, to) = self.ends(channel, place);
        let piece = self.piece(channel, self.owner(place, round), chunk);
        let sums = self.passes != Passes::AllGather && round < self.places() - 1;
        let action = if sums { Action::Reduce } else { Action::Copy };
        Transfer { action, channel: channel as u16, ..Transfer::copy(from, to, piece, 1) }
    }
}
