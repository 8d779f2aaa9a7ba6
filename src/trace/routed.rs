//! Where tokens went: how many rows each member of a group had for each expert.

/// How one layer's router sent the tokens of a group's micro-batch to experts. Every member holds as many of the
/// experts, the first member the first ones.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Routed {
    experts: usize,
    /// Rows that were taken, of each member its row of experts.
    kept: Vec<u32>,
    /// Rows that found no room, laid out alike.
    dropped: Vec<u32>,
    /// What the load-balancing loss came to before its coefficient, the mean over members: 1 where tokens and
    /// probabilities are spread evenly. Nothing where it was not computed.
    pub imbalance: Option<f64>,
}

impl Routed {
    /// Nobody has sent anything yet.
    pub fn none(members: usize, experts: usize) -> Self {
        let all = members * experts;
        Routed { experts, kept: vec![0; all], dropped: vec![0; all], imbalance: None }
    }

    /// Rows for each expert from each member, with room for `room` of each pair of them.
    pub fn of(members: usize, experts: usize, chosen: &[u32], room: Option<u32>) -> Self {
        let mut routed = Routed::none(members, experts);
        for member in 0..members {
            routed.chose(member, &chosen[member * experts..][..experts], room);
        }
        routed
    }

    /// A member has chosen so often each expert.
    pub fn chose(&mut self, member: usize, chosen: &[u32], room: Option<u32>) {
        for (expert, &rows) in chosen.iter().enumerate() {
            let kept = room.map_or(rows, |room| rows.min(room));
            self.kept[member * self.experts + expert] = kept;
            self.dropped[member * self.experts + expert] = rows - kept;
        }
    }

    /// How many members there are.
    pub fn members(&self) -> usize {
        self.kept.len() / self.experts.max(1)
    }

    /// How many experts all members hold together.
    pub fn experts(&self) -> usize {
        self.experts
    }

    /// Rows that a member had for an expert and that were taken.
    pub fn kept(&self, member: usize, expert: usize) -> u32 {
        self.kept[member * self.experts + expert]
    }

    /// Rows for each expert, from all members.
    pub fn by_expert(&self) -> impl Iterator<Item = u64> + '_ {
        column_sums(&self.kept, self.experts)
    }

    /// Rows that each expert had no room for.
    pub fn dropped_by_expert(&self) -> impl Iterator<Item = u64> + '_ {
        column_sums(&self.dropped, self.experts)
    }

    /// The experts of a member.
    pub fn experts_of(&self, member: usize) -> std::ops::Range<usize> {
        let each = self.experts / self.members();
        member * each..(member + 1) * each
    }

    /// Rows from one member to another.
    pub fn sent(&self, from: usize, to: usize) -> u64 {
        self.experts_of(to).map(|expert| u64::from(self.kept(from, expert))).sum()
    }

    /// Rows that arrive at a member.
    pub fn arrived(&self, at: usize) -> u64 {
        (0..self.members()).map(|from| self.sent(from, at)).sum()
    }

    /// Rows of the fullest expert of a member.
    pub fn busiest(&self, at: usize) -> u64 {
        let of = |expert| (0..self.members()).map(|from| u64::from(self.kept(from, expert))).sum();
        self.experts_of(at).map(of).max().unwrap_or(0)
    }
}

fn column_sums(rows: &[u32], columns: usize) -> impl Iterator<Item = u64> + '_ {
    (0..columns).map(move |column| rows.iter().skip(column).step_by(columns).map(|&row| u64::from(row)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two members with two experts each; expert 3 has room for 2 rows from each member.
    #[test]
    fn what_is_sent_arrives_or_is_dropped() {
        let routed = Routed::of(2, 4, &[1, 0, 2, 5, 0, 3, 1, 1], Some(2));
        assert_eq!(
            [routed.sent(0, 0), routed.sent(0, 1), routed.sent(1, 0), routed.sent(1, 1)],
            [1, 4, 2, 2]
        );
        assert_eq!([routed.arrived(0), routed.arrived(1), routed.busiest(1)], [3, 6, 3]);
        assert_eq!(routed.by_expert().collect::<Vec<_>>(), [1, 2, 3, 3]);
        assert_eq!(routed.dropped_by_expert().collect::<Vec<_>>(), [0, 1, 0, 3]);
    }
}
