//! The report of a plan: the best, the front, the runners-up and why they lose.

mod figures;
mod summary;
mod table;

pub use summary::PlanSummary;
pub use table::{describe, table};

use crate::planning::Search;
use crate::report::html::{Block, Section, page};
use crate::report::writer::Artefact;

/// What a report of a plan is made of.
pub struct Planned<'a> {
    /// What was searched.
    pub candidates: &'a [crate::planning::Candidate],
    /// What was asked for.
    pub goal: &'a crate::planning::Goal,
    /// What was found.
    pub search: &'a Search,
    /// What each group runs on.
    pub groups: &'a [String],
    /// Combinations that are no plans: how many, by why.
    pub refused: &'a std::collections::BTreeMap<String, usize>,
    /// The best plan as a workload, where there is one.
    pub best: Option<String>,
}

/// Every file of the report.
pub fn artefacts(planned: &Planned<'_>, summary: &PlanSummary, scenario: &str) -> Vec<Artefact> {
    let mut sections =
        vec![Section { title: "Summary".into(), blocks: vec![Block::Preformatted(table(summary))] }];
    let json = serde_json::to_string_pretty(summary).expect("a summary is plain data");
    let mut files = vec![Artefact::text("summary.json", json + "\n")];
    for figure in figures::all(planned, summary) {
        files.push(Artefact::text(format!("{}.svg", figure.name), figure.svg.clone()));
        sections.push(Section {
            title: figure.title.into(),
            blocks: vec![Block::Figure { caption: figure.caption.into(), svg: figure.svg }],
        });
    }
    if let Some(best) = &planned.best {
        files.push(Artefact::text("best.yaml", best.clone()));
        sections.push(Section {
            title: "The best plan, ready to run".into(),
            blocks: vec![Block::Preformatted(best.clone())],
        });
    }
    sections.push(Section {
        title: "The scenario, defaults filled in".into(),
        blocks: vec![Block::Preformatted(scenario.to_owned())],
    });
    files.push(Artefact::text("report.html", page(&format!("trainyard: {}", summary.name), &sections)));
    files
}
