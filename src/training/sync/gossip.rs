//! Replicas average with their neighbours alone.
//!
//! Lian et al., "Can Decentralized Algorithms Outperform Centralized Algorithms? A Case Study for
//! Decentralized Parallel Stochastic Gradient Descent", NeurIPS 2017, algorithm 1 (each step, then the mix;
//! the paper notes that the two may be exchanged); Ying et al., "Exponential Graph is Provably Efficient
//! for Decentralized Deep Training", NeurIPS 2021, section 4 (one-peer exponential graphs).

use serde::{Deserialize, Serialize};

use crate::ids::StepIndex;
use crate::training::sync::{GradientSync, SyncAction};

/// Each replica steps on its own gradient, then takes the mean of itself and its neighbours.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gossip {
    /// Who is whose neighbour.
    pub graph: Graph,
}

/// Who is whose neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Graph {
    /// The one before and the one after, with equal weights of a third.
    #[default]
    Ring,
    /// In step t the one 2^(t mod ⌈log₂ n⌉) before, with equal weights of a half.
    Exponential,
}

impl Graph {
    /// How far before each of `replicas` its neighbours of a step are.
    pub fn neighbours(self, replicas: u32, step: StepIndex) -> Vec<u32> {
        match self {
            _ if replicas < 2 => Vec::new(),
            Graph::Ring if replicas == 2 => vec![1],
            Graph::Ring => vec![1, replicas - 1],
            Graph::Exponential => vec![1 << (step.0 % replicas.next_power_of_two().ilog2())],
        }
    }
}

impl GradientSync for Gossip {
    fn action(&self, step: StepIndex) -> SyncAction {
        // What differs between steps repeats with as many steps as the largest group has powers of two.
        SyncAction::MixWithNeighbours { graph: self.graph, turn: step }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_one_peer_exponential_graph_reaches_all_in_log_n_steps() {
        let mut knows = vec![1_u32; 8];
        for step in 0..3 {
            let [by] = Graph::Exponential.neighbours(8, StepIndex(step))[..] else { panic!("one peer") };
            let before = knows.clone();
            (0..8).for_each(|at| knows[at] += before[(at + 8 - by as usize) % 8]);
        }
        assert_eq!(knows, [8; 8]);
    }
}
