//! Workloads with `training:` and `serving:`: a model is trained, on what a `preparation:` makes if there is one, and
//! then served on the same machine with the weights that it has learned.
//!
//! The trades do not know each other; here and in [`cli`](crate::cli) they meet.

use serde::Serialize;

use crate::config::read::Tree;
use crate::config::serving::file::{Serving, ServingFile};
use crate::config::serving::{self, ServingScenario, Trained, Vocabulary};
use crate::config::training::{self, TrainingFile, TrainingScenario};
use crate::config::{Diagnostics, Locations};

/// Stages with every question answered.
#[derive(Debug, Clone)]
pub struct StagesScenario {
    /// Preparation and training.
    pub training: TrainingScenario,
    /// Serving; the weights of what answers prompts are still to be learned.
    pub serving: ServingScenario,
}

/// The file of a workload with stages.
#[derive(Debug, Clone, Serialize)]
pub struct StagesFile<'a> {
    #[serde(flatten)]
    training: &'a TrainingFile,
    serving: &'a Serving,
}

impl StagesScenario {
    /// The file it came from, defaults filled in.
    pub fn file(&self) -> StagesFile<'_> {
        StagesFile { training: &self.training.file, serving: &self.serving.file.serving }
    }
}

/// Keys of such a file that only serving has.
const OF_SERVING: [&str; 2] = ["serving", "skip_bad_rows"];
/// Keys that serving reads.
const FOR_SERVING: [&str; 6] = ["name", "topology", "serving", "fidelity", "seed", "skip_bad_rows"];

/// Checks a workload with stages.
///
/// # Errors
/// Every mistake, each where it stands.
pub fn resolve(tree: &Tree, locations: &Locations) -> Result<StagesScenario, Diagnostics> {
    let mut of_serving = tree.only(|key| FOR_SERVING.contains(&key));
    of_serving.default("serving", "model", "step", "trained");
    let of_training = tree.only(|key| !OF_SERVING.contains(&key));
    let files = (of_training.into_typed(locations), of_serving.into_typed::<ServingFile>(locations));
    let (training, serving): (TrainingFile, ServingFile) = both(files)?;
    let (model, numeric) = (training.model.clone(), training.numeric);
    let training = training::resolve::resolve(training, locations);
    let prepared = training.as_ref().ok().and_then(TrainingScenario::tokenizer);
    let vocabulary = prepared.map_or(Vocabulary::Bytes, |tokenizer| Vocabulary::Prepared(tokenizer.clone()));
    let trained = Trained { model, vocabulary: numeric.then_some(vocabulary) };
    let serving = serving::resolve::resolve_after(Some(&trained), serving, locations);
    let (training, serving) = both((training, serving))?;
    Ok(StagesScenario { training, serving })
}

/// Both, or the mistakes of both.
fn both<A, B>(results: (Result<A, Diagnostics>, Result<B, Diagnostics>)) -> Result<(A, B), Diagnostics> {
    match results {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(mut mistakes), Err(more)) => {
            mistakes.extend(more);
            Err(mistakes)
        }
        (Err(mistakes), _) | (_, Err(mistakes)) => Err(mistakes),
    }
}
