//! How long flows take when they share links.
//!
//! A network model is a clockwork: it is told when flows start, asked when it next changes, and told
//! to come to that moment. It knows routes, link capacities and bytes; it knows nothing of
//! collectives, ranks or training. Which links a flow crosses is decided by
//! [`hardware`](crate::hardware) (the topology's routes) before the flow starts.
//!
//! The ladder of fidelities on the same topology:
//! - [`analytic`]: α–β on the route, no sharing;
//! - [`fluid`]: max-min fair flows, found anew when one starts or ends;
//! - [`packet`]: packets through the queues of switches, with pauses, marks, drops and many routes;
//! - [`flit`]: flits through routers with virtual channels and credits, cycle by cycle.
//!
//! The first two are one [`clockwork`] with two ways to share links; it counts in the whole numbers
//! of [`rates`], over the [`paths`] in use. The other two take the [`links`]' topology into account:
//! which other routes there are, what shares a switch. [`synthetic`] traffic is for looking at any of
//! them under load.
//!
//! To add a fidelity, write its file and list it here; the conformance suite finds it.

pub mod analytic;
pub mod clockwork;
mod counters;
mod fair;
pub mod flit;
pub mod fluid;
pub mod links;
pub mod maxmin;
pub mod packet;
pub mod paths;
pub mod rates;
pub mod synthetic;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::ids::{FlowId, IdVec, LinkId};
use crate::network::rates::{Rate, Service, Weight};
use crate::registry;
use crate::units::{Bandwidth, Bytes, SimDuration, SimTime};

pub use counters::Counters;
pub use links::{LinkState, LinkTable, links_of};

/// Bytes on their way along a route.
#[derive(Debug, Clone)]
pub struct Flow {
    /// The links crossed, in order. Empty when source and target are one device: such a flow takes
    /// no time.
    pub route: Arc<[LinkId]>,
    /// The payload.
    pub bytes: Bytes,
    /// The share of a contended link this flow gets beside a flow of weight 1 (> 0).
    pub weight: f64,
}

/// How a flow goes that shares no link with another: α + n/β, to the picosecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Alone {
    /// The rate of the narrowest link.
    pub rate: Rate,
    /// The latencies of all links.
    pub latency: SimDuration,
}

impl Alone {
    /// How long until the last of these bytes has left; nothing if that is beyond simulated time.
    pub fn leaves_after(self, bytes: Bytes) -> Option<SimDuration> {
        Service::default().until(Service::of(bytes.get(), Weight::ONE), self.rate)
    }
}

/// Flows sharing links: a clockwork asked when it next changes, and told to come to that moment.
///
/// Contract: times given never decrease and never pass [`next_change`](Self::next_change); every
/// flow finishes exactly once, when its last byte has arrived; the rates over a link never sum to
/// more than its bandwidth (except where flows are not to share at all: [`analytic`]); the order in
/// which flows that start at one moment are given does not change when they finish.
pub trait NetworkModel {
    /// A flow begins. Its identity is not reused before it has been reported as finished.
    fn start(&mut self, now: SimTime, flow: Flow) -> FlowId;

    /// The same of a flow that leaves when those given so before on its route have left. A network that
    /// knows no turns lets them share.
    fn start_in_turn(&mut self, now: SimTime, flow: Flow) -> FlowId {
        self.start(now, flow)
    }

    /// The next moment at which something happens by itself: a flow finishes or a rate changes.
    /// `None` when nothing is on its way (or all that is waits for a failed link).
    fn next_change(&mut self) -> Option<SimTime>;

    /// Comes to `now` and appends the flows that finish at it, in order of their identity.
    fn advance(&mut self, now: SimTime, finished: &mut Vec<FlowId>);

    /// Changes what a link can carry from `now` on; `None` takes it down. Flows across a link that
    /// is down pause and lose no bytes.
    fn set_bandwidth(&mut self, now: SimTime, link: LinkId, bandwidth: Option<Bandwidth>);

    /// Lets what is left of a flow go on along another route, and says how much that is: what had left before is
    /// not sent again. Nothing when its last byte has left already, or where the model cannot do this; then the
    /// flow goes on as it was.
    fn reroute(&mut self, _now: SimTime, _flow: FlowId, _route: &Arc<[LinkId]>) -> Option<Bytes> {
        None
    }

    /// Payload bytes that each link has carried until the moment last come to, for conservation
    /// checks and utilisation.
    fn carried(&self) -> IdVec<LinkId, f64>;

    /// How a flow goes over a route of which it shares no link; nothing where the model has no such closed
    /// form, or where a link is down.
    fn alone(&self, _route: &[LinkId]) -> Option<Alone> {
        None
    }

    /// What has happened to packets until now, where there are any.
    fn counters(&self) -> Option<Counters> {
        None
    }
}

/// A level of detail: what `fidelity: {network: …}` names.
pub trait NetworkFidelity {
    /// A network of these links at time zero, with nothing on its way.
    fn model(&self, links: &LinkTable) -> Box<dyn NetworkModel>;
}

registry! {
    /// `network:` of a scenario's `fidelity`.
    pub enum NetworkSpec: NetworkFidelity {
        /// latency and bandwidth of the route, nothing shared
        "analytic" => Analytic(analytic::Analytic),
        /// flows that share links max-min fairly
        "fluid" => Fluid(fluid::Fluid),
        /// packets through switch queues: PFC, ECN with DCQCN, drops; ECMP, spraying or adaptive routes
        "packet" => Packet(packet::Packet),
        /// flits through routers with virtual channels and credits, cycle by cycle
        "flit" => Flit(flit::Flit),
    }
}
