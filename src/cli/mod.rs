//! The door: arguments in, exit code out.
//!
//! Only here is the wall clock read and are exit codes known: 0 done, 1 the simulated run failed or a
//! comparison missed its target, 2 the input is wrong (nothing written), 3 reading or writing failed.
//! Progress and host timings go to stderr; stdout carries the result alone.

mod audit;
mod calibrate;
mod collective;
mod compare;
mod exit;
mod kernel;
mod list;
mod progress;
mod run;
mod topology;
mod traffic;
mod validate;

pub use exit::Failure;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// How should this network be trained and served in parallel on that hardware, what will it cost, and
/// will it still learn?
#[derive(Debug, Parser)]
#[command(name = "trainyard", version, about, arg_required_else_help = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  trainyard run workloads/gpt_3d.yaml
  trainyard run workloads/gpt_3d.yaml --set parallel.schedule=gpipe --out /tmp/gpipe
  trainyard compare workloads/gpt_3d.yaml --vary parallel.schedule=gpipe,one_f_one_b
  trainyard collective all-reduce --from 8 --to 1GiB --factor 2 --topology hgx_h100_2x8
  trainyard topology torus_4x4
  trainyard list schedules";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a workload: time it, compute it, and write its report
    #[command(after_help = "Examples:\n  trainyard run workloads/gpt_3d.yaml\n  \
        trainyard run workloads/gpt_3d.yaml --set training.steps=20 --seed 7 --format json --no-report")]
    Run(run::Run),
    /// Check a workload and show what it means, without running it
    #[command(after_help = "Example:\n  trainyard check workloads/gpt_3d.yaml --set parallel.tensor=4")]
    Check(run::Check),
    /// List what there is: topologies, devices, workloads, and every registry
    #[command(after_help = "Examples:\n  trainyard list\n  trainyard list topologies")]
    List(list::List),
    /// Describe a topology and draw it
    #[command(after_help = "Example:\n  trainyard topology hgx_h100_2x8 --out /tmp/hgx")]
    Topology(topology::Describe),
    /// Time a collective, for one size or a range, like nccl-tests
    #[command(after_help = "Examples:\n  trainyard collective all-reduce --bytes 1GiB --algorithm ring \
        --topology ring_8\n  trainyard collective all-gather --from 8 --to 1GiB --factor 2 \
        --topology hgx_h100_2x8")]
    Collective(collective::Time),
    /// Load a network with synthetic traffic: latency and throughput over the rate, like BookSim
    #[command(
        after_help = "Examples:\n  trainyard traffic --topology mesh_8x8 --network flit --rate 0.05..0.45:0.05\n  \
        trainyard traffic --topology fat_tree_k4_400g --pattern transpose --message 64KiB --rate 0.1..0.9:0.2 \
        --network packet --network '{packet: {routing: spray}}' --network fluid"
    )]
    Traffic(traffic::Traffic),
    /// Cost a kernel on a device, say why, and draw it under the roofline; sizes may be swept
    #[command(
        after_help = "Examples:\n  trainyard kernel gemm --m 4096 --n 4096 --k 4096 --dtype bf16 --device h100_sxm\n  \
        trainyard kernel gemm --m 128..8192:128 --n 4096 --k 4096 --device a100_80gb_sxm\n  \
        trainyard kernel attention --heads 32 --kv-heads 8 --queries 1 --keys 1024..65536*2 --batch 16"
    )]
    Kernel(kernel::Explain),
    /// Run a workload under every combination of some settings, side by side
    #[command(after_help = "Example:\n  trainyard compare workloads/gpt_3d.yaml \
        --vary parallel.schedule=gpipe,one_f_one_b --vary training.micro_batch=1,2")]
    Compare(compare::Compare),
    /// Find the best plan: how many of which devices, split how, for how many days and dollars
    #[command(after_help = "Examples:\n  trainyard plan workloads/plan_small.yaml\n  \
        trainyard plan workloads/plan_gpt3_175b.yaml --set plan.minimise=dollars --set plan.limits.days=60")]
    Plan(run::Run),
    /// Time a step (or a run of another trade) at neighbouring fidelities and print where they disagree,
    /// with what each costs
    #[command(
        after_help = "Examples:\n  trainyard audit workloads/gpt3_175b.yaml --network analytic,fluid\n  \
        trainyard audit workloads/gpt_3d.yaml --network analytic,fluid,packet\n  \
        trainyard audit workloads/serving_disaggregated.yaml --network fluid,packet"
    )]
    Audit(audit::Audit),
    /// Fit a device's few constants to a table of measured kernels, and say how far off they are elsewhere
    #[command(
        after_help = "Example:\n  trainyard calibrate tests/validation/kernels.csv --device a100_80gb_sxm --out /tmp/a100.yaml\n\n\
        tools/measure_gpu.py measures such a table on a GPU of your own."
    )]
    Calibrate(calibrate::Calibrate),
    /// Hold predictions against a table of measurements
    #[command(after_help = "Examples:\n  trainyard validate train tests/validation/train.csv\n  \
        trainyard validate kernels measured.csv --device h100_sxm --format json\n  \
        trainyard validate collectives --template")]
    Validate(validate::Validate),
}

/// What most commands take.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Folder for the report (reports/NAME unless given)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

impl Common {
    /// Where the report of something of this name goes.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.out.clone().unwrap_or_else(|| PathBuf::from("reports").join(name))
    }
}

/// How the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned tables for people
    Table,
    /// One JSON object for machines
    Json,
}

/// Lets the process end without a word when nobody reads what it prints any more (`trainyard … | head`), where
/// Rust's `println!` would panic.
fn end_with_the_reader() {
    let otherwise = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let gone = |text: &String| text.starts_with("failed printing to") && text.contains("Broken pipe");
        if panic.payload().downcast_ref::<String>().is_some_and(gone) {
            std::process::exit(0);
        }
        otherwise(panic);
    }));
}

/// Runs the command that `arguments` (the program's name first) ask for.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    end_with_the_reader();
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(message) => {
            // clap prints help to stdout with code 0 and mistakes to stderr with code 2, as we do.
            let code = if message.use_stderr() { 2 } else { 0 };
            let _ = message.print();
            return ExitCode::from(code);
        }
    };
    let done = match arguments.command {
        Command::Run(command) => command.execute(),
        Command::Check(command) => command.execute(),
        Command::List(command) => command.execute(),
        Command::Topology(command) => command.execute(),
        Command::Collective(command) => command.execute(),
        Command::Traffic(command) => command.execute(),
        Command::Kernel(command) => command.execute(),
        Command::Calibrate(command) => command.execute(),
        Command::Audit(command) => command.execute(),
        Command::Compare(command) => command.execute(),
        Command::Plan(command) => command.plan(),
        Command::Validate(command) => command.execute(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
