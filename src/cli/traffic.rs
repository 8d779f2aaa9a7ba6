//! `traffic`: a network under synthetic load, over a range of rates.

use std::sync::Arc;
use std::time::Instant;

use clap::Args;

use crate::cli::collective::{named, network};
use crate::cli::run::json;
use crate::cli::{Common, Failure, Format};
use crate::config::{Source, locate};
use crate::network::synthetic::{Load, Pattern, serve};
use crate::network::{NetworkSpec, links_of};
use crate::report::traffic::{Beside, Swept, artefacts, table};
use crate::report::writer;
use crate::rng::Seed;
use crate::units::Bytes;

/// `trainyard traffic`.
#[derive(Debug, Args)]
pub(crate) struct Traffic {
    /// Topology file or name
    #[arg(long, default_value = "mesh_8x8")]
    topology: String,
    /// How flows share links: a name, or one with its settings, as in '{flit: {vcs: 4}}'; may be given several times
    #[arg(long, value_name = "MODEL", default_value = "flit")]
    network: Vec<String>,
    /// Who sends to whom (`trainyard list traffic`)
    #[arg(long, default_value = "uniform")]
    pattern: String,
    /// What each device offers, as a share of its widest link: 0.1, or 0.1,0.2 or 0.05..0.45:0.05
    #[arg(long, default_value = "0.05..0.45:0.05")]
    rate: Rates,
    /// Bytes of a message; a flit, or a packet, of the first network unless given
    #[arg(long, value_name = "SIZE")]
    message: Option<Bytes>,
    /// Message times before anything is measured
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    warm_up: u64,
    /// Message times that are measured
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..))]
    measured: u64,
    /// Latencies from elsewhere to draw beside, in message times: 'BookSim 2=0.1:27.2,0.3:29.1'
    #[arg(long, value_name = "NAME=RATE:LATENCY,…")]
    beside: Vec<Beside>,
    /// Seed of who sends when and where to
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print without writing a report
    #[arg(long)]
    no_report: bool,
    #[command(flatten)]
    common: Common,
}

/// Rates in a list or a range.
#[derive(Debug, Clone)]
struct Rates(Vec<f64>);

impl std::str::FromStr for Rates {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let rate = |text: &str| match text.trim().parse::<f64>() {
            Ok(rate) if rate > 0.0 && rate <= 1.0 => Ok(rate),
            _ => Err(format!("`{text}` is not a rate above 0 and up to 1")),
        };
        let Some((from, rest)) = text.split_once("..") else {
            return text.split(',').map(rate).collect::<Result<_, _>>().map(Rates);
        };
        let (to, step) = rest.split_once(':').ok_or("a range has a step, as in 0.05..0.45:0.05")?;
        let (from, to, step) = (rate(from)?, rate(to)?, rate(step)?);
        let count = ((to - from) / step + 1e-9).floor();
        if !(0.0..=10_000.0).contains(&count) {
            return Err(format!("{from}..{to} in steps of {step} is no range upwards"));
        }
        // Written with the digits that a reader would write.
        let round = |rate: f64| (rate * 1e9).round() / 1e9;
        Ok(Rates((0..=count as u32).map(|at| round(from + f64::from(at) * step)).collect()))
    }
}

impl Traffic {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        let names: Vec<&str> = Pattern::ALL.iter().map(|(_, name, _)| *name).collect();
        let pattern = named(&self.pattern, "pattern", &names, Pattern::from_name)?;
        let here = Source { name: String::new(), text: String::new() };
        let topology = Arc::new(locate::topology(&self.topology, &here)?);
        pattern.admits(topology.devices().len()).map_err(Failure::Argument)?;
        let specs: Vec<(&String, NetworkSpec)> =
            self.network.iter().map(|text| Ok((text, network(text)?))).collect::<Result<_, Failure>>()?;
        let message = self.message.unwrap_or_else(|| unit_of(&specs[0].1));
        if message == Bytes::ZERO {
            return Err(Failure::Argument("a message has at least 1 byte".to_owned()));
        }
        let mut swept = Vec::new();
        for (text, spec) in &specs {
            for &rate in &self.rate.0 {
                let load = Load {
                    pattern,
                    rate,
                    message,
                    warm_up: self.warm_up,
                    measured: self.measured,
                    seed: Seed(self.seed),
                };
                let began = Instant::now();
                let served = serve(&load, &topology, &mut *spec.model(&links_of(&topology)));
                eprintln!("{text} at {rate}: {:.3} s of this machine", began.elapsed().as_secs_f64());
                swept.push(Swept { network: (*text).clone(), rate, served });
            }
        }
        let title = format!("{} traffic on {}, messages of {message}", pattern.name(), topology.name());
        if !self.no_report {
            let folder = self.common.folder(&format!("traffic_{}_{}", topology.name(), pattern.name()));
            writer::write(&folder, &artefacts(&title, &swept, &self.beside))
                .map_err(|why| Failure::Files(why.to_string()))?;
            eprintln!("report: {}", folder.join("report.html").display());
        }
        match self.common.format {
            Format::Json => println!("{}", json(&swept)),
            Format::Table => print!("{}", table(&title, &swept)),
        }
        Ok(())
    }
}

/// What a network moves at once.
fn unit_of(spec: &NetworkSpec) -> Bytes {
    match spec {
        NetworkSpec::Flit(flit) => flit.flit,
        NetworkSpec::Packet(packet) => packet.mtu,
        NetworkSpec::Analytic(_) | NetworkSpec::Fluid(_) => Bytes(9_000),
    }
}
