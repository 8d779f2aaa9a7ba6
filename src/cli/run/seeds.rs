//! Variants of a workload side by side, each run with the same seeds: what the trades that are compared so have
//! in common.

use crate::cli::Failure;
use crate::cli::progress::Progress;
use crate::cli::run::{Outcome, Workload, json};
use crate::config::Scenario;
use crate::report::comparison::over_seeds::{Comparison, Measure, Variant};

/// A picture of all variants: file name, title, caption, SVG.
type Picture = (&'static str, &'static str, String, String);

/// A trade whose runs are compared over seeds.
pub(super) trait Trade {
    /// Its scenario.
    type Scenario;
    /// What is drawn of a variant.
    type Drawn: Default;
    /// What is measured of each run.
    const MEASURES: &'static [Measure];

    /// The scenario, if it is one of this trade.
    fn scenario(scenario: Scenario) -> Option<Self::Scenario>;
    /// What it is called, and the seed it starts from.
    fn name_and_seed(scenario: &Self::Scenario) -> (&str, u64);
    /// Whether another seed would give another run.
    fn depends_on_seed(scenario: &Self::Scenario) -> bool;
    /// Runs it: its numbers, in the order of the measures; what is drawn is added.
    fn run(scenario: &Self::Scenario, drawn: &mut Self::Drawn) -> Result<Vec<f64>, Failure>;
    /// The pictures of all variants, by their names.
    fn figures(variants: &[(String, Self::Drawn)]) -> Vec<Picture>;
}

/// Seeds of a comparison whose runs depend on them, unless the user says otherwise.
const SEEDS: u32 = 10;

/// Runs every combination of settings with the same seeds, and tells them apart; also, whether some of
/// them failed.
pub(super) fn compare<T: Trade>(
    workload: &Workload,
    all: Vec<Vec<String>>,
    first: Vec<T::Scenario>,
    seeds: Option<u32>,
) -> Result<(Outcome, bool), Failure> {
    let chance = first.iter().any(T::depends_on_seed);
    let count = u64::from(seeds.unwrap_or(if chance { SEEDS } else { 1 }));
    let (name, seed) = T::name_and_seed(&first[0]);
    // Where seeds are what is varied, each variant starts from its own.
    let mut comparison = Comparison {
        name: format!("{name}_compared"),
        seeds: (0..count).map(|more| seed.wrapping_add(more)).collect(),
        measures: T::MEASURES.to_vec(),
        variants: Vec::new(),
        notes: Vec::new(),
    };
    if !chance && count == 1 {
        comparison.notes.push("nothing in these runs is left to chance: one run of each tells all".into());
    }
    let mut progress = Progress::of(count * all.len() as u64, "runs");
    let mut drawn = Vec::new();
    for (settings, scenario) in all.into_iter().zip(first) {
        let mut variant = Variant { settings, values: Ok(vec![Vec::new(); T::MEASURES.len()]) };
        let (name, done) = (variant.name(), drawn.len() as u64 * count);
        let mut picture = T::Drawn::default();
        let tell = |more, seed| progress.tell(done + more + 1, || format!("{name}: seed {seed}"));
        variant.values = over_seeds::<T>(workload, &variant.settings, scenario, count, &mut picture, tell)?;
        comparison.variants.push(variant);
        drawn.push((name, picture));
    }
    progress.end(&format!("{}: {} variants", comparison.name, drawn.len()));
    let failed = comparison.variants.iter().any(|variant| variant.values.is_err());
    let outcome = Outcome {
        name: comparison.name.clone(),
        json: json(&comparison.summary()),
        table: comparison.table(),
        artefacts: comparison.artefacts(T::figures(&drawn)),
    };
    Ok((outcome, failed))
}

/// By measure, a number for each seed; or why a run failed.
type Values = Result<Vec<Vec<f64>>, String>;

/// Runs a scenario and then the same with the following seeds.
fn over_seeds<T: Trade>(
    workload: &Workload,
    settings: &[String],
    first: T::Scenario,
    count: u64,
    drawn: &mut T::Drawn,
    mut tell: impl FnMut(u64, u64),
) -> Result<Values, Failure> {
    let start = T::name_and_seed(&first).1;
    let mut columns = vec![Vec::new(); T::MEASURES.len()];
    let mut scenario = first;
    for more in 0..count {
        let seed = start.wrapping_add(more);
        if more > 0 {
            let again = workload.seeded(seed).scenario(settings)?;
            scenario = T::scenario(again).expect("a seed does not change the trade");
        }
        match T::run(&scenario, drawn) {
            Ok(values) => columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value)),
            Err(Failure::Run(why)) => return Ok(Err(why)),
            Err(other) => return Err(other),
        }
        tell(more, seed);
    }
    Ok(Ok(columns))
}
