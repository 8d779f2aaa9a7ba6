//! Why a step took as long as it did: as numbers for machines, rows for a terminal, and a waterfall.

use indexmap::IndexMap;
use serde::Serialize;

use crate::report::figure::{Axis, Hue, Quantity, Svg, Waterfall, WaterfallBar};
use crate::report::table::{grid, words};
use crate::trace::Activity;
use crate::training::why::{Cause, Chain, Doing, Explanation, Fall, Stretch};
use crate::units::SimDuration;

/// The machine interface of an explanation.
#[derive(Debug, Clone, Serialize)]
pub struct Why {
    /// Which step is explained: the one of median duration.
    pub step: u32,
    /// How long it took.
    pub step_s: f64,
    /// What each cause adds, from the ideal to the step; negative where it makes the step shorter.
    pub waterfall_s: IndexMap<&'static str, f64>,
    /// How long the step would have been if …
    pub what_if_s: IndexMap<&'static str, f64>,
    /// The chain of ops that decided it.
    pub critical_path: CriticalPath,
}

/// The chain of ops that decided a step's length.
#[derive(Debug, Clone, Serialize)]
pub struct CriticalPath {
    /// How many ops are on it.
    pub ops: usize,
    /// How often it goes from one rank to another.
    pub hops: usize,
    /// How long it is busy with what; the parts sum to the step.
    pub shares_s: IndexMap<&'static str, f64>,
    /// Its longest parts that stay on one rank, in order of time.
    pub stretches: Vec<OneRank>,
    /// The kinds of op that take most of it.
    pub ops_s: Vec<Kind>,
}

/// A part of the chain that stays on one rank.
#[derive(Debug, Clone, Serialize)]
pub struct OneRank {
    /// Which.
    pub rank: u32,
    /// From when, seen from the step's start.
    pub from_s: f64,
    /// How long.
    pub length_s: f64,
    /// How many ops.
    pub ops: usize,
    /// What it does, in words.
    pub about: String,
}

/// Ops of one name.
#[derive(Debug, Clone, Serialize)]
pub struct Kind {
    /// What they are called.
    pub name: String,
    /// How many of the chain.
    pub count: usize,
    /// How long together.
    pub length_s: f64,
}

impl Why {
    /// Writes an explanation down.
    pub fn of(explanation: &Explanation) -> Self {
        let chain = &explanation.chain;
        let one_rank = |stretch: &Stretch| OneRank {
            rank: stretch.rank.0,
            from_s: stretch.from.seconds(),
            length_s: stretch.length.seconds(),
            ops: stretch.ops,
            about: about(stretch),
        };
        Why {
            step: explanation.step.0,
            step_s: explanation.duration.seconds(),
            waterfall_s: explanation
                .waterfall
                .iter()
                .map(|fall| (fall.cause.key(), fall.seconds()))
                .collect(),
            what_if_s: explanation.what_ifs.iter().map(|what| (what.key, what.duration.seconds())).collect(),
            critical_path: CriticalPath {
                ops: chain.ops,
                hops: chain.hops,
                shares_s: chain
                    .shares
                    .iter()
                    .map(|(doing, length)| (doing.name(), length.seconds()))
                    .collect(),
                stretches: chain.stretches.iter().map(one_rank).collect(),
                ops_s: chain
                    .kinds
                    .iter()
                    .map(|kind| Kind {
                        name: op_name(kind.doing, kind.name),
                        count: kind.count,
                        length_s: kind.length.seconds(),
                    })
                    .collect(),
            },
        }
    }
}

