//! The program `trainyard`: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    trainyard::cli::main(std::env::args_os())
}
