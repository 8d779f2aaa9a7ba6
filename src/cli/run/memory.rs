//! A run that does not fit its devices' memory: a diagnosis, with changes that would make it fit.

use crate::cli::Failure;
use crate::config::{Scenario, TrainingScenario};
use crate::trace::MemoryUse;
use crate::training::memory::{Tightest, tightest};
use crate::training::recompute::Recompute;
use crate::training::{Setup, TrainingFailure, TrainingPlan};

/// The workload again with these changes besides; nothing where they are not allowed.
pub(crate) type Again<'a> = &'a dyn Fn(&[String]) -> Result<Scenario, Failure>;

/// The rank with least room to spare, in a step of its own.
pub(super) fn of(scenario: &TrainingScenario) -> Result<Tightest, TrainingFailure> {
    tightest(&Setup {
        plan: &scenario.plan,
        compute: &*scenario.compute,
        network: &*scenario.network,
        disturbances: &scenario.disturbances,
    })
}

/// What does not fit, when, and what would make it: each change was tried.
pub(super) fn diagnosis(plan: &TrainingPlan, overfull: &Tightest, again: Again) -> String {
    let Tightest { rank, device, capacity, at, .. } = overfull;
    let mut text = format!(
        "out of memory: {rank} needs {}, and its device {device} has {capacity}\n  it is fullest {at} into a step",
        overfull.needed()
    );
    if let Some((activity, label)) = &overfull.during {
        let names = [Some(activity.name().to_owned()), label.micro_batch.map(|at| at.to_string())];
        let names: Vec<String> =
            names.into_iter().flatten().chain(label.layer.map(|layer| layer.to_string())).collect();
        text += &format!(", during {}", names.join(" of "));
    }
    for (usage, bytes) in MemoryUse::ALL.iter().zip(overfull.by_use).filter(|(_, bytes)| bytes.get() > 0) {
        text += &format!("\n    {:12} {bytes}", usage.name());
    }
    if overfull.lost.get() > 0 {
        text += &format!("\n    {:12} {}", "fragmented", overfull.lost);
    }
    let alone = changes(plan);
    let mut tried = try_all(&alone, again);
    if !tried.iter().any(|(_, tightest)| tightest.fits()) {
        tried.extend(try_all(&pairs(&alone), again));
    }
    let mut fitting: Vec<&(Change, Tightest)> =
        tried.iter().filter(|(_, tightest)| tightest.fits()).collect();
    fitting.sort_by_key(|(change, tightest)| (tightest.step, change.len()));
    if fitting.is_empty() {
        text += "\n  none of the changes that were tried makes it fit";
        if let Some((change, tightest)) = tried.iter().min_by_key(|(_, tightest)| tightest.needed()) {
            text += &format!("; the best is {} with {}", written(change), tightest.needed());
        }
        text += "\n  give it more devices, or devices with more memory";
        return text;
    }
    text += "\n  these make it fit, the fastest first (each was simulated):";
    for (change, tightest) in fitting.into_iter().take(MOST_SHOWN) {
        text += &format!("\n    {}: {}, a step takes {}", written(change), tightest.needed(), tightest.step);
    }
    text
}

const MOST_SHOWN: usize = 6;

/// Keys that are set otherwise.
type Change = Vec<String>;

fn written(change: &[String]) -> String {
    change.iter().map(|key| format!("--set {key}")).collect::<Vec<_>>().join(" ")
}

/// What can be changed of a plan to save memory.
fn changes(plan: &TrainingPlan) -> Vec<Change> {
    let mesh = plan.mesh;
    let one = |change: &str| vec![change.to_owned()];
    let mut all = Vec::new();
    if plan.recompute == Recompute::None {
        all.push(one("recompute=selective"));
    }
    if plan.recompute != Recompute::Full {
        all.push(one("recompute=full"));
    }
    if !plan.offload.any() {
        // What is not allowed (beside another sync, say) is left out when it is tried.
        all.extend(["optimizer", "activations"].map(|what| vec![format!("training.offload.{what}=true")]));
        all.push(one("training.offload={optimizer: true, activations: true}"));
    }
    if mesh.data > 1 && !plan.zero.shares() {
        all.extend((1..=3).map(|stage| vec![format!("parallel.zero={stage}")]));
    }
    if plan.micro_batch > 1 {
        all.push(vec![format!("training.micro_batch={}", plan.micro_batch / 2)]);
        all.push(one("training.micro_batch=1"));
    }
    if mesh.tensor > 1 && !plan.sequence_parallel {
        all.push(one("parallel.sequence_parallel=true"));
    }
    if mesh.data.is_multiple_of(2) {
        let halved = format!("parallel.data={}", mesh.data / 2);
        all.push(vec![format!("parallel.tensor={}", mesh.tensor * 2), halved.clone()]);
        all.push(vec![format!("parallel.pipeline={}", mesh.pipeline * 2), halved]);
    }
    all.dedup();
    all
}

/// Every two of them that set different keys.
fn pairs(alone: &[Change]) -> Vec<Change> {
    let key = |change: &String| change.split('=').next().map(str::to_owned);
    let mut all = Vec::new();
    for (nth, first) in alone.iter().enumerate() {
        for second in &alone[nth + 1..] {
            if !first.iter().any(|a| second.iter().any(|b| key(a) == key(b))) {
                all.push([first.as_slice(), second.as_slice()].concat());
            }
        }
    }
    all
}

/// Those that are allowed, each with what it comes to.
fn try_all(changes: &[Change], again: Again) -> Vec<(Change, Tightest)> {
    let tried = changes.iter().filter_map(|change| {
        let mut set = change.clone();
        // Only the time is needed.
        set.push("numeric=false".to_owned());
        let Ok(Scenario::Training(scenario)) = again(&set) else { return None };
        of(&scenario).ok().map(|tightest| (change.clone(), tightest))
    });
    tried.collect()
}
