//! A trace that Perfetto and Chrome's `about:tracing` open.
//!
//! Google, "Trace Event Format": complete events (`X`) on named processes and threads, flow arrows
//! (`s` to `f`) from a send to its receive, counters (`C`) for memory. Times are microseconds; the
//! picoseconds behind the point are written from whole numbers, so nothing is rounded.

use std::fmt::Write as _;

use serde_json::json;

use crate::ids::{Id, LinkId, Rank};
use crate::metrics::ShownStep;
use crate::trace::{Label, Lane, MemoryUse, Stream};
use crate::training::TrainingPlan;
use crate::units::{SimDuration, SimTime};

/// The process that links are threads of; ranks are processes 0, 1, ….
fn links_process(ranks: usize) -> usize {
    ranks
}

/// The trace of one step.
pub fn trace(step: &ShownStep, plan: &TrainingPlan) -> String {
    let ranks = step.memory_before.len();
    let mut out =
        Writer { text: String::from("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n"), first: true };
    names(&mut out, step, plan, ranks);
    for span in &step.recording.spans {
        let (process, thread) = place(span.lane, ranks);
        let length = span.end.since(span.start);
        let args = arguments(&span.label, span.bytes.get());
        out.event(&format!(
            "\"ph\":\"X\",\"name\":{},\"cat\":\"{}\",\"pid\":{process},\"tid\":{thread},\"ts\":{},\"dur\":{},\"args\":{args}",
            json!(name_of(&span.label)),
            span.activity.name(),
            micros(span.start),
            micros_of(length),
        ));
    }
    for carried in &step.recording.carried {
        for &link in carried.route.iter() {
            let (process, thread) = place(Lane::Link(link), ranks);
            let length = carried.end.since(carried.start);
            let args = arguments(&carried.label, carried.bytes.get());
            out.event(&format!(
                "\"ph\":\"X\",\"name\":{},\"cat\":\"{}\",\"pid\":{process},\"tid\":{thread},\"ts\":{},\"dur\":{},\"args\":{args}",
                json!(name_of(&carried.label)),
                carried.activity.name(),
                micros(carried.start),
                micros_of(length),
            ));
        }
    }
    arrows(&mut out, step, ranks);
    memory(&mut out, step, plan);
    out.text.push_str("\n]}\n");
    out.text
}

struct Writer {
    text: String,
    first: bool,
}

impl Writer {
    fn event(&mut self, fields: &str) {
        let separator = if self.first { "" } else { ",\n" };
        self.first = false;
        write!(self.text, "{separator}{{{fields}}}").expect("writing to a string");
    }
}

/// Whether nothing is told of a rank because another stands for it.
fn stood_for(rank: Rank, plan: &TrainingPlan) -> bool {
    rank.0 < plan.mesh.ranks() && !plan.simulates(rank)
}

/// Names every process and thread that something happens on: ranks that others stand for are named there.
fn names(out: &mut Writer, step: &ShownStep, plan: &TrainingPlan, ranks: usize) {
    for rank in (0..ranks).map(Rank::from_index).filter(|&rank| !stood_for(rank, plan)) {
        let name = plan.lane_name(rank);
        let rank = rank.index();
        out.event(&format!(
            "\"ph\":\"M\",\"name\":\"process_name\",\"pid\":{rank},\"args\":{{\"name\":\"{name}\"}}"
        ));
        out.event(&format!(
            "\"ph\":\"M\",\"name\":\"process_sort_index\",\"pid\":{rank},\"args\":{{\"sort_index\":{rank}}}"
        ));
        for stream in Stream::ALL {
            let (thread, name) = (stream.index(), stream.name());
            out.event(&format!(
                "\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":{rank},\"tid\":{thread},\"args\":{{\"name\":\"{name}\"}}"
            ));
        }
    }
    let process = links_process(ranks);
    out.event(&format!(
        "\"ph\":\"M\",\"name\":\"process_name\",\"pid\":{process},\"args\":{{\"name\":\"links\"}}"
    ));
    let mut links: Vec<LinkId> =
        step.recording.carried.iter().flat_map(|carried| carried.route.iter().copied()).collect();
    links.sort_unstable();
    links.dedup();
    for link in links {
        let topology = &plan.topology;
        let about = &topology.links()[link];
        let name = format!(
            "{} to {} ({})",
            topology.vertex_name(about.from),
            topology.vertex_name(about.to),
            about.class
        );
        out.event(&format!(
            "\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":{process},\"tid\":{},\"args\":{{\"name\":{}}}",
            link.index(),
            json!(name)
        ));
    }
}

