//! Graphs from the literature, for the room's tests.

use std::sync::Arc;

use crate::compute::ComputeSpec;
use crate::hardware::{DeviceSpec, LinkClass, LinkSpec, Topology};
use crate::ids::TaskId;
use crate::network::NetworkSpec;
use crate::rng::Seed;
use crate::tasks::costs::Speeds;
use crate::tasks::generate::layered::LayeredWork;
use crate::tasks::generate::{Effort, TaskGeneratorSpec};
use crate::tasks::graph::{Data, Payload, Task, TaskGraph, Work};
use crate::tasks::scheduling::{Plan, Progress, TaskScheduler, TaskSchedulerSpec, TaskView};
use crate::tasks::{Communication, Costs, Machine, TaskPlan};
use crate::units::{Bytes, Flops, SimDuration, SimTime};

/// So many of the literature's units of time.
pub fn units(count: u64) -> SimDuration {
    SimDuration::from_nanos(1_000_000_000) * count
}

/// The literature's moment `count`.
pub fn moment(count: u64) -> SimTime {
    SimTime::ZERO + units(count)
}

/// A graph with its estimated costs on devices joined by plain communication costs.
#[derive(Debug, Clone)]
pub struct Problem {
    pub graph: TaskGraph,
    pub costs: Costs,
    pub communication: Communication,
}

impl Problem {
    /// Rows of costs by task, and edges with plain costs.
    pub fn new(rows: &[Vec<u64>], edges: &[(u32, u32, u64)]) -> Problem {
        let task = |(index, row): (usize, &Vec<u64>)| Task {
            name: format!("T{}", index + 1),
            work: Work::Costs(row.iter().map(|&cost| Some(units(cost))).collect()),
            memory: Bytes::ZERO,
        };
        let edge = |&(from, to, cost): &(u32, u32, u64)| Data {
            from: TaskId(from),
            to: TaskId(to),
            payload: Payload::Cost(units(cost)),
        };
        let tasks = rows.iter().enumerate().map(task).collect();
        let graph = TaskGraph::new(tasks, edges.iter().map(edge).collect()).expect("a graph without cycles");
        let names = vec![""; rows[0].len()];
        let costs = Costs::of_rows(&graph, &names, &Speeds::default()).expect("rows of one length");
        Problem { graph, costs, communication: Communication::plain() }
    }

    /// The same tasks on `devices` equal devices, without communication costs.
    pub fn equal(times: &[u64], edges: &[(u32, u32)], devices: usize) -> Problem {
        let rows: Vec<Vec<u64>> = times.iter().map(|&time| vec![time; devices]).collect();
        let edges: Vec<_> = edges.iter().map(|&(from, to)| (from, to, 0)).collect();
        Problem::new(&rows, &edges)
    }

    /// What `scheduler` plans before anything has happened.
    pub fn plan(&self, scheduler: &dyn TaskScheduler) -> Plan {
        let progress = Progress::none(self.graph.len(), self.costs.devices().len());
        scheduler.plan(&self.view(&progress))
    }

    /// What a scheduler sees.
    pub fn view<'a>(&'a self, progress: &'a Progress) -> TaskView<'a> {
        TaskView {
            graph: &self.graph,
            costs: &self.costs,
            communication: &self.communication,
            progress,
            seed: Seed(1),
        }
    }
}

/// Figure 2 and table 1 of Topcuoglu, Hariri and Wu 2002.
pub fn topcuoglu() -> Problem {
    let rows = [
        [14, 16, 9],
        [13, 19, 18],
        [11, 13, 19],
        [13, 8, 17],
        [12, 13, 10],
        [13, 16, 9],
        [7, 15, 11],
        [5, 11, 14],
        [18, 12, 20],
        [21, 7, 16],
    ];
    let edges = [
        (0, 1, 18),
        (0, 2, 12),
        (0, 3, 9),
        (0, 4, 11),
        (0, 5, 14),
        (1, 7, 19),
        (1, 8, 16),
        (2, 6, 23),
        (3, 7, 27),
        (3, 8, 23),
        (4, 8, 13),
        (5, 7, 15),
        (6, 9, 17),
        (7, 9, 11),
        (8, 9, 13),
    ];
    Problem::new(&rows.map(Vec::from), &edges)
}

