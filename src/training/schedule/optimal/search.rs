//! Branch and bound for the shortest order.
//!
//! Giffler and Thompson, "Algorithms for Solving Production-Scheduling Problems", Operations Research 8(4),
//! 1960: of the passes that could come next take the one that would end first; what its rank does next begins
//! before that end in some shortest order, so only such passes are branched on. Of each node that is left a rank
//! alone is looked at, its passes with what must come before and after them, preempted as if that were allowed
//! (Carlier, "The One-Machine Sequencing Problem", EJOR 11, 1982): no order is shorter. Of two nodes that have
//! done the same passes, one that is nowhere later leads to all that the other leads to.

use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

use crate::training::schedule::Pass;
use crate::training::schedule::optimal::jobs::Jobs;

/// What a search came to.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// The shortest length found.
    pub(super) length: u64,
    /// No order is shorter than this.
    pub(super) bound: u64,
    /// Its passes in an order in which each rank comes to them; none where nothing shorter was found.
    pub(super) sequence: Vec<(usize, usize)>,
}

pub(super) struct Search<'j> {
    jobs: &'j Jobs,
    /// From the end of each pass to the end of all, at least.
    tails: Vec<Vec<u64>>,
    /// Who waits for a class: its class and the offset.
    followers: Vec<Vec<(usize, usize)>>,
    next: Vec<usize>,
    free: Vec<u64>,
    ends: Vec<Vec<u64>>,
    heads: Vec<Vec<u64>>,
    sequence: Vec<(usize, usize)>,
    best: Found,
    nodes_left: u64,
    /// Nodes met before, by what they had done: when each rank was free and what was still awaited had ended.
    met: FxHashMap<Vec<u16>, Vec<Vec<u64>>>,
}

impl<'j> Search<'j> {
    /// Looks at no more than so many nodes, for orders shorter than `known`.
    pub(super) fn run(jobs: &'j Jobs, known: u64, nodes: u64) -> Found {
        let blank = || jobs.classes.iter().map(|class| vec![0; class.count]).collect::<Vec<_>>();
        let mut followers = vec![Vec::new(); jobs.classes.len()];
        for (at, class) in jobs.classes.iter().enumerate() {
            class.after.iter().for_each(|after| followers[after.class].push((at, after.offset)));
        }
        let mut search = Search {
            tails: blank(),
            followers,
            next: vec![0; jobs.classes.len()],
            free: vec![0; jobs.ranks],
            ends: blank(),
            heads: blank(),
            sequence: Vec::new(),
            best: Found { length: known, bound: 0, sequence: Vec::new() },
            nodes_left: nodes,
            met: FxHashMap::default(),
            jobs,
        };
        search.measure_tails();
        let least = search.bound();
        search.best.bound = least;
        search.descend(least);
        if search.nodes_left > 0 {
            search.best.bound = search.best.length;
        }
        search.best
    }

    fn measure_tails(&mut self) {
        let most = self.jobs.classes.iter().map(|class| class.count).max().unwrap_or(0);
        for k in (0..most).rev() {
            for (at, class) in self.jobs.classes.iter().enumerate().rev().filter(|(_, class)| k < class.count)
            {
                let mut tail = if k + 1 < class.count { class.length + self.tails[at][k + 1] } else { 0 };
                for &(follower, offset) in &self.followers[at] {
                    let then = &self.jobs.classes[follower];
                    let lag =
                        then.after.iter().filter(|after| after.class == at).map(|after| after.lag).max();
                    if k + offset < then.count {
                        let rest = then.length + self.tails[follower][k + offset];
                        tail = tail.max(lag.unwrap_or_default() + rest);
                    }
                }
                self.tails[at][k] = tail;
            }
        }
    }

    /// No order that goes on from here is shorter.
    fn bound(&mut self) -> u64 {
        let most = self.jobs.classes.iter().map(|class| class.count).max().unwrap_or(0);
        let least = self.next.iter().copied().min().unwrap_or(0);
        let mut left: Vec<Vec<(u64, u64, u64)>> = vec![Vec::new(); self.jobs.ranks];
        for k in least..most {
            for (at, class) in self.jobs.classes.iter().enumerate().filter(|(_, class)| k < class.count) {
                if k < self.next[at] {
                    self.heads[at][k] = self.ends[at][k] - class.length;
                    continue;
                }
                let mut head = self.free[class.rank];
                if k > self.next[at] {
                    head = head.max(self.heads[at][k - 1] + class.length);
                }
                for after in &class.after {
                    if let Some(k) = k.checked_sub(after.offset) {
                        let done = k < self.next[after.class];
                        let end = if done {
                            self.ends[after.class][k]
                        } else {
                            self.heads[after.class][k] + self.jobs.classes[after.class].length
                        };
                        head = head.max(end + after.lag);
                    }
                }
                self.heads[at][k] = head;
                left[class.rank].push((head, self.tails[at][k], class.length));
            }
        }
        let ranks = left.into_iter().map(one_machine).max().unwrap_or(0);
        ranks.max(self.free.iter().copied().max().unwrap_or(0))
    }

