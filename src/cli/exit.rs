//! Why a command failed, and the exit code that says so.

use std::process::ExitCode;

use crate::config::Diagnostics;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The simulated run failed, or a comparison missed its target.
    Run(String),
    /// The input is wrong; nothing has been written.
    Input(Diagnostics),
    /// An argument is wrong; nothing has been written.
    Argument(String),
    /// Reading or writing failed.
    Files(String),
}

impl Failure {
    /// Tells the user and names the exit code.
    pub fn report(self) -> ExitCode {
        match self {
            Failure::Run(why) => {
                eprintln!("error: {why}");
                ExitCode::from(1)
            }
            Failure::Input(diagnostics) => {
                eprint!("{}", diagnostics.render());
                ExitCode::from(2)
            }
            Failure::Argument(why) => {
                eprintln!("error: {why}");
                ExitCode::from(2)
            }
            Failure::Files(why) => {
                eprintln!("error: {why}");
                ExitCode::from(3)
            }
        }
    }
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        Failure::Input(diagnostics)
    }
}
