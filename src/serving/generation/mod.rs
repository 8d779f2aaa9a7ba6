//! What the steps compute: real tokens by a real model, in simulated order.
//!
//! The mechanism calls [`Answers`] as it goes: a step reads when it begins, and the tokens that it yields are
//! seen when it ends. [`Generation`] computes each step of a GPT with the tokens that the step has, over a paged
//! cache whose blocks are those of the requests' tables, on stages and tensor ranks that hold their part of the
//! weights and of the cache each; keys and values that travel between replicas are copied when they arrive. So a
//! block that is given to two requests, freed too early or lost on the way makes other words.
//!
//! Every number is summed in one order, whatever is computed together ([`serial`](crate::numeric::layers::serial)):
//! tensor ranks go on from the partial sums of the rank before them, in f32, where a ring all-reduce would add in an
//! order of its own and be off by its rounding. So answers are the same bit for bit under every policy, chunk, block
//! size, preemption and split, and [`Generation::alone`] is what each has to be.

mod cache;
mod network;
mod sampling;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::ids::{BlockId, IdVec, ReplicaId, RequestId};
use crate::rng::Seed;

use cache::Cache;
pub use network::{Network, Row};
pub use sampling::{Random, Sampling};

/// Tokens of a request that a step computes.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Of which request.
    pub request: RequestId,
    /// How many of its tokens had been computed before.
    pub first: u32,
    /// How many are computed.
    pub tokens: u32,
    /// Whether the step yields a token of the answer.
    pub yields: bool,
    /// The blocks of its keys and values, in order.
    pub table: &'a [BlockId],
}

/// Keys and values on a replica.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    /// Where.
    pub replica: ReplicaId,
    /// In which blocks, in order.
    pub table: &'a [BlockId],
}

/// What steps compute, called in simulated order.
///
/// Contract: steps of a replica end in the order in which they begin; a step is begun when every token that it
/// computes is known, which is when the step that yields it has ended.
pub trait Answers {
    /// A step begins.
    fn begin(&mut self, replica: ReplicaId, parts: &[Part<'_>]);

    /// The oldest step of a replica ends.
    fn finish(&mut self, replica: ReplicaId);

    /// The keys and values of so many tokens have arrived at another replica.
    fn handed_over(&mut self, from: Held<'_>, to: Held<'_>, tokens: u32);
}

/// A prompt to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// What its draws are named after, however requests are ordered.
    pub number: u32,
}

/// Everything that is computed of a run.
pub struct Generation {
    network: Arc<Network>,
    sampling: Sampling,
    seed: Seed,
    numbers: IdVec<RequestId, u32>,
    /// Of each request: its prompt, then its answer as far as it is there.
    tokens: IdVec<RequestId, Vec<u32>>,
    prompts: IdVec<RequestId, usize>,
    replicas: IdVec<ReplicaId, Computing>,
}

/// A replica.
struct Computing {
    /// By stage and rank.
    caches: Vec<Vec<Cache>>,
    /// What steps in flight yield, the oldest first.
    flight: VecDeque<Vec<(RequestId, u32)>>,
}

impl Generation {
    /// A model on so many replicas, with blocks of so many tokens, before the first step.
    pub fn new(
        network: Arc<Network>,
        replicas: usize,
        block: u32,
        prompts: &IdVec<RequestId, Prompt>,
        sampling: Sampling,
        seed: Seed,
    ) -> Self {
        let caches = || network.caches(block);
        Generation {
            replicas: IdVec::from_fn(replicas, |_| Computing { caches: caches(), flight: VecDeque::new() }),
            numbers: prompts.iter().map(|prompt| prompt.number).collect(),
            tokens: prompts.iter().map(|prompt| prompt.tokens.clone()).collect(),
            prompts: prompts.iter().map(|prompt| prompt.tokens.len()).collect(),
            network,
            sampling,
            seed,
        }
    }

    /// The tokens of a request's answer that are there.
    pub fn answer(&self, request: RequestId) -> &[u32] {
        &self.tokens[request][self.prompts[request]..]
    }

    /// What a prompt is answered with when nothing else is computed: token after token in one row of blocks. `whole`
    /// is the model unsplit.
    pub fn alone(whole: &Network, prompt: &Prompt, output: u32, sampling: &Sampling, seed: Seed) -> Vec<u32> {
        const BLOCK: u32 = 64;
        let mut tokens = prompt.tokens.clone();
        let all = tokens.len() + output as usize;
        let table: Vec<BlockId> = (0..all as u32).map(BlockId).collect();
        let mut caches = whole.caches(BLOCK);
        for position in 0..all - 1 {
            let row = Row { token: tokens[position], position, table: &table };
            let yields = position + 1 >= prompt.tokens.len();
            let logits = whole.forward(&[row], &[0][..usize::from(yields)], &mut caches);
            if yields {
                tokens.push(sampling.token(&logits, seed, prompt.number, position + 1));
            }
        }
        tokens.split_off(prompt.tokens.len())
    }
}

impl Answers for Generation {
    fn begin(&mut self, replica: ReplicaId, parts: &[Part<'_>]) {
        let mut rows = Vec::new();
        let mut ends = Vec::new();
        for part in parts {
            let known = &self.tokens[part.request];
            let positions = part.first as usize..(part.first + part.tokens) as usize;
            assert!(positions.end <= known.len(), "{} computes a token that is not known", part.request);
            rows.extend(positions.map(|position| Row {
                token: known[position],
                position,
                table: part.table,
            }));
            if part.yields {
                assert_eq!(
                    (part.first + part.tokens) as usize,
                    known.len(),
                    "{} yields after its last token",
                    part.request
                );
                ends.push((part.request, rows.len() - 1));
            }
        }
        let last: Vec<usize> = ends.iter().map(|&(_, row)| row).collect();
        let computing = &mut self.replicas[replica];
        let logits = self.network.forward(&rows, &last, &mut computing.caches);
        let of_each = logits.chunks_exact(self.network.vocabulary());
        let yields = ends.iter().zip(of_each).map(|(&(request, _), logits)| {
            let position = self.tokens[request].len();
            (request, self.sampling.token(logits, self.seed, self.numbers[request], position))
        });
        computing.flight.push_back(yields.collect());
    }

    fn finish(&mut self, replica: ReplicaId) {
        let yielded = self.replicas[replica].flight.pop_front().expect("a step in flight ends");
        for (request, token) in yielded {
            self.tokens[request].push(token);
        }
    }

    fn handed_over(&mut self, from: Held<'_>, to: Held<'_>, tokens: u32) {
        let shape = self.replicas[from.replica].caches.iter().map(Vec::len);
        let places: Vec<(usize, usize)> =
            shape.enumerate().flat_map(|(stage, ranks)| (0..ranks).map(move |rank| (stage, rank))).collect();
        for (stage, rank) in places {
            let sent = self.replicas[from.replica].caches[stage][rank].read(from.table, tokens);
            self.replicas[to.replica].caches[stage][rank].write(to.table, &sent);
        }
    }
}
