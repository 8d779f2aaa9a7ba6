//! How long each task keeps each device, and how long data travels between devices.
//!
//! The same two tables serve as the scheduler's estimate and as the runtime's truth.

use std::collections::BTreeMap;

use crate::compute::{ComputeModel, Kernel};
use crate::hardware::{Device, Topology};
use crate::ids::{DeviceId, Id, IdVec, TaskId};
use crate::tasks::graph::{Payload, Task, TaskGraph, Work};
use crate::units::{Bandwidth, SimDuration};

/// The time of every task on every device; `None` where a device cannot do it.
#[derive(Debug, Clone, PartialEq)]
pub struct Costs {
    devices: usize,
    times: Vec<Option<SimDuration>>,
}

/// A task that no device, or not this one, can be asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsuited {
    /// The task's name.
    pub task: String,
    /// Why.
    pub why: String,
}

impl std::fmt::Display for Unsuited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the task `{}` {}", self.task, self.why)
    }
}

impl std::error::Error for Unsuited {}

impl Costs {
    /// The table of `time` over tasks and devices.
    pub fn from_fn(
        tasks: usize,
        devices: usize,
        mut time: impl FnMut(TaskId, DeviceId) -> Option<SimDuration>,
    ) -> Costs {
        let pairs = (0..tasks).flat_map(|task| (0..devices).map(move |device| (task, device)));
        let times = pairs
            .map(|(task, device)| time(TaskId::from_index(task), DeviceId::from_index(device)))
            .collect();
        Costs { devices, times }
    }

    /// What the graph's tasks cost on devices known by nothing but their names.
    ///
    /// # Errors
    /// When a task's work is not given as a row of as many costs, or none of them is a time.
    pub fn of_rows(graph: &TaskGraph, devices: &[&str], speeds: &Speeds) -> Result<Costs, Unsuited> {
        for task in graph.ids().map(|id| graph.task(id)) {
            match &task.work {
                Work::Costs(row) if row.len() == devices.len() => {}
                Work::Costs(row) => {
                    let why = format!("has {} costs for {} devices", row.len(), devices.len());
                    return Err(unsuited(task, why));
                }
                Work::Reference(_) => {}
                Work::PerKind(_) | Work::Arithmetic { .. } => {
                    return Err(unsuited(
                        task,
                        "gives no cost per device, and there is no topology to ask".into(),
                    ));
                }
            }
        }
        let time = |task, device: DeviceId| match &graph.task(task).work {
            Work::Costs(row) => row[device.index()],
            Work::Reference(time) => Some(speeds.time(*time, [devices[device.index()]])),
            Work::PerKind(_) | Work::Arithmetic { .. } => None,
        };
        Costs::from_fn(graph.len(), devices.len(), time).checked(graph)
    }

    /// What the graph's tasks cost on the devices of a topology.
    ///
    /// # Errors
    /// When no device can do some task: none has the memory, the kind, or the number format.
    pub fn on(
        graph: &TaskGraph,
        topology: &Topology,
        compute: &dyn ComputeModel,
        speeds: &Speeds,
    ) -> Result<Costs, Unsuited> {
        let devices = topology.devices();
        for task in graph.ids().map(|id| graph.task(id)) {
            if let Work::Costs(row) = &task.work
                && row.len() != devices.len()
            {
                let (name, there) = (topology.name(), devices.len());
                let why = format!("has {} costs, but `{name}` has {there} devices", row.len());
                return Err(unsuited(task, why));
            }
        }
        let costs = Costs::from_fn(graph.len(), devices.len(), |id, device| {
            time_on(graph.task(id), (device, &devices[device]), compute, speeds)
        });
        costs.checked(graph)
    }

    /// How long `task` keeps `device`; `None` when it cannot run there.
    #[inline]
    pub fn time(&self, task: TaskId, device: DeviceId) -> Option<SimDuration> {
        self.times[task.index() * self.devices + device.index()]
    }

    /// The devices, in order.
    pub fn devices(&self) -> impl DoubleEndedIterator<Item = DeviceId> + ExactSizeIterator + use<> {
        (0..self.devices).map(DeviceId::from_index)
    }

    /// How many tasks there are.
    pub fn tasks(&self) -> usize {
        self.times.len() / self.devices
    }

    /// The devices that can do `task`, with its time on each.
    pub fn able(&self, task: TaskId) -> impl Iterator<Item = (DeviceId, SimDuration)> + '_ {
        self.devices().filter_map(move |device| Some((device, self.time(task, device)?)))
    }

    /// The shortest time of `task`.
    pub fn least(&self, task: TaskId) -> SimDuration {
        self.able(task).map(|(_, time)| time).min().expect("some device can do every task")
    }

    /// This table with every time changed by `change`.
    pub fn changed(&self, mut change: impl FnMut(TaskId, DeviceId, SimDuration) -> SimDuration) -> Costs {
        Costs::from_fn(self.tasks(), self.devices, |task, device| {
            self.time(task, device).map(|time| change(task, device, time))
        })
    }

    /// Refuses tasks that no device can do.
    fn checked(self, graph: &TaskGraph) -> Result<Costs, Unsuited> {
        match graph.ids().find(|&task| self.able(task).next().is_none()) {
            None => Ok(self),
            Some(task) => {
                let task = graph.task(task);
                let why = "can run on no device: none has the memory, the kind or the number format";
                Err(unsuited(task, why.into()))
            }
        }
    }
}

