//! Sizes that go by where tokens were sent, once that is known.

use std::sync::Arc;

use crate::ids::{Id, IdVec, OpId, RoutingId, TransferId};
use crate::program::{Arrivals, Exchange, Program};
use crate::runtime::Interpreter;
use crate::trace::{Listener, Routed};
use crate::units::Bytes;

/// What has become known of the routings of a program.
#[derive(Debug)]
pub(super) struct Known(IdVec<RoutingId, Option<Arc<Routed>>>);

impl Known {
    pub(super) fn nothing(program: &Program) -> Self {
        Known(IdVec::filled(None, program.routings().len()))
    }

    fn of(
        &mut self,
        program: &Program,
        routing: RoutingId,
        interpreter: &mut dyn Interpreter,
    ) -> Arc<Routed> {
        self.0[routing].get_or_insert_with(|| interpreter.routed(program, routing)).clone()
    }

    /// Rows that arrive somewhere, and rows of the fullest expert there.
    pub(super) fn rows(
        &mut self,
        program: &Program,
        arrivals: Arrivals,
        interpreter: &mut dyn Interpreter,
    ) -> (u64, u64) {
        let at = program.arrivals(arrivals);
        let routing = &program.routings()[at.routing];
        routing.arrived(&self.of(program, at.routing, interpreter), at.member as usize)
    }

    /// Bytes of a transfer of tokens.
    pub(super) fn transfer(
        &mut self,
        program: &Program,
        exchange: &Exchange,
        id: TransferId,
        interpreter: &mut dyn Interpreter,
    ) -> Bytes {
        let Some(sizes) = &exchange.routed else { return exchange.plan.bytes_of(id, exchange.bytes) };
        let (routing, routed) =
            (&program.routings()[sizes.routing], self.of(program, sizes.routing, interpreter));
        let rows = sizes.blocks[Id::index(id)].iter().map(|block| {
            let (from, to) = (block.from.index(), block.to.index());
            if sizes.back { routing.sent(&routed, to, from) } else { routing.sent(&routed, from, to) }
        });
        sizes.row * rows.sum::<u64>()
    }

    /// Bytes that the member whose op it is brings to an exchange.
    pub(super) fn brought(
        &mut self,
        program: &Program,
        exchange: &Exchange,
        op: OpId,
        interpreter: &mut dyn Interpreter,
    ) -> Bytes {
        let Some(sizes) = &exchange.routed else { return exchange.bytes };
        let member = exchange.participants.iter().position(|part| part.op == op).expect("a member's op");
        let (routing, routed) =
            (&program.routings()[sizes.routing], self.of(program, sizes.routing, interpreter));
        let rows = if sizes.back {
            routing.arrived(&routed, member).0
        } else {
            (0..routing.members as usize).map(|to| routing.sent(&routed, member, to)).sum()
        };
        sizes.row * rows
    }

    /// Tells how every routing of the program came out.
    pub(super) fn tell(
        &mut self,
        program: &Program,
        interpreter: &mut dyn Interpreter,
        listener: &mut dyn Listener,
    ) {
        for routing in program.routings().ids() {
            let routed = self.of(program, routing, interpreter);
            listener.routed(program.routings()[routing].label.layer, &routed);
        }
    }
}
