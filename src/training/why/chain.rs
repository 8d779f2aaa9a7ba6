//! The chain of ops that decided how long a step took, told so that it can be read.

use std::collections::BTreeMap;

use crate::ids::{MicroBatch, Rank, Stage};
use crate::program::Program;
use crate::runtime::{CriticalPath, PathLink, Spent};
use crate::trace::Activity;
use crate::units::{SimDuration, SimTime};

/// What part of the chain is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doing {
    /// An op of this activity.
    Op(Activity),
    /// A host, launching the next op.
    Launching,
}

impl Doing {
    /// The name a reader sees.
    pub fn name(self) -> &'static str {
        match self {
            Doing::Op(activity) => activity.name(),
            Doing::Launching => "host launches",
        }
    }
}

/// The chain that decided a step's length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// How long it was busy with what; the lengths sum to the step.
    pub shares: Vec<(Doing, SimDuration)>,
    /// How many ops are on it.
    pub ops: usize,
    /// How often it goes from one rank to another.
    pub hops: usize,
    /// What stays on one rank, in order of time: the longest of them.
    pub stretches: Vec<Stretch>,
    /// Kinds of op that take most of it, those that take most first.
    pub kinds: Vec<OpKind>,
}

/// A part of the chain that stays on one rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Which.
    pub rank: Rank,
    /// From when, seen from the step's start.
    pub from: SimDuration,
    /// How long.
    pub length: SimDuration,
    /// How many ops.
    pub ops: usize,
    /// With what, most first.
    pub shares: Vec<(Doing, SimDuration)>,
    /// The stages whose passes it works on, first and last.
    pub stages: Option<(Stage, Stage)>,
    /// The micro-batches that it works on, first and last.
    pub micro_batches: Option<(MicroBatch, MicroBatch)>,
}

/// Ops of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpKind {
    /// What they do.
    pub doing: Doing,
    /// What they are called.
    pub name: &'static str,
    /// How many of the chain.
    pub count: usize,
    /// How long together.
    pub length: SimDuration,
}

/// As many stretches and kinds as a reader wants to see.
const SHOWN: usize = 8;

impl Chain {
    /// Tells a critical path of a step that began at `start`.
    pub(super) fn of(path: &CriticalPath, program: &Program, start: SimTime) -> Self {
        let mut shares = BTreeMap::new();
        let mut kinds: BTreeMap<(Doing, &'static str), OpKind> = BTreeMap::new();
        for link in &path.links {
            let (doing, name) = (doing(link, program), program.ops()[link.op].label.name);
            *shares.entry(doing).or_insert(SimDuration::ZERO) += link.duration();
            let fresh = OpKind { doing, name, count: 0, length: SimDuration::ZERO };
            let kind = kinds.entry((doing, name)).or_insert(fresh);
            kind.count += 1;
            kind.length += link.duration();
        }
        let mut kinds: Vec<OpKind> = kinds.into_values().collect();
        kinds.sort_by_key(|kind| std::cmp::Reverse(kind.length));
        kinds.truncate(SHOWN);
        let rank_of = |link: &PathLink| program.ops()[link.op].rank;
        let on_one_rank = path.links.chunk_by(|a, b| rank_of(a) == rank_of(b));
        let mut stretches: Vec<Stretch> = on_one_rank.map(|links| stretch(links, program, start)).collect();
        let hops = stretches.len().saturating_sub(1);
        stretches.sort_by_key(|stretch| (std::cmp::Reverse(stretch.length), stretch.from));
        stretches.truncate(SHOWN);
        stretches.sort_by_key(|stretch| stretch.from);
        let ops = path.links.iter().filter(|link| link.spent == Spent::Working).count();
        Chain { shares: shares.into_iter().collect(), ops, hops, stretches, kinds }
    }
}

fn doing(link: &PathLink, program: &Program) -> Doing {
    match link.spent {
        Spent::Working => Doing::Op(program.ops()[link.op].activity),
        Spent::HandingOver => Doing::Launching,
    }
}

/// Links of one rank, one after the other.
fn stretch(links: &[PathLink], program: &Program, start: SimTime) -> Stretch {
    let mut shares = BTreeMap::new();
    for link in links {
        *shares.entry(doing(link, program)).or_insert(SimDuration::ZERO) += link.duration();
    }
    let mut shares: Vec<(Doing, SimDuration)> = shares.into_iter().collect();
    shares.sort_by_key(|&(_, length)| std::cmp::Reverse(length));
    let labels = || links.iter().map(|link| program.ops()[link.op].label);
    let (first, last) = (&links[0], &links[links.len() - 1]);
    Stretch {
        rank: program.ops()[first.op].rank,
        from: first.from.since(start),
        length: last.to.since(first.from),
        ops: links.len(),
        shares,
        stages: ends(labels().filter_map(|label| label.stage)),
        micro_batches: ends(labels().filter_map(|label| label.micro_batch)),
    }
}

/// The least and the greatest.
fn ends<T: Ord + Copy>(all: impl Iterator<Item = T>) -> Option<(T, T)> {
    all.fold(None, |ends, item| match ends {
        None => Some((item, item)),
        Some((least, most)) => Some((least.min(item), most.max(item))),
    })
}
