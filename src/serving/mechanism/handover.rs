//! What happens between two replicas: keys and values travel from where a prompt was computed to where
//! its answer will be.
//!
//! As in Zhong et al., "DistServe: Disaggregating Prefill and Decoding for Goodput-optimized Large
//! Language Model Serving", OSDI 2024, section 4.3: the decoding replica pulls keys and values when it
//! has room for them, first come, first served, and until they have arrived they stay where they are.
//! Each device sends what it holds, its layers and heads, to the device in its place of the other
//! replica: flows that share links with all others.

use crate::engine::EventClass;
use crate::ids::{BlockId, ReplicaId, RequestId};
use crate::network::Flow;
use crate::serving::generation::Held;
use crate::serving::mechanism::{Event, Handover, Serving};
use crate::serving::view::Phase;
use crate::units::{Bytes, SimTime};

/// Keys and values on their way.
#[derive(Debug)]
pub(super) struct Transfer {
    from: ReplicaId,
    to: ReplicaId,
    /// Flows that have not arrived.
    flows: u32,
    /// Blocks that are kept at the source until they have.
    kept: Vec<BlockId>,
}

impl Serving<'_, '_> {
    /// A prompt is computed: another replica is chosen for the answer.
    pub(super) fn hand_over(&mut self, now: SimTime, from: ReplicaId, request: RequestId) {
        let spec = &self.plan.requests[request];
        let to = self.exit.route(spec, &self.sites);
        let progress = &mut self.progress[request];
        progress.goal = spec.output;
        // What was prefilled is known there when it has arrived.
        progress.known = progress.computed;
        let record = &mut self.outcome.requests[request];
        assert_eq!(record.replica, from, "a request leaves the replica that it came to");
        record.decoded_by = Some(to);
        let site = &mut self.sites[to];
        site.outstanding += 1;
        site.queued_tokens += u64::from(progress.known);
        site.inbound.push_back(request);
        self.state.waiting += 1;
        self.admit(now, to);
    }

    /// Lets keys and values come to a replica while it has room; whoever waits there goes first.
    pub(super) fn admit(&mut self, now: SimTime, to: ReplicaId) {
        loop {
            let site = &self.sites[to];
            let Some(&request) = site.inbound.front() else { return };
            let seats = site.policy.most_running().saturating_sub(site.running.len() as u32 + site.arriving);
            let spec = &self.plan.requests[request];
            let computed = u64::from(self.progress[request].computed);
            let room = site.policy.reserved(spec, &site.pool).unwrap_or(computed + 1);
            let blocks = site.pool.blocks_of(room);
            let needed = blocks + site.policy.kept_free(site.pool.total());
            if seats == 0 || !site.waiting.is_empty() || needed > site.pool.free() {
                return;
            }
            self.sites[to].inbound.pop_front();
            self.pull(now, to, request, blocks);
        }
    }

    fn pull(&mut self, now: SimTime, to: ReplicaId, request: RequestId, blocks: u64) {
        let from = self.outcome.requests[request].replica;
        self.account(now, to, |pool| assert!(pool.take(blocks), "there is room"));
        self.sites[to].arriving += 1;
        let progress = &mut self.progress[request];
        progress.held = blocks as u32;
        let kept = std::mem::take(&mut self.tables[request]);
        self.sites[to].free.extend(&mut self.tables[request], progress.held);
        let Handover { topology, bytes_per_token } =
            self.plan.handover.as_ref().expect("prefill and decode are apart");
        let bytes = bytes_per_token.get() * u64::from(progress.computed);
        self.outcome.kv_sent += bytes;
        let network = self.network.as_mut().expect("keys and values travel over a network");
        let (sources, targets) = (&self.sites[from].devices, &self.sites[to].devices);
        let each = Bytes(bytes.div_ceil(sources.len() as u64));
        for (&source, &target) in sources.iter().zip(targets) {
            let route = topology.route(source, target, u64::from(request.0));
            let flow = network.start(now, Flow { route, bytes: each, weight: 1.0 });
            self.flows.insert(flow, request);
        }
        let flows = sources.len() as u32;
        self.transfers.insert(request, Transfer { from, to, flows, kept });
        self.watch_network();
    }

    /// Schedules the moment when the network next changes.
    fn watch_network(&mut self) {
        if let Some(handle) = self.network_at.take() {
            self.queue.cancel(handle);
        }
        let next = self.network.as_mut().and_then(|network| network.next_change());
        self.network_at = next.map(|at| self.queue.schedule(at, EventClass::Finish, Event::Network));
    }

    pub(super) fn network_changes(&mut self, now: SimTime) {
        self.network_at = None;
        let mut finished = Vec::new();
        self.network.as_mut().expect("it changes").advance(now, &mut finished);
        for flow in finished {
            let request = self.flows.remove(&flow).expect("a flow of a transfer");
            let transfer = self.transfers.get_mut(&request).expect("a transfer with flows");
            transfer.flows -= 1;
            if transfer.flows == 0 {
                let transfer = self.transfers.remove(&request).expect("just seen");
                self.arrived(now, request, transfer);
            }
        }
        self.watch_network();
    }

    /// All keys and values of a request have arrived: it runs there from now on.
    fn arrived(&mut self, now: SimTime, request: RequestId, transfer: Transfer) {
        let record = &mut self.outcome.requests[request];
        record.handed_over = now.since(record.first_token);
        if let Some(answers) = &mut self.answers {
            let from = Held { replica: transfer.from, table: &transfer.kept };
            let to = Held { replica: transfer.to, table: &self.tables[request] };
            answers.handed_over(from, to, self.progress[request].computed);
        }
        self.account(now, transfer.from, |pool| pool.give(transfer.kept.len() as u64));
        self.sites[transfer.from].free.give(transfer.kept);
        let progress = &mut self.progress[request];
        progress.phase = Phase::Running;
        let site = &mut self.sites[transfer.to];
        site.arriving -= 1;
        site.queued_tokens -= u64::from(progress.known);
        site.running.push(request);
        self.state.waiting -= 1;
        self.state.running += 1;
        self.ask(now, transfer.from);
        self.ask(now, transfer.to);
    }
}
