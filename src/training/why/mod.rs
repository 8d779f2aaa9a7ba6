//! Why a step takes as long as it does.
//!
//! A step is run again, timed only, with its causes noted: that gives the [`Chain`] of ops that decided
//! its length. Then it is run as if some of its parts took no time. Taken away one after the other they
//! give a [waterfall](Fall) from the ideal to the step as it was; taken away alone they answer what would be
//! gained if the network were infinitely fast, if stages never waited, and so on ([`WhatIf`]).
//!
//! What is taken away does not change the program: the same ops run in the same order.

mod chain;
mod waterfall;

pub use chain::{Chain, Doing, OpKind, Stretch};
pub use waterfall::{Cause, Fall};

use std::sync::Arc;

use crate::ids::StepIndex;
use crate::network::links_of;
use crate::program::Program;
use crate::runtime::{Activities, CriticalPath, Dispatch, Machine, Supposition};
use crate::trace::{Activity, Deaf, Listener, Routed};
use crate::training::lower::lower;
use crate::training::routing::Supposed;
use crate::training::state::State;
use crate::training::{Setup, StepReport, TrainingFailure};
use crate::units::{SimDuration, SimTime};

/// Why a step took as long as it did.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// Which step.
    pub step: StepIndex,
    /// How long it took.
    pub duration: SimDuration,
    /// Which ops decided that.
    pub chain: Chain,
    /// From the ideal to what it was; the lengths sum to `duration`.
    pub waterfall: Vec<Fall>,
    /// What it would have been.
    pub what_ifs: Vec<WhatIf>,
}

/// How long the step would have been if one thing were otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WhatIf {
    /// A short key.
    pub key: &'static str,
    /// The sentence after "if".
    pub condition: &'static str,
    /// How long.
    pub duration: SimDuration,
}

/// Explains a step that was run, in which tokens went to experts as they `went`.
///
/// # Errors
/// As [`training::run`](crate::training::run) where the step cannot be run.
pub fn explain(
    run: &Setup,
    report: &StepReport,
    went: &[Arc<Routed>],
) -> Result<Explanation, TrainingFailure> {
    let state = State::new(run.plan);
    let program = lower(run.plan, &state, report.step).map_err(TrainingFailure::Deadlock)?;
    let start = SimTime::from_picos(report.end.picos() - report.duration.picos());
    let mut again = Again { run, program: &program, step: report.step, start, went, known: Vec::new() };
    let (actual, path) = again.explained()?;
    let waterfall = waterfall::waterfall(&mut again, actual)?;
    let what_ifs = what_ifs(&mut again)?;
    let chain = Chain::of(&path, &program, start);
    Ok(Explanation { step: report.step, duration: actual, chain, waterfall, what_ifs })
}

/// A way to run the step again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Otherwise {
    supposition: Supposition,
    /// Whether hosts take time to hand work over.
    hosts: bool,
    /// How much of what disturbed the step does again.
    disturbed: Disturbed,
}

/// How much of what disturbed a step does again, each with those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Disturbed {
    Not,
    Stragglers,
    Jitter,
    Links,
}

impl Otherwise {
    /// As it was.
    const ACTUAL: Otherwise = Otherwise {
        supposition: Supposition { instant: Activities::NONE, stages_never_wait: false },
        hosts: true,
        disturbed: Disturbed::Links,
    };

    fn instant(self, which: impl Fn(Activity) -> bool) -> Self {
        let supposition = Supposition { instant: Activities::that(which), ..self.supposition };
        Otherwise { supposition, ..self }
    }
}

/// A step that is run again and again, each way once.
struct Again<'a> {
    run: &'a Setup<'a>,
    program: &'a Program,
    step: StepIndex,
    start: SimTime,
    went: &'a [Arc<Routed>],
    known: Vec<(Otherwise, SimDuration)>,
}

impl<'a> Again<'a> {
    /// How long the step is when it is run otherwise.
    fn length(&mut self, otherwise: Otherwise) -> Result<SimDuration, TrainingFailure> {
        if let Some((_, length)) = self.known.iter().find(|(known, _)| *known == otherwise) {
            return Ok(*length);
        }
        self.listened(otherwise, &mut Deaf)
    }

