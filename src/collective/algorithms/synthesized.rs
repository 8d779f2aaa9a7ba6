//! Synthesized: a schedule for this very topology, found by matching links with pieces in time.
//!
//! After Won et al., "TACOS: Topology-Aware Collective Algorithm Synthesizer for Distributed Machine
//! Learning", MICRO 2024, sections IV and V: the network is expanded in time, and whenever links are free
//! each is given, greedily, a piece that the member at its start holds and the one at its end still lacks.
//! Who chooses first, and among equals which piece, is drawn at random; the shortest of several draws is
//! taken. A reduce-scatter is an all-gather over the links' opposites, backwards in time; an all-reduce is
//! both, one after the other.
//!
//! TACOS takes direct links between members. Here a step crosses the links of a route: it takes the
//! slowest one's time and every one's latency, and occupies a lane of each link, of which a link has as
//! many as its bandwidth feeds of the slowest route across it. Members that forward for each other (rings,
//! tori) give to neighbours only. Which piece is drawn from the rarest, which TACOS leaves to chance.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::{reversed, root_of, send};
use crate::collective::algorithms::CollectiveAlgorithm;
use crate::collective::{Collective, CollectiveKind, CommPlan, Member, PlanBuilder, Transfer};
use crate::hardware::{Route, Topology, Vertex};
use crate::ids::{LinkId, TransferId, VertexId};
use crate::rng::{RngExt, Seed, Stream};
use crate::units::{Bytes, SimDuration, SimTime};

/// Larger groups have schedules for which a greedy search takes minutes.
const MOST_MEMBERS: u32 = 129;

/// A greedy search over the time-expanded topology.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Synthesized {
    /// Into how many chunks what a member gives is cut.
    pub chunks: u32,
    /// How many schedules are drawn.
    pub tries: u32,
    /// What they are drawn from.
    pub seed: u64,
}

impl Default for Synthesized {
    fn default() -> Self {
        Synthesized { chunks: 1, tries: 4, seed: 1 }
    }
}

impl CollectiveAlgorithm for Synthesized {
    fn plan(&self, call: &Collective, topology: &Topology) -> CommPlan {
        if call.kind == CollectiveKind::SendReceive {
            return send();
        }
        let chunks = self.chunks.max(1);
        let rooted = matches!(call.kind, CollectiveKind::Broadcast { .. } | CollectiveKind::Reduce { .. });
        let pieces = if rooted { chunks } else { call.members() * chunks };
        let owner = |piece: u32| if rooted { root_of(call.kind) } else { Member(piece / chunks) };
        let mut plan = PlanBuilder::new(call.members(), pieces);
        let gives = !matches!(call.kind, CollectiveKind::ReduceScatter | CollectiveKind::Reduce { .. });
        let takes = !matches!(call.kind, CollectiveKind::AllGather | CollectiveKind::Broadcast { .. });
        let piece = Bytes((call.bytes.get() / u64::from(pieces)).max(1));
        if takes {
            let ways = Ways::new(call, topology, piece, true);
            self.shortest(&ways, pieces, owner).write(&mut plan, true);
        }
        if gives {
            let ways = Ways::new(call, topology, piece, false);
            self.shortest(&ways, pieces, owner).write(&mut plan, false);
        }
        plan.build()
    }

    fn admits(&self, call: &Collective, _topology: &Topology) -> Result<(), String> {
        super::not_all_to_all(call, "synthesized")?;
        if call.members() > MOST_MEMBERS {
            return Err(format!(
                "`synthesized` searches schedules of at most {MOST_MEMBERS} members, not {}; `hierarchical` and \
                 `auto` take any number",
                call.members()
            ));
        }
        Ok(())
    }
}

impl Synthesized {
    fn shortest(&self, ways: &Ways, pieces: u32, owner: impl Fn(u32) -> Member + Copy) -> Schedule {
        let drawn = (0..self.tries.max(1)).map(|attempt| {
            let chance = Seed(self.seed).stream(&format!("synthesized {attempt}"));
            Search::new(ways, pieces, owner, chance).run()
        });
        drawn.min_by_key(|schedule| schedule.end).expect("at least one try")
    }
}

/// How a piece gets from one member to another.
struct Way {
    from: Member,
    to: Member,
    route: Route,
    takes: SimDuration,
}

