//! Synthetic traffic, for looking at a network under load: devices send messages to others by a pattern,
//! at a rate; what comes of it is latency and throughput.
//!
//! Dally and Towles, "Principles and Practices of Interconnection Networks", 2004, chapters 3 and 23:
//! sources are open (they send whatever the network does, and what it does not take waits), the
//! network warms up, messages of the time after that are measured, and traffic goes on until all of
//! them have arrived.

use serde::Serialize;

use crate::hardware::Topology;
use crate::ids::{DeviceId, FlowId, Id, IdVec};
use crate::network::{Counters, Flow, NetworkModel};
use crate::rng::{RngExt, Seed, Stream};
use crate::units::{Bytes, Clock, Cycles, SimTime};

/// Who sends to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// To anyone, oneself included, each equally often.
    Uniform,
    /// On a square of devices from row r, column c to row c, column r.
    Transpose,
    /// From i to the last but i.
    Complement,
    /// Almost half way around (along the first dimension, where there is one).
    Tornado,
    /// To the next.
    Neighbour,
    /// All others to the first.
    Incast,
}

impl Pattern {
    /// Every pattern, with what `list` says of it.
    pub const ALL: [(Pattern, &'static str, &'static str); 6] = [
        (Pattern::Uniform, "uniform", "to anyone, each equally often"),
        (Pattern::Transpose, "transpose", "row and column exchanged, on a square of devices"),
        (
            Pattern::Complement,
            "complement",
            "to the device as far from the end as oneself from the beginning",
        ),
        (Pattern::Tornado, "tornado", "almost half way around"),
        (Pattern::Neighbour, "neighbour", "to the next device"),
        (Pattern::Incast, "incast", "everyone to the first device"),
    ];

    /// The pattern called so.
    pub fn from_name(name: &str) -> Option<Pattern> {
        Pattern::ALL.iter().find(|(_, known, _)| *known == name).map(|(pattern, ..)| *pattern)
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        let known = Pattern::ALL.iter().find(|(pattern, ..)| *pattern == self);
        known.map_or("", |(_, name, _)| name)
    }

    /// Why it cannot be used among so many devices.
    ///
    /// # Errors
    /// A sentence that says what would do.
    pub fn admits(self, devices: usize) -> Result<(), String> {
        let side = (devices as f64).sqrt().round() as usize;
        match self {
            _ if devices < 2 => Err("traffic is between at least 2 devices".to_owned()),
            Pattern::Transpose if side * side != devices => Err(format!(
                "transpose needs a square number of devices, such as {}, not {devices}",
                side * side
            )),
            _ => Ok(()),
        }
    }

    /// Where a message of a device goes; nowhere if it has none to send.
    fn target(self, from: usize, devices: usize, line: usize, stream: &mut Stream) -> Option<usize> {
        Some(match self {
            Pattern::Uniform => stream.random_range(0..devices),
            Pattern::Transpose => {
                let side = (devices as f64).sqrt().round() as usize;
                from % side * side + from / side
            }
            Pattern::Complement => devices - 1 - from,
            Pattern::Tornado => from - from % line + (from % line + line.div_ceil(2) - 1) % line,
            Pattern::Neighbour => (from + 1) % devices,
            Pattern::Incast if from == 0 => return None,
            Pattern::Incast => 0,
        })
    }
}

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// To whom.
    pub pattern: Pattern,
    /// How much of what a device's widest link carries it offers: in each slot of the length of a
    /// message it sends one with this probability.
    pub rate: f64,
    /// The bytes of a message.
    pub message: Bytes,
    /// Slots before anything is measured.
    pub warm_up: u64,
    /// Slots that are measured.
    pub measured: u64,
    /// Of who sends when, and where to.
    pub seed: Seed,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Served {
    /// The share of a device's bandwidth that was offered, and that arrived.
    pub offered: f64,
    /// The same of what arrived while it was measured.
    pub accepted: f64,
    /// Whether what waits did not grow by more than a fiftieth of what was offered.
    pub stable: bool,
    /// Messages measured.
    pub messages: usize,
    /// From sending to arrival, the wait at the source included: the mean …
    pub latency_mean_s: f64,
    /// … in slots (of single flits: cycles) …
    pub latency_mean_slots: f64,
    /// … and the latency that so many messages do not exceed.
    pub latency_p50_s: f64,
    /// 99 in 100.
    pub latency_p99_s: f64,
    /// All.
    pub latency_max_s: f64,
    /// What happened to packets, where there are any.
    pub packets: Option<Counters>,
}

/// Runs a network under load. What has not arrived after five times the measured time is counted as
/// if it had arrived then.
pub fn serve(load: &Load, topology: &Topology, network: &mut dyn NetworkModel) -> Served {
    let mut run = Run::new(load, topology, network);
    let (from, to) = (load.warm_up, load.warm_up + load.measured);
    for slot in 0..from {
        run.slot(slot);
    }
    let before = run.flying;
    run.measures = true;
    for slot in from..to {
        run.slot(slot);
    }
    let arrived = run.arrived;
    let grown = run.flying.saturating_sub(before);
    run.measures = false;
    let mut slot = to;
    while run.open > 0 && slot < to + 5 * load.measured {
        run.slot(slot);
        slot += 1;
    }
    run.served(arrived, grown)
}