/// The explanation as aligned text for a terminal.
pub fn told(explanation: &Explanation) -> String {
    let chain = &explanation.chain;
    let whole = explanation.duration;
    let mut rows: Vec<Vec<String>> = explanation
        .waterfall
        .iter()
        .map(|fall| {
            let picos = SimDuration::from_picos(fall.picos.unsigned_abs());
            let sign = if fall.picos < 0 { "−" } else { "" };
            let share = fall.seconds() / whole.seconds() * 100.0;
            vec![fall.cause.name().to_owned(), format!("{sign}{picos}"), format!("{share:.1} %")]
        })
        .collect();
    rows.push(vec!["the step".into(), whole.to_string(), "100.0 %".into()]);
    let mut text = format!(
        "why {} takes {whole}, each cause on top of those before\n{}",
        explanation.step,
        grid(&[String::new(), "adds".into(), "of the step".into()], &rows)
    );
    let rows: Vec<Vec<String>> = explanation
        .what_ifs
        .iter()
        .map(|what| {
            let change = (what.duration.seconds() / whole.seconds() - 1.0) * 100.0;
            vec![what.condition.to_owned(), what.duration.to_string(), format!("{change:+.1} %")]
        })
        .collect();
    text += &format!("what if\n{}", grid(&["if", "it would take", "change"], &rows));
    let rows: Vec<Vec<String>> = chain
        .kinds
        .iter()
        .map(|kind| {
            let share = kind.length.seconds() / whole.seconds() * 100.0;
            vec![
                op_name(kind.doing, kind.name),
                format!("{}×", kind.count),
                kind.length.to_string(),
                format!("{share:.1} %"),
            ]
        })
        .collect();
    text += &format!(
        "critical path: {} ops in a row, {} changes of rank; most of it\n{}",
        chain.ops,
        chain.hops,
        grid(&["op", "", "time", "of the step"], &rows)
    );
    text + &stretches(chain)
}

/// The longest parts of the chain that stay on one rank.
fn stretches(chain: &Chain) -> String {
    let mut rows = vec![["rank", "from", "for", "ops", "with"].map(str::to_owned).to_vec()];
    rows.extend(chain.stretches.iter().map(|stretch| {
        vec![
            stretch.rank.0.to_string(),
            stretch.from.to_string(),
            stretch.length.to_string(),
            stretch.ops.to_string(),
            about(stretch),
        ]
    }));
    format!("its longest stretches on one rank\n{}", words(&rows))
}

fn op_name(doing: Doing, name: &str) -> String {
    match doing {
        Doing::Launching => format!("launching {name}"),
        Doing::Op(activity) if activity.name().starts_with(name) => activity.name().to_owned(),
        Doing::Op(activity) => format!("{}: {name}", activity.name()),
    }
}

/// `backward 61 %, tensor comm 39 %; stage 1, micro-batches 0 to 3`.
fn about(stretch: &Stretch) -> String {
    let whole = stretch.length.seconds();
    let shares = stretch
        .shares
        .iter()
        .take(3)
        .map(|(doing, length)| format!("{} {:.0} %", doing.name(), length.seconds() / whole * 100.0));
    let shares: Vec<String> = shares.collect();
    let mut place: Vec<String> = Vec::new();
    place.extend(stretch.stages.map(|(first, last)| range("stage", first.0, last.0)));
    place.extend(stretch.micro_batches.map(|(first, last)| {
        if first == last { first.to_string() } else { format!("micro-batches {} to {}", first.0, last.0) }
    }));
    let shares = shares.join(", ");
    if place.is_empty() { shares } else { format!("{shares}; {}", place.join(", ")) }
}

fn range(what: &str, first: u32, last: u32) -> String {
    if first == last { format!("{what} {first}") } else { format!("{what}s {first} to {last}") }
}

/// From the ideal to the step as it was.
pub(super) fn waterfall(explanation: &Explanation) -> Svg {
    let bar = |fall: &Fall| WaterfallBar {
        name: fall.cause.name().into(),
        length: fall.seconds(),
        hue: hue(fall.cause),
    };
    Waterfall {
        title: format!("Why {} takes {}", explanation.step, explanation.duration),
        value: Axis::new("time", Quantity::Time),
        falls: explanation.waterfall.iter().map(bar).collect(),
        whole: "the step".into(),
    }
    .draw()
}

fn hue(cause: Cause) -> Hue {
    match cause {
        Cause::Ideal => Hue::Activity(Activity::Forward),
        Cause::Kernels => Hue::Activity(Activity::Backward),
        Cause::Recompute => Hue::Activity(Activity::Recompute),
        Cause::Optimizer => Hue::Activity(Activity::Optimizer),
        Cause::Uneven | Cause::Bubble => Hue::Idle,
        Cause::Hosts => Hue::Activity(Activity::Input),
        Cause::Communication(activity) => Hue::Activity(activity),
        Cause::Stragglers => Hue::Series(3),
        Cause::Jitter => Hue::Activity(Activity::Other),
        Cause::Links => Hue::Activity(Activity::ExpertComm),
    }
}
