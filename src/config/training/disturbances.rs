//! `disturbances:` and `checkpoint:` of a training workload: what may be written, and how it is checked.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::config::check::Check;
use crate::config::read::did_you_mean;
use crate::config::training::TrainingFile;
use crate::hardware::Topology;
use crate::ids::{Id, LinkId, Rank, StepIndex};
use crate::runtime::LinkChange;
use crate::training::TrainingPlan;
use crate::training::disturbance::{Distribution, Disturbances, Failure, Jitter, Per, Straggler};
use crate::training::recovery::{Every, Recovery};
use crate::units::{Bandwidth, SimDuration, SimTime};

/// One thing that goes wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disturbance {
    /// A rank is slow.
    Straggler(StragglerKeys),
    /// Kernels take now longer, now shorter.
    Jitter(JitterKeys),
    /// A link carries less, or nothing, for a time.
    Link(LinkKeys),
    /// A device fails.
    Failure(FailureKeys),
    /// Devices fail by chance.
    Failures(FailuresKeys),
}

/// `straggler:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StragglerKeys {
    /// Which.
    pub rank: u32,
    /// How many times longer its kernels take.
    pub factor: f64,
    /// The first step in which they do.
    #[serde(default)]
    pub from_step: u32,
    /// The first step in which they do no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_step: Option<u32>,
}

/// `jitter:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JitterKeys {
    /// How factors are spread.
    #[serde(default)]
    pub distribution: Distribution,
    /// How far.
    pub sigma: f64,
    /// What shares a factor.
    #[serde(default)]
    pub per: Per,
}

/// `link:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkKeys {
    /// A device or switch at one end …
    pub from: String,
    /// … and at the other.
    pub to: String,
    /// From when on.
    pub at: SimDuration,
    /// Until when; to the end unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<SimDuration>,
    /// What is left of its bandwidth; nothing unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
}

/// `failure:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailureKeys {
    /// The rank whose device fails.
    pub rank: u32,
    /// When.
    pub at: SimDuration,
}

/// `failures:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailuresKeys {
    /// Mean time of a device's service until it fails.
    pub mtbf: SimDuration,
}

/// `checkpoint:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointKeys {
    /// Steps, or time, from one to the next; none are written unless given, and a run starts over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<EveryKey>,
    /// What each rank writes and reads a second.
    pub bandwidth: Bandwidth,
    /// From a failure until checkpoints are read.
    pub restart: SimDuration,
    /// Whether the run goes on with fewer replicas.
    #[serde(default)]
    pub elastic: bool,
}

impl CheckpointKeys {
    pub(super) fn recovery(&self) -> Recovery {
        let CheckpointKeys { every, bandwidth, restart, elastic } = *self;
        Recovery { every: every.map(|key| key.0), bandwidth, restart, elastic }
    }
}

/// `every:`: `20` steps, or `30 s`.
#[derive(Debug, Clone, Copy)]
pub struct EveryKey(pub Every);

impl Serialize for EveryKey {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Every::Steps(steps) => steps.serialize(to),
            Every::Time(time) => time.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for EveryKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct StepsOrTime;
        impl de::Visitor<'_> for StepsOrTime {
            type Value = EveryKey;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of steps such as `20`, or a time such as `30 s`")
            }
            fn visit_u64<E: de::Error>(self, steps: u64) -> Result<EveryKey, E> {
                let steps = u32::try_from(steps).map_err(|_| E::custom("fewer than 2^32 steps"))?;
                Ok(EveryKey(Every::Steps(steps)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<EveryKey, E> {
                text.parse().map(|time| EveryKey(Every::Time(time))).map_err(E::custom)
            }
        }
        from.deserialize_any(StepsOrTime)
    }
}

