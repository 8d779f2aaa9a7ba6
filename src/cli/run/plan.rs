//! Searches a space of plans.

use crate::cli::Failure;
use crate::cli::progress::Progress;
use crate::cli::run::{Outcome, json};
use crate::config::{self, PlanScenario};
use crate::planning::report::{PlanSummary, Planned, artefacts, table};
use crate::planning::{Observer, search};

/// Tells how far a search is.
struct Teller<'p> {
    name: &'p str,
    all: usize,
    progress: Progress,
}

impl Observer for Teller<'_> {
    fn progress(&mut self, done: usize, simulated: usize) {
        let (name, all) = (self.name, self.all);
        self.progress.tell(done as u64, || format!("{name}: plan {done}/{all} | {simulated} simulated"));
    }
}

/// Finds the best plan, and tells what came of the search.
pub(crate) fn run(scenario: &PlanScenario, report: bool) -> Result<(Outcome, bool), Failure> {
    let name = &scenario.file.name;
    let all = scenario.candidates.len();
    let mut teller = Teller { name, all, progress: Progress::of(all as u64, "plans") };
    let fidelity = &scenario.file.fidelity;
    let (compute, network) = (&fidelity.compute, &fidelity.network);
    let found = search(&scenario.candidates, &scenario.goal, compute, network, true, &mut teller);
    teller.progress.end(&format!("{name}: {all} plans"));
    let planned = Planned {
        candidates: &scenario.candidates,
        goal: &scenario.goal,
        search: &found,
        groups: &scenario.groups,
        refused: &scenario.refused,
        best: found.best.map(|at| config::write(&scenario.workloads[at])),
    };
    let summary = PlanSummary::new(name, &planned, &scenario.notes);
    let files = || artefacts(&planned, &summary, &config::write(&scenario.file));
    let outcome = Outcome {
        name: name.clone(),
        json: json(&summary),
        table: table(&summary),
        artefacts: if report { files() } else { Vec::new() },
    };
    Ok((outcome, found.best.is_some()))
}