/// How long a task takes on a device; `None` when it cannot run there.
fn time_on(
    task: &Task,
    (id, device): (DeviceId, &Device),
    compute: &dyn ComputeModel,
    speeds: &Speeds,
) -> Option<SimDuration> {
    let spec = &device.spec;
    if task.memory > spec.memory.capacity {
        return None;
    }
    match &task.work {
        Work::Costs(row) => row[id.index()],
        Work::PerKind(times) => called(device).find_map(|name| times.get(name).copied()),
        Work::Arithmetic { flops, bytes, precision } => {
            compute.admits(spec, *precision).ok()?;
            let kernel = Kernel::Work { flops: *flops, bytes: *bytes, precision: *precision };
            Some(compute.cost(&kernel, spec).time(spec))
        }
        Work::Reference(time) => Some(speeds.time(*time, called(device))),
    }
}

/// What a device is known by, its own name first, its kind last.
fn called(device: &Device) -> impl Iterator<Item = &str> {
    let spec = &device.spec;
    let names = [device.name.as_str(), spec.name.as_str()].into_iter();
    names.chain(spec.aliases.iter().map(String::as_str)).chain([spec.kind.name()])
}

/// How fast devices are at [`Work::Reference`], by name or kind; 1 where nothing is said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Speeds(pub BTreeMap<String, f64>);

impl Speeds {
    /// The time at speed 1, on a device known by these names.
    fn time<'a>(&self, time: SimDuration, names: impl IntoIterator<Item = &'a str>) -> SimDuration {
        match names.into_iter().find_map(|name| self.0.get(name)) {
            None => time,
            Some(speed) => time.scaled(1.0 / speed),
        }
    }
}

fn unsuited(task: &Task, why: String) -> Unsuited {
    Unsuited { task: task.name.clone(), why }
}

/// How long data travels between devices when nothing else is on its way.
#[derive(Debug, Clone, PartialEq)]
pub struct Communication {
    /// By source, then target; `None` on the diagonal. Empty without a network.
    pairs: IdVec<DeviceId, IdVec<DeviceId, Option<Path>>>,
    mean: Option<Path>,
}

/// What a route comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Path {
    latency: SimDuration,
    bandwidth: Bandwidth,
}

impl Communication {
    /// No network: only plain costs travel, and bytes between devices take no time.
    pub fn plain() -> Self {
        Communication { pairs: IdVec::new(), mean: None }
    }

    /// Over the routes of a topology: their latencies, then the bytes at the narrowest link.
    pub fn over(topology: &Topology) -> Self {
        let devices = topology.devices();
        let path = |from: DeviceId, to: DeviceId| {
            let route = topology.route(from, to, 0);
            let links = topology.links();
            let latency = route.iter().map(|&link| links[link].latency).sum();
            let rates = route.iter().map(|&link| links[link].bandwidth);
            let bandwidth = rates.min_by(|a, b| a.get().total_cmp(&b.get()))?;
            Some(Path { latency, bandwidth })
        };
        let pairs: IdVec<_, IdVec<_, _>> =
            devices.ids().map(|from| devices.ids().map(|to| path(from, to)).collect()).collect();
        let mean = mean_path(&pairs);
        Communication { pairs, mean }
    }

    /// How long `payload` travels from one device to another.
    pub fn time(&self, payload: Payload, from: DeviceId, to: DeviceId) -> SimDuration {
        if from == to {
            return SimDuration::ZERO;
        }
        match payload {
            Payload::Cost(time) => time,
            Payload::Bytes(bytes) => match self.pairs.get(from).and_then(|row| row[to]) {
                Some(path) => path.latency + bytes / path.bandwidth,
                None => SimDuration::ZERO,
            },
        }
    }

    /// The time that priorities reckon with: c̄ = L̄ + data / B̄, with the mean latency and the mean
    /// transfer rate over all pairs of devices (Topcuoglu et al. 2002, section 2).
    pub fn mean(&self, payload: Payload) -> SimDuration {
        match payload {
            Payload::Cost(time) => time,
            Payload::Bytes(bytes) => match self.mean {
                Some(path) => path.latency + bytes / path.bandwidth,
                None => SimDuration::ZERO,
            },
        }
    }
}

fn mean_path(pairs: &IdVec<DeviceId, IdVec<DeviceId, Option<Path>>>) -> Option<Path> {
    let all: Vec<Path> = pairs.iter().flat_map(|row| row.iter().flatten().copied()).collect();
    let count = all.len() as u64;
    let latency: SimDuration = all.iter().map(|path| path.latency).sum();
    let rate: f64 = all.iter().map(|path| path.bandwidth.get()).sum();
    (count > 0).then(|| Path {
        latency: SimDuration::from_picos(latency.picos().div_ceil(count)),
        bandwidth: Bandwidth::per_second(rate / count as f64),
    })
}
