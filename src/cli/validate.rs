//! `validate`: predictions held against a table of measurements.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::cli::collective::device;
use crate::cli::progress::Progress;
use crate::cli::run::json;
use crate::cli::{Common, Failure, Format};
use crate::collective::AlgorithmSpec;
use crate::compute::ComputeSpec;
use crate::config::locate;
use crate::hardware::DeviceSpec;
use crate::hardware::naming::meant_by;
use crate::report::figure::{Axis, Join, Point, PointGroup, Quantity, Scatter};
use crate::report::table::{facts, grid};
use crate::report::writer::{self, Artefact};
use crate::validation::kernels::Skipped;
use crate::validation::{Comparison, Group, Note, Summary, collectives, kernels, training};

/// `trainyard validate`.
#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// What was measured
    #[arg(value_enum)]
    what: What,
    /// The table of measurements
    #[arg(value_name = "FILE.csv", required_unless_present = "template")]
    table: Option<PathBuf>,
    /// Print an example of the table instead
    #[arg(long)]
    template: bool,
    /// Only the rows of this device, as its name or file describes it
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Print without drawing
    #[arg(long)]
    no_report: bool,
    #[command(flatten)]
    common: Common,
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Steps of training runs
    Train,
    /// Single kernels
    Kernels,
    /// Collectives among devices
    Collectives,
}

/// What is printed for machines.
#[derive(Debug, Serialize)]
struct Report {
    rows: Vec<Comparison>,
    summary: Summary,
    notes: Vec<Note>,
    skipped: Vec<Skipped>,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            What::Train => "train",
            What::Kernels => "kernels",
            What::Collectives => "collectives",
        }
    }

    /// The unit of the measured column, as seconds.
    fn unit(self) -> (&'static str, f64) {
        match self {
            What::Train => ("s", 1.0),
            What::Kernels | What::Collectives => ("us", 1e-6),
        }
    }

    fn template(self) -> &'static str {
        match self {
            What::Train => include_str!("templates/train.csv"),
            What::Kernels => include_str!("templates/kernels.csv"),
            What::Collectives => include_str!("templates/collectives.csv"),
        }
    }

    fn predict(self, text: &str, chosen: Option<&DeviceSpec>) -> Result<Report, String> {
        let names = locate::devices().into_iter().map(|(name, _)| name);
        let library = names.filter_map(|name| locate::device(&name).ok()).map(|spec| (*spec).clone());
        // A file of one's own comes before the library's device of its name.
        let all: Vec<DeviceSpec> = chosen.cloned().into_iter().chain(library).collect();
        let wanted = |device: &str| {
            chosen.is_none_or(|chosen| meant_by(&all, device).is_some_and(|meant| meant.name == chosen.name))
        };
        match self {
            What::Train => {
                let mut rows = training::read(text)?;
                rows.retain(|row| wanted(&row.device));
                let mut progress = Progress::of(rows.len() as u64, "rows");
                let report = training::predict(&rows, &all, |done| progress.tell(done, String::new));
                progress.end(&format!("{} rows", rows.len()));
                Ok(Report {
                    rows: report.rows,
                    summary: report.summary,
                    notes: report.notes,
                    skipped: report.skipped,
                })
            }
            What::Kernels => {
                let mut rows = kernels::read(text)?;
                rows.retain(|row| wanted(&row.device));
                let native = ComputeSpec::from_name("native").expect("a listed model");
                let report = kernels::predict(&rows, &all, &native);
                Ok(Report {
                    rows: report.rows,
                    summary: report.summary,
                    notes: report.notes,
                    skipped: report.skipped,
                })
            }
            What::Collectives => {
                let mut rows = collectives::read(text)?;
                rows.retain(|row| wanted(&row.device));
                let auto = AlgorithmSpec::from_name("auto").expect("a listed algorithm");
                let report = collectives::predict(&rows, &all, &auto);
                Ok(Report {
                    rows: report.rows,
                    summary: report.summary,
                    notes: report.notes,
                    skipped: report.skipped,
                })
            }
        }
    }
}

