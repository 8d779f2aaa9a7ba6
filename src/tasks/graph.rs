//! Tasks, and the data that one hands to another, as a graph without cycles.
//!
//! A graph knows nothing of devices or time: a task's work is a description that
//! [`Costs`](crate::tasks::Costs) turns into time for a given machine.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt;

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::hardware::Precision;
use crate::ids::{DataId, Id, IdVec, TaskId};
use crate::units::{Bytes, Flops, SimDuration};

/// What is to be done, once and without a pause, on one device.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Unique within its graph.
    pub name: String,
    /// How much there is to do.
    pub work: Work,
    /// What it needs of the device's memory while it runs.
    pub memory: Bytes,
}

/// How much a task has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// The time on each device, in order of devices, as the literature's cost matrices give it;
    /// `None` where the device cannot do it.
    Costs(Vec<Option<SimDuration>>),
    /// The time by kind of device (`gpu`) or by what the device is called (`t4`), which goes before its
    /// kind; devices that are not listed cannot do it.
    PerKind(BTreeMap<String, SimDuration>),
    /// Arithmetic and memory traffic; the machine's compute model says how long they take.
    Arithmetic {
        /// Floating-point operations.
        flops: Flops,
        /// Bytes moved to and from the device's memory.
        bytes: Bytes,
        /// The format computed in.
        precision: Precision,
    },
    /// The time on a device of speed 1; others take it divided by their speed.
    Reference(SimDuration),
}

/// What an edge carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// A plain communication cost: how long it takes between any two different devices. On one and
    /// the same device it takes no time.
    Cost(SimDuration),
    /// Bytes that travel over the machine's network.
    Bytes(Bytes),
}

/// Data on its way from one task to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data {
    /// The task that makes it.
    pub from: TaskId,
    /// The task that needs it.
    pub to: TaskId,
    /// How much it is.
    pub payload: Payload,
}

/// Tasks joined by the data they hand on; without cycles by construction.
#[derive(Debug, Clone)]
pub struct TaskGraph {
    graph: DiGraph<Task, Data>,
    order: Vec<TaskId>,
    inputs: IdVec<TaskId, Vec<DataId>>,
    outputs: IdVec<TaskId, Vec<DataId>>,
}

/// Why tasks and edges are no task graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GraphError {
    /// There is nothing to do.
    Empty,
    /// Two tasks have one name.
    DuplicateName(String),
    /// Tasks that wait for one another, in order; the last hands data to the first.
    Cycle(Vec<String>),
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GraphError::Empty => f.write_str("the graph has no tasks"),
            GraphError::DuplicateName(name) => write!(f, "two tasks are called `{name}`"),
            GraphError::Cycle(names) if names.len() == 1 => {
                write!(f, "the task `{}` waits for itself", names[0])
            }
            GraphError::Cycle(names) => {
                let path = names.iter().chain(names.first()).map(|name| format!("`{name}`"));
                let path: Vec<String> = path.collect();
                write!(f, "these tasks wait for one another: {}", path.join(" → "))
            }
        }
    }
}

impl std::error::Error for GraphError {}

impl TaskGraph {
    /// The graph of these tasks and edges, which keep their order.
    ///
    /// # Errors
    /// See [`GraphError`]; a cycle is named by its tasks.
    ///
    /// # Panics
    /// When an edge names a task that is not there.
    pub fn new(tasks: Vec<Task>, edges: Vec<Data>) -> Result<TaskGraph, GraphError> {
        if tasks.is_empty() {
            return Err(GraphError::Empty);
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = tasks.iter().find(|task| !names.insert(&task.name)) {
            return Err(GraphError::DuplicateName(twice.name.clone()));
        }
        let mut graph = DiGraph::with_capacity(tasks.len(), edges.len());
        let mut inputs: IdVec<TaskId, Vec<DataId>> = IdVec::filled(Vec::new(), tasks.len());
        let mut outputs = inputs.clone();
        for task in tasks {
            graph.add_node(task);
        }
        for edge in edges {
            let id = DataId::from_index(graph.edge_count());
            graph.add_edge(NodeIndex::new(edge.from.index()), NodeIndex::new(edge.to.index()), edge);
            outputs[edge.from].push(id);
            inputs[edge.to].push(id);
        }
        let mut made = TaskGraph { graph, order: Vec::new(), inputs, outputs };
        made.order = made.topological_order();
        if made.order.len() < made.len() {
            return Err(GraphError::Cycle(made.cycle()));
        }
        Ok(made)
    }

    /// How many tasks there are.
    pub fn len(&self) -> usize {
        self.graph.node_count()
    }

    /// Never: a graph has at least one task.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The tasks' identities, in the order in which they were given.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = TaskId> + ExactSizeIterator + use<> {
        (0..self.len()).map(TaskId::from_index)
    }

    /// A task.
    pub fn task(&self, task: TaskId) -> &Task {
        &self.graph[NodeIndex::new(task.index())]
    }

    /// The task called `name`.
    pub fn named(&self, name: &str) -> Option<TaskId> {
        self.ids().find(|&task| self.task(task).name == name)
    }

    /// How many edges there are.
    pub fn data_len(&self) -> usize {
        self.graph.edge_count()
    }

