//! What the attributes of a node or an edge say.

use std::ops::Range;
use std::str::FromStr;

use super::parse::{Attributes, Edge, Node};
use crate::hardware::Precision;
use crate::tasks::graph::{Payload, Work};
use crate::tasks::readers::{Malformed, exact_seconds};
use crate::units::{Bytes, Flops, SimDuration};

/// A task's work, and its memory.
pub(super) fn task(name: &str, node: &Node) -> Result<(Work, Bytes), Malformed> {
    let of = &node.attributes;
    let memory = quantity(of, "memory", "a size such as `1 GiB`", Bytes)?.unwrap_or(Bytes::ZERO);
    let ways = [of.contains_key("costs"), of.contains_key("time"), arithmetic(of)];
    match ways.iter().filter(|way| **way).count() {
        1 => {}
        0 => {
            let why =
                format!("expected `costs`, `time`, `flops` or `size` of the task `{name}`: it has no work");
            return Err(Malformed::at(node.place.clone(), why));
        }
        _ => {
            let why =
                format!("expected one of `costs`, `time` and `flops` of the task `{name}`, found several");
            return Err(Malformed::at(node.place.clone(), why));
        }
    }
    if let Some((row, place)) = of.get("costs") {
        return Ok((Work::Costs(costs(row, place)?), memory));
    }
    if let Some((text, place)) = of.get("time") {
        return Ok((Work::Reference(time(text, place)?), memory));
    }
    let flops = quantity(of, "flops", "flops such as `2 GFLOP`", Flops)?;
    let size = quantity(of, "size", "flops such as `1e9`", Flops)?;
    let bytes = quantity(of, "bytes", "a size such as `1 GB`", Bytes)?.unwrap_or(Bytes::ZERO);
    let flops = flops.or(size).unwrap_or(Flops::ZERO);
    Ok((Work::Arithmetic { flops, bytes, precision: Precision::F32 }, memory))
}

fn arithmetic(of: &Attributes) -> bool {
    ["flops", "size", "bytes"].iter().any(|name| of.contains_key(*name))
}

/// What an edge carries; nothing where nothing is said.
pub(super) fn payload(edge: &Edge) -> Result<Payload, Malformed> {
    let of = &edge.attributes;
    let bytes = quantity(of, "bytes", "a size such as `4 MiB`", Bytes)?;
    let size = quantity(of, "size", "a number of bytes", Bytes)?;
    match (of.get("cost"), bytes.or(size)) {
        (Some((text, place)), None) => time(text, place).map(Payload::Cost),
        (None, bytes) => Ok(Payload::Bytes(bytes.unwrap_or(Bytes::ZERO))),
        (Some((_, place)), Some(_)) => {
            let (from, to) = (&edge.from, &edge.to);
            let why = format!("expected `cost` or `bytes` of the edge from `{from}` to `{to}`, found both");
            Err(Malformed::at(place.clone(), why))
        }
    }
}

/// `14, 16, -`: seconds or times; `-` where a device cannot do it.
fn costs(row: &str, place: &Range<usize>) -> Result<Vec<Option<SimDuration>>, Malformed> {
    let cell = |cell: &str| match cell.trim() {
        "-" => Ok(None),
        cell => time(cell, place).map(Some),
    };
    row.split(',').map(cell).collect()
}

fn time(text: &str, place: &Range<usize>) -> Result<SimDuration, Malformed> {
    let seconds = text.trim().parse::<f64>().ok().filter(|seconds| (0.0..1e7).contains(seconds));
    let seconds = seconds.map(exact_seconds);
    seconds.or_else(|| text.parse().ok()).ok_or_else(|| {
        let why = format!("expected a number of seconds or a time such as `3 ms`, found `{text}`");
        Malformed::at(place.clone(), why)
    })
}

/// The most that is countable with care: beyond it runs would outlast the clock.
const MOST: f64 = 1e18;

/// A quantity with its unit, or a plain number.
fn quantity<Q: FromStr>(
    of: &Attributes,
    name: &str,
    wanted: &str,
    make: impl Fn(u64) -> Q,
) -> Result<Option<Q>, Malformed> {
    let Some((text, place)) = of.get(name) else { return Ok(None) };
    let number = text.trim().parse::<f64>().ok();
    let number =
        number.filter(|number| (0.0..MOST).contains(number)).map(|number| make(number.round() as u64));
    match number.or_else(|| text.parse().ok()) {
        Some(quantity) => Ok(Some(quantity)),
        None => {
            let why = format!("expected {wanted} in `{name}`, found `{text}`");
            Err(Malformed::at(place.clone(), why))
        }
    }
}
