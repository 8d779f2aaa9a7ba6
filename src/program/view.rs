//! A petgraph view of a small program, for figures, tests and debugging.

use petgraph::graph::DiGraph;

use crate::ids::{Id, OpId};
use crate::program::Program;

/// Ops as vertices; an edge from each op to those that wait for it, the order of streams included.
pub fn petgraph_view(program: &Program) -> DiGraph<OpId, ()> {
    let mut graph = DiGraph::with_capacity(program.ops().len(), program.ops().len());
    let vertices: Vec<_> = program.ops().ids().map(|op| graph.add_node(op)).collect();
    let mut last_of_queue = std::collections::BTreeMap::new();
    for (id, op) in program.ops().enumerate() {
        if let Some(previous) = last_of_queue.insert((op.rank, op.stream), id) {
            graph.add_edge(vertices[Id::index(previous)], vertices[Id::index(id)], ());
        }
        for next in program.successors(id) {
            graph.add_edge(vertices[Id::index(id)], vertices[Id::index(next)], ());
        }
    }
    graph
}
