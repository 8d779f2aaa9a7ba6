//! Checking what needs two facts: mistakes are gathered, each where it stands.

use std::sync::Arc;

use crate::config::file::TopologyChoice;
use crate::config::{Diagnostics, KeyPath, Locations, locate};
use crate::hardware::Topology;

/// A file being checked.
pub(super) struct Check<'a> {
    /// Where its keys stand.
    pub locations: &'a Locations,
    /// What is wrong with it.
    pub mistakes: Diagnostics,
    /// What the user should know and may not expect.
    pub notes: Vec<String>,
}

impl<'a> Check<'a> {
    pub fn new(locations: &'a Locations) -> Self {
        Check { locations, mistakes: Diagnostics::new(), notes: Vec::new() }
    }

    /// Notes a mistake at a key path such as `training.steps`; `help` says what would do.
    ///
    /// # Panics
    /// When `path` is not a key path: they are written in this room.
    pub fn wrong(&mut self, path: &str, message: impl Into<String>, help: &str) {
        let path: KeyPath = path.parse().expect("a key path written in this room");
        self.mistakes.at(self.locations, &path, message, help);
    }

    /// `topology:`, built; nothing when it is wrong, which has been noted.
    pub fn topology(&mut self, choice: &TopologyChoice) -> Option<Arc<Topology>> {
        self.topology_at(choice, KeyPath::top().key("topology"))
    }

    /// The same under another key.
    pub fn topology_at(&mut self, choice: &TopologyChoice, path: KeyPath) -> Option<Arc<Topology>> {
        let found = match choice {
            TopologyChoice::Named(name) => locate::topology(name, self.locations.source()),
            TopologyChoice::Inline(spec) => locate::build_topology(spec, self.locations, &path),
        };
        match found {
            Ok(topology) => Some(Arc::new(topology)),
            Err(mistakes) => {
                for mistake in mistakes.iter() {
                    match mistake.place {
                        Some(_) => self.mistakes.push(mistake.clone()),
                        None => self.mistakes.at(self.locations, &path, &mistake.message, &mistake.help),
                    }
                }
                None
            }
        }
    }
}

/// The divisors of a number, as a list for a reader.
pub(super) fn divisors(number: u64) -> String {
    let all: Vec<String> =
        (1..=number.min(1 << 20)).filter(|d| number.is_multiple_of(*d)).map(|d| d.to_string()).collect();
    all.join(", ")
}
