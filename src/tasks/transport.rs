//! Data on its way: flows over the network, or plain communication costs that share nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::hardware::Topology;
use crate::ids::{DataId, DeviceId, FlowId, Id};
use crate::network::{Flow, NetworkFidelity, NetworkModel, links_of};
use crate::tasks::Payload;
use crate::units::{SimDuration, SimTime};

/// A transfer, by its place in the outcome's list.
pub type TransferIndex = usize;

/// How a transfer that has just left will arrive.
pub enum Departure {
    /// After this time.
    After(SimDuration),
    /// When the network says so.
    ByNetwork,
}

/// The network with what travels over it.
pub struct Transport {
    topology: Option<(Arc<Topology>, Box<dyn NetworkModel>)>,
    flying: BTreeMap<FlowId, TransferIndex>,
    finished: Vec<FlowId>,
}

impl Transport {
    /// Nothing is on its way.
    pub fn new(topology: Option<&Arc<Topology>>, network: &dyn NetworkFidelity) -> Self {
        let with_network = |topology: &Arc<Topology>| {
            let model = network.model(&links_of(topology));
            (Arc::clone(topology), model)
        };
        Transport { topology: topology.map(with_network), flying: BTreeMap::new(), finished: Vec::new() }
    }

    /// Sends data to another device.
    pub fn send(
        &mut self,
        now: SimTime,
        (data, payload): (DataId, Payload),
        (from, to): (DeviceId, DeviceId),
        transfer: TransferIndex,
    ) -> Departure {
        match (payload, &mut self.topology) {
            (Payload::Cost(time), _) => Departure::After(time),
            (Payload::Bytes(_), None) => Departure::After(SimDuration::ZERO),
            (Payload::Bytes(bytes), Some((topology, network))) => {
                // Edges spread over routes of equal merit.
                let route = topology.route(from, to, data.index() as u64);
                let flow = network.start(now, Flow { route, bytes, weight: 1.0 });
                self.flying.insert(flow, transfer);
                Departure::ByNetwork
            }
        }
    }

    /// When the network next changes by itself.
    pub fn next_change(&mut self) -> Option<SimTime> {
        self.topology.as_mut().and_then(|(_, network)| network.next_change())
    }

    /// Comes to `now`, and says what has arrived.
    pub fn advance(&mut self, now: SimTime) -> Vec<TransferIndex> {
        let Some((_, network)) = &mut self.topology else { return Vec::new() };
        network.advance(now, &mut self.finished);
        let flying = &mut self.flying;
        self.finished.drain(..).map(|flow| flying.remove(&flow).expect("a flow that was started")).collect()
    }
}