/// Figure 1 of Arabnejad and Barbosa 2014.
pub fn arabnejad() -> Problem {
    let rows = [
        [22, 21, 36],
        [22, 18, 18],
        [32, 27, 43],
        [7, 10, 4],
        [29, 27, 35],
        [26, 17, 24],
        [14, 25, 30],
        [29, 23, 36],
        [15, 21, 8],
        [13, 16, 33],
    ];
    let edges = [
        (0, 1, 17),
        (0, 2, 31),
        (0, 3, 29),
        (0, 4, 13),
        (0, 5, 7),
        (1, 7, 3),
        (1, 8, 30),
        (2, 6, 16),
        (3, 7, 11),
        (3, 8, 7),
        (4, 8, 57),
        (5, 7, 5),
        (6, 9, 9),
        (7, 9, 42),
        (8, 9, 7),
    ];
    Problem::new(&rows.map(Vec::from), &edges)
}

impl Problem {
    /// A run of the problem in which nothing surprises the scheduler.
    pub fn task_plan(&self, scheduler: &str) -> TaskPlan {
        let devices = self.costs.devices().len();
        TaskPlan {
            graph: self.graph.clone(),
            machine: Machine::plain("test", (1..=devices).map(|number| format!("P{number}"))),
            estimates: self.costs.clone(),
            truth: self.costs.clone(),
            scheduler: TaskSchedulerSpec::from_name(scheduler).expect("a listed scheduler"),
            network: NetworkSpec::from_name("fluid").expect("a listed network"),
            failures: Vec::new(),
            seed: Seed(1),
        }
    }
}

/// Four devices of three kinds behind one switch: a slow one that does everything, two faster ones, and
/// one that is fastest but has little memory. Links of 1 GB/s and 1 µs.
pub fn small_machine() -> Arc<Topology> {
    let device = |name: &str, kind: &str, rate: &str, memory: &str| -> Arc<DeviceSpec> {
        let text = format!(
            r#"{{"name": "{name}", "kind": "{kind}", "source": "made up", "clock": "1 GHz",
            "vector": {{"f32": "{rate}", "f64": "{rate}"}}, "memory": {{"capacity": "{memory}", "bandwidth": "100 GB/s"}}}}"#
        );
        Arc::new(serde_json::from_str(&text).expect("a device"))
    };
    let slow = device("slow", "cpu", "100 GFLOP/s", "64 GiB");
    let fast = device("fast", "gpu", "400 GFLOP/s", "16 GiB");
    let small = device("small", "fpga", "800 GFLOP/s", "1 MiB");
    let mut topology = Topology::builder("small");
    let node = topology.add_node();
    let switch = topology.add_switch("switch");
    for (at, spec) in [&slow, &fast, &fast, &small].into_iter().enumerate() {
        let device = topology.add_device(format!("d{at}"), spec, node);
        topology.connect(device, switch, LinkSpec::new(LinkClass::Other, 1e9, 500));
    }
    Arc::new(topology.build().expect("a star"))
}

/// A made-up graph of work and bytes on [`small_machine`]; every third task is too large for the smallest
/// device.
pub fn on_small_machine(generator: &str, scheduler: &str, seed: u64) -> TaskPlan {
    let mut generator = TaskGeneratorSpec::from_name(generator).expect("a listed generator");
    if let TaskGeneratorSpec::Layered(layered) = &mut generator {
        let effort = Effort::Work {
            flops: Flops(40_000_000),
            bytes: Bytes(1 << 20),
            precision: crate::hardware::Precision::F32,
        };
        layered.tasks = 24;
        layered.work = LayeredWork::Work { effort, data: Bytes(1 << 18) };
    }
    let topology = small_machine();
    let made = generator.generate(topology.devices().len(), Seed(seed));
    let resized = |id: TaskId| {
        let memory = if id.0.is_multiple_of(3) { Bytes(2 << 20) } else { Bytes::ZERO };
        Task { memory, ..made.task(id).clone() }
    };
    let tasks = made.ids().map(resized).collect();
    let edges = made.ids().flat_map(|id| made.inputs(id).map(|(_, data)| *data).collect::<Vec<_>>());
    let graph = TaskGraph::new(tasks, edges.collect()).expect("it was a graph before");
    let compute = ComputeSpec::from_name("roofline").expect("a listed compute model");
    let costs = Costs::on(&graph, &topology, &*compute, &Speeds::default()).expect("work for every device");
    TaskPlan {
        graph,
        machine: Machine::of(&topology),
        estimates: costs.clone(),
        truth: costs,
        scheduler: TaskSchedulerSpec::from_name(scheduler).expect("a listed scheduler"),
        network: NetworkSpec::from_name("fluid").expect("a listed network"),
        failures: Vec::new(),
        seed: Seed(seed),
    }
}