/// A run of traffic.
struct Run<'a> {
    load: &'a Load,
    topology: &'a Topology,
    network: &'a mut dyn NetworkModel,
    slots: Clock,
    /// Devices of one line of a grid, or all of them.
    line: usize,
    streams: Vec<Stream>,
    /// By flow: when it was sent, and whether it is measured.
    sent: IdVec<FlowId, (SimTime, bool)>,
    finished: Vec<FlowId>,
    now: SimTime,
    measures: bool,
    /// Messages on their way; those that are measured; those that have arrived while it was measured.
    flying: u64,
    open: u64,
    arrived: u64,
    offered: u64,
    latencies: Vec<f64>,
}

impl<'a> Run<'a> {
    fn new(load: &'a Load, topology: &'a Topology, network: &'a mut dyn NetworkModel) -> Self {
        let widest = widest(topology);
        let devices = topology.devices().len();
        let hertz = (widest / load.message.as_f64()).round().clamp(1.0, 1e15) as u64;
        Run {
            load,
            topology,
            network,
            slots: Clock::from_hertz(hertz),
            line: line(topology),
            streams: (0..devices).map(|at| load.seed.stream(&format!("traffic of device {at}"))).collect(),
            sent: IdVec::new(),
            finished: Vec::new(),
            now: SimTime::ZERO,
            measures: false,
            flying: 0,
            open: 0,
            arrived: 0,
            offered: 0,
            latencies: Vec::new(),
        }
    }

    /// Comes to a slot, and lets everyone send who does.
    fn slot(&mut self, slot: u64) {
        let now = self.slots.edge(Cycles(slot));
        while let Some(change) = self.network.next_change().filter(|&change| change <= now) {
            self.network.advance(change, &mut self.finished);
            self.now = change;
            self.note_finished();
            if change == now {
                break;
            }
        }
        self.now = now;
        let devices = self.streams.len();
        for from in 0..devices {
            let stream = &mut self.streams[from];
            if stream.random::<f64>() >= self.load.rate {
                continue;
            }
            let Some(to) = self.load.pattern.target(from, devices, self.line, stream) else { continue };
            self.send(from, to, slot);
        }
    }

    fn send(&mut self, from: usize, to: usize, slot: u64) {
        self.offered += u64::from(self.measures);
        let route = self.topology.route(DeviceId::from_index(from), DeviceId::from_index(to), slot);
        if route.is_empty() && !self.topology.devices_forward() {
            // What a device sends to itself does not use the network.
            self.arrived += u64::from(self.measures);
            return;
        }
        let flow = Flow { route, bytes: self.load.message, weight: 1.0 };
        let id = self.network.start(self.now, flow);
        while self.sent.len() <= id.index() {
            self.sent.push((SimTime::ZERO, false));
        }
        self.sent[id] = (self.now, self.measures);
        self.flying += 1;
        self.open += u64::from(self.measures);
    }

    fn note_finished(&mut self) {
        for id in self.finished.drain(..) {
            let (sent, measured) = self.sent[id];
            self.flying -= 1;
            self.arrived += u64::from(self.measures);
            if measured {
                self.open -= 1;
                self.latencies.push(self.now.since(sent).seconds());
            }
            self.sent[id].1 = false;
        }
    }

    fn served(mut self, arrived: u64, grown: u64) -> Served {
        let late = self.sent.iter().filter(|(_, measured)| *measured);
        self.latencies.extend(late.map(|(sent, _)| self.now.since(*sent).seconds()));
        self.latencies.sort_by(f64::total_cmp);
        let count = self.latencies.len();
        let at = |share: f64| match count {
            0 => 0.0,
            _ => self.latencies[((count as f64 * share).ceil() as usize).clamp(1, count) - 1],
        };
        let mean = self.latencies.iter().sum::<f64>() / count.max(1) as f64;
        let slots = (self.streams.len() as u64 * self.load.measured).max(1) as f64;
        Served {
            offered: self.offered as f64 / slots,
            accepted: arrived as f64 / slots,
            stable: grown as f64 <= self.offered as f64 / 50.0,
            messages: count,
            latency_mean_s: mean,
            latency_mean_slots: mean * self.slots.hertz() as f64,
            latency_p50_s: at(0.5),
            latency_p99_s: at(0.99),
            latency_max_s: at(1.0),
            packets: self.network.counters(),
        }
    }
}

/// Bytes per second of the widest link that leaves a device.
pub fn widest(topology: &Topology) -> f64 {
    let leaves = |link: &&crate::hardware::Link| topology.vertex(link.from).device().is_some();
    topology.links().iter().filter(leaves).map(|link| link.bandwidth.get()).fold(1.0, f64::max)
}

/// How many devices there are before the links of a second dimension begin.
fn line(topology: &Topology) -> usize {
    let devices = topology.devices().len();
    let strides = topology.links().iter().filter(|link| link.dimension == Some(1));
    let stride = strides.map(|link| link.from.index().abs_diff(link.to.index())).min();
    stride
        .filter(|stride| (2..=devices).contains(stride) && devices.is_multiple_of(*stride))
        .unwrap_or(devices)
}