/// Every way that a step may take, by receiver, the quickest first.
struct Ways {
    members: u32,
    into: Vec<Vec<Way>>,
    /// Steps that a link carries at once.
    lanes: BTreeMap<LinkId, usize>,
}

impl Ways {
    /// `backwards`: steps are to be done the other way around, so they occupy the routes back.
    fn new(call: &Collective, topology: &Topology, piece: Bytes, backwards: bool) -> Self {
        let members = call.members();
        let is_member = |vertex: VertexId| matches!(topology.vertex(vertex), Vertex::Device(device) if call.group.contains(device));
        let others = |to: u32| (0..members).filter(move |&from| from != to);
        let way = |from: u32, to: u32| {
            let ends = [call.group[from as usize], call.group[to as usize]];
            let [start, end] = if backwards { [ends[1], ends[0]] } else { ends };
            let route = topology.route(start, end, 0);
            let links = route.iter().map(|&link| &topology.links()[link]);
            let latency = links.clone().map(|link| link.latency).sum::<SimDuration>();
            let slowest = links.map(|link| piece / link.bandwidth).max().unwrap_or(SimDuration::ZERO);
            Way { from: Member(from), to: Member(to), route, takes: latency + slowest }
        };
        let mut into: Vec<Vec<Way>> =
            (0..members).map(|to| others(to).map(|from| way(from, to)).collect()).collect();
        for ways in &mut into {
            ways.sort_by_key(|way| (way.takes, way.route.len(), way.from));
            // Through other members a piece goes step by step: they want it too.
            ways.retain(|way| !way.route.iter().skip(1).any(|&link| is_member(topology.links()[link].from)));
        }
        let lanes = lanes_of(&into, topology);
        Ways { members, into, lanes }
    }
}

/// How many of the slowest routes across it a link feeds.
fn lanes_of(into: &[Vec<Way>], topology: &Topology) -> BTreeMap<LinkId, usize> {
    let rate = |link: LinkId| topology.links()[link].bandwidth.get();
    let mut slowest: BTreeMap<LinkId, f64> = BTreeMap::new();
    for way in into.iter().flatten() {
        let bottleneck = way.route.iter().map(|&link| rate(link)).fold(f64::INFINITY, f64::min);
        for &link in way.route.iter() {
            let least = slowest.entry(link).or_insert(bottleneck);
            *least = least.min(bottleneck);
        }
    }
    slowest.into_iter().map(|(link, least)| (link, ((rate(link) / least) as usize).max(1))).collect()
}

/// A piece given over one way.
struct Move {
    from: Member,
    to: Member,
    piece: u32,
    /// Earlier moves that had one of its lanes before it.
    after: Vec<usize>,
}

/// Moves in the order in which they begin, and when the last one ends.
struct Schedule {
    moves: Vec<Move>,
    end: SimTime,
}

impl Schedule {
    /// Adds the moves to a plan, each after those whose lanes it takes; backwards, the last one first,
    /// each adding where it copied.
    fn write(&self, plan: &mut PlanBuilder, backwards: bool) {
        let copies: Vec<Transfer> =
            self.moves.iter().map(|given| Transfer::copy(given.from, given.to, given.piece, 1)).collect();
        let transfers: Vec<Transfer> = if backwards { reversed(&copies).collect() } else { copies };
        let ids: Vec<TransferId> = transfers.into_iter().map(|transfer| plan.transfer(transfer)).collect();
        let id = |at: usize| if backwards { ids[ids.len() - 1 - at] } else { ids[at] };
        for (at, given) in self.moves.iter().enumerate() {
            for &before in &given.after {
                let (earlier, later) = if backwards { (at, before) } else { (before, at) };
                plan.wait(id(earlier), id(later));
            }
        }
    }
}

/// A lane of a link: when it is free, and who had it last.
#[derive(Clone, Copy)]
struct Lane {
    free: SimTime,
    last: Option<usize>,
}

/// One draw of a schedule.
struct Search<'a> {
    ways: &'a Ways,
    chance: Stream,
    /// By member and piece: when it is there; nothing while nobody has sent it.
    there: Vec<Vec<Option<SimTime>>>,
    /// How many members have a piece or are being sent it.
    copies: Vec<u32>,
    /// Pieces that a member lacks.
    lacking: Vec<Vec<u32>>,
    lanes: BTreeMap<LinkId, Vec<Lane>>,
    schedule: Schedule,
}

