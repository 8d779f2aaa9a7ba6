//! What came of a run: when each request got its tokens, and how the replicas were used.

use crate::ids::{IdVec, ReplicaId, RequestId};
use crate::units::{SimDuration, SimTime};

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestRecord {
    /// When its first step began.
    pub start: SimTime,
    /// When the first token of its answer was there.
    pub first_token: SimTime,
    /// When the last was.
    pub finish: SimTime,
    /// Where its prompt was computed.
    pub replica: ReplicaId,
    /// Where its answer was, when that is another replica.
    pub decoded_by: Option<ReplicaId>,
    /// How often it was preempted.
    pub preemptions: u32,
    /// From the first token until its keys and values had reached the other replica.
    pub handed_over: SimDuration,
}

/// How a replica was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplicaRecord {
    /// Steps it has run.
    pub steps: u64,
    /// Time that its first stage was busy.
    pub busy: SimDuration,
    /// Tokens it has computed, those computed anew included.
    pub tokens: u64,
    /// The most blocks in use.
    pub blocks_peak: u64,
    /// Blocks in use × picoseconds.
    pub blocks_time: u128,
    /// Its blocks.
    pub blocks: u64,
}

/// The state of all replicas together at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    /// Requests that wait for their first step, for their next one after a preemption, or for a replica
    /// to have room for their keys and values.
    pub waiting: u64,
    /// Requests that run.
    pub running: u64,
    /// Blocks in use.
    pub blocks: u64,
}

impl State {
    fn values(self) -> [u64; 3] {
        [self.waiting, self.running, self.blocks]
    }
}

/// A state over time, as means over stretches of equal length. There are never more stretches than
/// [`History::MOST`]: when time runs past the last, neighbours are merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Length of a stretch in picoseconds.
    width: u64,
    /// Per stretch: each number × picoseconds.
    sums: Vec<[u128; 3]>,
    since: SimTime,
    state: State,
}

impl Default for History {
    fn default() -> Self {
        // A millisecond to begin with: short runs are seen in full.
        History { width: 1_000_000_000, sums: Vec::new(), since: SimTime::ZERO, state: State::default() }
    }
}

impl History {
    /// The most stretches.
    pub const MOST: usize = 1024;

    /// Notes that from now on the state is another.
    pub(super) fn change(&mut self, now: SimTime, state: State) {
        self.fill(now);
        self.state = state;
    }

    fn fill(&mut self, now: SimTime) {
        while now.picos() > self.width.saturating_mul(Self::MOST as u64) {
            let pairs = self.sums.chunks(2);
            self.sums =
                pairs.map(|pair| std::array::from_fn(|at| pair.iter().map(|sums| sums[at]).sum())).collect();
            self.width *= 2;
        }
        let values = self.state.values();
        let mut from = self.since.picos();
        while from < now.picos() {
            let stretch = from / self.width;
            let until = now.picos().min((stretch + 1) * self.width);
            if self.sums.len() <= stretch as usize {
                self.sums.resize(stretch as usize + 1, [0; 3]);
            }
            for (sum, value) in self.sums[stretch as usize].iter_mut().zip(values) {
                *sum += u128::from(value) * u128::from(until - from);
            }
            from = until;
        }
        self.since = now;
    }

    /// The starts of the stretches in seconds, the end of the last, and the means of waiting, running and
    /// blocks in each.
    pub fn means(&self) -> (Vec<f64>, f64, [Vec<f64>; 3]) {
        let end = self.since.picos();
        let start = |stretch: usize| stretch as u64 * self.width;
        let length = |stretch: usize| (end.min(start(stretch + 1)) - start(stretch)).max(1) as f64;
        let mean = |at: usize| {
            self.sums.iter().enumerate().map(|(stretch, sums)| sums[at] as f64 / length(stretch)).collect()
        };
        let at = (0..self.sums.len()).map(|stretch| SimTime::from_picos(start(stretch)).seconds());
        (at.collect(), self.since.seconds(), std::array::from_fn(mean))
    }
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServingOutcome {
    /// By request.
    pub requests: IdVec<RequestId, RequestRecord>,
    /// By replica.
    pub replicas: IdVec<ReplicaId, ReplicaRecord>,
    /// Times between neighbouring tokens of one answer, in picoseconds, each with how often it came.
    /// In the order in which they came; equal ones need not be together.
    pub gaps: Vec<(u64, u32)>,
    /// Everything over time.
    pub history: History,
    /// Tokens computed that had been computed before.
    pub recomputed: u64,
    /// Bytes of keys and values sent from replica to replica.
    pub kv_sent: u64,
    /// When the last event happened.
    pub end: SimTime,
    /// Events processed.
    pub events: u64,
}
