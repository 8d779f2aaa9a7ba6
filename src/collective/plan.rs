//! The plan of a collective: its transfers, and which must end before which may begin.

use std::ops::Range;

use petgraph::graph::DiGraph;
use rustc_hash::FxHashMap;

use crate::collective::Member;
use crate::hardware::{LinkClass, Route, Topology};
use crate::ids::{Id, IdVec, LinkId, TransferId};
use crate::network::Flow;
use crate::units::{Bytes, SimDuration};

/// What becomes of a piece where it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// It replaces what was there.
    Copy,
    /// It is added to what was there.
    Reduce,
}

/// A run of pieces on its way from one member to another.
///
/// Every member has one buffer of [`CommPlan::pieces`] equal pieces. In an all-to-all it has a second
/// one for what it is given: pieces `pieces..2·pieces`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Who gives.
    pub from: Member,
    /// Who gets.
    pub to: Member,
    /// The first piece, where it is taken from.
    pub source: u32,
    /// The first piece, where it arrives.
    pub target: u32,
    /// How many pieces in a row.
    pub count: u32,
    /// What becomes of them there.
    pub action: Action,
    /// Which of several parallel ways: flows of different channels may take different links.
    pub channel: u16,
    /// Which part of the way it takes by itself.
    pub part: Part,
}

impl Transfer {
    /// Pieces that replace those at the same place of another member.
    pub const fn copy(from: Member, to: Member, first: u32, count: u32) -> Self {
        let action = Action::Copy;
        Transfer { from, to, source: first, target: first, count, action, channel: 0, part: Part::Whole }
    }

    /// Pieces that are added to those at the same place of another member.
    pub const fn reduce(from: Member, to: Member, first: u32, count: u32) -> Self {
        Transfer { action: Action::Reduce, ..Transfer::copy(from, to, first, count) }
    }
}

/// Which links of its route a transfer takes by itself. The rest it shares, byte for byte, with another
/// transfer: a switch that reduces sends one sum on, and one that multiplies takes one copy in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Part {
    /// All of them.
    #[default]
    Whole,
    /// This many, from the sender on: its bytes are then added to others' in a switch.
    First(u8),
    /// This many, up to the receiver: a switch copies there what it was sent for another.
    Last(u8),
}

impl Part {
    /// The part of a route.
    pub fn of(self, route: &Route) -> Route {
        match self {
            Part::Whole => Route::clone(route),
            Part::First(links) => route[..usize::from(links)].into(),
            Part::Last(links) => route[route.len() - usize::from(links)..].into(),
        }
    }
}

/// Transfers ordered by data.
#[derive(Debug, Clone, Default)]
pub struct CommPlan {
    pieces: u32,
    transfers: IdVec<TransferId, Transfer>,
    starts: Vec<u32>,
    successors: Vec<TransferId>,
    predecessors: Vec<u32>,
    wire: Wire,
}

/// What a communication library adds to the physics of links: nothing, unless an algorithm says so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wire {
    /// From the kernel's start to the first transfers, with all that the library's steps take beyond the
    /// latencies of links.
    pub overhead: SimDuration,
    /// The share of a link's bandwidth within a node that payload gets.
    pub within: f64,
    /// The same of a network between nodes.
    pub between: f64,
}

/// Bare links.
impl Default for Wire {
    fn default() -> Self {
        Wire { overhead: SimDuration::ZERO, within: 1.0, between: 1.0 }
    }
}

impl CommPlan {
    /// How many equal pieces a buffer is cut into.
    pub fn pieces(&self) -> u32 {
        self.pieces
    }

    /// The transfers, in an order in which they could be done one after the other.
    pub fn transfers(&self) -> &IdVec<TransferId, Transfer> {
        &self.transfers
    }

