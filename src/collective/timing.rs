//! How long a plan takes alone on a network, as nccl-tests measures it.

use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::collective::lone::LoneRings;
use crate::collective::{Collective, CommPlan, Member, algorithm_bandwidth, bus_bandwidth};
use crate::hardware::Topology;
use crate::ids::{FlowId, Id, TransferId};
use crate::network::{Counters, NetworkModel};
use crate::units::{SimDuration, SimTime};

/// A row of nccl-tests.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Measured {
    /// Size of the whole buffer.
    pub bytes: u64,
    /// From the launch to the last arrival.
    pub time_s: f64,
    /// Size over time.
    pub algorithm_bandwidth_bytes_per_s: f64,
    /// Algorithm bandwidth times the collective's factor.
    pub bus_bandwidth_bytes_per_s: f64,
    /// Transfers of the plan.
    pub transfers: usize,
    /// What happened to packets, where the network has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<Counters>,
}

/// Times a plan with nothing else on the network, the slowest device's kernel launch included.
pub fn time(
    call: &Collective,
    plan: &CommPlan,
    topology: &Topology,
    network: &mut dyn NetworkModel,
) -> Measured {
    let launches = call.group.iter().map(|&device| topology.devices()[device].spec.launch);
    let launch = launches.max().unwrap_or(SimDuration::ZERO);
    let begin = SimTime::ZERO + launch + plan.wire().overhead;
    let lone = LoneRings::of(plan, &call.group, topology, network);
    let lone = lone.and_then(|rings| rings.ends(plan, call.bytes)).and_then(|ends| ends.into_iter().max());
    let now = lone.map_or_else(|| through(call, plan, topology, network, begin), |longest| begin + longest);
    let length = now.since(SimTime::ZERO);
    Measured {
        bytes: call.bytes.get(),
        time_s: length.seconds(),
        algorithm_bandwidth_bytes_per_s: algorithm_bandwidth(call.bytes, length),
        bus_bandwidth_bytes_per_s: bus_bandwidth(call.kind, call.members(), call.bytes, length),
        transfers: plan.transfer_count(),
        packets: network.counters(),
    }
}

/// When the last transfer of a plan arrives that begins at `begin`, each one a flow of the network.
pub fn through(
    call: &Collective,
    plan: &CommPlan,
    topology: &Topology,
    network: &mut dyn NetworkModel,
    begin: SimTime,
) -> SimTime {
    let mut waits = plan.predecessor_counts().to_vec();
    let mut flows: FxHashMap<FlowId, TransferId> = FxHashMap::default();
    let mut now = begin;
    let start = |id: TransferId, now: SimTime, network: &mut dyn NetworkModel| {
        let transfer = &plan.transfers()[id];
        let device = |member: Member| call.group[member.index()];
        let route = topology.route(device(transfer.from), device(transfer.to), u64::from(transfer.channel));
        (plan.send(plan.flow(id, call.bytes, &route, topology), now, network), id)
    };
    for (id, _) in plan.transfers().enumerate().filter(|(id, _)| plan.predecessor_counts()[id.index()] == 0) {
        flows.extend([start(id, now, network)]);
    }
    let mut finished = Vec::new();
    while let Some(change) = network.next_change() {
        now = change;
        network.advance(change, &mut finished);
        let ended: Vec<TransferId> =
            finished.drain(..).map(|flow| flows.remove(&flow).expect("a flow of this plan")).collect();
        for next in ended.into_iter().flat_map(|id| plan.successors(id)) {
            waits[next.index()] -= 1;
            if waits[next.index()] == 0 {
                flows.extend([start(next, now, network)]);
            }
        }
    }
    now
}
