//! How the buffers of an exchange lie in the payload that its transfers move.
//!
//! Where members have pieces of their own (reduce-scatter, all-gather, all-to-all), each buffer is cut
//! into as many equal pieces as there are members, the last filled up with zeros, and the payload holds
//! the first piece of every buffer, then the second of every buffer, and so on: what a member owns lies
//! together, as in the flat parameters of ZeRO and FSDP. Otherwise the buffers lie end to end.

use crate::collective::CollectiveKind;
use crate::ids::BufferId;
use crate::program::{Exchange, Participant, Program};

/// Where the buffers of one member lie.
pub(super) struct Layout {
    kind: CollectiveKind,
    members: usize,
    /// Of the whole buffers: numbers in each, and in a piece of each.
    wholes: Vec<usize>,
    pieces: Vec<usize>,
    /// Numbers of the payload.
    pub length: usize,
}

impl Layout {
    pub(super) fn of(program: &Program, exchange: &Exchange, part: &Participant) -> Self {
        let elements = |buffers: &[BufferId]| -> Vec<usize> {
            buffers.iter().map(|&buffer| program.buffers()[buffer].elements as usize).collect()
        };
        let members = exchange.participants.len();
        let (reads, writes) = (elements(&part.reads), elements(&part.writes));
        let wholes = match exchange.kind {
            CollectiveKind::AllGather => writes,
            CollectiveKind::ReduceScatter | CollectiveKind::AllToAll => reads,
            // The receiver of a send has writes alone, its sender reads alone.
            _ if reads.is_empty() => writes,
            _ => reads,
        };
        let pieces: Vec<usize> = wholes.iter().map(|&whole| whole.div_ceil(members)).collect();
        let length = match exchange.kind {
            CollectiveKind::AllGather | CollectiveKind::ReduceScatter => {
                pieces.iter().sum::<usize>() * members
            }
            CollectiveKind::AllToAll => 2 * pieces.iter().sum::<usize>() * members,
            _ => wholes.iter().sum(),
        };
        Layout { kind: exchange.kind, members, wholes, pieces, length }
    }

    /// Puts what a member gives of its `at`-th buffer in its places.
    pub(super) fn given(&self, member: usize, at: usize, numbers: &[f32], payload: &mut [f32]) {
        match self.kind {
            CollectiveKind::AllGather => {
                self.place(payload, member, at)[..numbers.len()].copy_from_slice(numbers)
            }
            CollectiveKind::ReduceScatter | CollectiveKind::AllToAll => {
                for piece in 0..self.members {
                    let place = self.place(payload, piece, at);
                    let given = &numbers[self.within(piece, at)];
                    place[..given.len()].copy_from_slice(given);
                    place[given.len()..].fill(0.0);
                }
            }
            _ => {
                let start: usize = self.wholes[..at].iter().sum();
                payload[start..start + numbers.len()].copy_from_slice(numbers);
            }
        }
    }

    /// Takes what a member gets of its `at`-th buffer from its places.
    pub(super) fn taken(&self, member: usize, at: usize, payload: &[f32], numbers: &mut [f32]) {
        match self.kind {
            CollectiveKind::ReduceScatter => {
                let start = self.start(member, at);
                numbers.copy_from_slice(&payload[start..start + numbers.len()]);
            }
            CollectiveKind::AllGather | CollectiveKind::AllToAll => {
                let gets = if self.kind == CollectiveKind::AllToAll { self.length / 2 } else { 0 };
                for piece in 0..self.members {
                    let range = self.within(piece, at);
                    let start = gets + self.start(piece, at);
                    let length = range.len();
                    numbers[range].copy_from_slice(&payload[start..start + length]);
                }
            }
            _ => {
                let start: usize = self.wholes[..at].iter().sum();
                let length = numbers.len();
                numbers.copy_from_slice(&payload[start..start + length]);
            }
        }
    }

    /// Where a piece of a buffer begins in the payload.
    fn start(&self, piece: usize, at: usize) -> usize {
        piece * self.pieces.iter().sum::<usize>() + self.pieces[..at].iter().sum::<usize>()
    }

    fn place<'p>(&self, payload: &'p mut [f32], piece: usize, at: usize) -> &'p mut [f32] {
        let start = self.start(piece, at);
        &mut payload[start..start + self.pieces[at]]
    }

    /// Where a piece lies in its buffer; the last may be short.
    fn within(&self, piece: usize, at: usize) -> std::ops::Range<usize> {
        let whole = self.wholes[at];
        let start = (piece * self.pieces[at]).min(whole);
        start..(start + self.pieces[at]).min(whole)
    }
}