    /// The transfers that wait for this one.
    pub fn successors(&self, transfer: TransferId) -> impl Iterator<Item = TransferId> + '_ {
        let at = transfer.index();
        self.successors[self.starts[at] as usize..self.starts[at + 1] as usize].iter().copied()
    }

    /// How many transfers each one waits for.
    pub fn predecessor_counts(&self) -> &[u32] {
        &self.predecessors
    }

    /// Where a run of pieces begins and ends in a buffer of `size` bytes or numbers: piece i is
    /// ⌊i·size/pieces⌋ … ⌊(i+1)·size/pieces⌋, so that all pieces together are the buffer.
    pub fn range(&self, first: u32, count: u32, size: u64) -> Range<u64> {
        let at = |piece: u32| {
            let cut = u128::from(piece) * u128::from(size) / u128::from(self.pieces);
            u64::try_from(cut).expect("at most twice the size")
        };
        at(first)..at(first + count)
    }

    /// How many bytes a transfer moves of a buffer of `whole` bytes.
    pub fn bytes_of(&self, transfer: TransferId, whole: Bytes) -> Bytes {
        let Transfer { source, count, .. } = self.transfers[transfer];
        let range = self.range(source, count, whole.get());
        Bytes(range.end - range.start)
    }

    /// What the communication library adds.
    pub fn wire(&self) -> Wire {
        self.wire
    }

    /// The same plan by a communication library.
    pub fn over(self, wire: Wire) -> Self {
        CommPlan { wire, ..self }
    }

    /// How a transfer of a buffer of `whole` bytes occupies the links of the route between its members:
    /// its part of the route, and its bytes with what the library loses of the bandwidth.
    pub fn flow(&self, transfer: TransferId, whole: Bytes, route: &Route, topology: &Topology) -> Flow {
        self.flow_of(transfer, self.bytes_of(transfer, whole), route, topology)
    }

    /// The same for a transfer of so many bytes.
    pub fn flow_of(&self, transfer: TransferId, payload: Bytes, route: &Route, topology: &Topology) -> Flow {
        let route = self.transfers[transfer].part.of(route);
        let leaves_node = |&link: &LinkId| {
            matches!(topology.links()[link].class, LinkClass::Infiniband | LinkClass::Ethernet)
        };
        let efficiency = if self.wire == Wire::default() {
            1.0
        } else if route.iter().any(leaves_node) {
            self.wire.between
        } else {
            self.wire.within
        };
        let bytes = if efficiency == 1.0 { payload } else { Bytes::from_f64(payload.as_f64() / efficiency) };
        Flow { route, bytes, weight: 1.0 }
    }

    /// A petgraph view, for figures, tests and debugging.
    pub fn graph(&self) -> DiGraph<TransferId, ()> {
        let mut graph = DiGraph::new();
        let vertices: Vec<_> = self.transfers.ids().map(|id| graph.add_node(id)).collect();
        for id in self.transfers.ids() {
            for next in self.successors(id) {
                graph.add_edge(vertices[id.index()], vertices[next.index()], ());
            }
        }
        graph
    }
}

/// Makes a plan transfer by transfer, and finds out who waits for whom.
///
/// Transfers are given in an order in which they could be done one after the other. A transfer waits
/// for whoever wrote what it takes, and for whoever used what it overwrites, piece by piece. Sums that
/// arrive at one place need not wait for each other.
#[derive(Debug)]
pub struct PlanBuilder {
    plan: CommPlan,
    /// Places of all members: those of the first, of the second, …
    places: u32,
    uses: Vec<Uses>,
    edges: Vec<(TransferId, TransferId)>,
    /// The last transfer of each connection, where they are done in order.
    in_order: Option<FxHashMap<(Member, Member, u16), TransferId>>,
    /// By member: the transfers of the last and of this round, where there are rounds.
    rounds: Option<[Vec<Vec<TransferId>>; 2]>,
}

/// Who used a place since it was last replaced.
#[derive(Debug, Clone, Default)]
struct Uses {
    copied_by: Option<TransferId>,
    added_by: Vec<TransferId>,
    read_by: Vec<TransferId>,
}

impl PlanBuilder {
    /// A plan for `members` members whose buffers have `pieces` pieces.
    pub fn new(members: u32, pieces: u32) -> Self {
        Self::with_places(members, pieces, pieces)
    }

