//! What a batching policy sees, and how it drafts an answer.

use std::collections::BTreeMap;

use crate::ids::{IdVec, RequestId};
use crate::serving::Request;
use crate::serving::kv::BlockPool;
use crate::units::SimTime;

/// A place in the queue: the policy's precedence, then the order of joining. Preempted requests join in
/// front, with negative numbers.
pub type Place = (u64, i64);

/// How far a request has come.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    /// Tokens whose keys and values are in the cache, or will be when the step in flight ends.
    pub(super) computed: u32,
    /// Tokens of the answer that are there.
    pub(super) generated: u32,
    /// Tokens of the answer after which it is done with its replica.
    pub(super) goal: u32,
    /// Tokens that were known when it last joined a queue: what has to be prefilled.
    pub(super) known: u32,
    /// Blocks it holds.
    pub(super) held: u32,
    /// Steps in flight that it is part of.
    pub(super) in_flight: u32,
    /// The last step that it was part of, counted over all replicas.
    pub(super) step: u64,
    /// Where it waits.
    pub(super) place: Place,
    /// Whether it waits, runs or neither.
    pub(super) phase: Phase,
}

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Not yet arrived, on its way between replicas, or done.
    #[default]
    Outside,
    /// In the queue of its replica.
    Waiting,
    /// Admitted: it holds blocks.
    Running,
}

/// Everything a batching policy may look at: one replica.
pub struct ServingView<'a> {
    /// The present.
    pub now: SimTime,
    /// Every request that will ever arrive; a policy looks at those that wait or run here.
    pub requests: &'a IdVec<RequestId, Request>,
    /// Requests that wait, in the order of their precedence, then of arrival; preempted ones first.
    pub waiting: &'a BTreeMap<Place, RequestId>,
    /// Requests that run, in order of admission.
    pub running: &'a [RequestId],
    /// The blocks.
    pub pool: BlockPool,
    pub(super) progress: &'a IdVec<RequestId, Progress>,
}

impl<'a> ServingView<'a> {
    /// Tokens of a request that are known and not computed yet: the rest of its prompt (with what had
    /// been generated when it was preempted), the one token generated last, or nothing while the step
    /// is in flight that computes them.
    #[inline]
    pub fn pending(&self, request: RequestId) -> u32 {
        let progress = &self.progress[request];
        self.requests[request].prompt + progress.generated - progress.computed
    }

    /// Tokens of a request whose keys and values are in the cache.
    #[inline]
    pub fn computed(&self, request: RequestId) -> u32 {
        self.progress[request].computed
    }

    /// Blocks that a request holds.
    #[inline]
    pub fn held(&self, request: RequestId) -> u64 {
        u64::from(self.progress[request].held)
    }

    /// Whether a request is part of a step that has not ended: it cannot be preempted.
    #[inline]
    pub fn in_flight(&self, request: RequestId) -> bool {
        self.progress[request].in_flight > 0
    }

    /// An answer to be drafted: nothing decided yet.
    pub fn draft(&'a self) -> Draft<'a> {
        let work = Vec::with_capacity(self.running.len() + 1);
        Draft { view: self, free: self.pool.free(), decision: BatchDecision { preempted: Vec::new(), work } }
    }
}

/// Tokens of a request that a step computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Of which request.
    pub request: RequestId,
    /// How many of its pending tokens, in order.
    pub tokens: u32,
    /// How many blocks it holds from then on.
    pub blocks: u32,
}

/// What a policy wants: requests to be preempted, then a step. Without work no step is started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchDecision {
    /// Running requests that give their blocks back, in this order; each joins the front of the queue.
    pub preempted: Vec<RequestId>,
    /// What the step computes.
    pub work: Vec<Slice>,
}

/// An answer in the making: what would be free, were it given.
pub struct Draft<'a> {
    view: &'a ServingView<'a>,
    free: u64,
    decision: BatchDecision,
}

impl Draft<'_> {
    /// Blocks that would be free.
    pub fn free(&self) -> u64 {
        self.free
    }

    /// Blocks that a request lacks to hold so many tokens.
    #[inline]
    pub fn lacks(&self, request: RequestId, tokens: u64) -> u64 {
        self.view.pool.blocks_of(tokens).saturating_sub(self.view.held(request))
    }

    /// Lets the step compute tokens of a request, if there are blocks for exactly those.
    #[inline]
    pub fn schedule(&mut self, request: RequestId, tokens: u32) -> bool {
        let after = u64::from(self.view.computed(request)) + u64::from(tokens);
        self.schedule_holding(request, tokens, after)
    }

    /// Lets the step compute tokens of a request that has room for `room` tokens from now on, if there
    /// are blocks for them.
    pub fn schedule_holding(&mut self, request: RequestId, tokens: u32, room: u64) -> bool {
        let lacks = self.lacks(request, room);
        if lacks > self.free {
            return false;
        }
        self.free -= lacks;
        let blocks = (self.view.held(request) + lacks) as u32;
        self.decision.work.push(Slice { request, tokens, blocks });
        true
    }

    /// Makes a running request give its blocks back.
    pub fn preempt(&mut self, request: RequestId) {
        self.free += self.view.held(request);
        self.decision.preempted.push(request);
    }

    /// Whether somebody would be preempted.
    pub fn preempts(&self) -> bool {
        !self.decision.preempted.is_empty()
    }

    /// Whether the step would compute nothing.
    pub fn is_idle(&self) -> bool {
        self.decision.work.is_empty()
    }

    /// The answer.
    pub fn decision(self) -> BatchDecision {
        self.decision
    }
}
