//! How replicas stay one model: what they exchange in a step, and when.
//!
//! A sync is a pure function of the step's index and the gradient buckets. It knows nothing of time
//! or topologies: [`lower`](crate::training::lower) turns its exchanges into collectives.
//!
//! To add one, write its file and list it here.

mod all_reduce;
mod diloco;
mod gossip;
mod parameter_averaging;
mod parameter_server;
mod slow_mo;

pub use gossip::Graph;
pub use parameter_server::ParameterServer;

use std::cmp::Ordering;

use crate::ids::StepIndex;
use crate::program::OuterRule;
use crate::registry;

registry! {
    /// `sync:` of a training workload.
    pub enum SyncSpec: GradientSync {
        /// gradients summed in buckets, overlapped with the backward pass
        "all_reduce" => AllReduce(all_reduce::AllReduce),
        /// replicas step alone, and average their weights now and then
        "parameter_averaging" => ParameterAveraging(parameter_averaging::ParameterAveraging),
        /// long runs alone, and Nesterov momentum on what they come to (Douillard et al.)
        "diloco" => DiLoCo(diloco::DiLoCo),
        /// each replica averages its weights with its neighbours' (D-PSGD)
        "gossip" => Gossip(gossip::Gossip),
        /// asynchronous: servers step by each gradient as it arrives, stale as it is
        "parameter_server" => ParameterServer(ParameterServer),
        /// averages carried on by a slow momentum (Wang et al.)
        "slow_mo" => SlowMo(slow_mo::SlowMo),
    }
}

/// What replicas exchange in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncAction {
    /// Sum the gradients before the optimiser, bucket by bucket as they become ready.
    ReduceGradients,
    /// The same for the last time: replicas remember the weights from which each steps alone.
    ReduceAndPart,
    /// Step each replica on its own gradient.
    Nothing,
    /// Step each replica on its own gradient, then average the parameters.
    AverageParameters,
    /// Step each replica on its own gradient, then average its parameters with its neighbours'.
    MixWithNeighbours {
        /// Who is whose neighbour.
        graph: Graph,
        /// In which step.
        turn: StepIndex,
    },
}

impl SyncAction {
    /// Whether `replicas` replicas exchange the same in two steps.
    pub fn exchanges_as(self, other: SyncAction, replicas: u32) -> bool {
        let neighbours = |action: SyncAction| match action {
            SyncAction::MixWithNeighbours { graph, turn } => Some(graph.neighbours(replicas, turn)),
            _ => None,
        };
        self == other || (neighbours(self).is_some() && neighbours(self) == neighbours(other))
    }

    /// Whether gradients are summed, so that all replicas take one step.
    pub fn reduces_gradients(self) -> bool {
        matches!(self, SyncAction::ReduceGradients | SyncAction::ReduceAndPart)
    }

    /// What is exchanged in a step when replicas step together for `after` steps, and from then on average
    /// their parameters after every `every`-th.
    fn averaging(after: u32, every: u32, step: StepIndex) -> SyncAction {
        let done = step.0 + 1;
        match done.cmp(&after) {
            Ordering::Less => SyncAction::ReduceGradients,
            Ordering::Equal => SyncAction::ReduceAndPart,
            Ordering::Greater if (done - after).is_multiple_of(every) => SyncAction::AverageParameters,
            Ordering::Greater => SyncAction::Nothing,
        }
    }
}

/// Decides what replicas exchange.
pub trait GradientSync {
    /// What is exchanged in a step.
    fn action(&self, step: StepIndex) -> SyncAction;

    /// How the average is stepped on from the one before it, where it is.
    fn outer(&self) -> Option<OuterRule> {
        None
    }

    /// Who keeps the one model, where replicas step it asynchronously.
    fn server(&self) -> Option<&ParameterServer> {
        None
    }

    /// Steps from one exchange to the next.
    fn period(&self) -> u32 {
        1
    }

    /// Steps that replicas take together before each goes on alone.
    fn together(&self) -> u32 {
        0
    }
}
