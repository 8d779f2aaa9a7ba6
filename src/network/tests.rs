//! The fidelities against closed forms, against a slow twin, and against the laws of the room.

mod conservation;
mod slow;
mod vectors;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{FlowId, LinkId};
use crate::network::{Flow, LinkState, LinkTable, NetworkModel};
use crate::units::{Bandwidth, Bytes, SimDuration, SimTime};

/// Something that is done to a network at a moment.
#[derive(Debug, Clone)]
enum Step {
    Start(Flow),
    Set(LinkId, Option<Bandwidth>),
}

/// Links of so many bytes per second, with one latency.
fn links(bandwidths: &[f64], latency: SimDuration) -> LinkTable {
    bandwidths
        .iter()
        .map(|&rate| LinkState { bandwidth: Some(Bandwidth::per_second(rate)), latency })
        .collect()
}

fn flow(route: &[u32], bytes: u64, weight: f64) -> Flow {
    let route: Arc<[LinkId]> = route.iter().map(|&link| LinkId(link)).collect();
    Flow { route, bytes: Bytes(bytes), weight }
}

/// Runs a network until nothing changes any more. `steps` are in order of time; the answer is when
/// the flow of each step has finished, by the step's position. `look` is called at every change.
fn run(
    network: &mut dyn NetworkModel,
    steps: &[(SimTime, Step)],
    mut look: impl FnMut(SimTime, &mut dyn NetworkModel),
) -> BTreeMap<usize, SimTime> {
    let mut upcoming = steps.iter().enumerate().peekable();
    let (mut flying, mut ended, mut finished) =
        (BTreeMap::<FlowId, usize>::new(), BTreeMap::new(), Vec::new());
    loop {
        let change = network.next_change();
        let step = upcoming.peek().map(|(_, (at, _))| *at);
        let Some(now) = change.into_iter().chain(step).min() else { break };
        network.advance(now, &mut finished);
        for id in finished.drain(..) {
            let step = flying.remove(&id).expect("a flow finishes once, after it has started");
            ended.insert(step, now);
        }
        while let Some((position, (_, step))) = upcoming.next_if(|(_, (at, _))| *at == now) {
            match step {
                Step::Start(flow) => {
                    let before = flying.insert(network.start(now, flow.clone()), position);
                    assert_eq!(before, None, "an identity in use was given out again");
                }
                Step::Set(link, bandwidth) => network.set_bandwidth(now, *link, *bandwidth),
            }
        }
        look(now, network);
    }
    ended
}