impl Validate {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        if self.template {
            print!("{}", self.what.template());
            return Ok(());
        }
        let path = self.table.as_ref().expect("clap asks for a table");
        let text = std::fs::read_to_string(path)
            .map_err(|why| Failure::Argument(format!("`{}` cannot be read: {why}", path.display())))?;
        let device = self.device.as_deref().map(device);
        let device = device.transpose()?;
        let report = self.what.predict(&text, device.as_deref()).map_err(|why| {
            let name = self.what.name();
            Failure::Argument(format!(
                "{}: {why}\n  `trainyard validate {name} --template` shows what a table looks like",
                path.display()
            ))
        })?;
        if !self.no_report {
            let folder = self.common.out.clone().unwrap_or_else(|| PathBuf::from("reports/validation"));
            let files = [
                Artefact::text(format!("{}.svg", self.what.name()), self.figure(&report).as_str()),
                Artefact::text(format!("{}.json", self.what.name()), json(&report)),
            ];
            writer::write(&folder, &files).map_err(|why| Failure::Files(why.to_string()))?;
            eprintln!("figure: {}", folder.join(format!("{}.svg", self.what.name())).display());
        }
        match self.common.format {
            Format::Json => println!("{}", json(&report)),
            Format::Table => self.print(&report),
        }
        Ok(())
    }

    fn figure(&self, report: &Report) -> crate::report::figure::Svg {
        let (_, scale) = self.what.unit();
        let mut groups: BTreeMap<&str, Vec<Point>> = BTreeMap::new();
        for row in &report.rows {
            let point = Point { x: row.measured * scale, y: row.predicted * scale, label: String::new() };
            groups.entry(&row.device).or_default().push(point);
        }
        let groups = groups.into_iter().map(|(name, points)| PointGroup {
            name: name.to_owned(),
            hue: None,
            points,
            join: Join::Apart,
        });
        Scatter {
            title: format!("{}: predicted against measured", self.what.name()),
            x: Axis::new("measured", Quantity::Time).logarithmic(),
            y: Axis::new("predicted", Quantity::Time).logarithmic(),
            groups: groups.collect(),
            curves: Vec::new(),
            references: Vec::new(),
            diagonal: Some(vec![10.0]),
        }
        .draw()
    }

    fn print(&self, report: &Report) {
        let (unit, _) = self.what.unit();
        let row = |row: &Comparison| {
            vec![
                row.id.clone(),
                row.device.clone(),
                significant(row.measured),
                significant(row.predicted),
                format!("{:+.1}", row.error_percent),
            ]
        };
        let measured = format!("measured ({unit})");
        let predicted = format!("predicted ({unit})");
        let heading = ["row", "device", &measured, &predicted, "error (%)"];
        print!("{}", grid(&heading, &report.rows.iter().map(row).collect::<Vec<_>>()));
        println!("\nworst rows");
        print!("{}", grid(&heading, &report.summary.worst.iter().map(row).collect::<Vec<_>>()));
        let group = |name: &str, group: &Group| {
            vec![
                name.to_owned(),
                group.rows.to_string(),
                format!("{:.2}", group.median_absolute_percent),
                format!("{:.2}", group.mean_absolute_percent),
                format!("{:+.2}", group.bias_percent),
            ]
        };
        let mut groups = vec![group("all", &report.summary.all)];
        groups.extend(report.summary.by_device.iter().map(|(name, of)| group(name, of)));
        groups.extend(report.summary.by_source.iter().map(|(name, of)| group(name, of)));
        println!("\nerrors in percent of what was measured");
        print!("{}", grid(&["group", "rows", "median |error|", "mean |error|", "bias (median)"], &groups));
        print_notes(&report.notes);
        if !report.skipped.is_empty() {
            let rows: Vec<(String, String)> =
                report.skipped.iter().take(10).map(|row| (row.id.clone(), row.why.clone())).collect();
            let title = format!("\n{} rows could not be predicted, the first of them", report.skipped.len());
            print!("{}", facts(&title, &rows, &[]));
        }
    }
}

/// What was assumed, with how many rows it was assumed of.
fn print_notes(notes: &[Note]) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for note in notes {
        *counts.entry(&note.what).or_default() += 1;
    }
    let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|&(what, rows)| (std::cmp::Reverse(rows), what));
    if !counts.is_empty() {
        let rows: Vec<(String, String)> =
            counts.iter().take(20).map(|(what, rows)| (format!("{rows} rows"), (*what).to_owned())).collect();
        print!("{}", facts("\nassumed where the table does not say", &rows, &[]));
    }
}

/// Four significant digits.
fn significant(value: f64) -> String {
    let digits = 3 - value.abs().log10().floor() as i32;
    format!("{value:.*}", digits.clamp(0, 9) as usize)
}
