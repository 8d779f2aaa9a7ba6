//! Where each rank's time went: every moment of a step belongs to exactly one part.

use std::collections::BTreeMap;

use crate::ids::{Id, Rank};
use crate::trace::{Activity, Arrow, Lane, Span, Stream};
use crate::units::{SimDuration, SimTime};

/// A part of a rank's time. When several things happen at once, the moment belongs to the first of
/// them in this order, so communication counts only where no computation hides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Forward, backward and recomputation.
    Compute,
    /// The optimiser's update, clipping and zeroing.
    Optimizer,
    /// Waiting for or moving input data.
    Input,
    /// Tensor-parallel communication that nothing hides.
    ExposedTensor,
    /// Expert-parallel communication that nothing hides.
    ExposedExpert,
    /// Context-parallel communication that nothing hides.
    ExposedContext,
    /// Data-parallel communication that nothing hides.
    ExposedData,
    /// Pipeline communication, sent or awaited, that nothing hides.
    ExposedPipeline,
    /// Copies between device and host that nothing hides.
    ExposedHost,
    /// Checkpoints, restarts, and what has no name of its own.
    Other,
    /// Idle: waiting for another rank's work.
    Bubble,
}

impl Part {
    /// Every part, in order of precedence.
    pub const ALL: [Part; 11] = [
        Part::Compute,
        Part::Optimizer,
        Part::Input,
        Part::ExposedTensor,
        Part::ExposedExpert,
        Part::ExposedContext,
        Part::ExposedData,
        Part::ExposedPipeline,
        Part::ExposedHost,
        Part::Other,
        Part::Bubble,
    ];

    /// The key of the machine interface.
    pub const fn key(self) -> &'static str {
        match self {
            Part::Compute => "compute",
            Part::Optimizer => "optimizer",
            Part::Input => "input",
            Part::ExposedTensor => "exposed_tensor",
            Part::ExposedExpert => "exposed_expert",
            Part::ExposedContext => "exposed_context",
            Part::ExposedData => "exposed_data",
            Part::ExposedPipeline => "exposed_pipeline",
            Part::ExposedHost => "exposed_host",
            Part::Other => "other",
            Part::Bubble => "bubble",
        }
    }

    /// The name a reader sees.
    pub const fn name(self) -> &'static str {
        match self {
            Part::Compute => "compute",
            Part::Optimizer => "optimizer",
            Part::Input => "input",
            Part::ExposedTensor => "exposed tensor comm",
            Part::ExposedExpert => "exposed expert comm",
            Part::ExposedContext => "exposed context comm",
            Part::ExposedData => "exposed data comm",
            Part::ExposedPipeline => "exposed pipeline comm",
            Part::ExposedHost => "exposed host comm",
            Part::Other => "other",
            Part::Bubble => "bubble",
        }
    }

    fn of(activity: Activity) -> Part {
        match activity {
            Activity::Forward
            | Activity::Backward
            | Activity::BackwardInput
            | Activity::BackwardWeight
            | Activity::Recompute
            | Activity::Task
            | Activity::Prefill
            | Activity::Decode => Part::Compute,
            Activity::Optimizer => Part::Optimizer,
            Activity::Input => Part::Input,
            Activity::TensorComm => Part::ExposedTensor,
            Activity::ExpertComm => Part::ExposedExpert,
            Activity::ContextComm => Part::ExposedContext,
            Activity::DataComm => Part::ExposedData,
            Activity::PipelineComm => Part::ExposedPipeline,
            Activity::HostComm => Part::ExposedHost,
            Activity::Job | Activity::Other => Part::Other,
        }
    }
}

/// How long each rank spent on each part; the parts of a rank sum to the step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breakdown {
    step: SimDuration,
    ranks: BTreeMap<Rank, [SimDuration; Part::ALL.len()]>,
}

impl Breakdown {
    /// Folds the spans of a step that lasted from `start` to `end` on these ranks. Arrows tell
    /// receivers of what was on its way to them.
    pub fn of_step(ranks: &[Rank], spans: &[Span], arrows: &[Arrow], start: SimTime, end: SimTime) -> Self {
        let mut edges = Edges::default();
        spans.iter().for_each(|span| edges.span(span));
        arrows.iter().for_each(|arrow| edges.arrow(arrow));
        edges.breakdown(ranks, start, end)
    }

    /// The mean of several steps of the same ranks.
    pub fn mean(steps: &[Breakdown]) -> Self {
        let count = steps.len() as u64;
        let mean = |total: SimDuration| SimDuration::from_picos(total.picos() / count);
        let step = mean(steps.iter().map(Breakdown::step).sum());
        let of_rank = |rank: Rank| {
            let mut parts = Part::ALL.map(|part| mean(steps.iter().map(|step| step.of(rank, part)).sum()));
            // Each mean was rounded down; the bubble takes what is left, so that they sum to the step.
            let spent: SimDuration = parts.iter().copied().sum();
            parts[Part::Bubble as usize] += step - spent;
            (rank, parts)
        };
        Breakdown { step, ranks: steps[0].ranks().map(of_rank).collect() }
    }

    /// How long the step took.
    pub fn step(&self) -> SimDuration {
        self.step
    }

    /// How long a rank spent on a part.
    pub fn of(&self, rank: Rank, part: Part) -> SimDuration {
        self.ranks[&rank][part as usize]
    }

