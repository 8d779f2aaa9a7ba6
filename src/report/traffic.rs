//! A network under load: latency and throughput over what is offered.

use std::str::FromStr;

use serde::Serialize;

use crate::network::synthetic::Served;
use crate::report::figure::{Axis, Line, LineChart, Quantity};
use crate::report::html::{Block, Section, page};
use crate::report::table::{grid, grouped};
use crate::report::writer::Artefact;
use crate::units::{Bytes, SimDuration};

/// A network at one rate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Swept {
    /// The network model, as it was written.
    pub network: String,
    /// The rate that was asked for.
    pub rate: f64,
    /// What came of it.
    #[serde(flatten)]
    pub served: Served,
}

/// Latencies from elsewhere: rates, and latencies in message times.
#[derive(Debug, Clone, PartialEq)]
pub struct Beside {
    name: String,
    points: Vec<(f64, f64)>,
}

impl FromStr for Beside {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not of the form NAME=RATE:LATENCY,RATE:LATENCY,…");
        let (name, points) = text.split_once('=').ok_or_else(wrong)?;
        let point = |point: &str| {
            let (rate, latency) = point.split_once(':')?;
            Some((rate.trim().parse().ok()?, latency.trim().parse().ok()?))
        };
        let points: Option<Vec<(f64, f64)>> = points.split(',').map(point).collect();
        Ok(Beside { name: name.trim().to_owned(), points: points.ok_or_else(wrong)? })
    }
}

/// One row for each network and rate.
pub fn table(title: &str, swept: &[Swept]) -> String {
    let heading = [
        "network",
        "offered",
        "accepted",
        "latency (message times)",
        "mean",
        "p50",
        "p99",
        "longest queue",
        "marked",
        "pauses",
        "dropped",
        "",
    ];
    let rows = swept.iter().map(|Swept { network, rate, served }| {
        let packets = served.packets.unwrap_or_default();
        let count = |number: u64| if number > 0 { grouped(number) } else { "-".to_owned() };
        let queue = packets.longest_queue_bytes;
        vec![
            network.clone(),
            format!("{rate}"),
            format!("{:.4}", served.accepted),
            format!("{:.2}", served.latency_mean_slots),
            time(served.latency_mean_s),
            time(served.latency_p50_s),
            time(served.latency_p99_s),
            if queue > 0 { Bytes(queue).to_string() } else { "-".to_owned() },
            count(packets.marked_packets),
            count(packets.pauses),
            count(packets.dropped_packets),
            if served.stable { String::new() } else { "unstable".to_owned() },
        ]
    });
    format!("{title}\n{}", grid(&heading, &rows.collect::<Vec<_>>()))
}

fn time(seconds: f64) -> String {
    SimDuration::from_seconds(seconds).to_string()
}

/// Every file of the report.
pub fn artefacts(title: &str, swept: &[Swept], beside: &[Beside]) -> Vec<Artefact> {
    let latency = latency(title, swept, beside);
    let throughput = throughput(title, swept);
    let figure = |caption: &str, svg: &str| Block::Figure { caption: caption.into(), svg: svg.to_owned() };
    let sections = [
        Section { title: "Under load".into(), blocks: vec![Block::Preformatted(table(title, swept))] },
        Section {
            title: "Latency".into(),
            blocks: vec![figure(
                "Mean latency from sending to arrival, the wait at the source included, over what every device \
                 offers. A line ends with the last rate that the network could take.",
                &latency,
            )],
        },
        Section {
            title: "Throughput".into(),
            blocks: vec![figure(
                "What arrives over what is offered, as shares of a device's widest link.",
                &throughput,
            )],
        },
    ];
    let json = serde_json::to_string_pretty(swept).expect("plain data");
    vec![
        Artefact::text("report.html", page(&format!("trainyard: {title}"), &sections)),
        Artefact::text("latency.svg", latency),
        Artefact::text("throughput.svg", throughput),
        Artefact::text("summary.json", json + "\n"),
    ]
}

/// Names of networks, each once, in order.
fn networks(swept: &[Swept]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for one in swept {
        if !names.contains(&one.network.as_str()) {
            names.push(&one.network);
        }
    }
    names
}

fn of<'a>(swept: &'a [Swept], network: &'a str) -> impl Iterator<Item = &'a Swept> {
    swept.iter().filter(move |one| one.network == network)
}

fn latency(title: &str, swept: &[Swept], beside: &[Beside]) -> String {
    let ours = networks(swept).into_iter().map(|network| {
        let stable = of(swept, network).take_while(|one| one.served.stable);
        let points = stable.map(|one| (one.rate, one.served.latency_mean_slots));
        Line::new(network, points.collect())
    });
    let theirs = beside
        .iter()
        .map(|beside| Line { dashed: true, ..Line::new(beside.name.clone(), beside.points.clone()) });
    LineChart {
        title: title.to_owned(),
        x: Axis::new("offered, of a device's bandwidth", Quantity::Percent).from_zero(),
        y: Axis::new("mean latency in message times", Quantity::Number).from_zero(),
        series: ours.chain(theirs).collect(),
        references: Vec::new(),
    }
    .draw()
    .to_string()
}

fn throughput(title: &str, swept: &[Swept]) -> String {
    let ours = networks(swept).into_iter().map(|network| {
        Line::new(network, of(swept, network).map(|one| (one.rate, one.served.accepted)).collect())
    });
    let most = swept.iter().map(|one| one.rate).fold(0.0, f64::max);
    let ideal = Line { dashed: true, ..Line::new("all that is offered", vec![(0.0, 0.0), (most, most)]) };
    LineChart {
        title: title.to_owned(),
        x: Axis::new("offered, of a device's bandwidth", Quantity::Percent).from_zero(),
        y: Axis::new("accepted, of a device's bandwidth", Quantity::Percent).from_zero(),
        series: ours.chain([ideal]).collect(),
        references: Vec::new(),
    }
    .draw()
    .to_string()
}