    /// When a class's next pass could begin; nothing while it waits for a pass that is not placed yet.
    fn ready(&self, at: usize) -> Option<u64> {
        let class = &self.jobs.classes[at];
        let k = self.next[at];
        let mut start = (k < class.count).then_some(self.free[class.rank])?;
        for after in &class.after {
            if let Some(k) = k.checked_sub(after.offset) {
                let end = (k < self.next[after.class]).then(|| self.ends[after.class][k])?;
                start = start.max(end + after.lag);
            }
        }
        Some(start)
    }

    fn descend(&mut self, bound: u64) {
        if self.sequence.len() == self.jobs.passes() {
            let length = self.free.iter().copied().max().unwrap_or(0);
            if length < self.best.length {
                self.best.length = length;
                self.best.sequence.clone_from(&self.sequence);
            }
            return;
        }
        if self.nodes_left == 0 || bound >= self.best.length || self.was_met() {
            return;
        }
        self.nodes_left -= 1;
        let ready: Vec<(usize, u64)> =
            (0..self.next.len()).filter_map(|at| Some((at, self.ready(at)?))).collect();
        let ends = |&(at, start): &(usize, u64)| start + self.jobs.classes[at].length;
        let Some((end, rank)) = ready.iter().map(|next| (ends(next), self.jobs.classes[next.0].rank)).min()
        else {
            return;
        };
        let mut children: Vec<(u64, u64, u8, usize)> = Vec::new();
        for &(at, start) in &ready {
            // A pass that takes no time may begin at the end itself.
            if self.jobs.classes[at].rank == rank && (start < end || ends(&(at, start)) == end) {
                let undo = self.place(at, start);
                children.push((self.bound(), start, eagerness(self.jobs.classes[at].pass), at));
                self.take_back(at, undo);
            }
        }
        children.sort_unstable();
        for (bound, start, _, at) in children {
            if bound < self.best.length {
                let undo = self.place(at, start);
                self.descend(bound);
                self.take_back(at, undo);
            }
        }
    }

    fn place(&mut self, at: usize, start: u64) -> u64 {
        let class = &self.jobs.classes[at];
        let free = self.free[class.rank];
        let end = start + class.length;
        self.free[class.rank] = end;
        self.ends[at][self.next[at]] = end;
        self.sequence.push((at, self.next[at]));
        self.next[at] += 1;
        free
    }

    fn take_back(&mut self, at: usize, free: u64) {
        self.next[at] -= 1;
        self.free[self.jobs.classes[at].rank] = free;
        self.sequence.pop();
    }

    /// Whether a node that had done the same was nowhere later; if not, this one is remembered.
    fn was_met(&mut self) -> bool {
        let mut moments = self.free.clone();
        for (at, followers) in self.followers.iter().enumerate() {
            for &(follower, offset) in followers {
                let rank = self.jobs.classes[follower].rank;
                let first = self.next[follower].saturating_sub(offset);
                // What ended before its follower's rank is free makes no difference.
                let awaited = self.ends[at][..self.next[at]].iter().skip(first);
                moments.extend(awaited.map(|&end| end.max(self.free[rank])));
            }
        }
        let done: Vec<u16> = self.next.iter().map(|&next| next as u16).collect();
        let met = self.met.entry(done).or_default();
        let earlier = |other: &Vec<u64>| other.iter().zip(&moments).all(|(a, b)| a <= b);
        if met.iter().any(earlier) {
            return true;
        }
        met.retain(|other| !moments.iter().zip(other).all(|(a, b)| a <= b));
        met.push(moments);
        false
    }
}

/// Backward passes go first: others wait for them. Weight gradients go last.
fn eagerness(pass: Pass) -> u8 {
    match pass {
        Pass::Backward | Pass::BackwardInput => 0,
        Pass::Forward => 1,
        Pass::BackwardWeight => 2,
    }
}

/// The length of the shortest preemptive order of one machine's jobs (head, tail, length): at each moment the one
/// with the longest tail of those that are there (Jackson's rule).
fn one_machine(mut jobs: Vec<(u64, u64, u64)>) -> u64 {
    jobs.sort_unstable();
    let mut there: BinaryHeap<(u64, u64)> = BinaryHeap::new();
    let (mut now, mut longest, mut coming) = (0, 0, jobs.into_iter().peekable());
    loop {
        while let Some((_, tail, length)) = coming.next_if(|job| job.0 <= now) {
            there.push((tail, length));
        }
        let Some((tail, left)) = there.pop() else {
            let Some(&(head, ..)) = coming.peek() else { return longest };
            now = head;
            continue;
        };
        let until = coming.peek().map_or(u64::MAX, |&(head, ..)| head);
        let works = left.min(until - now);
        now += works;
        if works < left {
            there.push((tail, left - works));
        } else {
            longest = longest.max(now + tail);
        }
    }
}
