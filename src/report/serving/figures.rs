//! The pictures of a serving run.

use crate::report::figure::{AreaChart, Axis, Cdf, Hue, Layer, Quantity, Reference, ReferenceAt, Sample};
use crate::report::serving::summary::tpot;
use crate::serving::slo::Slo;
use crate::serving::{ServingOutcome, ServingPlan};
use crate::trace::Activity;
use crate::units::{PICOS_PER_SECOND, SimDuration};

/// A figure with its file's name and what it shows.
pub(super) struct Figure {
    pub name: &'static str,
    pub title: &'static str,
    pub caption: &'static str,
    pub svg: String,
}

/// Every figure of a run.
pub(super) fn all(plan: &ServingPlan, outcome: &ServingOutcome, slo: &Slo) -> Vec<Figure> {
    let (at, until, [waiting, running, blocks]) = outcome.history.means();
    let chart = |title: &str, y: &str, layers, capacity| AreaChart {
        title: title.into(),
        x: Axis::new("time", Quantity::Time),
        y: Axis::new(y, Quantity::Number),
        at: at.clone(),
        until,
        layers,
        capacity,
    };
    let layer = |name: &str, hue, values| Layer { name: name.into(), hue, values };
    let queue = vec![
        layer("running", Hue::Activity(Activity::Decode), running),
        layer("waiting", Hue::Series(1), waiting),
    ];
    let total = (plan.pool.total() * plan.replicas.len() as u64) as f64;
    let in_use = vec![layer("in use", Hue::Activity(Activity::Decode), blocks)];
    vec![
        Figure {
            name: "queue",
            title: "Requests over time",
            caption: "Requests that run and requests that wait, on all replicas; means over short stretches.",
            svg: chart("Requests", "requests", queue, None).draw().to_string(),
        },
        Figure {
            name: "kv_cache",
            title: "KV cache over time",
            caption: "Blocks in use on all replicas; means over short stretches.",
            svg: chart("KV cache", "blocks", in_use, Some(("cache".into(), total))).draw().to_string(),
        },
        Figure {
            name: "latency",
            title: "How long requests took",
            caption: "Share of requests with their first and their last token within a time of arrival.",
            svg: latency(plan, outcome, slo).draw().to_string(),
        },
        Figure {
            name: "tokens",
            title: "How fast answers came",
            caption: "Share of answers with at most so much time per token after the first (TPOT).",
            svg: tokens(plan, outcome, slo).draw().to_string(),
        },
    ]
}

fn limit(name: &str, limit: Option<SimDuration>) -> Option<Reference> {
    limit.map(|limit| Reference { name: name.into(), at: ReferenceAt::X(limit.seconds()) })
}

fn latency(plan: &ServingPlan, outcome: &ServingOutcome, slo: &Slo) -> Cdf {
    let served = || plan.requests.iter().zip(outcome.requests.iter());
    let first = served().map(|(request, record)| record.first_token.since(request.arrival).seconds());
    let last = served().map(|(request, record)| record.finish.since(request.arrival).seconds());
    Cdf {
        title: "Latency".into(),
        x: Axis::new("time since arrival", Quantity::Time).logarithmic(),
        samples: vec![
            Sample::new("first token (TTFT)", first.collect()),
            Sample::new("last token (E2E)", last.collect()),
        ],
        references: limit("SLO TTFT", slo.ttft).into_iter().chain(limit("SLO E2E", slo.e2e)).collect(),
    }
}

fn tokens(plan: &ServingPlan, outcome: &ServingOutcome, slo: &Slo) -> Cdf {
    let served = plan.requests.iter().zip(outcome.requests.iter());
    let each = served.filter_map(|(request, record)| tpot(request, record));
    let seconds = each.map(|(picos, _)| picos as f64 / PICOS_PER_SECOND as f64).collect();
    Cdf {
        title: "Time per output token".into(),
        x: Axis::new("time", Quantity::Time),
        samples: vec![Sample::new("TPOT", seconds)],
        references: limit("SLO TPOT", slo.tpot).into_iter().collect(),
    }
}
