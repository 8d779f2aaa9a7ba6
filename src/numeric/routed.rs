//! Where tokens were really sent, and what goes by it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::collective;
use crate::ids::RoutingId;
use crate::numeric::layers::experts::{Decided, Run};
use crate::program::{Arrivals, Exchange, Program, Routing};
use crate::trace::Routed;

/// What routers have decided in a step.
#[derive(Debug, Default)]
pub(super) struct Decisions(BTreeMap<RoutingId, Decision>);

#[derive(Debug)]
struct Decision {
    routed: Arc<Routed>,
    imbalance: Vec<Option<f64>>,
}

impl Decisions {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// A member has decided.
    pub(super) fn take(&mut self, routing: &Routing, id: RoutingId, member: u32, decided: &Decided) {
        let members = routing.members as usize;
        let decision = self.0.entry(id).or_insert_with(|| Decision {
            routed: Arc::new(Routed::none(members, routing.experts as usize)),
            imbalance: vec![None; members],
        });
        decision.imbalance[member as usize] = Some(decided.imbalance);
        let known = decision.imbalance.iter().copied().sum::<Option<f64>>();
        let routed = Arc::make_mut(&mut decision.routed);
        routed.chose(member as usize, &decided.chosen, routing.room);
        routed.imbalance = known.map(|sum| sum / members as f64);
    }

    /// How a routing came out.
    ///
    /// # Panics
    /// When a member has not decided yet: the program lacks a dependency.
    pub(super) fn of(&self, id: RoutingId) -> Arc<Routed> {
        let decision = self.0.get(&id).filter(|decision| decision.imbalance.iter().all(Option::is_some));
        decision.unwrap_or_else(|| panic!("{id} is asked for before every member has decided")).routed.clone()
    }

    /// Rows that arrive somewhere.
    pub(super) fn rows(&self, program: &Program, arrivals: Arrivals) -> u64 {
        let at = program.arrivals(arrivals);
        program.routings()[at.routing].arrived(&self.of(at.routing), at.member as usize).0
    }

    /// How they lie: member by member, of each expert by expert.
    pub(super) fn runs(&self, program: &Program, arrivals: Arrivals) -> Vec<Run> {
        let at = program.arrivals(arrivals);
        let (routing, routed) = (&program.routings()[at.routing], self.of(at.routing));
        let held = routed.experts_of(at.member as usize);
        let rows = |from, expert| routing.room.unwrap_or_else(|| routed.kept(from, expert)) as usize;
        let from = |from| held.clone().map(move |expert| (from, expert));
        let all = (0..routing.members as usize).flat_map(from);
        all.map(|(from, expert)| (expert - held.start, rows(from, expert))).collect()
    }

    /// What each member gets of what each gives, all blocks made as large as the largest on the way.
    pub(super) fn exchange(&self, program: &Program, exchange: &Exchange, given: &[&[f32]]) -> Vec<Vec<f32>> {
        let sizes = exchange.routed.as_ref().expect("blocks of different sizes");
        let (routing, routed) = (&program.routings()[sizes.routing], self.of(sizes.routing));
        let members = given.len();
        let rows = |from: usize, to: usize| {
            let rows =
                if sizes.back { routing.sent(&routed, to, from) } else { routing.sent(&routed, from, to) };
            rows as usize
        };
        let width = given.iter().map(|numbers| numbers.len()).sum::<usize>()
            / (0..members * members).map(|pair| rows(pair / members, pair % members)).sum::<usize>().max(1);
        let pairs = (0..members * members).map(|pair| rows(pair / members, pair % members));
        let block = pairs.max().unwrap_or(0) * width;
        let mut payloads = vec![vec![0.0; 2 * members * block]; members];
        for (from, (payload, given)) in payloads.iter_mut().zip(given).enumerate() {
            let mut rest = *given;
            for to in 0..members {
                let (mine, others) = rest.split_at(rows(from, to) * width);
                payload[to * block..][..mine.len()].copy_from_slice(mine);
                rest = others;
            }
        }
        collective::execute(&exchange.plan, &mut payloads, exchange.reduction);
        let got = |(to, payload): (usize, &Vec<f32>)| {
            let from = |from: usize| &payload[(members + from) * block..][..rows(from, to) * width];
            (0..members).flat_map(from).copied().collect()
        };
        payloads.iter().enumerate().map(got).collect()
    }
}
