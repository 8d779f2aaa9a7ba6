//! `collective`: one collective, timed for a size or a range of sizes, as nccl-tests prints it.

use std::sync::Arc;

use clap::Args;

use crate::cli::run::json;
use crate::cli::{Common, Failure, Format};
use crate::collective::timing::{Measured, time};
use crate::collective::{AlgorithmSpec, Collective, CollectiveKind};
use crate::config::Source;
use crate::config::locate;
use crate::config::member;
use crate::hardware::{DeviceSpec, Topology};
use crate::ids::{DeviceId, Id};
use crate::network::{NetworkSpec, links_of};
use crate::report::packets;
use crate::report::table::{facts, grid};
use crate::units::Bytes;

/// `trainyard collective`.
#[derive(Debug, Args)]
pub(crate) struct Time {
    /// all-reduce, reduce-scatter, all-gather, broadcast, reduce, all-to-all or send-receive
    #[arg(value_name = "KIND")]
    kind: String,
    /// One size, as nccl-tests counts it (all-gather: what is gathered)
    #[arg(long, value_name = "SIZE", conflicts_with_all = ["from", "to"])]
    bytes: Option<Bytes>,
    /// The first size of a range
    #[arg(long, value_name = "SIZE", requires = "to")]
    from: Option<String>,
    /// The last size of a range
    #[arg(long, value_name = "SIZE", requires = "from")]
    to: Option<String>,
    /// From one size to the next
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(2..))]
    factor: u64,
    /// How it is carried out
    #[arg(long, default_value = "ring")]
    algorithm: String,
    /// Chunks in which what an algorithm passes on follows itself
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    chunks: Option<u32>,
    /// Topology file or name
    #[arg(long, default_value = "hgx_h100_2x8")]
    topology: String,
    /// How many devices take part, from the first on (all unless given)
    #[arg(long, value_name = "N")]
    devices: Option<usize>,
    /// How flows share links: a name, or one with its settings, as in '{packet: {routing: spray}}'
    #[arg(long, default_value = "fluid")]
    network: String,
    #[command(flatten)]
    common: Common,
}

impl Time {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        let kind = kind(&self.kind)?;
        let algorithm = named(&self.algorithm, "algorithm", AlgorithmSpec::NAMES, AlgorithmSpec::from_name)?;
        let algorithm = match self.chunks {
            Some(count) => algorithm.in_chunks(count).map_err(Failure::Argument)?,
            None => algorithm,
        };
        let network = network(&self.network)?;
        let here = Source { name: String::new(), text: String::new() };
        let topology = Arc::new(locate::topology(&self.topology, &here)?);
        let group = self.group(&topology, kind)?;
        let mut rows = Vec::new();
        for bytes in self.sizes()? {
            let call = Collective { kind, bytes, group: group.clone().into() };
            algorithm.admits(&call, &topology).map_err(Failure::Argument)?;
            let plan = algorithm.plan(&call, &topology);
            let mut model = network.model(&links_of(&topology));
            rows.push(time(&call, &plan, &topology, &mut *model));
        }
        match self.common.format {
            Format::Json => println!("{}", json(&rows)),
            Format::Table => self.print(&topology, group.len(), &rows),
        }
        Ok(())
    }

    fn group(&self, topology: &Topology, kind: CollectiveKind) -> Result<Vec<DeviceId>, Failure> {
        let all = topology.devices().len();
        let count = self.devices.unwrap_or(if kind == CollectiveKind::SendReceive { 2 } else { all });
        if count == 0 || count > all {
            let name = topology.name();
            return Err(Failure::Argument(format!(
                "`{name}` has {all} devices, so 1 to {all} take part, not {count}"
            )));
        }
        if kind == CollectiveKind::SendReceive && count != 2 {
            return Err(Failure::Argument(format!("a send-receive is between 2 devices, not {count}")));
        }
        Ok((0..count).map(DeviceId::from_index).collect())
    }

    fn sizes(&self) -> Result<Vec<Bytes>, Failure> {
        let (Some(from), Some(to)) = (&self.from, &self.to) else {
            return Ok(vec![self.bytes.unwrap_or(Bytes(1 << 30))]);
        };
        let (from, to) = (size(from)?, size(to)?);
        if from == Bytes::ZERO || from > to {
            return Err(Failure::Argument(format!(
                "a range goes up from at least 1 byte, not from {from} to {to}"
            )));
        }
        let next = |bytes: &Bytes| bytes.get().checked_mul(self.factor).map(Bytes);
        Ok(std::iter::successors(Some(from), next).take_while(|bytes| *bytes <= to).collect())
    }

    fn print(&self, topology: &Topology, devices: usize, rows: &[Measured]) {
        println!(
            "# {} by {} among {devices} devices of {} ({} network)",
            self.kind,
            self.algorithm,
            topology.name(),
            self.network
        );
        let cells = |row: &Measured| {
            vec![
                row.bytes.to_string(),
                format!("{:.3}", row.time_s * 1e6),
                format!("{:.3}", row.algorithm_bandwidth_bytes_per_s / 1e9),
                format!("{:.3}", row.bus_bandwidth_bytes_per_s / 1e9),
                row.transfers.to_string(),
            ]
        };
        let heading = ["size (B)", "time (us)", "algbw (GB/s)", "busbw (GB/s)", "transfers"];
        print!("{}", grid(&heading, &rows.iter().map(cells).collect::<Vec<_>>()));
        for row in rows {
            let Some(packets) = &row.packets else { continue };
            let heading = format!("of {} bytes", row.bytes);
            print!("\n{}", facts(&heading, &packets::rows(packets), &[]));
        }
    }
}

/// A size with its unit; a bare number is bytes, as nccl-tests has it.
fn size(text: &str) -> Result<Bytes, Failure> {
    match text.parse::<u64>() {
        Ok(bytes) => Ok(Bytes(bytes)),
        Err(_) => text.parse().map_err(|why| Failure::Argument(format!("{why}"))),
    }
}

fn kind(name: &str) -> Result<CollectiveKind, Failure> {
    let wanted = name.replace('_', "-");
    CollectiveKind::ALL.into_iter().find(|kind| kind.name() == wanted).ok_or_else(|| {
        let names: Vec<String> = CollectiveKind::ALL.iter().map(|kind| kind.name().to_owned()).collect();
        let help = crate::config::read::did_you_mean(name, &names, "there are");
        Failure::Argument(format!("there is no collective `{name}`; {help}"))
    })
}

/// A device by its name or file.
pub(crate) fn device(name: &str) -> Result<Arc<DeviceSpec>, Failure> {
    locate::device(name).map_err(|missing| {
        Failure::Argument(missing.help.map_or(missing.why.clone(), |help| format!("{}; {help}", missing.why)))
    })
}

/// A network model by its name, or as a workload writes it.
pub(crate) fn network(text: &str) -> Result<NetworkSpec, Failure> {
    if text.contains(['{', ':']) {
        return member(text).map_err(|why| Failure::Argument(format!("`{text}` is no network model: {why}")));
    }
    named(text, "network model", NetworkSpec::NAMES, NetworkSpec::from_name)
}

/// A member of a registry by its name.
pub(crate) fn named<T>(
    name: &str,
    what: &str,
    names: &[&str],
    find: impl Fn(&str) -> Option<T>,
) -> Result<T, Failure> {
    find(name).ok_or_else(|| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let help = crate::config::read::did_you_mean(name, &names, "there are");
        Failure::Argument(format!("there is no {what} `{name}`; {help}"))
    })
}
