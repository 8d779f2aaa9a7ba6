//! What happened, as typed spans, and who listens.
//!
//! The trace knows times, lanes and labels. It knows nothing of machines or neural networks beyond
//! their identities, and it keeps nothing: listeners do.

mod routed;

pub use routed::Routed;

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;

use crate::ids::{DeviceId, LayerId, LinkId, MicroBatch, Rank, Stage, StepIndex};
use crate::units::{Bytes, SimDuration, SimTime};

/// What a lane is busy with. The order is the order of legends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// The forward pass.
    Forward,
    /// The backward pass, input and weight gradients together.
    Backward,
    /// The gradient with respect to a layer's input (B of zero-bubble schedules).
    BackwardInput,
    /// The gradient with respect to a layer's weights (W of zero-bubble schedules).
    BackwardWeight,
    /// A forward pass repeated to save activation memory.
    Recompute,
    /// The optimiser's update, gradient clipping and casts.
    Optimizer,
    /// Tensor- and sequence-parallel communication.
    TensorComm,
    /// Data-parallel communication: gradients and sharded parameters.
    DataComm,
    /// Activations and their gradients between pipeline stages.
    PipelineComm,
    /// Tokens to and from experts.
    ExpertComm,
    /// Keys and values between context-parallel ranks.
    ContextComm,
    /// Waiting for, reading or moving input data.
    Input,
    /// A task of a task graph.
    Task,
    /// Prompt processing of a serving replica.
    Prefill,
    /// Token generation of a serving replica.
    Decode,
    /// A job holding devices of a cluster.
    Job,
    /// Checkpoints, restarts, and what has no name of its own.
    Other,
}

impl Activity {
    /// Every activity, in order.
    pub const ALL: [Activity; 17] = [
        Activity::Forward,
        Activity::Backward,
        Activity::BackwardInput,
        Activity::BackwardWeight,
        Activity::Recompute,
        Activity::Optimizer,
        Activity::TensorComm,
        Activity::DataComm,
        Activity::PipelineComm,
        Activity::ExpertComm,
        Activity::ContextComm,
        Activity::Input,
        Activity::Task,
        Activity::Prefill,
        Activity::Decode,
        Activity::Job,
        Activity::Other,
    ];

    /// The name a reader sees.
    pub const fn name(self) -> &'static str {
        match self {
            Activity::Forward => "forward",
            Activity::Backward => "backward",
            Activity::BackwardInput => "backward-input",
            Activity::BackwardWeight => "backward-weight",
            Activity::Recompute => "recompute",
            Activity::Optimizer => "optimizer",
            Activity::TensorComm => "tensor comm",
            Activity::DataComm => "data comm",
            Activity::PipelineComm => "pipeline comm",
            Activity::ExpertComm => "expert comm",
            Activity::ContextComm => "context comm",
            Activity::Input => "input",
            Activity::Task => "task",
            Activity::Prefill => "prefill",
            Activity::Decode => "decode",
            Activity::Job => "job",
            Activity::Other => "other",
        }
    }

    /// Whether a compute engine does it (as opposed to the network).
    pub const fn is_compute(self) -> bool {
        matches!(
            self,
            Activity::Forward
                | Activity::Backward
                | Activity::BackwardInput
                | Activity::BackwardWeight
                | Activity::Recompute
                | Activity::Optimizer
                | Activity::Task
                | Activity::Prefill
                | Activity::Decode
        )
    }
}

/// A queue of a rank: in order, as CUDA streams are, but for those of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Kernels.
    Compute,
    /// Tensor-, sequence-, context- and expert-parallel collectives.
    Tensor,
    /// Data-parallel collectives: gradients.
    Data,
    /// Shared weights on their way to those who need them.
    Weights,
    /// Activations on their way to the next pipeline stage.
    SendNext,
    /// Gradients on their way to the previous pipeline stage.
    SendPrevious,
    /// Copies between device and host, and input.
    Host,
    /// What a server sends to whoever asks, all at once.
    Serve,
    /// What a server does with what arrives, one after the other.
    Arrivals,
}

impl Stream {
    /// Every stream, in the order lanes are shown.
    pub const ALL: [Stream; 9] = [
        Stream::Compute,
        Stream::Tensor,
        Stream::Data,
        Stream::Weights,
        Stream::SendNext,
        Stream::SendPrevious,
        Stream::Host,
        Stream::Serve,
        Stream::Arrivals,
    ];