    /// Mean over ranks, in seconds.
    pub fn mean_seconds(&self, part: Part) -> f64 {
        let total: u128 = self.ranks.values().map(|parts| u128::from(parts[part as usize].picos())).sum();
        total as f64 / self.ranks.len() as f64 / crate::units::PICOS_PER_SECOND as f64
    }

    /// Every rank.
    pub fn ranks(&self) -> impl Iterator<Item = Rank> + '_ {
        self.ranks.keys().copied()
    }
}

/// What begins and ends in a step, rank by rank: all that a [`Breakdown`] needs to know of its spans.
#[derive(Debug, Default)]
pub struct Edges {
    by_rank: Vec<Vec<Edge>>,
}

impl Edges {
    /// A lane was busy.
    pub fn span(&mut self, span: &Span) {
        if let Lane::Rank(rank, _) = span.lane {
            self.stretch(rank, Part::of(span.activity), span.start, span.end);
        }
    }

    /// Something was on its way to a rank.
    pub fn arrow(&mut self, arrow: &Arrow) {
        if let ((Lane::Rank(..), left), (Lane::Rank(receiver, Stream::Compute), arrived)) =
            (arrow.from, arrow.to)
        {
            self.stretch(receiver, Part::of(arrow.activity), left, arrived);
        }
    }

    /// The breakdown of the step that lasted from `start` to `end` on these ranks; nothing is left. Other
    /// ranks (those of hosts) are not asked for.
    pub fn breakdown(&mut self, ranks: &[Rank], start: SimTime, end: SimTime) -> Breakdown {
        let mut by_rank = std::mem::take(&mut self.by_rank);
        let of_rank = |&rank: &Rank| {
            let edges = by_rank.get_mut(rank.index()).map(std::mem::take).unwrap_or_default();
            (rank, sweep(edges, start, end))
        };
        let ranks = ranks.iter().map(of_rank).collect();
        Breakdown { step: end.since(start), ranks }
    }

    fn stretch(&mut self, rank: Rank, part: Part, from: SimTime, to: SimTime) {
        if self.by_rank.len() <= rank.index() {
            self.by_rank.resize_with(rank.index() + 1, Vec::new);
        }
        let edges = &mut self.by_rank[rank.index()];
        edges.push(Edge { at: from, part, opens: true });
        edges.push(Edge { at: to, part, opens: false });
    }
}

/// Something begins or ends.
#[derive(Debug, Clone, Copy)]
struct Edge {
    at: SimTime,
    part: Part,
    opens: bool,
}

/// Gives each stretch between two edges to the first part that is going on.
fn sweep(mut edges: Vec<Edge>, start: SimTime, end: SimTime) -> [SimDuration; Part::ALL.len()] {
    edges.sort_by_key(|edge| (edge.at, edge.opens));
    let mut open = [0_i64; Part::ALL.len()];
    let mut parts = [SimDuration::ZERO; Part::ALL.len()];
    let mut from = start;
    for edge in edges {
        let at = edge.at.clamp(start, end);
        let part = Part::ALL.into_iter().find(|&part| open[part as usize] > 0).unwrap_or(Part::Bubble);
        parts[part as usize] += at.since(from);
        from = at;
        open[edge.part as usize] += if edge.opens { 1 } else { -1 };
    }
    parts[Part::Bubble as usize] += end.since(from);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Label;
    use crate::units::Bytes;

    fn span(stream: Stream, activity: Activity, start: u64, end: u64) -> Span {
        Span {
            lane: Lane::Rank(Rank(0), stream),
            start: SimTime::from_picos(start),
            end: SimTime::from_picos(end),
            activity,
            label: Label::default(),
            bytes: Bytes::ZERO,
        }
    }

    #[test]
    fn the_mean_of_steps_sums_to_the_mean_step() {
        let step = |work: u64, end: u64| {
            let spans = [span(Stream::Compute, Activity::Forward, 0, work)];
            let end = SimTime::from_picos(end);
            Breakdown::of_step(&[Rank(0)], &spans, &[], SimTime::ZERO, end)
        };
        let mean = Breakdown::mean(&[step(10, 10), step(11, 14), step(12, 20)]);
        assert_eq!((mean.step().picos(), mean.of(Rank(0), Part::Compute).picos()), (14, 11));
        assert_eq!(mean.of(Rank(0), Part::Bubble).picos(), 3);
    }

    /// Compute 0–10, a collective 5–14 under it, nothing until 20: 10 compute, 4 exposed, 6 bubble.
    #[test]
    fn communication_counts_only_where_nothing_hides_it() {
        let spans = [
            span(Stream::Compute, Activity::Forward, 0, 10),
            span(Stream::Tensor, Activity::TensorComm, 5, 14),
        ];
        let end = SimTime::from_picos(20);
        let breakdown = Breakdown::of_step(&[Rank(0)], &spans, &[], SimTime::ZERO, end);
        let picos = |part| breakdown.of(Rank(0), part).picos();
        assert_eq!((picos(Part::Compute), picos(Part::ExposedTensor), picos(Part::Bubble)), (10, 4, 6));
        let total: SimDuration = Part::ALL.into_iter().map(|part| breakdown.of(Rank(0), part)).sum();
        assert_eq!(total, breakdown.step());
    }
}