impl<'a> Search<'a> {
    fn new(ways: &'a Ways, pieces: u32, owner: impl Fn(u32) -> Member, chance: Stream) -> Self {
        let free = Lane { free: SimTime::ZERO, last: None };
        let has = |member: u32, piece: u32| (owner(piece).0 == member).then_some(SimTime::ZERO);
        let there: Vec<Vec<Option<SimTime>>> =
            (0..ways.members).map(|member| (0..pieces).map(|piece| has(member, piece)).collect()).collect();
        let lacks = |held: &Vec<Option<SimTime>>| {
            (0..pieces).filter(|&piece| held[piece as usize].is_none()).collect::<Vec<_>>()
        };
        Search {
            ways,
            chance,
            lacking: there.iter().map(lacks).collect(),
            there,
            copies: vec![1; pieces as usize],
            lanes: ways.lanes.iter().map(|(&link, &lanes)| (link, vec![free; lanes])).collect(),
            schedule: Schedule { moves: Vec::new(), end: SimTime::ZERO },
        }
    }

    /// Gives pieces from moment to moment until nobody lacks any.
    fn run(mut self) -> Schedule {
        let mut now = SimTime::ZERO;
        let mut moments = std::collections::BTreeSet::new();
        while self.lacking.iter().any(|lacking| !lacking.is_empty()) {
            let mut receivers: Vec<u32> = (0..self.ways.members).collect();
            receivers.shuffle(&mut self.chance);
            for receiver in receivers {
                while let Some(end) = self.give(receiver, now) {
                    moments.insert(end);
                }
            }
            now = moments.pop_first().expect("while a piece is lacking one is on its way");
        }
        self.schedule
    }

    /// Gives a member a piece over the quickest free way; when it will be there.
    fn give(&mut self, receiver: u32, now: SimTime) -> Option<SimTime> {
        let ways = self.ways;
        let offer = |way: &'a Way| {
            let is_free = |link: &LinkId| self.lanes[link].iter().any(|lane| lane.free <= now);
            way.route.iter().all(is_free).then(|| self.offered(way, now))
        };
        let mut offers = ways.into[receiver as usize].iter().filter_map(|way| Some((way, offer(way)?)));
        let (way, mut rarest) = offers.find(|(_, pieces)| !pieces.is_empty())?;
        let piece = rarest.swap_remove(self.chance.random_range(0..rarest.len()));
        let end = now + way.takes;
        self.there[receiver as usize][piece as usize] = Some(end);
        self.lacking[receiver as usize].retain(|&lacking| lacking != piece);
        self.copies[piece as usize] += 1;
        let after = self.occupy(way, now, end);
        self.schedule.moves.push(Move { from: way.from, to: way.to, piece, after });
        self.schedule.end = self.schedule.end.max(end);
        Some(end)
    }

    /// The pieces that a way's sender holds and its receiver lacks, of which there are fewest.
    fn offered(&self, way: &Way, now: SimTime) -> Vec<u32> {
        let held = &self.there[way.from.index()];
        let has = |piece: &u32| held[*piece as usize].is_some_and(|since| since <= now);
        let offered = || self.lacking[way.to.index()].iter().copied().filter(has);
        let fewest = offered().map(|piece| self.copies[piece as usize]).min();
        offered().filter(|&piece| Some(self.copies[piece as usize]) == fewest).collect()
    }

    /// Takes a lane of every link of a way; who had them before.
    fn occupy(&mut self, way: &Way, now: SimTime, until: SimTime) -> Vec<usize> {
        let this = self.schedule.moves.len();
        let mut before = Vec::new();
        for link in way.route.iter() {
            let lanes = self.lanes.get_mut(link).expect("a link of a way");
            // Of the free lanes the one that was free last, so that the others stay for who comes now.
            let free = lanes.iter_mut().filter(|lane| lane.free <= now);
            let lane = free.min_by_key(|lane| Reverse(lane.free)).expect("a free lane");
            before.extend(lane.last);
            *lane = Lane { free: until, last: Some(this) };
        }
        before.sort_unstable();
        before.dedup();
        before
    }
}
