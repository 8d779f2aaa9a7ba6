//! Runs programs on the machine: streams, readiness, memory, network, completions.
//!
//! The runtime is the one mechanism by which simulated things happen, whatever the trade. It finds
//! out *when* each op begins and ends; an [`Interpreter`], told so in simulated order, finds out what
//! the op computes; a [`Listener`] hears of it. The runtime knows no policies: what there is to do, and
//! in which order, stands in the program.

mod critical;
mod folded;
mod machine;
mod memory;
mod routed;
mod stall;
mod step;

pub use critical::{CriticalPath, PathLink, Spent};
pub use machine::{Activities, Dispatch, LinkChange, Machine, Outcome, Supposition};
pub use stall::Stall;

use std::sync::Arc;

use crate::ids::{BufferId, OpId, RoutingId};
use crate::program::Program;
use crate::trace::Routed;

/// What ops mean, called in simulated order.
///
/// Contract: `begin` comes once for an op when it starts (for the parts of an exchange when the last
/// has arrived, in member order) and takes what the op reads; `finish` comes once when it ends and
/// makes visible what it wrote; `free` comes when a step-lived buffer has had its last user.
pub trait Interpreter {
    /// An op starts: what it reads is taken now.
    fn begin(&mut self, program: &Program, op: OpId);
    /// An op ends: what it wrote can be seen from now on.
    fn finish(&mut self, program: &Program, op: OpId);
    /// Nobody will use this buffer again.
    fn free(&mut self, buffer: BufferId);
    /// How tokens were sent to experts; asked when every member of the routing has decided. Who computes nothing
    /// and assumes nothing spreads them evenly.
    fn routed(&mut self, program: &Program, routing: RoutingId) -> Arc<Routed> {
        Arc::new(program.routings()[routing].even())
    }
}

/// Computes nothing: for runs that are only timed.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoValues;

impl Interpreter for NoValues {
    fn begin(&mut self, _program: &Program, _op: OpId) {}
    fn finish(&mut self, _program: &Program, _op: OpId) {}
    fn free(&mut self, _buffer: BufferId) {}
}