    /// An edge.
    pub fn data(&self, data: DataId) -> &Data {
        &self.graph[petgraph::graph::EdgeIndex::new(data.index())]
    }

    /// What a task needs, in the order in which the edges were given.
    pub fn inputs(
        &self,
        task: TaskId,
    ) -> impl DoubleEndedIterator<Item = (DataId, &Data)> + ExactSizeIterator {
        self.inputs[task].iter().map(|&id| (id, self.data(id)))
    }

    /// What a task hands on, in the order in which the edges were given.
    pub fn outputs(
        &self,
        task: TaskId,
    ) -> impl DoubleEndedIterator<Item = (DataId, &Data)> + ExactSizeIterator {
        self.outputs[task].iter().map(|&id| (id, self.data(id)))
    }

    /// Every task after those it waits for; among several that could come next, the one given first.
    pub fn order(&self) -> &[TaskId] {
        &self.order
    }

    /// The graph itself; a node's index is its [`TaskId`], an edge's its [`DataId`].
    pub fn graph(&self) -> &DiGraph<Task, Data> {
        &self.graph
    }

    /// Kahn's algorithm with the smallest identity first; stops short at a cycle.
    fn topological_order(&self) -> Vec<TaskId> {
        let mut missing: IdVec<TaskId, usize> = self.inputs.iter().map(Vec::len).collect();
        let free = self.ids().filter(|&task| missing[task] == 0);
        let mut free: BinaryHeap<Reverse<TaskId>> = free.map(Reverse).collect();
        let mut order = Vec::with_capacity(self.len());
        while let Some(Reverse(task)) = free.pop() {
            order.push(task);
            for (_, data) in self.outputs(task) {
                missing[data.to] -= 1;
                if missing[data.to] == 0 {
                    free.push(Reverse(data.to));
                }
            }
        }
        order
    }

    /// A shortest cycle through the first task that is on one.
    fn cycle(&self) -> Vec<String> {
        let on_cycle =
            |group: &Vec<NodeIndex>| group.len() > 1 || self.graph.find_edge(group[0], group[0]).is_some();
        let groups = tarjan_scc(&self.graph);
        let first = groups.into_iter().filter(on_cycle).flatten().min().expect("Kahn stopped at a cycle");
        let start = TaskId::from_index(first.index());
        // Breadth first from `start` until an edge leads back to it.
        let mut came_from: BTreeMap<TaskId, TaskId> = BTreeMap::new();
        let mut frontier = vec![start];
        loop {
            let mut next = Vec::new();
            for &task in &frontier {
                for (_, data) in self.outputs(task) {
                    if data.to == start {
                        return self.path_to(start, task, &came_from);
                    }
                    if let std::collections::btree_map::Entry::Vacant(new) = came_from.entry(data.to) {
                        new.insert(task);
                        next.push(data.to);
                    }
                }
            }
            frontier = next;
        }
    }

    fn path_to(&self, start: TaskId, end: TaskId, came_from: &BTreeMap<TaskId, TaskId>) -> Vec<String> {
        let back = std::iter::successors(Some(end), |task| (*task != start).then(|| came_from[task]));
        let mut names: Vec<String> = back.map(|task| self.task(task).name.clone()).collect();
        names.reverse();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(tasks: usize, edges: &[(u32, u32)]) -> Result<TaskGraph, GraphError> {
        let task = |index: usize| Task {
            name: format!("t{index}"),
            work: Work::Reference(SimDuration::from_nanos(1)),
            memory: Bytes::ZERO,
        };
        let edge = |&(from, to): &(u32, u32)| Data {
            from: TaskId(from),
            to: TaskId(to),
            payload: Payload::Bytes(Bytes(1)),
        };
        TaskGraph::new((0..tasks).map(task).collect(), edges.iter().map(edge).collect())
    }

    #[test]
    fn tasks_are_ordered_after_what_they_wait_for_and_otherwise_as_given() {
        let graph = graph(5, &[(3, 1), (1, 0)]).unwrap();
        assert_eq!(graph.order(), [2, 3, 1, 0, 4].map(TaskId));
    }

    #[test]
    fn a_cycle_is_named_by_its_tasks_and_by_none_that_only_hang_on_it() {
        // t0 leads into the cycle t1 → t3 → t2, t4 hangs on it; the longer way t1 → t3 → t4 … does not return.
        let error = graph(5, &[(0, 1), (1, 3), (3, 2), (2, 1), (3, 4)]).unwrap_err();
        assert_eq!(error.to_string(), "these tasks wait for one another: `t1` → `t3` → `t2` → `t1`");
        let error = graph(2, &[(0, 1), (1, 1)]).unwrap_err();
        assert_eq!(error.to_string(), "the task `t1` waits for itself");
    }

    #[test]
    fn names_are_unique_and_a_graph_has_tasks() {
        assert_eq!(graph(0, &[]).unwrap_err(), GraphError::Empty);
        let task = Task { name: "twin".into(), work: Work::Costs(vec![]), memory: Bytes::ZERO };
        let error = TaskGraph::new(vec![task.clone(), task], vec![]).unwrap_err();
        assert_eq!(error, GraphError::DuplicateName("twin".into()));
    }
}