/// An arrow from each send to where it was received.
fn arrows(out: &mut Writer, step: &ShownStep, ranks: usize) {
    for (id, arrow) in step.recording.arrows.iter().enumerate() {
        let ends = [("s", arrow.from, ""), ("f", arrow.to, ",\"bp\":\"e\"")];
        for (phase, (lane, at), more) in ends {
            let (process, thread) = place(lane, ranks);
            out.event(&format!(
                "\"ph\":\"{phase}\",\"name\":\"send\",\"cat\":\"pipeline\",\"id\":{id},\"pid\":{process},\"tid\":{thread},\"ts\":{}{more}",
                micros(at)
            ));
        }
    }
}

/// Memory of each rank as a counter, by use.
fn memory(out: &mut Writer, step: &ShownStep, plan: &TrainingPlan) {
    let mut now = step.memory_before.clone();
    let counter = |out: &mut Writer, rank: Rank, at: SimTime, in_use: &[crate::units::Bytes]| {
        let series: serde_json::Map<String, serde_json::Value> = MemoryUse::ALL
            .iter()
            .map(|usage| (usage.name().to_owned(), json!(in_use[*usage as usize].get())))
            .collect();
        out.event(&format!(
            "\"ph\":\"C\",\"name\":\"memory (bytes)\",\"pid\":{},\"ts\":{},\"args\":{}",
            rank.index(),
            micros(at),
            serde_json::Value::Object(series)
        ));
    };
    for (rank, in_use) in now.enumerate().filter(|&(rank, _)| !stood_for(rank, plan)) {
        counter(out, rank, step.start, in_use);
    }
    for change in &step.recording.memory {
        now[change.rank][change.usage as usize] = change.now;
        counter(out, change.rank, change.at, &now[change.rank]);
    }
}

fn place(lane: Lane, ranks: usize) -> (usize, usize) {
    match lane {
        Lane::Rank(rank, stream) => (rank.index(), stream.index()),
        Lane::Device(device) => (device.index(), 0),
        Lane::Link(link) => (links_process(ranks), link.index()),
    }
}

/// What a slice is called: its op, and its micro-batch where it has one.
fn name_of(label: &Label) -> String {
    match label.micro_batch {
        Some(micro_batch) => format!("{} {}", label.name, micro_batch.0),
        None => label.name.to_string(),
    }
}

fn arguments(label: &Label, bytes: u64) -> serde_json::Value {
    let mut args = serde_json::Map::new();
    let mut put = |name: &str, value: Option<u64>| {
        args.extend(value.map(|value| (name.to_owned(), json!(value))));
    };
    put("stage", label.stage.map(|stage| stage.index() as u64));
    put("micro_batch", label.micro_batch.map(|micro_batch| micro_batch.index() as u64));
    put("layer", label.layer.map(|layer| layer.index() as u64));
    put("bytes", (bytes > 0).then_some(bytes));
    args.extend(label.collective.map(|collective| ("collective".to_owned(), json!(collective))));
    serde_json::Value::Object(args)
}

fn micros(at: SimTime) -> String {
    micros_of(at.since(SimTime::ZERO))
}

/// Microseconds with all six digits of picoseconds behind the point.
fn micros_of(length: SimDuration) -> String {
    let picos = length.picos();
    format!("{}.{:06}", picos / 1_000_000, picos % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picoseconds_survive_being_written_as_microseconds() {
        assert_eq!(micros_of(SimDuration::from_picos(1_234_567)), "1.234567");
        assert_eq!(micros_of(SimDuration::from_picos(5)), "0.000005");
    }
}
