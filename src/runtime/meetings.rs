//! Which folded exchanges meet on a link.
//!
//! A folded exchange is timed as if nothing but its mirror images were on the network. That is exact unless
//! an exchange of another kind is under way on one of the same links. Whether one is can be told from the
//! links that all the mirrored groups of each use, and from when it begins and ends.

use crate::ids::{Id, LinkId};
use crate::units::SimTime;

/// The links that an exchange and its mirror images use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LinkSet(u32);

/// Exchanges under way, and which of them could meet.
#[derive(Debug, Default)]
pub(super) struct Meetings {
    /// A bit for each link of the topology.
    sets: Vec<Vec<u64>>,
    /// By set, those that have a link in common with it.
    partners: Vec<Vec<LinkSet>>,
    under_way: Vec<(SimTime, LinkSet)>,
}

impl Meetings {
    /// Gets to know the links of an exchange.
    pub(super) fn know(&mut self, links: impl IntoIterator<Item = LinkId>, of: usize) -> LinkSet {
        let mut bits = vec![0_u64; of.div_ceil(64)];
        links.into_iter().for_each(|link| bits[link.index() / 64] |= 1 << (link.index() % 64));
        if let Some(known) = self.sets.iter().position(|set| *set == bits) {
            return LinkSet(known as u32);
        }
        let set = LinkSet(self.sets.len() as u32);
        let common = |other: &[u64]| other.iter().zip(&bits).any(|(a, b)| a & b != 0);
        let partners: Vec<LinkSet> =
            (0..set.0).map(LinkSet).filter(|&other| common(&self.sets[other.0 as usize])).collect();
        partners.iter().for_each(|other| self.partners[other.0 as usize].push(set));
        self.partners.push(partners);
        self.sets.push(bits);
        set
    }

    /// An exchange goes on from `now` to `end`; whether another is under way that it meets. (Two with the very
    /// same links are of one kind, and one waits for the other in their queue.)
    pub(super) fn begin(&mut self, set: LinkSet, now: SimTime, end: SimTime) -> bool {
        let partners = &self.partners[set.0 as usize];
        if partners.is_empty() {
            return false;
        }
        self.under_way.retain(|&(end, _)| end > now);
        let meets = self.under_way.iter().any(|(_, other)| partners.contains(other));
        self.under_way.push((end, set));
        meets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_meet_that_share_a_link_and_a_moment() {
        let mut meetings = Meetings::default();
        let [a, b, c] = [[1, 2], [2, 3], [4, 5]].map(|links| meetings.know(links.map(LinkId), 100));
        assert_eq!(meetings.know([LinkId(2), LinkId(1)], 100), a);
        let at = SimTime::from_picos;
        assert!(!meetings.begin(a, at(0), at(10)));
        assert!(!meetings.begin(c, at(5), at(20)));
        assert!(meetings.begin(b, at(9), at(12)));
        assert!(!meetings.begin(a, at(12), at(13)));
    }
}
