//! Where jobs come from: traces of real clusters, and tables of your own.
//!
//! A format turns the text of a trace into jobs for a machine. Rows that it cannot use are gathered, each
//! with its line and what was expected there; whoever called decides whether that is the end or whether
//! they are counted and left out. Formats whose rows are published in order of arrival expect them so;
//! Philly's is not, and is sorted.
//!
//! Time zero is the first arrival. A reader knows no files: it is handed texts.
//!
//! To add one, write its file and list it here.

mod csv;
mod gavel;
mod openb;
mod philly;
mod rows;
mod tiresias;

pub use csv::Csv;
pub use gavel::{Gavel, Throughputs};
pub use openb::{Openb, OpenbNodes};
pub use philly::Philly;
pub use rows::BadRow;
pub use tiresias::Tiresias;

use crate::cluster::{Job, Machine};

/// What came of reading a trace.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// The jobs, in order of arrival.
    pub jobs: Vec<Job>,
    /// Rows that could not be used.
    pub bad: Vec<BadRow>,
    /// What the reader assumed, for the user.
    pub notes: Vec<String>,
}

/// A way to write jobs down.
pub trait TraceFormat {
    /// The jobs of a trace, for a machine.
    fn read(&self, text: &str, machine: &Machine) -> Reading;
}