impl Check<'_> {
    /// What disturbs a run of this plan.
    pub(super) fn disturbances(&mut self, file: &TrainingFile, plan: &TrainingPlan) -> Disturbances {
        let mut all = Disturbances::none(file.seed);
        for (nth, disturbance) in file.disturbances.iter().enumerate() {
            let key = format!("disturbances[{nth}]");
            match disturbance {
                Disturbance::Straggler(keys) => {
                    all.stragglers.extend(self.straggler(&format!("{key}.straggler"), keys, plan));
                }
                Disturbance::Jitter(keys) => all.jitter.extend(self.jitter(&format!("{key}.jitter"), keys)),
                Disturbance::Link(keys) => {
                    all.links.extend(self.link(&format!("{key}.link"), keys, &plan.topology));
                }
                Disturbance::Failure(keys) => {
                    let rank = self.rank(&format!("{key}.failure.rank"), keys.rank, plan);
                    let at = SimTime::ZERO + keys.at;
                    all.failures.extend(rank.map(|rank| Failure { device: plan.placement[rank], at }));
                }
                Disturbance::Failures(keys) => {
                    if keys.mtbf == SimDuration::ZERO {
                        let key = format!("{key}.failures.mtbf");
                        self.wrong(&key, "a device serves for some time until it fails", "");
                    }
                    all.mtbf = Some(keys.mtbf);
                }
            }
        }
        all.failures.sort_by_key(|failure| failure.at);
        self.recovery(file, plan, &all);
        all
    }

    /// Whether the run can recover from what goes wrong.
    fn recovery(&mut self, file: &TrainingFile, plan: &TrainingPlan, all: &Disturbances) {
        let key = if all.any() { "disturbances" } else { "checkpoint" };
        if (all.any() || file.checkpoint.is_some()) && plan.sync.server().is_some() {
            let why = "runs with parameter servers cannot be disturbed or write checkpoints yet";
            self.wrong(key, why, &format!("use `sync: all_reduce`, or leave `{key}` out"));
        }
        if (all.any() || file.checkpoint.is_some()) && plan.schedule.stashing().is_some() {
            let why = "a pipeline that is never emptied cannot be disturbed or write checkpoints yet";
            self.wrong(key, why, &format!("use another schedule, or leave `{key}` out"));
        }
        let Some(keys) = &file.checkpoint else {
            if all.fails() {
                let why = "devices fail, and nothing says how the run recovers";
                let help = "add `checkpoint: {every: 20, bandwidth: 2 GB/s, restart: 60 s}`";
                self.wrong("disturbances", why, help);
            }
            return;
        };
        if keys.every.is_some_and(|key| matches!(key.0, Every::Steps(0) | Every::Time(SimDuration::ZERO))) {
            self.wrong("checkpoint.every", "there is at least one step between two checkpoints", "");
        }
        if keys.elastic && (plan.sync.name() != "all_reduce" || plan.compression.name() != "none") {
            let why = "replicas that do not hold the same model cannot go on without one of them";
            let help = "use `sync: all_reduce` and `compression: none`, or `elastic: false`";
            self.wrong("checkpoint.elastic", why, help);
        }
        if keys.elastic && plan.offload.any() {
            let why = "what hosts keep cannot be laid out anew for fewer replicas yet";
            self.wrong("checkpoint.elastic", why, "use `elastic: false`, or leave `training.offload` out");
        }
        if keys.elastic && plan.mesh.data == 1 {
            let why = "with one replica there is none to go on without it";
            self.wrong("checkpoint.elastic", why, "use `elastic: false`, or more replicas");
        }
    }

    fn rank(&mut self, key: &str, rank: u32, plan: &TrainingPlan) -> Option<Rank> {
        let ranks = plan.mesh.ranks();
        if rank >= ranks {
            let why = format!("there is no rank {rank}: the run has {ranks}");
            self.wrong(key, why, &format!("from 0 to {}", ranks - 1));
            return None;
        }
        Some(Rank(rank))
    }

    fn straggler(&mut self, key: &str, keys: &StragglerKeys, plan: &TrainingPlan) -> Option<Straggler> {
        if !(keys.factor > 0.0 && keys.factor.is_finite()) {
            let why = format!("a rank takes a positive number of times as long, not {}", keys.factor);
            self.wrong(&format!("{key}.factor"), why, "`1.5` makes it half as slow again");
        }
        if keys.until_step.is_some_and(|until| until <= keys.from_step) {
            self.wrong(&format!("{key}.until_step"), "it ends after it began", "");
        }
        let rank = self.rank(&format!("{key}.rank"), keys.rank, plan)?;
        let until = keys.until_step.map(StepIndex);
        Some(Straggler { rank, factor: keys.factor, from: StepIndex(keys.from_step), until })
    }

    fn jitter(&mut self, key: &str, keys: &JitterKeys) -> Option<Jitter> {
        // Beyond, a lognormal's mean is made by values that no run ever draws.
        if !(0.0..=3.0).contains(&keys.sigma) {
            let why = format!("`sigma` is from 0 to 3, not {}", keys.sigma);
            self.wrong(&format!("{key}.sigma"), why, "`0.1` spreads kernels by about a tenth");
            return None;
        }
        Some(Jitter { distribution: keys.distribution, sigma: keys.sigma, per: keys.per })
    }

    /// The changes of the links between two ends, both ways.
    fn link(&mut self, key: &str, keys: &LinkKeys, topology: &Topology) -> Vec<LinkChange> {
        if keys.factor.is_some_and(|factor| !(factor > 0.0 && factor.is_finite())) {
            let why = "what is left of a bandwidth is a positive share of it";
            self.wrong(&format!("{key}.factor"), why, "leave `factor` out for a link that is lost");
            return Vec::new();
        }
        if keys.until.is_some_and(|until| until <= keys.at) {
            self.wrong(&format!("{key}.until"), "it ends after it began", "");
        }
        let name = |vertex| topology.vertex_name(vertex).to_owned();
        let ends = |link: LinkId| {
            let link = &topology.links()[link];
            (name(link.from), name(link.to))
        };
        let ids = || (0..topology.links().len()).map(LinkId::from_index);
        let mut known: Vec<String> = ids().map(|link| ends(link).0).collect();
        known.sort();
        known.dedup();
        for (end, written) in [("from", &keys.from), ("to", &keys.to)] {
            if !known.contains(written) {
                let near: Vec<String> = known.iter().take(40).cloned().collect();
                let help = did_you_mean(written, &near, "there are");
                self.wrong(&format!("{key}.{end}"), format!("nothing is called `{written}`"), &help);
                return Vec::new();
            }
        }
        let wanted = (keys.from.clone(), keys.to.clone());
        let back = (keys.to.clone(), keys.from.clone());
        let joined: Vec<LinkId> = ids().filter(|&link| [&wanted, &back].contains(&&ends(link))).collect();
        if joined.is_empty() {
            let from = ids().map(ends).filter(|ends| ends.0 == keys.from).map(|ends| ends.1);
            let mut neighbours: Vec<String> = from.collect();
            neighbours.dedup();
            let why = format!("no link joins `{}` and `{}`", keys.from, keys.to);
            let help = format!("`{}` is joined to {}", keys.from, neighbours.join(", "));
            self.wrong(&format!("{key}.to"), why, &help);
        }
        let changes = joined.into_iter().flat_map(|link| {
            let whole = topology.links()[link].bandwidth;
            let bandwidth = keys.factor.map(|factor| whole.scaled(factor));
            let begins = LinkChange { at: SimTime::ZERO + keys.at, link, bandwidth };
            let ends = keys.until.map(|until| LinkChange {
                at: SimTime::ZERO + until,
                link,
                bandwidth: Some(whole),
            });
            std::iter::once(begins).chain(ends)
        });
        changes.collect()
    }
}
