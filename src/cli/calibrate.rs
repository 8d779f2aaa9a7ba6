//! `calibrate`: a device's few constants, fitted to a table of measured kernels.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::collective::device;
use crate::cli::run::json;
use crate::cli::{Failure, Format};
use crate::compute::ComputeSpec;
use crate::compute::calibrate::{Fit, FitError, fit};
use crate::config;
use crate::hardware::DeviceSpec;
use crate::report::table::{facts, grid};
use crate::report::writer::{self, Artefact};
use crate::validation::kernels;

/// `trainyard calibrate`.
#[derive(Debug, Args)]
pub(crate) struct Calibrate {
    /// The table of measured kernels, as `validate kernels --template` shows it
    #[arg(value_name = "FILE.csv")]
    table: PathBuf,
    /// The device to begin with: its datasheet, and its name in the table
    #[arg(long, value_name = "DEVICE")]
    device: String,
    /// Share of the shapes that the fit does not see: the same ones in every run
    #[arg(long, value_name = "SHARE", default_value_t = 0.2)]
    hold_out: f64,
    /// Where the device with its constants is written; printed alone unless given
    #[arg(long, value_name = "DEVICE.yaml")]
    out: Option<PathBuf>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// The result for machines.
#[derive(Debug, Serialize)]
struct Report {
    device: String,
    constants: Vec<(String, f64)>,
    before: Errors,
    seen: Errors,
    held_out: Errors,
    skipped: usize,
}

/// Errors in percent of the measurement.
#[derive(Debug, Clone, Copy, Serialize)]
struct Errors {
    samples: usize,
    median_percent: f64,
    mean_percent: f64,
    bias_percent: f64,
}

impl From<FitError> for Errors {
    fn from(error: FitError) -> Self {
        let FitError { samples, median, mean, bias } = error;
        Errors { samples, median_percent: median, mean_percent: mean, bias_percent: bias }
    }
}

impl Calibrate {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        if !(0.0..1.0).contains(&self.hold_out) {
            let why = format!("a share that is held out is from 0 to below 1, not {}", self.hold_out);
            return Err(Failure::Argument(why));
        }
        let start = device(&self.device)?;
        let path = self.table.display();
        let text = std::fs::read_to_string(&self.table)
            .map_err(|why| Failure::Argument(format!("`{path}` cannot be read: {why}")))?;
        let rows = kernels::read(&text).map_err(|why| {
            Failure::Argument(format!(
                "{path}: {why}\n  `trainyard validate kernels --template` shows what a table looks like"
            ))
        })?;
        let (samples, skipped) = kernels::samples(&rows, &start, self.hold_out);
        if !samples.iter().any(|sample| !sample.held_out) {
            let why = format!("{path}: no row of `{}` that the fit could see", start.name);
            return Err(Failure::Argument(why));
        }
        if start.gpu.is_none() {
            let why = format!("`{}` has no `gpu:`; only the constants of GPUs are fitted so far", start.name);
            return Err(Failure::Argument(why));
        }
        // The tile model's constants, as `validate kernels` predicts: without what only a long run heats up.
        let model = ComputeSpec::from_name("tile").expect("a listed compute model");
        let error = |device: &DeviceSpec| {
            FitError::of(samples.iter().map(|sample| {
                let predicted = sample.work.time(&*model, device).seconds();
                (sample.measured.seconds(), predicted)
            }))
        };
        let before = error(&start);
        eprintln!("fitting {} to {} kernels", start.name, samples.len());
        let found = fit(&start, &*model, &samples);
        self.print(&found, before, skipped.len());
        self.write(found)
    }

    fn print(&self, found: &Fit, before: FitError, skipped: usize) {
        if self.format == Format::Json {
            let constants = found.constants.iter().map(|constant| (constant.path.to_owned(), constant.value));
            let report = Report {
                device: found.device.name.clone(),
                constants: constants.collect(),
                before: before.into(),
                seen: found.seen.into(),
                held_out: found.held_out.into(),
                skipped,
            };
            println!("{}", json(&report));
            return;
        }
        let row = |name: &str, error: FitError| {
            vec![
                name.to_owned(),
                error.samples.to_string(),
                format!("{:.2} %", error.median),
                format!("{:.2} %", error.mean),
                format!("{:+.2} %", error.bias),
            ]
        };
        let rows = [
            row("all, before the fit", before),
            row("seen by the fit", found.seen),
            row("held out", found.held_out),
        ];
        let heading = ["kernels", "samples", "median error", "mean error", "median bias"];
        let skipped = [("rows that could not be used".to_owned(), skipped.to_string())];
        print!("{}", facts(&found.device.name, &skipped, &[]));
        print!("{}", grid(&heading, &rows));
        print!("\n{}", found.fragment());
    }

    /// Writes the device with its constants, and where they come from.
    fn write(&self, found: Fit) -> Result<(), Failure> {
        let Some(out) = &self.out else { return Ok(()) };
        let mut device = found.device;
        device.efficiency.calibration = format!(
            "by `trainyard calibrate` on {} kernels of {}; median error {:.1} % there, {:.1} % on {} that the fit \
             did not see",
            found.seen.samples,
            self.table.file_name().unwrap_or_default().to_string_lossy(),
            found.seen.median,
            found.held_out.median,
            found.held_out.samples
        );
        let (folder, name) = (out.parent().unwrap_or(std::path::Path::new("")), out.file_name());
        let name = name.ok_or_else(|| Failure::Argument(format!("`{}` names no file", out.display())))?;
        let file = Artefact::text(name.to_string_lossy(), config::write(&device));
        writer::write(folder, &[file]).map_err(|why| Failure::Files(why.to_string()))?;
        eprintln!("device: {}", out.display());
        Ok(())
    }
}