    /// The same, heard by a listener.
    fn listened(
        &mut self,
        otherwise: Otherwise,
        listener: &mut dyn Listener,
    ) -> Result<SimDuration, TrainingFailure> {
        let ran = self.machine(otherwise).run(self.program, &mut self.routing(), listener);
        let length = ran.map_err(TrainingFailure::Stall)?.duration();
        self.known.push((otherwise, length));
        Ok(length)
    }

    /// The step as it was, with the chain that decided its length.
    fn explained(&mut self) -> Result<(SimDuration, CriticalPath), TrainingFailure> {
        let mut machine = self.machine(Otherwise::ACTUAL);
        let explained = machine.explain(self.program, &mut self.routing(), &mut Deaf);
        let (outcome, path) = explained.map_err(TrainingFailure::Stall)?;
        self.known.push((Otherwise::ACTUAL, outcome.duration()));
        Ok((outcome.duration(), path))
    }

    /// Who sends tokens where they went.
    fn routing(&self) -> Supposed<'a> {
        Supposed::of(self.run.plan, self.step).as_they_went(self.went)
    }

    /// The machine at the moment when the step began.
    fn machine(&self, otherwise: Otherwise) -> Machine<'a> {
        let Setup { plan, compute, network, disturbances } = *self.run;
        let network = network.model(&links_of(&plan.topology));
        let mut machine = Machine::new(&plan.topology, plan.placement.clone(), compute, network);
        machine.wait(self.start.since(SimTime::ZERO));
        machine.hand_over(if otherwise.hosts { plan.software.dispatch() } else { Dispatch::default() });
        machine.suppose(otherwise.supposition);
        let mut meets = disturbances.clone();
        if otherwise.disturbed < Disturbed::Links {
            meets.links.clear();
        }
        if otherwise.disturbed < Disturbed::Jitter {
            meets.jitter.clear();
        }
        if otherwise.disturbed < Disturbed::Stragglers {
            meets.stragglers.clear();
        }
        machine.links_will_change(meets.links.clone());
        meets.disturb(&mut machine, self.step, self.program);
        machine
    }

    /// Whether an op does something of this kind.
    fn does(&self, activity: impl Fn(Activity) -> bool) -> bool {
        self.program.ops().iter().any(|op| activity(op.activity))
    }

    /// Whether hosts take time.
    fn has_hosts(&self) -> bool {
        self.run.plan.software.dispatch() != Dispatch::default()
    }
}

fn what_ifs(again: &mut Again) -> Result<Vec<WhatIf>, TrainingFailure> {
    let actual = Otherwise::ACTUAL;
    let mut asked = Vec::new();
    let communicates = |activity: Activity| !activity.is_compute();
    if again.does(communicates) {
        asked.push(("network_instant", "the network were infinitely fast", actual.instant(communicates)));
    }
    asked.push(("kernels_instant", "kernels took no time", actual.instant(Activity::is_compute)));
    if again.does(|activity| activity == Activity::PipelineComm) {
        let supposition = Supposition { stages_never_wait: true, ..actual.supposition };
        let otherwise = Otherwise { supposition, ..actual };
        asked.push(("no_bubble", "pipeline stages never waited for each other", otherwise));
    }
    let recomputes = |activity| activity == Activity::Recompute;
    if again.does(recomputes) {
        asked.push(("no_recompute", "nothing were computed again", actual.instant(recomputes)));
    }
    if again.has_hosts() {
        asked.push(("hosts_instant", "hosts launched at once", Otherwise { hosts: false, ..actual }));
    }
    if again.run.disturbances.slows() {
        let otherwise = Otherwise { disturbed: Disturbed::Not, ..actual };
        asked.push(("undisturbed", "nothing disturbed it (no straggler, jitter or link)", otherwise));
    }
    let answer =
        |(key, condition, otherwise)| Ok(WhatIf { key, condition, duration: again.length(otherwise)? });
    asked.into_iter().map(answer).collect()
}
