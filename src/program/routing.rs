//! Sizes that are known only when ops begin: how many rows tokens bring to a rank's experts.
//!
//! A [`Routing`] is a group's decision, at one layer, which tokens go to which experts. What is sized by it is
//! written with the size that it has when the tokens are spread evenly, and names the [`Arrivals`] that it really
//! goes by. An [`Interpreter`](crate::runtime::Interpreter) knows how it came out once every member has decided.

use std::num::NonZeroU32;

use crate::compute::Kernel;
use crate::ids::RoutingId;
use crate::program::OpLabel;
use crate::trace::Routed;

/// A group's decision which of its tokens go to which experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routing {
    /// What it is about.
    pub label: OpLabel,
    /// Who decides; each holds as many of the experts.
    pub members: u32,
    /// Experts of all members together.
    pub experts: u32,
    /// Rows that each member has: tokens times experts that each meets.
    pub rows: u32,
    /// Experts that each token meets.
    pub top_k: u32,
    /// Rows of each member that each expert has room for, whether they come or not; nothing where there is room
    /// for whatever comes.
    pub room: Option<u32>,
}

/// The rows that arrive at a member of a routing, an index into those that a program names, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Arrivals(pub(super) NonZeroU32);

/// The member whose arrivals they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ArrivalsAt {
    /// The decision.
    pub routing: RoutingId,
    /// Its place in the group.
    pub member: u32,
}

impl Routing {
    /// Rows that arrive at each member when the tokens are spread evenly, or when there is room for so many.
    pub fn nominal(&self) -> u64 {
        match self.room {
            Some(room) => u64::from(room) * u64::from(self.experts),
            None => u64::from(self.rows),
        }
    }

    /// Rows that one member sends another.
    pub fn sent(&self, routed: &Routed, from: usize, to: usize) -> u64 {
        match self.room {
            Some(room) => u64::from(room) * u64::from(self.experts / self.members),
            None => routed.sent(from, to),
        }
    }

    /// Rows that arrive at a member, and rows of its fullest expert.
    pub fn arrived(&self, routed: &Routed, at: usize) -> (u64, u64) {
        match self.room {
            Some(room) => (self.nominal(), u64::from(room) * u64::from(self.members)),
            None => (routed.arrived(at), routed.busiest(at)),
        }
    }

    /// Spread evenly; what does not come out even goes to other experts for each member.
    pub fn even(&self) -> Routed {
        let (rows, experts) = (self.rows, self.experts);
        let of_member = |member: u32| {
            let first = u64::from(member) * u64::from(rows) % u64::from(experts);
            (0..experts).map(move |expert| {
                let turn = (u64::from(expert) + u64::from(experts) - first) % u64::from(experts);
                rows / experts + u32::from(turn < u64::from(rows % experts))
            })
        };
        let chosen: Vec<u32> = (0..self.members).flat_map(of_member).collect();
        Routed::of(self.members as usize, experts as usize, &chosen, self.room)
    }

    /// What comes of a size that is written for [`nominal`](Self::nominal) rows when there are so many.
    pub fn scaled(&self, size: u64, rows: u64) -> u64 {
        size / self.nominal().max(1) * rows
    }

    /// The kernel that is written for [`nominal`](Self::nominal) rows, for so many, of which the fullest expert
    /// has so many.
    pub fn kernel(&self, kernel: &Kernel, (rows, fullest): (u64, u64)) -> Kernel {
        match *kernel {
            Kernel::GroupedGemm { groups, n, k, precision, pass, .. } => {
                Kernel::GroupedGemm { groups, tokens: rows, busiest: fullest, n, k, precision, pass }
            }
            Kernel::Elementwise { elements, inputs, outputs, flops_per_element, precision } => {
                let elements = self.scaled(elements, rows);
                Kernel::Elementwise { elements, inputs, outputs, flops_per_element, precision }
            }
            other => panic!("{other} does not go by rows that arrive"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3 members with 7 rows each for 6 experts: 21 in all, 3 or 4 for each.
    #[test]
    fn what_does_not_come_out_even_is_spread_too() {
        let label = OpLabel::default();
        let routing = Routing { label, members: 3, experts: 6, rows: 7, top_k: 1, room: None };
        let counts: Vec<u64> = routing.even().by_expert().collect();
        assert_eq!(counts.iter().sum::<u64>(), 21);
        assert!(counts.iter().all(|count| (3..=4).contains(count)), "{counts:?}");
    }
}