    /// The name a reader sees.
    pub const fn name(self) -> &'static str {
        match self {
            Stream::Compute => "compute",
            Stream::Tensor => "tensor comm",
            Stream::Data => "data comm",
            Stream::Weights => "weights comm",
            Stream::SendNext => "send next",
            Stream::SendPrevious => "send previous",
            Stream::Host => "host",
            Stream::Serve => "serve",
            Stream::Arrivals => "arrivals",
        }
    }

    /// Whether its ops run in the order in which they were written. Those of the others run in the order in
    /// which they become ready.
    pub const fn is_in_order(self) -> bool {
        !matches!(self, Stream::Serve | Stream::Arrivals)
    }

    /// Position in [`Stream::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Where a span is drawn: one line of a timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// A stream of a rank.
    Rank(Rank, Stream),
    /// A device outside of a parallel run (task graphs, clusters).
    Device(DeviceId),
    /// A link.
    Link(LinkId),
}

/// What a span is about; absent parts do not apply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Label {
    /// A short name: an operation, a layer, a task.
    pub name: Cow<'static, str>,
    /// The collective, for communication.
    pub collective: Option<&'static str>,
    /// The optimiser step.
    pub step: Option<StepIndex>,
    /// The pipeline stage.
    pub stage: Option<Stage>,
    /// The micro-batch.
    pub micro_batch: Option<MicroBatch>,
    /// The layer.
    pub layer: Option<LayerId>,
}

/// A lane was busy from `start` to `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Where.
    pub lane: Lane,
    /// From when.
    pub start: SimTime,
    /// Until when; never before `start`.
    pub end: SimTime,
    /// With what.
    pub activity: Activity,
    /// About what.
    pub label: Label,
    /// Payload moved, for communication.
    pub bytes: Bytes,
}

impl Span {
    /// How long the span lasts.
    pub fn duration(&self) -> SimDuration {
        self.end.since(self.start)
    }
}

/// Something passed from one lane to another: a send that became a receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrow {
    /// From where, and when it left.
    pub from: (Lane, SimTime),
    /// To where, and when it arrived.
    pub to: (Lane, SimTime),
    /// What it was sent for.
    pub activity: Activity,
}

/// A payload went along a route: all of its links were in use from `start` to `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The links, in order.
    pub route: Arc<[LinkId]>,
    /// When it left.
    pub start: SimTime,
    /// When its last byte arrived.
    pub end: SimTime,
    /// What for.
    pub activity: Activity,
    /// As part of what.
    pub label: Label,
    /// How much.
    pub bytes: Bytes,
}

/// What memory is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryUse {
    /// Weights, with their master copies counted under the optimizer.
    Parameters,
    /// Gradients.
    Gradients,
    /// Optimiser state and master weights.
    Optimizer,
    /// Activations kept for the backward pass.
    Activations,
    /// Communication and other working buffers.
    Buffers,
}

impl MemoryUse {
    /// Every use, in the order figures stack them.
    pub const ALL: [MemoryUse; 5] = [
        MemoryUse::Parameters,
        MemoryUse::Gradients,
        MemoryUse::Optimizer,
        MemoryUse::Activations,
        MemoryUse::Buffers,
    ];

    /// The name a reader sees.
    pub const fn name(self) -> &'static str {
        match self {
            MemoryUse::Parameters => "parameters",
            MemoryUse::Gradients => "gradients",
            MemoryUse::Optimizer => "optimizer",
            MemoryUse::Activations => "activations",
            MemoryUse::Buffers => "buffers",
        }
    }
}

/// A rank's memory changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryChange {
    /// Whose memory.
    pub rank: Rank,
    /// When.
    pub at: SimTime,
    /// What for.
    pub usage: MemoryUse,
    /// Bytes in use for it from now on.
    pub now: Bytes,
}

/// Who is told what happened. Spans come in the order in which they end.
pub trait Listener {
    /// A lane was busy.
    fn span(&mut self, span: Span);
    /// Something passed between lanes.
    fn arrow(&mut self, _arrow: Arrow) {}
    /// A payload arrived.
    fn carried(&mut self, _carried: Carried) {}
    /// A rank's memory changed.
    fn memory(&mut self, _change: MemoryChange) {}
    /// A layer's tokens were sent to experts; told when the program has ended, in the order of the program.
    fn routed(&mut self, _layer: Option<LayerId>, _routed: &Arc<Routed>) {}
}

/// Keeps everything: for short runs, figures and tests.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    /// Spans in the order in which they ended.
    pub spans: Vec<Span>,
    /// Arrows in the order in which they arrived.
    pub arrows: Vec<Arrow>,
    /// Payloads in the order in which they arrived.
    pub carried: Vec<Carried>,
    /// Memory changes in order of time.
    pub memory: Vec<MemoryChange>,
}

impl Listener for Recording {
    fn span(&mut self, span: Span) {
        self.spans.push(span);
    }
    fn arrow(&mut self, arrow: Arrow) {
        self.arrows.push(arrow);
    }
    fn carried(&mut self, carried: Carried) {
        self.carried.push(carried);
    }
    fn memory(&mut self, change: MemoryChange) {
        self.memory.push(change);
    }
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Deaf;

impl Listener for Deaf {
    fn span(&mut self, _span: Span) {}
}