    /// The same with a second buffer for what is given.
    pub fn with_output(members: u32, pieces: u32) -> Self {
        Self::with_places(members, pieces, 2 * pieces)
    }

    fn with_places(members: u32, pieces: u32, places: u32) -> Self {
        let all = (members * places) as usize;
        PlanBuilder {
            plan: CommPlan { pieces, ..CommPlan::default() },
            places,
            uses: vec![Uses::default(); all],
            edges: Vec::new(),
            in_order: None,
            rounds: None,
        }
    }

    /// From now on a connection (from, to, channel) carries one transfer after the other: chunks that
    /// are to follow each other must not share it.
    pub fn in_order(mut self) -> Self {
        self.in_order = Some(FxHashMap::default());
        self
    }

    /// From now on a member begins its transfers of a round when those that it gave or got in the round
    /// before have ended.
    pub fn next_round(&mut self) {
        let members = self.uses.len() / self.places.max(1) as usize;
        let nothing = || vec![Vec::new(); members];
        let this = self.rounds.take().map_or_else(nothing, |[_, this]| this);
        self.rounds = Some([this, nothing()]);
    }

    /// Lets a transfer wait for an earlier one that it needs no data of.
    pub fn wait(&mut self, earlier: TransferId, later: TransferId) {
        assert!(earlier < later, "{later} comes before {earlier}");
        self.edges.push((earlier, later));
    }

    /// Adds transfers.
    pub fn transfers(&mut self, transfers: impl IntoIterator<Item = Transfer>) {
        transfers.into_iter().for_each(|transfer| {
            self.transfer(transfer);
        });
    }

    /// Adds a transfer.
    pub fn transfer(&mut self, transfer: Transfer) -> TransferId {
        let id = TransferId::from_index(self.plan.transfers.len());
        for offset in 0..transfer.count {
            let source = self.place(transfer.from, transfer.source + offset);
            let target = self.place(transfer.to, transfer.target + offset);
            let taken = &mut self.uses[source];
            let writers = taken.copied_by.iter().chain(&taken.added_by);
            self.edges.extend(writers.map(|&earlier| (earlier, id)));
            taken.read_by.push(id);
            let kept = &mut self.uses[target];
            let before = kept.copied_by.into_iter().chain(kept.read_by.drain(..));
            self.edges.extend(before.map(|earlier| (earlier, id)));
            match transfer.action {
                Action::Reduce => kept.added_by.push(id),
                Action::Copy => {
                    self.edges.extend(kept.added_by.drain(..).map(|earlier| (earlier, id)));
                    kept.copied_by = Some(id);
                }
            }
        }
        self.wait_in_turn(&transfer, id);
        self.plan.transfers.push(transfer)
    }

    fn wait_in_turn(&mut self, transfer: &Transfer, id: TransferId) {
        let Transfer { from, to, channel, .. } = *transfer;
        if let Some(last) = &mut self.in_order {
            let before = last.insert((from, to, channel), id);
            self.edges.extend(before.map(|before| (before, id)));
        }
        if let Some([before, this]) = &mut self.rounds {
            for member in [from, to] {
                self.edges.extend(before[member.index()].iter().map(|&before| (before, id)));
                this[member.index()].push(id);
            }
        }
    }

    fn place(&self, member: Member, piece: u32) -> usize {
        (member.0 * self.places + piece) as usize
    }

    /// The plan.
    pub fn build(mut self) -> CommPlan {
        self.edges.sort_unstable();
        self.edges.dedup();
        let transfers = self.plan.transfers.len();
        let mut starts = vec![0; transfers + 1];
        self.plan.predecessors = vec![0; transfers];
        for (earlier, later) in &self.edges {
            starts[earlier.index() + 1] += 1;
            self.plan.predecessors[later.index()] += 1;
        }
        for row in 0..transfers {
            starts[row + 1] += starts[row];
        }
        self.plan.starts = starts;
        self.plan.successors = self.edges.into_iter().map(|(_, later)| later).collect();
        self.plan
    }
}
