//! Graphviz' DOT, as far as it describes task graphs.
//!
//! The grammar is that of <https://graphviz.org/doc/info/lang.html> without undirected graphs, ports and
//! HTML labels. Attributes that are read (others are for drawing and left aside):
//!
//! | of a node | |
//! |---|---|
//! | `costs="14,16,9"` | the time on each device, in seconds; `-` where a device cannot do it |
//! | `time="3 ms"` | the time on a device of speed 1; a plain number is in seconds |
//! | `flops="2 GFLOP"`, `bytes="1 GB"` | work for the machine's compute model, in single precision |
//! | `size="1e9"` | flops, as SimGrid and daggen write them |
//! | `memory="1 GiB"` | what the task needs of the device's memory |
//!
//! | of an edge | |
//! |---|---|
//! | `cost="18"` | a plain communication cost; a plain number is in seconds |
//! | `bytes="4 MiB"`, `size="1e6"` | bytes that travel over the network |

mod attributes;
mod parse;
mod tokens;

use std::collections::BTreeMap;

use crate::ids::{Id, TaskId};
use crate::tasks::graph::Data;
use crate::tasks::readers::{Malformed, Reading};
use crate::tasks::{Task, TaskGraph};

/// Reads a graph.
///
/// # Errors
/// What was expected where: the first mistake of the grammar, or every mistake of its attributes.
pub fn read(text: &str) -> Result<Reading, Vec<Malformed>> {
    let written = parse::parse(text).map_err(|mistake| vec![mistake])?;
    let mut mistakes = Vec::new();
    let mut ids = BTreeMap::new();
    let mut tasks = Vec::new();
    for (name, node) in &written.nodes {
        ids.insert(name.as_str(), TaskId::from_index(ids.len()));
        match attributes::task(name, node) {
            Ok((work, memory)) => tasks.push(Task { name: name.clone(), work, memory }),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    let mut edges = Vec::new();
    for edge in &written.edges {
        let (from, to) = (ids[edge.from.as_str()], ids[edge.to.as_str()]);
        match attributes::payload(edge) {
            Ok(payload) => edges.push(Data { from, to, payload }),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    match TaskGraph::new(tasks, edges) {
        Ok(graph) => Ok(Reading { graph, notes: Vec::new() }),
        Err(why) => {
            let why = format!("expected a graph of tasks without cycles: {why}");
            Err(vec![Malformed::at(written.place, why)])
        }
    }
}
