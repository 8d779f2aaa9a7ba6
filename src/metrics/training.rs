//! What is kept of a training run: every step's numbers, and one step whole, for the figures.

use std::sync::Arc;

use crate::ids::{Id, IdVec, LayerId, Rank, StepIndex};
use crate::metrics::{Breakdown, MemoryTimeline, Traffic};
use crate::trace::{Arrow, Carried, Listener, MemoryChange, MemoryUse, Recording, Routed, Span};
use crate::training::recovery::{Checkpointed, Interruption};
use crate::training::{Applied, Observer, StepReport, TrainingPlan};
use crate::units::{Bytes, SimTime};

/// Memory in use, by use.
type InUse = [Bytes; MemoryUse::ALL.len()];

/// Listens to a training run and folds it.
pub struct TrainingRecorder<'a> {
    fold: Fold,
    ranks: Vec<Rank>,
    shown: StepIndex,
    evaluate_every: u32,
    last: StepIndex,
    record: TrainingRecord,
    on_step: Box<dyn FnMut(&StepReport) + 'a>,
}

/// What is kept of a training run.
#[derive(Debug, Clone, Default)]
pub struct TrainingRecord {
    /// Every step.
    pub steps: Vec<StepReport>,
    /// Where the time of every step went.
    pub breakdowns: Vec<Breakdown>,
    /// How tokens were sent to experts in every step, in the order of its program; empty without experts.
    pub routed: Vec<StepRouting>,
    /// One step whole.
    pub shown: Option<ShownStep>,
    /// Bytes moved in the whole run.
    pub traffic: Traffic,
    /// In which order parameter servers applied what, and how stale it was.
    pub applied: Option<Applied>,
    /// Fullest moments.
    pub memory: Option<MemoryTimeline>,
    /// Checkpoints that were written.
    pub checkpoints: Vec<Checkpointed>,
    /// Devices that failed.
    pub interruptions: Vec<Interruption>,
    /// The plans that the run went on with, and from which step.
    pub plans: Vec<(StepIndex, TrainingPlan)>,
    /// How many steps were done when, those included that were lost later.
    pub progress: Vec<(SimTime, u32)>,
}

/// How tokens were sent to experts in a step.
#[derive(Debug, Clone, Default)]
pub struct StepRouting {
    /// The layer of each decision.
    pub layers: Vec<Option<LayerId>>,
    /// How it came out.
    pub went: Vec<Arc<Routed>>,
}

/// One step whole: what the timeline, the links and the memory figures show.
#[derive(Debug, Clone)]
pub struct ShownStep {
    /// Which one.
    pub step: StepIndex,
    /// When it began.
    pub start: SimTime,
    /// When it ended.
    pub end: SimTime,
    /// What happened.
    pub recording: Recording,
    /// What memory held when it began.
    pub memory_before: IdVec<Rank, InUse>,
}

/// Folds what a step tells.
#[derive(Debug)]
struct Fold {
    recording: Recording,
    memory: MemoryTimeline,
    traffic: Traffic,
    routed: StepRouting,
}

impl Listener for Fold {
    fn span(&mut self, span: Span) {
        self.recording.span(span);
    }
    fn arrow(&mut self, arrow: Arrow) {
        self.recording.arrow(arrow);
    }
    fn carried(&mut self, carried: Carried) {
        self.traffic.carried(&carried);
        // What a folded exchange moves is on no link that could be shown.
        if !carried.route.is_empty() {
            self.recording.carried(carried);
        }
    }
    fn memory(&mut self, change: MemoryChange) {
        self.memory.change(change);
        self.recording.memory(change);
    }
    fn routed(&mut self, layer: Option<LayerId>, routed: &Arc<Routed>) {
        self.routed.layers.push(layer);
        self.routed.went.push(routed.clone());
    }
}

impl<'a> TrainingRecorder<'a> {
    /// Listens to `steps` steps of these ranks; the last is kept whole. The held-out loss is wanted
    /// every `evaluate_every` steps and at the end.
    pub fn new(
        ranks: Vec<Rank>,
        steps: u32,
        evaluate_every: u32,
        on_step: impl FnMut(&StepReport) + 'a,
    ) -> Self {
        let last = StepIndex(steps.saturating_sub(1));
        let count = ranks.iter().map(|rank| rank.index() + 1).max().unwrap_or(0);
        TrainingRecorder {
            ranks,
            fold: Fold {
                recording: Recording::default(),
                memory: MemoryTimeline::new(count),
                traffic: Traffic::default(),
                routed: StepRouting::default(),
            },
            shown: last,
            evaluate_every,
            last,
            record: TrainingRecord::default(),
            on_step: Box::new(on_step),
        }
    }

