//! What the ranks and stages of a replica tell each other, and how long that takes.
//!
//! An exchange is simulated alone on the network for payloads that are powers of two tokens; between
//! two of them time is taken to be a line in the bytes, as it is for every algorithm whose transfers
//! are (α–β). Replicas whose devices lie alike share their answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::collective::timing::time;
use crate::collective::{AlgorithmSpec, Collective, CollectiveKind};
use crate::hardware::Topology;
use crate::ids::{DeviceId, IdVec, ReplicaId};
use crate::network::{NetworkSpec, links_of};
use crate::serving::priced::{Pricing, state_of_a_token};
use crate::units::Bytes;

/// Which exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Which {
    AllReduce,
    AllGather,
    Send,
}

/// Everything that replicas exchange.
pub(super) struct Exchanges {
    topology: Arc<Topology>,
    network: NetworkSpec,
    algorithm: AlgorithmSpec,
    /// Devices of each replica and stage.
    groups: IdVec<ReplicaId, Vec<Arc<[DeviceId]>>>,
    /// Replicas that lie alike have the same number.
    alike: IdVec<ReplicaId, usize>,
    /// Bytes of the smallest payload that is simulated.
    least: u64,
    /// Picoseconds by payload.
    known: FxHashMap<(usize, usize, Which), BTreeMap<u64, u64>>,
}

impl Exchanges {
    pub fn new(pricing: &Pricing) -> Self {
        let tensor = pricing.layout.tensor as usize;
        let cut = |devices: &Vec<DeviceId>| devices.chunks(tensor).map(Arc::from).collect();
        let mut shapes: BTreeMap<Vec<u64>, usize> = BTreeMap::new();
        let mut number = |devices: &Vec<DeviceId>| {
            let next = shapes.len();
            *shapes.entry(shape(&pricing.topology, devices)).or_insert(next)
        };
        Exchanges {
            groups: pricing.devices.iter().map(cut).collect(),
            alike: pricing.devices.iter().map(&mut number).collect(),
            topology: Arc::clone(&pricing.topology),
            network: pricing.network.clone(),
            algorithm: pricing.collective.clone(),
            least: state_of_a_token(&pricing.layout).get(),
            known: FxHashMap::default(),
        }
    }

    /// The sum of the ranks' partial results, on all of them.
    pub fn all_reduce(&mut self, replica: ReplicaId, stage: usize, bytes: Bytes) -> u64 {
        self.picos(replica, stage, Which::AllReduce, bytes)
    }

    /// The ranks' parts of the logits, on all of them.
    pub fn all_gather(&mut self, replica: ReplicaId, stage: usize, bytes: Bytes) -> u64 {
        self.picos(replica, stage, Which::AllGather, bytes)
    }

    /// The state of a step's tokens to the next stage.
    pub fn send(&mut self, replica: ReplicaId, stage: usize, bytes: Bytes) -> u64 {
        self.picos(replica, stage, Which::Send, bytes)
    }

    fn picos(&mut self, replica: ReplicaId, stage: usize, which: Which, bytes: Bytes) -> u64 {
        let bytes = bytes.get();
        let doublings = bytes.div_ceil(self.least).max(1).ilog2();
        let low = self.least << doublings;
        let (a, b) = (self.simulated(replica, stage, which, low), low * 2);
        if bytes <= low {
            return a;
        }
        let more = self.simulated(replica, stage, which, b).saturating_sub(a);
        a + (u128::from(more) * u128::from(bytes - low) / u128::from(b - low)) as u64
    }

    fn simulated(&mut self, replica: ReplicaId, stage: usize, which: Which, bytes: u64) -> u64 {
        let key = (self.alike[replica], stage, which);
        if let Some(&known) = self.known.get(&key).and_then(|payloads| payloads.get(&bytes)) {
            return known;
        }
        let groups = &self.groups[replica];
        let (kind, group) = match which {
            Which::AllReduce => (CollectiveKind::AllReduce, Arc::clone(&groups[stage])),
            Which::AllGather => (CollectiveKind::AllGather, Arc::clone(&groups[stage])),
            Which::Send => (CollectiveKind::SendReceive, Arc::from([groups[stage][0], groups[stage + 1][0]])),
        };
        let call = Collective { kind, bytes: Bytes(bytes), group };
        let plan = self.algorithm.plan(&call, &self.topology);
        let mut network = self.network.model(&links_of(&self.topology));
        let measured = time(&call, &plan, &self.topology, &mut *network);
        let picos = (measured.time_s * crate::units::PICOS_PER_SECOND as f64).round() as u64;
        self.known.entry(key).or_default().insert(bytes, picos);
        picos
    }
}

/// How devices lie: bandwidth and latency of every link between every two of them.
fn shape(topology: &Topology, devices: &[DeviceId]) -> Vec<u64> {
    let mut shape = Vec::new();
    for &from in devices {
        for &to in devices.iter().filter(|&&to| to != from) {
            for &link in topology.route(from, to, 0).iter() {
                let link = &topology.links()[link];
                shape.extend([link.bandwidth.get().to_bits(), link.latency.picos()]);
            }
            shape.push(0);
        }
    }
    shape
}