    /// What has been kept.
    pub fn finish(mut self) -> TrainingRecord {
        self.record.traffic = self.fold.traffic;
        self.record.memory = Some(self.fold.memory);
        self.record
    }
}

impl Observer for TrainingRecorder<'_> {
    fn listener(&mut self, step: StepIndex) -> &mut dyn Listener {
        self.fold.recording = Recording::default();
        self.fold.routed = StepRouting::default();
        if step == self.shown {
            let ranks = self.fold.memory.ranks();
            self.record.shown = Some(ShownStep {
                step,
                start: SimTime::ZERO,
                end: SimTime::ZERO,
                recording: Recording::default(),
                memory_before: ranks.map(|rank| self.fold.memory.now(rank)).collect(),
            });
        }
        &mut self.fold
    }

    fn step(&mut self, report: &StepReport) {
        let recording = std::mem::take(&mut self.fold.recording);
        self.record.routed.push(std::mem::take(&mut self.fold.routed));
        let start = SimTime::from_picos(report.end.picos() - report.duration.picos());
        self.record.breakdowns.push(Breakdown::of_step(
            &self.ranks,
            &recording.spans,
            &recording.arrows,
            start,
            report.end,
        ));
        self.record.steps.push(*report);
        self.record.progress.push((report.end, report.step.0 + 1));
        if let Some(shown) = self.record.shown.as_mut().filter(|shown| shown.step == report.step) {
            shown.start = start;
            shown.end = report.end;
            shown.recording = recording;
        }
        (self.on_step)(report);
    }

    fn checkpointed(&mut self, checkpoint: &Checkpointed) {
        self.record.checkpoints.push(*checkpoint);
        self.record.progress.push((checkpoint.end, checkpoint.next.0));
    }

    fn interrupted(&mut self, interruption: &Interruption, plan: &TrainingPlan) {
        let back_to = interruption.back_to;
        self.record.steps.truncate(back_to.index());
        self.record.breakdowns.truncate(back_to.index());
        self.record.routed.truncate(back_to.index());
        self.record.progress.push((interruption.at, interruption.during.0));
        self.record.progress.extend([interruption.at, interruption.resumed].map(|at| (at, back_to.0)));
        if self.ranks.len() != plan.simulated_ranks().count() {
            self.ranks = plan.simulated_ranks().collect();
            self.record.plans.retain(|(from, _)| *from < back_to);
            self.record.plans.push((back_to, plan.clone()));
        }
        self.record.interruptions.push(interruption.clone());
    }

    fn applied(&mut self, applied: &Applied) {
        self.record.applied = Some(applied.clone());
    }

    fn wants_evaluation(&self, step: StepIndex) -> bool {
        step == self.last || (self.evaluate_every > 0 && (step.0 + 1).is_multiple_of(self.evaluate_every))
    }
}

impl TrainingRecord {
    /// Where the time of a step goes: of the one of median duration (the earlier of two). Where replicas
    /// meet only every `period`-th step, steps are of two kinds and their mean is told instead.
    pub fn typical_step(&self, steps_differ: bool) -> Breakdown {
        if steps_differ {
            return Breakdown::mean(&self.breakdowns);
        }
        self.breakdowns[self.median_step()].clone()
    }

    /// The plan with which a step was done, where it was not the run's first.
    pub fn plan_of(&self, step: StepIndex) -> Option<&TrainingPlan> {
        self.plans.iter().rev().find(|(from, _)| *from <= step).map(|(_, plan)| plan)
    }

    /// The step of median duration (the earlier of two), as an index into `steps`.
    pub fn median_step(&self) -> usize {
        let mut order: Vec<usize> = (0..self.steps.len()).collect();
        order.sort_by_key(|&index| (self.steps[index].duration, index));
        order[(order.len() - 1) / 2]
    }
}

impl MemoryTimeline {
    /// Every rank.
    pub fn ranks(&self) -> impl ExactSizeIterator<Item = Rank> + use<> {
        (0..self.rank_count()).map(Rank::from_index)
    }
}
